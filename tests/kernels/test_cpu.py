"""Which instruction sets are used, and what is said of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from normengine.kernels import cpu

Pretend = Callable[..., None]
DETECT = cpu.detect.__wrapped__
ALL = frozenset({"avx2", "fma", "avx512f", "avx512vl", "avx512dq", "avx512bw"})
EXTENSIONS = ("_executor", "_baseline", "_avx2", "_avx512", "_neon")


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Another machine: its architecture, CPU features and the extensions that were built."""
    monkeypatch.delenv("NORMENGINE_ISA", raising=False)
    monkeypatch.delenv("NORMENGINE_BACKEND", raising=False)

    def set_up(machine: str = "x86_64", features: frozenset[str] = ALL, built: tuple[str, ...] = EXTENSIONS) -> None:
        monkeypatch.setattr(cpu.platform, "machine", lambda: machine)
        monkeypatch.setattr(cpu, "_features", lambda: dict.fromkeys(features, True))
        monkeypatch.setattr(cpu, "_built", lambda folder, module: module in built)
        monkeypatch.setattr(cpu, "detect", DETECT)

    return set_up


@pytest.mark.parametrize(
    ("machine", "features", "expected"),
    [
        ("x86_64", ALL, ("baseline", "avx2", "avx512")),
        ("AMD64", ALL - {"avx512vl"}, ("baseline", "avx2")),
        ("x86_64", ALL - {"fma"}, ("baseline",)),
        ("x86_64", frozenset(), ("baseline",)),
        ("arm64", frozenset(), ("baseline", "neon")),
        ("aarch64", frozenset({"neon"}), ("baseline", "neon")),
        ("riscv64", ALL, ("baseline",)),
    ],
)
def test_an_instruction_set_is_offered_with_all_of_its_features(
    pretend: Pretend, machine: str, features: frozenset[str], expected: tuple[str, ...]
) -> None:
    pretend(machine, features)
    assert cpu.detect() == expected


def test_this_machine_offers_at_least_the_baseline() -> None:
    assert cpu.detect()[0] == "baseline"
    assert set(cpu.detect()) <= set(cpu.NEEDS)
    assert cpu.cpu_name()


def test_the_best_that_was_built_is_used(pretend: Pretend) -> None:
    pretend(built=("_executor", "_baseline", "_avx2"))
    choice = cpu.choice()
    assert choice.isas == ("numba", "baseline", "avx2")
    assert choice.reason == "avx2: the best that was built of what the CPU offers (offered too, but not built: avx512)"
    pretend()
    assert cpu.isas() == ("numba", "baseline", "avx2", "avx512")
    assert cpu.choice().reason == "avx512: the best that was built of what the CPU offers"


def test_normengine_isa_is_the_most_that_is_used(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend()
    for asked, expected in {
        "numba": ("numba",),
        "Baseline": ("numba", "baseline"),
        " avx2 ": ("numba", "baseline", "avx2"),
        "": ("numba", "baseline", "avx2", "avx512"),
    }.items():
        monkeypatch.setenv("NORMENGINE_ISA", asked)
        assert cpu.isas() == expected
    monkeypatch.setenv("NORMENGINE_ISA", "avx2")
    assert cpu.choice().reason == "avx2: NORMENGINE_ISA=avx2"


def test_an_instruction_set_that_cannot_be_used_is_an_error(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(features=ALL - {"avx512f"}, built=("_executor", "_baseline", "_avx512"))
    for asked, message in {
        "sse9": r"NORMENGINE_ISA must be one of numba, baseline, avx2, avx512, neon, got 'sse9'",
        "avx512": r"NORMENGINE_ISA=avx512: this CPU or operating system does not offer it, choose one of numba",
        "avx2": r"NORMENGINE_ISA=avx2: its kernels were not built, choose one of numba, baseline",
    }.items():
        monkeypatch.setenv("NORMENGINE_ISA", asked)
        with pytest.raises(ValueError, match=message):
            cpu.isas()


def test_the_numba_backend_uses_nothing_that_was_compiled(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend()
    assert cpu.backend() == "compiled"
    monkeypatch.setenv("NORMENGINE_BACKEND", "numba")
    assert cpu.backend() == "numba"
    assert cpu.choice() == cpu.Choice(("numba",), "numba: NORMENGINE_BACKEND=numba")


def test_without_extensions_the_backend_is_numba(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(built=())
    assert cpu.backend() == "numba"
    assert cpu.choice() == cpu.Choice(("numba",), "numba: no compiled executor was built")
    monkeypatch.setenv("NORMENGINE_BACKEND", "compiled")
    with pytest.raises(ValueError, match="NORMENGINE_BACKEND=compiled: the extensions were not built, install normeng"):
        cpu.backend()


def test_the_numba_backend_has_no_instruction_set_to_ask_for(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(built=())
    monkeypatch.setenv("NORMENGINE_ISA", "numba")
    assert cpu.isas() == ("numba",)
    for asked, message in {
        "sse9": r"NORMENGINE_ISA must be one of numba, baseline, avx2, avx512, neon, got 'sse9'",
        "avx2": r"NORMENGINE_ISA=avx2: no compiled executor was built, choose numba",
    }.items():
        monkeypatch.setenv("NORMENGINE_ISA", asked)
        with pytest.raises(ValueError, match=message):
            cpu.isas()
    pretend()
    monkeypatch.setenv("NORMENGINE_BACKEND", "numba")
    with pytest.raises(ValueError, match=r"NORMENGINE_ISA=avx2: NORMENGINE_BACKEND=numba, choose numba"):
        cpu.isas()


def test_an_unknown_backend_is_an_error(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend()
    monkeypatch.setenv("NORMENGINE_BACKEND", "cuda")
    with pytest.raises(ValueError, match="NORMENGINE_BACKEND must be 'numba' or 'compiled', got 'cuda'"):
        cpu.isas()


@pytest.mark.parametrize("package", ["numba", "llvmlite"])
def test_without_numba_one_sentence_says_what_to_do(package: str, tmp_path: Path) -> None:
    """The package itself is imported all the same."""
    script = f"""
import sys
import normengine as ne
sys.modules[{package!r}] = None
sys.exit(ne.cli.main(["info"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        r"normengine: error: normengine compiles .* with Numba, which is not installed here \(.*"
        + package
        + r".*\): run `python -m pip install numba`\n",
        done.stderr,
    )
