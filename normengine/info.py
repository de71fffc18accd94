"""What normengine found on this machine and what it uses, for ``normengine info`` and for reports of problems."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from . import __version__
from .kernels import cpu
from .kernels.cache import cache_folder
from .runtime import threads

_PACKAGES = ("numpy", "numba", "onnx", "onnxruntime", "matplotlib")


def describe() -> str:
    """A line for each fact: versions, CPU, instruction set and threads with reasons, backends, cache folder."""
    choice = cpu.choice()
    facts = {
        "normengine": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform()})",
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "CPU": f"{cpu.cpu_name()} ({os.cpu_count()} logical CPUs)",
        "instruction set": choice.reason,
        "kernels": ", ".join(choice.isas),
        "backend": cpu.backend(),
        "threads": f"{threads.get_num_threads()}: {_why_threads()}",
        "cache folder": str(cache_folder()),
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _why_threads() -> str:
    if os.environ.get("NORMENGINE_NUM_THREADS", "").strip():
        return "NORMENGINE_NUM_THREADS"
    quota = threads.cgroup_quota()
    limit = "no quota of its control group" if quota is None else f"its control group grants {quota:g}"
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"the CPUs that this process may use (it may be scheduled on {affinity}, {limit})"
