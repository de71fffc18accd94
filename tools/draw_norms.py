"""Draws which values of a batch each normalization takes together, into ``docs/images/normalization-axes.png``.

    python tools/draw_norms.py

A cube is a batch: images N along one edge, channels C along another, pixels H·W upwards. Its coloured cells are one
set of values that share a mean and a variance.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "normalization-axes.png"
IMAGES, CHANNELS, PIXELS = 4, 6, 4
TAKEN, OTHERS = "#3b7dd8", "#f2f2f2"
Takes = Callable[[np.ndarray, np.ndarray], np.ndarray]
NORMS: tuple[tuple[str, Takes], ...] = (
    ("batch norm\nN, H, W of each channel", lambda n, c: c == 0),
    ("ghost batch norm\na part of N, H, W of each channel", lambda n, c: (c == 0) & (n < 2)),
    ("layer norm\nC, H, W of each image", lambda n, c: n == 0),
    ("group norm\na group of C, H, W of each image", lambda n, c: (n == 0) & (c < 3)),
    ("instance norm\nH, W of each image and channel", lambda n, c: (n == 0) & (c == 0)),
)


def main() -> None:
    shape = (CHANNELS, IMAGES, PIXELS)
    channel, image, _ = np.indices(shape)
    figure = plt.figure(figsize=(13, 2.9), dpi=100)
    for i, (title, takes) in enumerate(NORMS, 1):
        axes = figure.add_subplot(1, len(NORMS), i, projection="3d")
        colors = np.where(takes(image, channel), TAKEN, OTHERS)
        axes.voxels(np.ones(shape, bool), facecolors=colors, edgecolor="#777777", linewidth=0.5, shade=False)
        axes.set_title(title, fontsize=9, y=0.98)
        axes.view_init(elev=24, azim=-122)
        axes.set_box_aspect(shape, zoom=1.1)
        for letter, x, y, turn in (("C", 0.64, 0.1, 0), ("N", 0.12, 0.1, 0), ("H, W", -0.04, 0.42, 90)):
            axes.text2D(x, y, letter, fontsize=9, rotation=turn, transform=axes.transAxes)
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_ticks([])
            axis.pane.set_visible(False)
            axis.line.set_visible(False)
    figure.subplots_adjust(left=0.02, right=0.99, bottom=0.0, top=0.86, wspace=0.12)
    figure.savefig(TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
