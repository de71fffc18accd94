"""What Numba lacks for an executor: calls through addresses, atomics, and the processor's floating-point control."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:  # numba's own modules, for its names of types
    from numba.core.base import BaseContext
    from numba.core.typing import Context
    from numba.core.typing.templates import Signature

Intrinsic: TypeAlias = "tuple[Signature, Callable[..., ir.Value]]"
"""What an intrinsic gives Numba: its signature, and what generates its code."""

_I8, _I32, _I64, _VOID = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.VoidType()
_X86 = platform.machine().lower() in ("x86_64", "amd64")
_ARM = platform.machine().lower() in ("aarch64", "arm64")

FAST_FLOAT = 0x8040 if _X86 else 1 << 24 if _ARM else 0
"""Bits of the control word that make denormal results and operands zero."""


@intrinsic
def call_kernel(
    typing: Context, function: types.Type, args: types.Type, begin: types.Type, end: types.Type, thread: types.Type
) -> Intrinsic:
    """Call the kernel at the address ``function`` with (args, begin, end, thread)."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, values: Sequence[ir.Value]
    ) -> ir.Value:
        kind = ir.FunctionType(_VOID, [_I64] * 4)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def call_system(typing: Context, function: types.Type, argument: types.Type) -> Intrinsic:
    """Call the system's function at the address ``function`` with one 32-bit number; its result is dropped."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, values: Sequence[ir.Value]
    ) -> ir.Value:
        kind = ir.FunctionType(_I32, [_I32])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), [builder.trunc(values[1], _I32)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def atomic_load(typing: Context, address: types.Type) -> Intrinsic:
    """The 64-bit word at ``address``, sequentially consistent."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, values: Sequence[ir.Value]
    ) -> ir.Value:
        return builder.load_atomic(builder.inttoptr(values[0], _I64.as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic
def atomic_store(typing: Context, address: types.Type, value: types.Type) -> Intrinsic:
    """Store the 64-bit word ``value`` at ``address``, sequentially consistent."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, values: Sequence[ir.Value]
    ) -> ir.Value:
        builder.store_atomic(values[1], builder.inttoptr(values[0], _I64.as_pointer()), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def atomic_add(typing: Context, address: types.Type, value: types.Type) -> Intrinsic:
    """Add ``value`` to the 64-bit word at ``address``, sequentially consistent; returns what it was before."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, values: Sequence[ir.Value]
    ) -> ir.Value:
        return builder.atomic_rmw("add", builder.inttoptr(values[0], _I64.as_pointer()), values[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def get_float_control(typing: Context) -> Intrinsic:
    """This thread's floating-point control word: MXCSR on x86, FPCR on Arm, 0 elsewhere."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, values: Sequence[ir.Value]
    ) -> ir.Value:
        if _X86:
            word = cgutils.alloca_once(builder, _I32)
            builder.call(_mxcsr(builder, "stmxcsr"), [builder.bitcast(word, _I8.as_pointer())])
            return builder.zext(builder.load(word), _I64)
        if _ARM:
            return builder.asm(ir.FunctionType(_I64, []), "mrs $0, fpcr", "=r", [], True)
        return _I64(0)

    return types.int64(), generate


@intrinsic
def set_float_control(typing: Context, word: types.Type) -> Intrinsic:
    """Set this thread's floating-point control word."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, values: Sequence[ir.Value]
    ) -> ir.Value:
        if _X86:
            slot = cgutils.alloca_once(builder, _I32)
            builder.store(builder.trunc(values[0], _I32), slot)
            builder.call(_mxcsr(builder, "ldmxcsr"), [builder.bitcast(slot, _I8.as_pointer())])
        elif _ARM:
            builder.asm(ir.FunctionType(_VOID, [_I64]), "msr fpcr, $0", "r", [values[0]], True)
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _mxcsr(builder: ir.IRBuilder, name: str) -> ir.Function:
    kind = ir.FunctionType(_VOID, [_I8.as_pointer()])
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
