"""What all tests share: a cache folder of their own, both backends by one fixture, the number of threads put back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from normengine.files.trust import distrusted
from normengine.kernels.cpu import backend as backend_in_use
from normengine.runtime import threads as threads_module


def pytest_configure(config: pytest.Config) -> None:
    """Compiled chains are kept beside pytest's own cache, so that the user's folder is neither read nor filled; where
    other users can write there, from which no code would be loaded, in a folder of this run."""
    if not os.environ.get("NORMENGINE_CACHE"):
        folder = config.cache.mkdir("normengine")
        if distrusted(folder) is not None:
            temporary = tempfile.TemporaryDirectory()
            config.add_cleanup(temporary.cleanup)
            folder = Path(temporary.name)
        os.environ["NORMENGINE_CACHE"] = str(folder)
    os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_report_header() -> str:
    return f"normengine: {backend_in_use()} backend, {threads_module.get_num_threads()} threads"


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """A test may call ``set_num_threads``; the next one does not see it."""
    before = threads_module._chosen
    yield
    threads_module._chosen = before


@pytest.fixture(params=["compiled", "numba"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test once with the compiled kernels and executor, once with Numba's.

    Programs made before the test keep the backend that they were made for.
    """
    name: str = request.param
    if name == "compiled" and find_spec("normengine.runtime._executor") is None:
        pytest.skip("no extension was built")
    monkeypatch.setenv("NORMENGINE_BACKEND", name)
    if name == "numba":
        monkeypatch.delenv("NORMENGINE_ISA", raising=False)
    return name
