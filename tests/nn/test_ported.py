"""A file written for PyTorch works after its imports are changed, and gives PyTorch's keys and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import normengine as ne
from normengine import nn, optim

SOURCE = Path(__file__).parents[1] / "fixtures" / "torch_model.txt"

# By PyTorch 2.13, from the weights and batches below: the losses of four steps, then the scores of one image.
LOSSES = [2.733299, 1.816811, 1.885165, 1.641259]
SCORES = [0.165498, -1.154442, -0.494127, -0.685075, 0.059777]

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
UNIT = ["0.weight", *(f"1.{key}" for key in NORM), "3.weight", *(f"4.{key}" for key in NORM)]
DENSE = [*(f"norm.{key}" for key in NORM), "conv.weight"]
KEYS = [
    "gamma", "normalize.mean", "normalize.std", "stem.conv.weight", "stem.conv.bias",
    *(f"units.{i}.branch.{key}" for i in range(2) for key in UNIT),
    "se.fc1.weight", "se.fc1.bias", "se.fc2.weight", "se.fc2.bias",
    *(f"dense.{name}.{key}" for name in ("first", "second") for key in DENSE),
    "shared.weight", "shared.bias", "tied.weight", "head.weight", "head.bias",
]  # fmt: skip


def ported() -> Any:
    source = SOURCE.read_text(encoding="utf-8")
    for torchs, ours in (("import torch\n", "import normengine as torch\n"), ("import torch.", "import normengine.")):
        source = source.replace(torchs, ours)
    names: dict[str, Any] = {"__name__": "ported"}
    exec(compile(source, str(SOURCE), "exec"), names)
    return names["Net"]


def test_keys_and_parameters() -> None:
    model = ported()()
    assert list(model.state_dict()) == KEYS
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 1286
    assert model.tied.weight is model.shared.weight


def test_training_and_scores() -> None:
    model = ported()()
    rng = np.random.default_rng(0)
    for name, p in model.named_parameters():
        ones = "norm" in name or name.endswith("1.weight")
        p.data = (ones + 0.3 * rng.standard_normal(p.shape)).astype(np.float32)
    x = rng.standard_normal((4, 6, 3, 10, 10)).astype(np.float32)
    y = rng.integers(0, 5, (4, 6))
    groups = [
        {"params": [p for _, p in model.named_parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for _, p in model.named_parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    step = ne.TrainStep(model, nn.CrossEntropyLoss(), optim.AdamW(groups, lr=0.01))
    assert np.allclose([step(*batch) for batch in zip(x, y, strict=True)], LOSSES, atol=2e-5)
    model.eval()
    logits, features = model(x[0], return_features=True)
    assert np.allclose(logits[0], SCORES, atol=2e-3)
    assert features.shape == (6, 14)
