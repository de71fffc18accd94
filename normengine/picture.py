"""The demo's picture: curves of the training above, held-out images and what the network takes them for below."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .files.atomic import write_atomically
from .train import History

_ROWS, _COLUMNS = 3, 12
_RIGHT, _WRONG = "#2e7d4f", "#c0392b"


def draw_digits(path: Path, history: History, scores: np.ndarray, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the picture to ``path``.

    ``scores`` ``(N, 10)`` are the network's outputs for ``images`` ``(N, 1, 8, 8)``. Every image that it takes for
    another digit is shown first, then others evenly from the rest, in the order of the data.
    """
    predicted = scores.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    right = np.flatnonzero(predicted == labels)
    places = _ROWS * _COLUMNS
    wrong = wrong[:places]
    right = right[np.linspace(0, len(right) - 1, places - len(wrong)).astype(int)] if len(right) else right
    shown = np.concatenate([wrong, right])

    figure = Figure(figsize=(11, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    history.draw(*top.subplots(1, 2))
    mistakes = int((predicted != labels).sum())
    bottom.suptitle(
        f"{len(labels)} held-out images: {len(labels) - mistakes} recognized, {mistakes} mistaken for another digit",
        fontsize=11,
    )
    for axes, i in zip(bottom.subplots(_ROWS, _COLUMNS).flat, shown, strict=False):
        axes.imshow(images[i, 0], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        correct = predicted[i] == labels[i]
        caption = f"{predicted[i]}" if correct else f"{predicted[i]}, is {labels[i]}"
        axes.set_title(caption, fontsize=10, color=_RIGHT if correct else _WRONG, pad=3)
    for axes in bottom.axes:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#cccccc")
    content = BytesIO()
    figure.savefig(content, dpi=130)
    write_atomically(path, content.getvalue())
