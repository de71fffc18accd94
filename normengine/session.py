"""``InferenceSession``: an ONNX network, compiled for the shapes that it is run on, called as ONNX Runtime's."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .conversion import all_fed, listed, returned
from .graph import Graph
from .locks import load_module, new_lock
from .ops import LabelRule, label_rules
from .passes import decompose, fold_constants
from .passes.fold_batchnorm import Folding, fold_batchnorm
from .recent import Recent
from .settings import compile_options, whole
from .sharing import with_shared_constants

if TYPE_CHECKING:
    import numpy.typing as npt

    from .binding import IOBinding, OrtValue
    from .onnx.limits import FileLimits
    from .onnx.parse import Port
    from .options import ModelMetadata, RunOptions, SessionOptions
    from .runtime.microbatches import MicrobatchedProgram
    from .runtime.profile import Profile
    from .runtime.program import Program

Shapes = tuple[tuple[int, ...], ...]
Known = Mapping[str, np.ndarray]
_NONE: Known = {}

_OF_THE_PROCESS = ("_lock", "_programs", "_last", "_outputs")
"""What a session makes anew where it arrives: attributes that are not pickled."""

_FOLDED = 2**26
"""Elements of the largest constant that is computed when a network is opened, a few tenths of a second's work; what is
larger, and what comes after twice as much, is computed at each run."""


class NodeArg(NamedTuple):
    """An input or output of a network: its name, its extents (a name or None where they vary; None for all of them
    where nobody knows them before a run), its type (``tensor(float)``)."""

    name: str
    shape: list[int | str | None] | None
    type: str


class _ForShapes(NamedTuple):
    """What a session has for inputs of some shapes, and the labels that are to be looked at before each run."""

    program: Program | MicrobatchedProgram
    labels: tuple[LabelRule, ...]


class InferenceSession:
    """An ONNX network in memory.

    ``path_or_bytes`` is an ONNX file or its content. Batch normalization is folded into the layers beside it where
    that is exact; ``foldings`` says of each where it went or why it stayed. A program is made for each combination of
    input extents when it first comes, and the last ``programs`` of them are kept; all of them share the weights. A
    large batch of a network that treats its samples one by one runs in parts that stay in the cache. Where the network
    itself depends on the values of small inputs, as on a shape to reshape to, there is a program for each of them too.
    ``notes`` are sentences on what runs otherwise than the file says, as floats of 16 bits in 32. Sessions may be
    used from several threads. ``limits`` is what reading the file may cost (``normengine.onnx.FileLimits``).

    ``without_passes`` names passes over the graph to leave out. ``kernels`` are algorithms by operator to use wherever
    they can be, before those of the environment variable ``NORMENGINE_KERNELS``: with ``{"conv2d": "direct"}`` sums are
    taken as they are defined (see ``docs/kernels.md``).

    ``sess_options``, ``providers`` and ``provider_options`` are ONNX Runtime's (see ``SessionOptions``); whatever the
    providers, the network runs on the CPU. Sessions can be pickled and copied, with the content of their file.

    Raises:
        ValueError: the file is damaged, breaks ONNX's rules or goes beyond the limits, or the network uses what is not
            supported (the message lists it all); or ``kernels`` names no operator or algorithm, or the options ask for
            what there is not.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        path_or_bytes: str | os.PathLike[str] | bytes,
        sess_options: SessionOptions | None = None,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        *,
        programs: int = 8,
        without_passes: Collection[str] = (),
        limits: FileLimits | None = None,
        kernels: Mapping[str, str] | None = None,
    ) -> None:
        load_module("normengine.onnx.importer")
        from .onnx.importer import check_operators
        from .onnx.parse import read_model

        programs = whole(programs, "programs", low=1)
        self._compiled_with = compile_options(without_passes, kernels)
        self._options: SessionOptions | None = None
        if sess_options is not None or providers is not None or provider_options is not None:
            load_module("normengine.options")
            from .options import accepted

            self._options = accepted(sess_options, providers, provider_options)
        self._threads = None if self._options is None else self._options.threads
        self._model = read_model(path_or_bytes, limits, check_operators)
        if self._options is not None:
            self._model = self._options.applied(self._model)
        self._limit = programs
        self._begin()
        self._places = {port.name: i for i, port in enumerate(self._model.outputs)}
        self._declared = [(i, port.dtype) for i, port in enumerate(self._model.outputs) if port.dtype != port.held]
        self._converts = any(port.dtype != port.held for port in self._model.inputs)
        self.foldings: tuple[Folding, ...] = ()
        self._deciding: frozenset[str] = frozenset()
        for port in self._model.inputs:
            if port.shape is None:
                raise ValueError(f"{self._model.source}: input '{port.name}' has no declared shape; export it with one")
        self._try()

    def _begin(self) -> None:
        self._lock = new_lock()
        self._programs: Recent[Shapes, _ForShapes] = Recent()
        self._last: Program | MicrobatchedProgram | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What the session was opened with; programs are made anew."""
        return {name: value for name, value in self.__dict__.items() if name not in _OF_THE_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        load_module("normengine.onnx.importer")
        self.__dict__.update(state)
        self._begin()

    @property
    def notes(self) -> tuple[str, ...]:
        """What runs otherwise than the file says, such as 16-bit floats in 32 bits: a sentence for each."""
        return self._model.notes

    @property
    def programs(self) -> dict[Shapes, Program | MicrobatchedProgram]:
        """The programs that are kept, by the shapes of the inputs that each runs on, those used last at the end."""
        return {shapes: made.program for shapes, made in self._programs.items()}

    def get_inputs(self) -> list[NodeArg]:
        """The inputs, in the file's order."""
        return [_argument(port) for port in self._model.inputs]

    def get_outputs(self) -> list[NodeArg]:
        """The outputs; a shape that the file does not declare is found where the batch alone is open."""
        return [_argument(port) for port in self._outputs]

    @cached_property
    def _outputs(self) -> tuple[Port, ...]:
        if all(port.shape is not None for port in self._model.outputs):
            return self._model.outputs
        load_module("normengine.onnx.outputs")
        from .onnx.outputs import outputs_with_shapes

        return outputs_with_shapes(self._model)

    def get_overridable_initializers(self) -> list[NodeArg]:
        """None: weights are those of the file, inputs of the graph or not."""
        return []

    def get_modelmeta(self) -> ModelMetadata:
        """What the file says of itself."""
        load_module("normengine.options")
        from .options import ModelMetadata

        return ModelMetadata(**self._model.described)

    def get_session_options(self) -> SessionOptions:
        """The options that the session was opened with, as they were then."""
        load_module("normengine.options")
        from .options import SessionOptions

        return deepcopy(self._options) or SessionOptions()

    def get_providers(self) -> list[str]:
        """The CPU's, ``CPUExecutionProvider``."""
        load_module("normengine.options")
        from .options import PROVIDER

        return [PROVIDER]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """The CPU's provider has none."""
        return {name: {} for name in self.get_providers()}

    def set_providers(
        self, providers: Sequence[Any] | None = None, provider_options: Sequence[Any] | None = None
    ) -> None:
        """Warn of providers other than the CPU's, which stays in use."""
        load_module("normengine.options")
        from .options import check_providers

        check_providers(providers, provider_options)

    def io_binding(self) -> IOBinding:
        """Inputs and outputs for :meth:`run_with_iobinding`, none bound yet."""
        load_module("normengine.binding")
        from .binding import IOBinding

        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """Run on the bound inputs; the outputs are where they were bound to. Raises as :meth:`run` does, and ValueError
        where no output is bound or one has another shape or type than its array."""
        iobinding.run(self, run_options)

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """:meth:`run` for ``OrtValue``s."""
        load_module("normengine.binding")
        from .binding import OrtValue

        return [OrtValue(array) for array in self.run(output_names, input_dict_ort_values, run_options)]

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: RunOptions | None = None
    ) -> list[np.ndarray]:
        """The outputs of those names (None or none: all, in the file's order) for one array an input.

        float64 and non-contiguous arrays are converted; arrays of integers are refused where the network reads
        float32, since nobody knows their scale.

        Raises:
            ValueError: names are unknown or missing, an array has another rank, extent or type than declared, or labels
                of a loss are no classes.
            RuntimeError: ``run_options`` has ``terminate`` set.
        """
        if run_options is not None:
            run_options.check()
        if isinstance(output_names, str):
            raise ValueError(f"output_names must be a list of names or None, got {output_names!r}; put it into a list")
        places = [self._place(name) for name in output_names or ()]
        last = self._last
        results = None if last is None else last.run_alike(input_feed)
        if results is None:
            program, feeds = self._ready(input_feed)
            results = program.run(feeds)
        for i, dtype in self._declared:
            results[i] = returned(results[i], dtype)
        return [results[i] for i in places] or results

    def __call__(self, x: npt.ArrayLike) -> np.ndarray:
        """The output for ``x``, of a network with one input and one output."""
        inputs, outputs = self._model.inputs, self._model.outputs
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f"session(x) needs one input and one output, this network has the inputs "
                f"{listed(p.name for p in inputs)} and the outputs {listed(p.name for p in outputs)}; use run()"
            )
        return self.run(None, {inputs[0].name: x})[0]

    def profile(self, input_feed: Mapping[str, Any], *, runs: int = 9) -> Profile:
        """Time each call of the network for these inputs, as the median of ``runs`` runs; ``print`` or ``save`` the
        result. Raises as :meth:`run` does."""
        load_module("normengine.runtime.profile")
        from .runtime.profile import profile_program

        program, feeds = self._ready(input_feed)
        given = ", ".join("x".join(map(str, array.shape)) for array in feeds.values())
        return profile_program(program, feeds, f"{self._model.source} on {given}", runs)

    def _place(self, name: str) -> int:
        """Which output has that name."""
        if name not in self._places:
            raise ValueError(f"output '{name}' does not exist; the outputs are {listed(self._places)}")
        return self._places[name]

    def _ready(self, input_feed: Mapping[str, Any]) -> tuple[Program | MicrobatchedProgram, dict[str, np.ndarray]]:
        """The program for these inputs, and the arrays to run it on, which were checked."""
        from .onnx.node import UnknownInputError

        feeds = all_fed(self._model.inputs, input_feed)
        shapes = tuple(array.shape for array in feeds.values())
        while True:
            known = {name: array for name, array in feeds.items() if name in self._deciding}
            try:
                made = self._made(shapes, known)
                break
            except UnknownInputError as error:
                if error.names <= known.keys():
                    raise
                self._deciding |= error.names
        for rule in made.labels:
            (labels,) = rule.source.outputs
            rule.check(feeds, f"input '{labels.name}'" if labels.name in feeds else self._model.source)
        return made.program, feeds

    def _made(self, shapes: Shapes, known: Known) -> _ForShapes:
        """What there is for inputs of those shapes, some of which have ``known`` values."""
        key = (*shapes, *(tuple(array.tobytes()) for array in known.values()))
        with self._lock:
            made = self._programs.use(key) or self._make(key, shapes, known)
            self._last = None if known or self._converts or made.labels else made.program
            return made

    def _make(self, key: Shapes, shapes: Shapes, known: Known) -> _ForShapes:
        load_module("normengine.runtime.microbatches")
        from .runtime.microbatches import MicrobatchedProgram, microbatches

        graph = self._graph(shapes, known)
        is_open = not known and all(port.shape and not isinstance(port.shape[0], int) for port in self._model.inputs)
        part_of = lambda size: self._graph(_with_batch(shapes, size))
        sizes, parts = microbatches(graph, part_of) if is_open else ([], {})
        if not parts:
            return self._keep(key, graph, self._compile(graph))

        def compiled(size: int) -> Program:
            """The program of a part, which may have come as a batch of its own."""
            own = _with_batch(shapes, size)
            made = self._programs.use(own) or self._keep(own, parts[size], self._compile(parts[size]))
            (program,) = made.program.programs
            return program

        return self._keep(shapes, graph, MicrobatchedProgram(sizes, compiled))

    def _keep(self, shapes: Shapes, graph: Graph, program: Program | MicrobatchedProgram) -> _ForShapes:
        made = _ForShapes(program, label_rules(graph))
        self._programs.keep(shapes, made, self._limit)
        return made

    def _compile(self, graph: Graph) -> Program:
        from .runtime.program import compile_graph

        with self._named():
            return compile_graph(self._sharing(graph), self._compiled_with, threads=self._threads)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What is refused within names the file."""
        from .onnx.node import OnnxError

        try:
            yield
        except OnnxError:
            raise
        except (ValueError, MemoryError) as error:
            raise OnnxError(f"{self._model.source}: {error}") from None

    def _graph(self, shapes: Shapes, known: Known = _NONE) -> Graph:
        """The folded graph for inputs of these shapes, its weights those that other shapes already use."""
        from .onnx.importer import import_graph

        names = [port.name for port in self._model.inputs]
        with self._named():
            graph, self.foldings = fold_batchnorm(
                import_graph(self._model, dict(zip(names, shapes, strict=True)), known)
            )
            if not all(rule.is_exact for rule in label_rules(graph)):
                raise ValueError("the labels of a loss are computed from numbers that are rounded; make them an input")
            return self._sharing(fold_constants(decompose(graph), _FOLDED, 2 * _FOLDED))

    def _sharing(self, graph: Graph) -> Graph:
        """``graph`` with the arrays that a kept program holds already in place of its own of the same content."""
        programs = (program for made in self._programs.values() for program in made.program.programs)
        return with_shared_constants(graph, (program.plan.graph for program in programs))

    def _try(self) -> None:
        """Build the graph once where only the batch axis is open, so that what is wrong comes out now."""
        shapes = []
        for port in self._model.inputs:
            assert port.shape is not None
            shape = tuple(1 if axis == 0 and not isinstance(n, int) else n for axis, n in enumerate(port.shape))
            shapes.append(shape)
        if all(isinstance(n, int) for shape in shapes for n in shape):
            from .onnx.node import UnknownInputError

            try:
                self._graph(tuple(shapes))  # type: ignore[arg-type]
            except UnknownInputError as error:
                if not error.names:
                    raise
                self._deciding = error.names


def _with_batch(shapes: Shapes, size: int) -> Shapes:
    return tuple((size, *shape[1:]) for shape in shapes)


def _argument(port: Port) -> NodeArg:
    return NodeArg(port.name, None if port.shape is None else list(port.shape), port.type)
