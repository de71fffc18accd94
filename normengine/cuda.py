"""What scripts ask of GPUs: there is none."""

from __future__ import annotations

from typing import Any

from .absent import missing


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing: there is no generator on a GPU. ``ne.manual_seed`` seeds the one that there is."""


manual_seed_all = manual_seed


def empty_cache() -> None:
    """Nothing."""


def synchronize(device: object = None) -> None:
    """Nothing: every call has done its work when it returns."""


def __getattr__(name: str) -> Any:
    raise missing("cuda", name)
