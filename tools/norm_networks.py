"""ResNet-20 (He et al., 2015, for images of 32x32) with each normalization in place of batch norm.

``MODELS`` is what tools that take a file of models read: by name, a builder, which is given a namespace with PyTorch's
layers, and the shape of a sample. The same source builds the network in PyTorch where that has the layer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

Norm = Callable[[Any, int, int], Any]
"""The layer for so many channels of images of so many pixels along each edge, of a namespace."""

NORMS: dict[str, Norm] = {
    "batch": lambda nn, channels, size: nn.BatchNorm2d(channels),
    "group": lambda nn, channels, size: nn.GroupNorm(8, channels),
    "layer": lambda nn, channels, size: nn.LayerNorm((channels, size, size)),
    "instance": lambda nn, channels, size: nn.InstanceNorm2d(channels),
    "ghost32": lambda nn, channels, size: nn.GhostBatchNorm2d(channels, 32),
    "ghost2": lambda nn, channels, size: nn.GhostBatchNorm2d(channels, 2),
    "ghost1": lambda nn, channels, size: nn.GhostBatchNorm2d(channels, 1),
    "renorm": lambda nn, channels, size: nn.BatchRenorm2d(channels),
    "response": lambda nn, channels, size: nn.FilterResponseNorm2d(channels),
    "switch": lambda nn, channels, size: nn.SwitchNorm2d(channels),
    "evo": lambda nn, channels, size: nn.EvoNorm2dS0(channels, 8),
}


def resnet20(norm: Norm, nn: Any) -> Any:
    def layers(inputs: int, outputs: int, kernel: int, stride: int, size: int, relu: bool = True) -> Any:
        conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
        return nn.Sequential(conv, norm(nn, outputs, size), *([nn.ReLU()] if relu else []))

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int, size: int) -> None:
            super().__init__()
            self.conv1 = layers(inputs, outputs, 3, stride, size)
            self.conv2 = layers(outputs, outputs, 3, 1, size, relu=False)
            same = inputs == outputs and stride == 1
            self.shortcut = nn.Identity() if same else layers(inputs, outputs, 1, stride, size, relu=False)
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.relu(self.conv2(self.conv1(x)) + self.shortcut(x))

    blocks, inputs, size = [layers(3, 16, 3, 1, 32)], 16, 32
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        size //= stride
        for i in range(3):
            blocks.append(Block(inputs, outputs, stride if i == 0 else 1, size))
            inputs = outputs
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


MODELS = {name: (partial(resnet20, norm), (3, 32, 32)) for name, norm in NORMS.items()}
