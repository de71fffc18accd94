"""How much memory there is."""

from __future__ import annotations

import os


def _memory() -> int:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2**36


MEMORY = _memory()
"""Bytes that the arrays of a network may take at most: the machine's memory, or 64 GiB where that is not known."""
