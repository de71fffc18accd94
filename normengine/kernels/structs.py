"""C structs of the records in which Python lays down the arguments of compiled kernels, as Cython declares them.

The arguments of an operator's kernels are one struct for each record that their launches add: a pointer for each input
and output of the operator's signature, ``memory``, the signature's records by their names in small letters, then
``extra``. Each slot has 8 bytes, so that a struct lies over the slots. ``tools/make_structs.py`` writes the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from .base import ELEMENTS, Nothing, SharedMemory, Signature

_ELEMENTS = {"float32": "float"}
"""The C type of an array's elements, by dtype."""
_WIDTH = 120
_NUMBERS: dict[object, str] = {int: "int64_t", float: "double"}
Field = tuple[str, str]


def arguments_name(signature: Signature, extra: type, dtype: str) -> str:
    """The name of the struct of all arguments, ``Conv2dInputGradDirectF32`` for example."""
    parts = [part.capitalize() for part in (*signature.op.split("_"), ELEMENTS[dtype].short)]
    return "".join([*parts[:-1], _added(extra), parts[-1]])


def arguments_fields(signature: Signature, extra: type, dtype: str) -> list[Field]:
    """What it has, as (type, name), for arrays of the dtype."""
    kinds = dict.fromkeys(signature.integers, "int64_t*")
    arrays = [(kinds.get(name, f"{_ELEMENTS[dtype]}*"), name) for name in (*signature.inputs, *signature.outputs)]
    records = [(record.__name__, _member(record)) for record in signature.records]
    return [*arrays, ("SharedMemory", "memory"), *records, *([(_added(extra), "extra")] if _added(extra) else [])]


def declarations(records: Iterable[type], arguments: Mapping[str, list[Field]] = {}, enums: Iterable[Any] = ()) -> str:
    """The declarations of records, each after those that it is made of, of enums and of structs of arguments; and
    ``STRUCTS``, what all of them have bytes."""
    found: dict[str, type] = {}
    for record in records:
        for part in (*_parts(record), record):
            name = part.__name__
            if found.setdefault(name, part) is not part:
                raise ValueError(f"two records are called {name}: {found[name].__module__}, {part.__module__}")
    texts = [_enum(enum) for enum in enums]
    texts += [_struct(name, _fields(record)) for name, record in found.items()]
    texts += [_struct(name, fields) for name, fields in arguments.items()]
    sizes = [f'    "{name}": sizeof({name}),' for name in (*found, *arguments)]
    return "\n\n\n".join([*texts, "\n".join(["STRUCTS = {", *sizes, "}"])]) + "\n"


def slots_of(record: type) -> int:
    """How many slots a record has, without the tuples at its end."""
    hints = get_type_hints(record).values()
    return sum(slots_of(hint) if _is_record(hint) else get_origin(hint) is not tuple for hint in hints)


def arguments_slots(signature: Signature, extra: type) -> int:
    return len(signature.slots) + slots_of(extra)


def shared_records(signatures: Iterable[Signature]) -> list[type]:
    """Those of more than one kernel."""
    return [SharedMemory, *dict.fromkeys(record for signature in signatures for record in signature.records)]


def _added(extra: type) -> str:
    return "" if extra is Nothing else extra.__name__


def _member(record: type) -> str:
    """``max_pool`` of ``MaxPool``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", record.__name__).lower()


def _is_record(hint: object) -> bool:
    return isinstance(hint, type) and hint not in _NUMBERS


def _parts(record: type) -> Iterator[type]:
    """The records that a record holds, or that follow it."""
    for hint in get_type_hints(record).values():
        part = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if _is_record(part):
            yield from _parts(part)
            yield part


def _fields(record: type) -> list[Field]:
    hints = get_type_hints(record, include_extras=True)
    return [(_c_type(hint), name) for name, hint in hints.items() if get_origin(hint) is not tuple]


def _c_type(hint: object) -> str:
    if get_origin(hint) is Annotated:
        return str(get_args(hint)[1])
    return _NUMBERS[hint] if hint in (int, float) else str(getattr(hint, "__name__", hint))


def _struct(name: str, fields: list[Field]) -> str:
    lines = [f"cdef struct {name}:"]
    last = ""
    for kind, field in fields:
        if kind == last and "*" not in kind and len(lines[-1]) + len(f", {field}") <= _WIDTH:
            lines[-1] += f", {field}"
        else:
            lines.append(f"    {kind} {field}")
        last = kind
    return "\n".join(lines)


def _enum(enum: type[IntEnum]) -> str:
    return "\n".join(["cdef enum:", *(f"    {member.name} = {member.value}" for member in enum)])
