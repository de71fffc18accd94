"""The small networks that tools/stress.py works on, always with the same weights, and what tells their states apart."""

from __future__ import annotations

import hashlib
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import normengine as ne
from normengine import nn, optim

ACTIVATIONS = (nn.ReLU, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU)


def network(seed: int, activations: int = 1) -> nn.Module:
    """A small network, its weights always the same; its activations, and so the code that is compiled for it, follow
    from ``seed``."""
    rng = random.Random(seed)
    between = [rng.choice(ACTIVATIONS)() for _ in range(activations)]
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), *between, nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(36, 3),
    )  # fmt: skip
    draw = np.random.default_rng(0)
    floats = {name: array for name, array in model.state_dict().items() if array.dtype.kind == "f"}
    drawn = {name: 0.5 + 0.1 * draw.standard_normal(array.shape) for name, array in floats.items()}
    model.load_state_dict(drawn, strict=False)
    return model


def batch(number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.standard_normal((4, 2, 6, 6), np.float32), rng.integers(0, 3, 4)


def step_of(model: nn.Module) -> ne.TrainStep:
    return ne.TrainStep(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 0.01), seed=1)


def exported(model: nn.Module) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        ne.onnx.export(model, Path(folder, "model.onnx"), input_shape=(2, 6, 6))
        return Path(folder, "model.onnx").read_bytes()


def digest(*arrays: Any) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:12]


def state_of(step: ne.TrainStep) -> str:
    """All that a step changes, its own count aside."""
    kept = step.optimizer.state
    memory = [array for p in step.optimizer.param_groups[0]["params"] for _, array in sorted(kept.get(p, {}).items())]
    return digest(*step.model.state_dict().values(), *memory)
