"""Writes what ONNX says of its operators into ``normengine/onnx/schemas.jsonl``.

    python tools/make_schemas.py

Run it with the newest ``onnx``; the file holds every form of every standard operator up to its opset. The first line
names that opset and has the sets of element types; each of the others is an operator: its name, and its forms as
``[since, form]``, where a form has what ``normengine.onnx.schema.Rule`` has, with the numbers of those sets, and is
null where ONNX withdrew the operator.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import onnx

from normengine.onnx.schema import Rule, stated

FILE = Path(__file__).resolve().parents[1] / "normengine" / "onnx" / "schemas.jsonl"


def lines() -> list[str]:
    numbers: dict[frozenset[str], int] = {}

    def form(rule: Rule | None) -> list[Any] | None:
        if rule is None:
            return None
        types = [[name, numbers.setdefault(allowed, len(numbers))] for name, allowed in rule.types]
        slots = [[s.least, s.most, [*map(int, s.required)], int(s.variadic)] for s in (rule.inputs, rule.outputs)]
        return [*slots, dict(sorted(rule.attributes.items())), sorted(rule.required), types]

    forms: dict[str, dict[int, list[Any] | None]] = defaultdict(dict)
    for schema in sorted(onnx.defs.get_all_schemas_with_history(), key=lambda s: (s.name, s.since_version)):
        if schema.domain == "":
            forms[schema.name][schema.since_version] = form(stated(schema))
    packed = [f"{name} {json.dumps(list(f.items()), separators=(',', ':'))}" for name, f in forms.items()]
    return [json.dumps({"opset": onnx.defs.onnx_opset_version(), "types": [sorted(t) for t in numbers]}), *packed]


def main() -> None:
    FILE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    print(f"{FILE}: {len(lines()) - 1} operators")


if __name__ == "__main__":
    main()
