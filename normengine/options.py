"""Session and run options, providers and logging, as scripts for ONNX Runtime set them before a network runs.

Everything has ONNX Runtime's name. What has no meaning here is kept and ignored, as the classes say; what a script
would wait for in vain, such as a file, is refused when a session is opened with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from .locks import load_module
from .settings import whole

if TYPE_CHECKING:
    from .onnx.parse import OnnxModel, Port

PROVIDER = "CPUExecutionProvider"


class GraphOptimizationLevel(IntEnum):
    """Of ``SessionOptions``, which ignores it: ``without_passes=`` of a session names passes to leave out."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(IntEnum):
    """Of ``SessionOptions``, which ignores it: nodes run one after the other, each on all threads."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(IntEnum):
    """Of ``SessionOptions``, which ignores it."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


@dataclass(slots=True)
class SessionOptions:
    """How a network is to be run: ``InferenceSession(path, options)``.

    Heeded are ``intra_op_num_threads``, the threads of this session (0: those of ``set_num_threads``), and
    :meth:`add_free_dimension_override_by_name`. Sessions refuse ``enable_profiling``, for which there is
    ``session.profile``, and ``optimized_model_filepath``. Everything else is kept and ignored; results are those of
    every optimization level within rounding.
    """

    enable_cpu_mem_arena: bool = True
    enable_mem_pattern: bool = True
    enable_mem_reuse: bool = True
    enable_profiling: bool = False
    execution_mode: ExecutionMode = ExecutionMode.ORT_SEQUENTIAL
    execution_order: ExecutionOrder = ExecutionOrder.DEFAULT
    graph_optimization_level: GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL
    inter_op_num_threads: int = 0
    intra_op_num_threads: int = 0
    log_severity_level: int = -1
    log_verbosity_level: int = 0
    logid: str = ""
    optimized_model_filepath: str = ""
    profile_file_prefix: str = "onnxruntime_profile_"
    use_deterministic_compute: bool = False
    use_per_session_threads: bool = True
    _extents: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _entries: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        """Have every open extent of that name be ``size``."""
        self._extents[name] = whole(size, f"the extent '{name}'", low=1)

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Keep an entry, which nothing here reads."""
        self._entries[key] = value

    def get_session_config_entry(self, key: str) -> str:
        """An entry that was kept; RuntimeError where there is none of that key."""
        return _entry(self._entries, "SessionOptions", key)

    @property
    def threads(self) -> int | None:
        """Of the session; None where the process says how many."""
        return self.intra_op_num_threads if self.intra_op_num_threads > 0 else None

    def applied(self, model: OnnxModel) -> OnnxModel:
        """``model`` with the extents that have been given."""

        def given(port: Port) -> Port:
            if port.shape is None:
                return port
            shape = tuple(self._extents.get(n, n) if isinstance(n, str) else n for n in port.shape)
            return port._replace(shape=shape)

        if not self._extents:
            return model
        return replace(model, inputs=tuple(map(given, model.inputs)), outputs=tuple(map(given, model.outputs)))


@dataclass(slots=True)
class RunOptions:
    """How one run is to be done: ``session.run(None, feeds, options)``. A run with ``terminate`` set raises
    RuntimeError; everything else is kept and ignored."""

    log_severity_level: int = -1
    log_verbosity_level: int = 0
    logid: str = ""
    only_execute_path_to_fetches: bool = False
    terminate: bool = False
    _entries: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Keep an entry, which nothing here reads."""
        self._entries[key] = value

    def get_run_config_entry(self, key: str) -> str:
        """An entry that was kept; RuntimeError where there is none of that key."""
        return _entry(self._entries, "RunOptions", key)

    def check(self) -> None:
        """Raise RuntimeError where the run is not to begin."""
        if self.terminate:
            raise RuntimeError("the run was not begun: terminate is set in its RunOptions")


@dataclass(frozen=True)
class ModelMetadata:
    """What a file says of itself. ``version`` is 2^63 - 1 where it says none, as in ONNX Runtime."""

    producer_name: str
    graph_name: str
    domain: str
    description: str
    graph_description: str
    version: int
    custom_metadata_map: Mapping[str, str]


def accepted(options: object, providers: object, provider_options: object) -> SessionOptions:
    """A copy of the options that a session is opened with.

    Raises:
        TypeError: they are no SessionOptions, or numbers of them are none.
        ValueError: they ask for what there is not, or ``providers`` has not the form that ONNX Runtime gives it.
    """
    load_module("normengine.runtime.threads")
    from .runtime.threads import MOST_THREADS

    check_providers(providers, provider_options, level=4)
    if options is None:
        return SessionOptions()
    if not isinstance(options, SessionOptions):
        raise TypeError(f"sess_options must be a normengine.SessionOptions, got {type(options).__name__}")
    threads = options.intra_op_num_threads
    if isinstance(threads, bool) or not isinstance(threads, int) or threads > MOST_THREADS:
        raise ValueError(
            f"SessionOptions: intra_op_num_threads must be an integer up to {MOST_THREADS}, got {threads!r}"
        )
    if options.enable_profiling:
        raise ValueError("SessionOptions: enable_profiling is not supported; use session.profile(feeds)")
    if options.optimized_model_filepath:
        raise ValueError("SessionOptions: optimized_model_filepath is not supported; no optimized file is written")
    return deepcopy(options)


def check_providers(providers: Any, provider_options: Any = None, level: int = 3) -> None:
    """Warn, at that many calls above, of every provider but the CPU's; ValueError where they are not as ONNX Runtime
    takes them: a list of names, or of pairs of a name and a dict."""
    if providers is None:
        return
    if isinstance(providers, str) or not isinstance(providers, Sequence):
        raise ValueError(f"providers must be a list of names, got {providers!r}; put it into a list")
    if provider_options is not None and len(provider_options) != len(providers):
        raise ValueError(
            f"provider_options must be one for each of {len(providers)} providers, got {provider_options!r}"
        )
    for provider in providers:
        name = provider[0] if isinstance(provider, tuple) and len(provider) == 2 else provider
        if not isinstance(name, str):
            raise ValueError(f"providers must hold names, or pairs (name, options), got {provider!r}")
        if name != PROVIDER:
            warnings.warn(f"the provider '{name}' is not available, only {PROVIDER}; it is used", stacklevel=level)


def _entry(entries: Mapping[str, str], kind: str, key: str) -> str:
    if key not in entries:
        raise RuntimeError(f"{kind} has no entry '{key}'; its entries are {', '.join(entries) or 'none'}")
    return entries[key]


def get_available_providers() -> list[str]:
    """The CPU's alone."""
    return [PROVIDER]


def get_all_providers() -> list[str]:
    """The CPU's alone."""
    return [PROVIDER]


def get_device() -> str:
    """``CPU``."""
    return "CPU"


def set_default_logger_severity(severity: int) -> None:
    """Nothing is logged; raises ValueError unless ``severity`` is from 0 (verbose) to 4 (fatal)."""
    if whole(severity, "severity") > 4:
        raise ValueError(f"severity must be from 0 (verbose) to 4 (fatal), got {severity}")


def set_default_logger_verbosity(verbosity: int) -> None:
    """Nothing is logged; raises ValueError unless ``verbosity`` is an integer of 0 or more."""
    whole(verbosity, "verbosity")
