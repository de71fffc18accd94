"""A profile as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

from .timing import HEAD, Timing

_COLORS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c755f", "#bab0ac")

_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; }
table { border-collapse: collapse; margin: 1em 0 2em; font-variant-numeric: tabular-nums; }
th, td { padding: 2px 10px; text-align: left; white-space: nowrap; }
th { border-bottom: 1px solid; cursor: pointer; }
.number { text-align: right; }
tbody tr:hover { background: #8883; }
.strip { display: flex; height: 48px; margin: 1em 0; }
.strip div { min-width: 0; }
.strip div:hover { filter: brightness(1.4); }
.key { display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.5em; }
"""

_SCRIPT = """
for (const head of document.querySelectorAll("th")) head.onclick = () => {
  const column = head.cellIndex, body = head.closest("table").tBodies[0], number = head.className === "number";
  const value = row => number ? parseFloat(row.cells[column].textContent) || 0 : row.cells[column].textContent;
  const up = head.dataset.up !== "1";
  head.dataset.up = up ? "1" : "0";
  const order = (a, b) => number ? value(b) - value(a) : value(a).localeCompare(value(b), "en", {numeric: true});
  body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
};
"""


def page(
    title: str,
    heading: str,
    totals: Sequence[tuple[Timing, int]],
    timings: Sequence[Timing],
    columns: Callable[[Timing], tuple[str, ...]],
) -> str:
    """The totals, the calls as a strip as long as they took, and as a table that a click on a heading sorts.

    ``totals`` are those of each kind of operator with its number of calls, of which the last has no color of its own;
    ``columns`` gives what the tables say of a call's time.
    """
    colors = {timing.kind: _COLORS[i % len(_COLORS)] for i, (timing, _) in enumerate(totals[:-1])}
    whole = sum(t.seconds for t in timings) or 1.0
    strip = "".join(
        f'<div style="width:{100 * t.seconds / whole:.4f}%;background:{colors[t.kind]}" '
        f'title="{escape(f"{t.kernel} {t.shapes} {t.layer}: {1e3 * t.seconds:.3f} ms")}"></div>'
        for t in timings
    )
    kinds = [(*columns(t), _key(t.kind, colors), str(count)) for t, count in totals]
    calls = [
        (str(i), *columns(t), _key(t.kernel, colors, t.kind), escape(t.shapes), escape(t.layer))
        for i, t in enumerate(timings)
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1><p>{escape(heading)}</p>",
            f'<div class="strip">{strip}</div>',
            *_table((*HEAD, "kind", "calls"), range(len(HEAD)), kinds),
            *_table(("call", *HEAD, "kernel", "shapes", "layer"), range(1 + len(HEAD)), calls),
            f"<script>{_SCRIPT}</script></body></html>",
        ]
    )


def _key(text: str, colors: dict[str, str], kind: str | None = None) -> str:
    color = colors.get(kind or text, "transparent")
    return f'<span class="key" style="background:{color}"></span>{escape(text)}'


def _table(head: Sequence[str], numbers: Iterable[int], rows: Iterable[Sequence[str]]) -> list[str]:
    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = (' class="number"' if i in numbers else "" for i in range(len(row)))
        texts = (f"<{tag}{kind}>{text}</{tag}>" for kind, text in zip(kinds, row, strict=True))
        return f"<tr>{''.join(texts)}</tr>"

    return ["<table><thead>", cells("th", head), "</thead><tbody>", *(cells("td", r) for r in rows), "</tbody></table>"]
