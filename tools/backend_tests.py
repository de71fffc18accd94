"""Runs ONNX's backend tests (``onnx.backend.test``) and says of each whether it passes, fails or is declined, and why.

    python tools/backend_tests.py [--kind node] [--only PATTERN] [--write]

A test is declined where the file is refused when it is opened or when it is first run; a test that gives other numbers,
shapes or types fails. ``--write`` stores the list in ``tests/onnx/backend_tests.txt``, which the tests hold. ``--only``
tries the tests whose names match a regular expression. The exit code is 1 if a test fails, or one that the list has
as passing no longer does.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.runner import Runner

from normengine.onnx import OnnxError, backend

LIST = Path(__file__).resolve().parents[1] / "tests" / "onnx" / "backend_tests.txt"
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
LIGHT = "onnx/backend/test/data/light/"

Arrays = list[np.ndarray]
DataSet = tuple[Arrays, Arrays]


def cases(kind: str) -> Iterator[TestCase]:
    """The tests of a kind, in the order of their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = loader.load_model_tests(kind=kind)
    yield from sorted(found, key=lambda case: case.name)


def outcome(case: TestCase) -> tuple[str, str]:
    """``pass``, ``fail`` or ``declined``, and why."""
    try:
        model, data = content(case)
        prepared = backend.prepare(model)
        for inputs, wanted in data:
            with np.errstate(all="ignore"):
                found = prepared.run(inputs)
            Runner.assert_similar_outputs(wanted, found, case.rtol, case.atol)
    except AssertionError as error:
        return "fail", one_line(error)
    except (OnnxError, ValueError) as error:
        return "declined", one_line(error).removeprefix("model bytes uses operators that are not supported: ")
    except Exception as error:
        return "fail", f"{type(error).__name__}: {one_line(error)}"
    return "pass", ""


def one_line(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip().removeprefix("model bytes: ")
    return text if len(text) <= 120 else f"{text[:117]}..."


def content(case: TestCase) -> tuple[onnx.ModelProto, list[DataSet]]:
    """The model and its data, as arrays."""
    if case.model is not None:
        data = [(arrays(inputs), arrays(outputs)) for inputs, outputs in case.data_sets or ()]
        return case.model, data
    if case.url is not None:
        return light(case.url)
    assert case.model_dir is not None
    folder = Path(case.model_dir)
    model = onnx.load(folder / "model.onnx")
    return model, [(stored(part, "input"), stored(part, "output")) for part in sorted(folder.glob("test_data_set*"))]


def light(url: str) -> tuple[onnx.ModelProto, list[DataSet]]:
    """A network that the package has without its weights' numbers, on the input that ONNX's own runner draws."""
    if not url.startswith(LIGHT):
        raise OnnxError(f"its data must be fetched from {url}")
    path = Path(loader.DATA_DIR) / "light" / url.removeprefix(LIGHT)
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    ports = [port for port in model.graph.input if port.name not in weights]
    inputs = [Runner.generate_dummy_data(port, name=port.name) for port in ports]
    outputs = [tensor_of(path.with_name(f"{path.stem}_output_{i}.pb")) for i in range(len(model.graph.output))]
    return model, [(inputs, outputs)]


def stored(folder: Path, what: str) -> Arrays:
    return [tensor_of(folder / f"{what}_{i}.pb") for i in range(len(list(folder.glob(f"{what}_*.pb"))))]


def tensor_of(path: Path) -> np.ndarray:
    return numpy_helper.to_array(onnx.load_tensor(str(path)))


def arrays(given: Sequence[np.ndarray | onnx.TensorProto]) -> Arrays:
    return [numpy_helper.to_array(a) if isinstance(a, onnx.TensorProto) else a for a in given]


def read_list() -> dict[str, tuple[str, str]]:
    """The stored list: by ``kind/name`` the outcome and the reason."""
    if not LIST.exists():
        return {}
    rows = [line.split("\t") for line in LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {name: (status, reason) for status, name, reason in rows}


def write_list(found: dict[str, tuple[str, str]]) -> None:
    counts = Counter((name.split("/")[0], status) for name, (status, _) in found.items())
    head = [
        "# ONNX's backend tests (onnx.backend.test), written by tools/backend_tests.py --write: outcome, test, reason.",
        "# A test that is declined is one that is not run, whatever ONNX's runner would say of it.",
        *(f"# {kind}: {counts[kind, 'pass']} pass, {counts[kind, 'fail']} fail, {counts[kind, 'declined']} are declined"
          for kind in KINDS),
    ]  # fmt: skip
    rows = [f"{status}\t{name}\t{reason}" for name, (status, reason) in sorted(found.items())]
    LIST.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, help="only this kind of test")
    parser.add_argument("--only", default="", help="only tests whose kind/name matches this")
    parser.add_argument("--write", action="store_true", help="store the list in tests/onnx/backend_tests.txt")
    options = parser.parse_args()
    before, found = read_list(), {}
    start = time.monotonic()
    for kind in (options.kind,) if options.kind else KINDS:
        for case in cases(kind):
            name = f"{kind}/{case.name}"
            if re.search(options.only, name):
                found[name] = status, reason = outcome(case)
                if status != "pass" or options.only:
                    print(f"{status}\t{name}\t{reason}")
    lost = [n for n, (status, _) in found.items() if status != "pass" and before.get(n, ("", ""))[0] == "pass"]
    counts = Counter(status for status, _ in found.values())
    print(", ".join(f"{n} {what}" for what, n in sorted(counts.items())), f"in {time.monotonic() - start:.0f} s")
    if lost:
        print(f"no longer pass: {', '.join(lost)}")
    if options.write:
        write_list({**before, **found})
    return 1 if lost or counts["fail"] else 0


if __name__ == "__main__":
    sys.exit(main())
