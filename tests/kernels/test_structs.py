"""The calling convention: one source for what Python lays down and what compiled kernels read."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import make_structs
import pytest

import normengine
from normengine.kernels import REGISTRY
from normengine.kernels.compiled import BUILT, ROWS, prefetch
from normengine.kernels.cpu import backend
from normengine.kernels.structs import arguments_name, arguments_slots, declarations, slots_of
from normengine.runtime import composite_calls

SOURCES = Path(make_structs.SOURCES)
PACKAGE = Path(normengine.__file__).parent


@pytest.mark.parametrize("name", make_structs.FILES)
def test_written_files_are_those_that_the_records_give(name: str) -> None:
    text = (SOURCES / name).read_text(encoding="utf-8")
    assert text == make_structs.FILES[name](), f"src_cy/{name}: run python tools/make_structs.py and build again"


@pytest.mark.parametrize("isa", BUILT)
def test_structs_of_arguments_lie_over_the_slots(isa: str) -> None:
    sizes = import_module(f"normengine.kernels._{isa}").STRUCTS
    for row in ROWS:
        signature = REGISTRY.signatures[row.op]
        name = arguments_name(signature, row.extra, row.dtype)
        assert sizes[name] == 8 * arguments_slots(signature, row.extra), name
    for record in make_structs.FUNCTIONS.values():
        assert sizes[record.__name__] == 8 * slots_of(record), record.__name__


@pytest.mark.parametrize("isa", BUILT)
def test_prefetchers_are_as_planning_takes_them(isa: str) -> None:
    sizes = import_module(f"normengine.kernels._{isa}").SIZES
    assert sizes["prefetcher"] == prefetch.PREFETCHER_BYTES
    assert (sizes["prefetch_parts"], sizes["prefetch_rate"]) == (prefetch.MOST_ARRAYS, prefetch.RATE)


@pytest.mark.skipif(backend() != "compiled", reason="no compiled executor is in use")
def test_structs_of_composite_calls_lie_over_the_slots() -> None:
    from normengine.runtime import _executor

    assert {record.__name__: 8 * slots_of(record) for record in composite_calls.RECORDS} == _executor.STRUCTS


def test_no_position_of_an_argument_is_written_by_hand() -> None:
    of_args = re.compile(r"\bargs\s*(\[|\+)|\w\(args,")
    by_number = re.compile(r"\b(extra|numbers|arguments|args|slots)\[-?\d")
    sources = dict.fromkeys((*SOURCES.glob("*.pxi"), *SOURCES.glob("*.pyx")), of_args)
    for folder in ("kernels/compiled", "plan", "runtime"):
        sources |= dict.fromkeys((PACKAGE / folder).glob("*.py"), by_number)
    lines = [(p, n, line) for p in sources for n, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)]
    assert [f"{p.name}:{n}: {line.strip()}" for p, n, line in lines if sources[p].search(line)] == []


def test_kernels_have_no_state_of_a_thread() -> None:
    """What a kernel knows of its thread it is given."""
    assert [p.name for p in SOURCES.iterdir() if re.search(r"__thread|thread_local", p.read_text("utf-8"))] == []


def test_two_records_of_one_name_are_refused() -> None:
    class Clamp(NamedTuple):
        low: int

    records = [*REGISTRY.signatures["conv2d"].records, Clamp]
    with pytest.raises(ValueError, match="two records are called Clamp: normengine.kernels.records, "):
        declarations(records)
