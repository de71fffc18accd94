"""Machine code: Numba makes it of a Python function, as the content of an object file, and LLVM loads that.

To load it Numba is not needed, which takes longer to import than everything else that a first run does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Hashable
from functools import cache
from types import ModuleType
from typing import Any

from ..locks import undisturbed
from ..recent import Recent


class Code(int):
    """The address of a function in memory, which stays there as long as this number lives. ``loaded`` says that it was
    found on disk."""

    loaded: bool
    _engine: Any

    def __new__(cls, address: int, loaded: bool, engine: Any) -> Code:
        code = super().__new__(cls, address)
        code.loaded = loaded
        code._engine = engine
        return code

    def __del__(self) -> None:
        _unused.append(self._engine)


_unused: list[Any] = []
"""LLVM's engines whose code nobody needs any more. LLVM's lock is taken by bytecode, which a signal handler may cut in
two, so they are closed where none runs: by the next :func:`load`."""


class CodeCache:
    """The ``size`` functions that were asked for last, by key; what is let go lives on in the programs that use it.
    Functions are made one at a time, undisturbed by signals, whatever threads ask."""

    def __init__(self, size: int = 1024) -> None:
        self.size = size
        self._recent: Recent[Hashable, Code] = Recent()

    def get(self, key: Hashable, make: Callable[[], Code]) -> Code:
        """The code of that key, made if there is none."""
        return self._recent.use(key) or undisturbed(lambda: self._recent.use(key) or self._made(key, make))

    def _made(self, key: Hashable, make: Callable[[], Code]) -> Code:
        code = make()
        self._recent.keep(key, code, self.size)
        return code


def load(content: bytes, entry: str, loaded: bool) -> Code:
    """The function ``entry`` of an object file that :func:`object_code` made; LLVM does not survive anything else."""
    from llvmlite import binding

    _unused.clear()
    _start_llvm()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(content))
    engine.finalize_object()
    return Code(engine.get_function_address(entry), loaded, engine)


@cache
def _start_llvm() -> None:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()


def object_code(function: Callable[..., None], entry: str, fastmath: Collection[str]) -> bytes:
    """``function``, a kernel, as the content of an object file that refers to nothing but the C library; its symbol is
    ``entry``."""
    _, _, (content, _) = _library(function, entry, fastmath).serialize_using_object_code()
    return bytes(content)


def _library(function: Callable[..., None], entry: str, fastmath: Collection[str]) -> Any:
    """Numba's library of ``function``, compiled. Numba's own callbacks would report Python's exceptions, for which they
    need Numba; kernels raise none."""
    from llvmlite import ir
    from numba.core import ccallback, compiler, registry, sigutils, typed_passes, untyped_passes
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.compiler_machinery import PassManager

    from .abi import SIGNATURE

    class Plain(compiler.CompilerBase):
        """Without the passes for closures, array expressions, overloads by literals and the like, which kernels do
        not have."""

        def define_pipelines(self) -> list[Any]:
            manager = PassManager("kernel")
            for step in (
                untyped_passes.TranslateByteCode,
                untyped_passes.FixupArgs,
                untyped_passes.IRProcessing,
                untyped_passes.ReconstructSSA,
                typed_passes.NopythonTypeInference,
                typed_passes.PreLowerStripPhis,
                typed_passes.IRLegalization,
                typed_passes.NativeLowering,
                typed_passes.NoPythonBackend,
            ):
                manager.add_pass(step, step.__name__)
            manager.finalize()
            return [manager]

    class NoWrapper(ccallback._CFuncCompiler):
        def _customize_flags(self, flags: Any) -> Any:
            flags = super()._customize_flags(flags)
            flags.no_cfunc_wrapper = True
            return flags

    # Numba keeps functions by module and name, so the name must tell apart what the entries tell apart.
    sys.modules.setdefault(function.__module__, ModuleType(function.__module__))
    function.__qualname__ = f"body_of_{entry}"
    options = {"error_model": "numpy", "fastmath": set(fastmath)}
    target = registry.cpu_target
    with global_compiler_lock:
        arguments, result = sigutils.normalize_signature(SIGNATURE)
        made = NoWrapper(function, target, options, {}, pipeline_class=Plain).compile(arguments, result)
        context, description, library = target.target_context, made.fndesc, made.library
        module = library.create_ir_module(entry)
        inner = context.call_conv.get_function_type(description.restype, description.argtypes)
        body = ir.Function(module, inner, description.llvm_func_name)
        kinds = [context.get_value_type(kind) for kind in description.argtypes]
        outer = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), entry)
        builder = ir.IRBuilder(outer.append_basic_block("entry"))
        context.call_conv.call_function(builder, body, description.restype, description.argtypes, outer.args)
        builder.ret_void()
        library.add_ir_module(module)
        library.enable_object_caching()
        library.finalize()
    return library
