"""What Numba code needs to be a kernel: the C signature, typed memory behind 8-byte slots, and bit-level arithmetic.

Generated chains reach memory through :func:`array`, portable kernels through ``float32_at`` and its like. None of
these check bounds, wrap negative indices or allocate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if TYPE_CHECKING:  # numba's own modules, for its names of types
    from numba.core.base import BaseContext
    from numba.core.typing import Context
    from numba.core.typing.templates import Signature

Intrinsic: TypeAlias = "tuple[Signature, Callable[..., ir.Value]]"
"""What an intrinsic gives Numba: its signature, and what generates its code."""

SLOTS = types.CPointer(types.int64)
SIGNATURE = types.void(SLOTS, types.int64, types.int64, types.int64)


def array(dtype: str, own: int, count: int) -> tuple[Any, Any]:
    """``load(address, index)`` and ``store(address, index, value)`` for array ``own`` of ``count`` in one function.

    The compiler is told that no two of the arrays share memory (LLVM's scoped noalias metadata), so loops over them
    become vector code without run-time checks.
    """
    element = getattr(types, dtype)

    def mark(builder: ir.IRBuilder, instruction: ir.Instruction) -> ir.Value:
        module = builder.module
        domain = module.add_metadata(["arrays of a chain"])
        scopes = [module.add_metadata([f"array {k}", domain]) for k in range(count)]
        instruction.set_metadata("alias.scope", module.add_metadata([scopes[own]]))
        if count > 1:
            instruction.set_metadata("noalias", module.add_metadata(scopes[:own] + scopes[own + 1 :]))
        return instruction

    def place(context: BaseContext, builder: ir.IRBuilder, address: ir.Value, index: ir.Value) -> ir.Value:
        return builder.gep(builder.inttoptr(address, context.get_data_type(element).as_pointer()), [index])

    @intrinsic
    def load(typing_context: Context, address: types.Type, index: types.Type) -> Intrinsic:
        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, args: Sequence[ir.Value]
        ) -> ir.Value:
            return mark(builder, builder.load(place(context, builder, *args)))

        return element(types.int64, types.int64), code

    @intrinsic
    def store(typing_context: Context, address: types.Type, index: types.Type, value: types.Type) -> Intrinsic:
        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, args: Sequence[ir.Value]
        ) -> ir.Value:
            mark(builder, builder.store(args[2], place(context, builder, *args[:2])))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, element), code

    return load, store


def row(pointer_slot: int, stride_slot: int, element_size: int) -> Callable[..., Any]:
    """``start(args, positions)``: the pointer in one slot moved by positions times the strides in the slots after
    another, in bytes; with no pointer slot (-1) the sum alone."""

    @intrinsic
    def start(typing_context: Context, args: types.Type, positions: types.Type) -> Intrinsic:
        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, values: Sequence[ir.Value]
        ) -> ir.Value:
            def slot(number: int) -> ir.Value:
                return builder.load(builder.gep(values[0], [ir.Constant(ir.IntType(64), number)]))

            offset = ir.Constant(ir.IntType(64), 0)
            for d in range(len(positions)):
                step = builder.mul(builder.extract_value(values[1], d), slot(stride_slot + d))
                offset = builder.add(offset, step)
            offset = builder.mul(offset, ir.Constant(ir.IntType(64), element_size))
            return offset if pointer_slot < 0 else builder.add(slot(pointer_slot), offset)

        return types.int64(SLOTS, types.UniTuple(types.int64, len(positions))), code

    return start


def _pointer(dtype: types.Type) -> Callable[..., Any]:
    @intrinsic
    def pointer(typing_context: Context, address: types.Type) -> Intrinsic:
        """The address in a slot as a pointer that can be indexed."""

        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, args: Sequence[ir.Value]
        ) -> ir.Value:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(dtype)(types.int64), code

    return pointer


float32_at = _pointer(types.float32)
float64_at = _pointer(types.float64)
int64_at = _pointer(types.int64)


def _bitcast(source: types.Type, target: types.Type) -> Callable[..., Any]:
    @intrinsic
    def cast(typing_context: Context, value: types.Type) -> Intrinsic:
        """The same bits as another type."""

        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, args: Sequence[ir.Value]
        ) -> ir.Value:
            return builder.bitcast(args[0], context.get_value_type(target))

        return target(source), code

    return cast


bits_of = _bitcast(types.float32, types.int32)
float_of = _bitcast(types.int32, types.float32)
double_of = _bitcast(types.int64, types.float64)


def _llvm_function(name: str) -> Callable[..., Any]:
    @intrinsic
    def call(typing_context: Context, value: types.Type) -> Intrinsic | None:
        def code(
            context: BaseContext, builder: ir.IRBuilder, signature: Signature, args: Sequence[ir.Value]
        ) -> ir.Value:
            function = builder.module.declare_intrinsic(name, [args[0].type])
            return builder.call(function, args)

        return (value(value), code) if isinstance(value, types.Float) else None

    return call


sqrt = _llvm_function("llvm.sqrt")
fabs = _llvm_function("llvm.fabs")


@intrinsic
def select(typing_context: Context, condition: types.Type, yes: types.Type, no: types.Type) -> Intrinsic:
    """``yes if condition else no`` with both computed: one instruction, no branch."""

    def code(context: BaseContext, builder: ir.IRBuilder, signature: Signature, args: Sequence[ir.Value]) -> ir.Value:
        return builder.select(*args)

    result = typing_context.unify_types(yes, no)
    return result(types.boolean, result, result), code
