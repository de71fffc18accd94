"""Writes the C structs of the kernels' arguments, and the table of the kernels' addresses, into src_cy/.

    python tools/make_structs.py

Run it after a record of arguments or a row of the compiled kernels has changed, and build again. A test holds that the
files are those that it would write.
"""

from __future__ import annotations

from pathlib import Path

from normengine.kernels import REGISTRY
from normengine.kernels.base import Nothing
from normengine.kernels.compiled import ROWS, prefetch, probes
from normengine.kernels.structs import arguments_fields, arguments_name, declarations, shared_records
from normengine.runtime import composite_calls

SOURCES = Path(__file__).resolve().parents[1] / "src_cy"
HEADER = "# Written by tools/make_structs.py from normengine/{}: change the records there.\n\n"
FUNCTIONS = {**prefetch.FUNCTIONS, **probes.FUNCTIONS}
"""The kernels of no operator, with their records."""


def kernel_structs() -> str:
    signatures = [REGISTRY.signatures[op] for op in dict.fromkeys(row.op for row in ROWS)]
    extras = dict.fromkeys(row.extra for row in ROWS if row.extra is not Nothing)
    arguments = {}
    for row in ROWS:
        signature = REGISTRY.signatures[row.op]
        arguments[arguments_name(signature, row.extra, row.dtype)] = arguments_fields(signature, row.extra, row.dtype)
    records = [*shared_records(signatures), *extras, *FUNCTIONS.values()]
    return HEADER.format("kernels/") + declarations(records, arguments)


def kernel_addresses() -> str:
    names = dict.fromkeys([*(stage for row in ROWS for stage in row.stages), *FUNCTIONS])
    lines = [f'    "{name}": address({name}),' for name in names]
    return HEADER.format("kernels/compiled/") + "\n".join(["ADDRESSES = {", *lines, "}", ""])


def composite_structs() -> str:
    text = declarations(composite_calls.RECORDS, enums=[composite_calls.PatchKind])
    return HEADER.format("runtime/composite_calls.py") + text


FILES = {
    "kernel_structs.pxi": kernel_structs,
    "kernel_addresses.pxi": kernel_addresses,
    "composite_structs.pxi": composite_structs,
}


def main() -> None:
    for name, text in FILES.items():
        (SOURCES / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
