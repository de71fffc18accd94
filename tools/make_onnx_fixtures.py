#!/usr/bin/env python3
"""Makes ``tests/fixtures/onnx``: small networks as PyTorch's two exporters write them, and PyTorch's outputs.

Run with a Python that has PyTorch, onnx and onnxscript: ``python tools/make_onnx_fixtures.py``. Every network is
exported once, by the exporter and opset that its row names; ``expected.npz`` holds input and outputs for batch 3.
"""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

FOLDER = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "onnx"
BATCH = 3


class Plain(nn.Module):
    """A forward function and the layers that it uses."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x, *self.layers)


def _shuffled(x: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, -1, h, w)


def _squeeze_excite(x: torch.Tensor, down: nn.Module, up: nn.Module) -> torch.Tensor:
    return x * torch.sigmoid(up(F.relu(down(x.mean((2, 3)))))).view(x.size(0), 4, 1, 1)


def _padded(x: torch.Tensor, conv: nn.Module) -> torch.Tensor:
    pooled = F.pad(F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1), (-1, 0, 0, 1), value=2.0)
    return conv(F.pad(x, (1, 0, 2, 1))) + pooled[:, :1, :7, :5]


def _sliced(x: torch.Tensor, conv: nn.Module) -> torch.Tensor:
    return torch.cat([conv(x), *x.chunk(2, 1), x[:, 1:3], x[:, ::2]], 1) * x[:, 1:2] + x[:, -1:, :1]


def _arithmetic(x: torch.Tensor) -> torch.Tensor:
    ratio = ((x - 0.5) / 2 + x * 3) * (1 - x) / (x * x + 1.0)
    return ratio + torch.exp(x) * 0.1 - torch.sqrt(x.abs() + 1) - torch.log(x.abs() + 2) - x + x.pow(3)


def _shortcut(x: torch.Tensor, conv: nn.Module) -> torch.Tensor:
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)) + conv(x)


def _with_zeros(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, torch.zeros(x.size(0), 2, 6, 6), x.new_ones(x.size(0), 1, 6, 6)], 1)


def _two(x: torch.Tensor, conv: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    return F.log_softmax(conv(x), 1), x.sum((2, 3))


def networks() -> dict[str, tuple[str, int, tuple[int, ...], nn.Module]]:
    """By name: exporter, opset, input shape, network."""
    conv, norm = nn.Conv2d, nn.BatchNorm2d
    activations = nn.Sequential(
        conv(3, 4, 3), nn.LeakyReLU(0.2), nn.ReLU6(), conv(4, 4, 1), nn.SiLU(), conv(4, 4, 1), nn.GELU(),
        conv(4, 4, 1), nn.Hardswish(), nn.Sigmoid(), conv(4, 3, 1), nn.Tanh(), nn.GELU(approximate="tanh"))  # fmt: skip
    bounded = nn.Sequential(
        conv(3, 4, 3), nn.Hardsigmoid(), conv(4, 4, 1), nn.Hardtanh(-0.3, 0.4), nn.PReLU(4), nn.Softplus())  # fmt: skip
    flat = nn.Sequential(
        conv(3, 4, 3), norm(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 7, bias=False), nn.BatchNorm1d(7),
        nn.Dropout(0.5), nn.Linear(7, 3))  # fmt: skip
    groups = nn.Sequential(
        conv(4, 8, 3, groups=4, stride=3, padding=2, dilation=2), norm(8),
        conv(8, 6, (3, 1), groups=2, padding="same", bias=False), norm(6), nn.ReLU())  # fmt: skip
    pools = nn.Sequential(nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1))
    windows = nn.Sequential(
        nn.MaxPool2d((2, 3), dilation=2), nn.AvgPool2d(2, count_include_pad=False, padding=1),
        nn.AvgPool2d(2, stride=3, ceil_mode=True))  # fmt: skip
    preactivation = nn.Sequential(norm(4), conv(4, 5, 1), norm(5), nn.ReLU(), norm(5), conv(5, 5, 3, padding=1))
    view = Plain(lambda x, c, d: d(F.max_pool2d(c(x), 2).view(x.size(0), -1)), conv(3, 4, 3), nn.Linear(36, 5))
    permuted = Plain(lambda x, d: d(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).mean((2, 3)), nn.Linear(4, 5))
    return {
        "activations_13": ("torchscript", 13, (3, 7, 7), activations),
        "activations_20": ("dynamo", 20, (3, 7, 7), activations),
        "arithmetic_17": ("torchscript", 17, (4, 6, 6), Plain(_arithmetic)),
        "bounded_11": ("torchscript", 11, (3, 5, 5), bounded),
        "flatten_11": ("torchscript", 11, (3, 6, 6), flat),
        "flatten_18": ("dynamo", 18, (3, 6, 6), flat),
        "groups_kept_17": ("kept", 17, (4, 9, 9), groups),
        "pools_18": ("dynamo", 18, (3, 11, 13), pools),
        "windows_17": ("torchscript", 17, (3, 12, 13), windows),
        "padded_17": ("torchscript", 17, (4, 6, 6), Plain(_padded, conv(4, 2, 3))),
        "preactivation_17": ("torchscript", 17, (4, 6, 6), preactivation),
        "permuted_17": ("torchscript", 17, (4, 6, 6), permuted),
        "shortcut_18": ("torchscript", 18, (4, 6, 6), Plain(_shortcut, conv(4, 8, 3, 2, 1))),
        "shuffled_13": ("torchscript", 13, (6, 5, 5), Plain(_shuffled)),
        "sliced_11": ("torchscript", 11, (4, 6, 6), Plain(_sliced, conv(4, 3, 3, padding=1))),
        "sliced_20": ("dynamo", 20, (4, 6, 6), Plain(_sliced, conv(4, 3, 3, padding=1))),
        "squeeze_excite_17": ("torchscript", 17, (4, 6, 6), Plain(_squeeze_excite, nn.Linear(4, 2), nn.Linear(2, 4))),
        "two_outputs_11": ("torchscript", 11, (4, 6, 6), Plain(_two, conv(4, 3, 3))),
        "view_17": ("torchscript", 17, (3, 8, 8), view),
        "view_kept_11": ("kept", 11, (3, 8, 8), view),
        "with_zeros_17": ("torchscript", 17, (4, 6, 6), Plain(_with_zeros)),
    }


def export(model: nn.Module, path: pathlib.Path, exporter: str, opset: int, x: torch.Tensor) -> None:
    """Write the file; ``kept`` is the TorchScript exporter with constants and batch norms left as they are."""
    if exporter == "dynamo":
        axes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(model, (x,), path, dynamo=True, opset_version=opset, input_names=["x"],
                          dynamic_shapes=axes, external_data=False, verbose=False)  # fmt: skip
    else:
        options = {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}
        torch.onnx.export(model, (x,), path, dynamo=False, opset_version=opset, input_names=["x"],
                          dynamic_axes={"x": {0: "batch"}}, **(options if exporter == "kept" else {}))  # fmt: skip
    proto = onnx.load(path)
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input):
        part.ClearField("doc_string")
        if "metadata_props" in part.DESCRIPTOR.fields_by_name:
            part.ClearField("metadata_props")
    proto.graph.ClearField("value_info")
    onnx.save(proto, path)


def main() -> None:
    warnings.filterwarnings("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    expected: dict[str, np.ndarray] = {}
    for name, (exporter, opset, shape, model) in networks().items():
        torch.manual_seed(0)
        for module in model.eval().modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                for tensor in (module.weight.data, module.bias.data, module.running_mean):
                    tensor.normal_()
                module.running_var.uniform_(0.1, 1.1)
        x = torch.randn(BATCH, *shape)
        with torch.no_grad():
            y = model(x)
        expected[f"{name}/x"] = x.numpy()
        for i, part in enumerate(y if isinstance(y, tuple) else (y,)):
            expected[f"{name}/{i}"] = part.numpy()
        export(model, FOLDER / f"{name}.onnx", exporter, opset, torch.randn(2, *shape))
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
