"""Report the result of a check as one HTML page: a chart of the errors, and the table. No network, no script."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from pathlib import Path

from minibiogpt.files.writing import write_atomically
from minibiogpt.golden.check.compare import Measure
from minibiogpt.golden.check.result import AGREES, DIFFERS, Result, Row
from minibiogpt.golden.report.text import findings, format_index, notes_of, plain, sentence

HEIGHT, TOP, BOTTOM, LEFT, RIGHT = 300, 34, 26, 58, 14  # pixels: height of the chart, and its margins
WIDTH, STEP = 860, 5  # pixels: least width of the chart, and of a bar with its gap
MIN_POWER, MAX_POWER = -4, 20  # range of the scale, in powers of ten of the budget; errors are clipped to it
CLASSES = {AGREES: "ok", DIFFERS: "bad"}
MARKS = {AGREES: "&#10003;", DIFFERS: "&#10007;"}
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5c5c5c; --paper: #ffffff; --line: #d5d5d5; --ok: #0072b2;
  --bad: #c04a00; --none: #767676; --band: #f5f5f5; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --soft: #b0b0b0; --paper: #17191c; --line: #3b3f45;
  --ok: #5ab4ec; --bad: #ff9a4d; --none: #9a9a9a; --band: #202327; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem auto;
  max-width: 72rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.25rem; margin: 0 0 .3rem; } h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p { margin: .3rem 0; } .soft, .notes { color: var(--soft); }
.wide { overflow-x: auto; } svg { display: block; } svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .budget { stroke: var(--ink); stroke-dasharray: 6 3; }
svg .first { stroke: var(--bad); stroke-width: 1.5; } svg text.strong { fill: var(--ink); font-weight: 600; }
svg .hit { fill: transparent; } svg g:hover .hit { fill: var(--line); opacity: .5; }
svg rect.ok { fill: var(--ok); } svg rect.bad { fill: url(#stripes); stroke: var(--bad); }
svg rect.none { fill: none; stroke: var(--none); stroke-dasharray: 2 2; }
table { border-collapse: collapse; font-size: .86rem; white-space: nowrap; overflow-wrap: normal; }
th, td { text-align: left; padding: .18rem .6rem; border-bottom: 1px solid var(--line); }
th { background: var(--band); } td.n { text-align: right; font-variant-numeric: tabular-nums; }
tr.bad td:first-child { color: var(--bad); font-weight: 700; } tr.ok td:first-child { color: var(--ok); }
td.notes { white-space: normal; border-bottom: 1px solid var(--line); } tr.above td { border-bottom: none; }
.key span { display: inline-block; margin-right: 1.2rem; }
.key i { display: inline-block; width: .8rem; height: .8rem; margin-right: .35rem; vertical-align: -1px; }
.key .ok { background: var(--ok); } .key .none { border: 1px dashed var(--none); }
.key .bad { background: repeating-linear-gradient(45deg, var(--bad) 0 2px, transparent 2px 4px);
  outline: 1px solid var(--bad); }
"""


def write_page(path: Path, result: Result) -> None:
    """Write the page atomically."""
    text = page(result)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def page(result: Result) -> str:
    """Return the whole page. Text that comes from files is escaped."""
    case = result.case
    found = "".join(f"<p>{_safe(line)}</p>" for line in findings(result))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_safe(case.name)}: {_safe(sentence(result))}</title><style>{STYLE}</style></head><body>"
        f"<h1>{_safe(sentence(result))}</h1>"
        f'<p class="soft">case {_safe(case.name)}, {_safe(case.architecture)}. {_safe(case.about)}</p>'
        f'<p class="soft">candidate {_safe(result.theirs)}</p>{found}'
        f"<h2>Error of each array, in units of its budget</h2>{_legend()}"
        f'<div class="wide">{picture(result)}</div>'
        f'<h2>Arrays in the order of execution</h2><div class="wide">{_table(result)}</div></body></html>\n'
    )


def _legend() -> str:
    items = (("ok", "agrees"), ("bad", "differs"), ("none", "not comparable"))
    return f'<p class="key">{"".join(f"<span><i class={css}></i>{text}</span>" for css, text in items)}</p>'


def _safe(text: object) -> str:
    return html.escape(plain(text))


def picture(result: Result) -> str:
    """Return an SVG with a bar for each array on a logarithmic scale, the budget line, and the first difference."""
    rows = result.rows
    step = max(STEP, (WIDTH - LEFT - RIGHT) / len(rows))
    width, top = LEFT + RIGHT + step * len(rows), _top_power(rows)
    parts = [
        f'<svg width="{width:.0f}" height="{HEIGHT}" viewBox="0 0 {width:.0f} {HEIGHT}" role="img" '
        f'aria-label="{_safe(sentence(result))}">'
        '<defs><pattern id="stripes" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="2" height="4" style="fill: var(--bad)"/></pattern></defs>',
        *_grid(width, top),
        *(_bar(row, LEFT + i * step, step, top) for i, row in enumerate(rows)),
        *_budget_line(width, top),
        *_layer_labels(rows, step),
        *_first_difference(result, step, width),
    ]
    return "".join([*parts, "</svg>"])


def _top_power(rows: list[Row]) -> int:
    """Return the highest power of ten on the scale."""
    powers = [math.ceil(_power(row)) for row in rows if row.measured is not None]
    return min(MAX_POWER, max([1, *powers]))


def _power(row: Row) -> float:
    """Return log10 of error / budget, clipped to the scale; NaN, infinities and unmasked scores are at the top."""
    found = row.measured
    if found is not None and found.exceeding and (_marked(found) or math.isinf(found.largest_error)):
        return MAX_POWER
    times = row.times or 0.0
    if found is not None and found.sums:
        times = max([times, *(error / budget for _, error, budget in found.sums if budget > 0)])
    return MAX_POWER if times == math.inf else max(MIN_POWER, math.log10(times)) if times > 0 else MIN_POWER


def _marked(found: Measure) -> bool:
    return bool(found.nan or found.wrong_marks or found.hidden_marks)


def _y(power: float, top: int) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (top - power) / (top - MIN_POWER)


def _grid(width: float, top: int) -> Iterator[str]:
    every = max(1, math.ceil((top - MIN_POWER) / 8))
    for power in range(MIN_POWER, top + 1):
        if power % every == 0 and power != 0:
            y = _y(power, top)
            yield f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>'


def _budget_line(width: float, top: int) -> Iterator[str]:
    """Yield the line that bars must stay below, drawn over the bars."""
    y = _y(0, top)
    yield f'<line class="budget" x1="{LEFT}" x2="{width - RIGHT:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield f'<text class="strong" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">budget</text>'


def _bar(row: Row, x: float, step: float, top: int) -> str:
    """Return the bar of one array, with a title shown on hovering."""
    baseline, bar_width = HEIGHT - BOTTOM, step * 0.76
    height = 8.0 if row.measured is None else max(2.0, baseline - _y(min(_power(row), top), top))
    parts = [row.name, row.state]
    if row.measured is not None:
        parts += [f"largest error {row.measured.largest_error:.3g}", f"{row.times or 0.0:.3g} x budget"]
    parts += [format_index(row.where, row.axes), *notes_of(row)]
    title = _safe("; ".join(part for part in parts if part))
    css = CLASSES.get(row.state, "none")
    return (
        f'<g><title>{title}</title><rect class="hit" x="{x:.1f}" y="{TOP}" width="{step:.1f}" '
        f'height="{baseline - TOP}"/><rect class="{css}" x="{x + (step - bar_width) / 2:.1f}" '
        f'y="{baseline - height:.1f}" width="{bar_width:.1f}" height="{height:.1f}"/></g>'
    )


def _layer_labels(rows: list[Row], step: float) -> Iterator[str]:
    """Yield layer names below the first bar of each layer; names that would overlap are skipped."""
    free, previous = 0.0, ""  # x from which there is space
    for i, row in enumerate(rows):
        parts = row.name.rpartition("/")[2].split(".")
        layer = ".".join(parts[:2]) if parts[0] == "layers" else parts[0]
        x = LEFT + i * step
        if layer != previous and x >= free and parts[0] == "layers":
            yield f'<text x="{x:.1f}" y="{HEIGHT - 8}">{_safe(layer)}</text>'
            free = x + 7 * len(plain(layer)) + 8
        previous = layer


def _first_difference(result: Result, step: float, width: float) -> Iterator[str]:
    first = result.first_difference
    if first is not None:
        x = LEFT + (result.rows.index(first) + 0.5) * step
        anchor = "start" if x < width / 2 else "end"
        yield f'<line class="first" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{HEIGHT - BOTTOM}"/>'
        yield f'<text class="strong" x="{x:.1f}" y="{TOP - 18}" text-anchor="{anchor}">first difference: '
        yield f"{_safe(first.name)}</text>"


def _table(result: Result) -> str:
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    rows = "".join(_table_row(row) for row in [*result.inputs, *result.rows])
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


HEADS = ("", "name", "shape", "dtype", "largest error", "relative", "x budget", "cosine", "where", "verdict")


def _table_row(row: Row) -> str:
    found, css, notes = row.measured, CLASSES.get(row.state, "none"), list(notes_of(row))
    shape = row.shape if row.found_shape is None else row.found_shape
    errors = ("", "", "", "")
    if found is not None:
        values = (found.largest_error, row.relative or 0.0, row.times or 0.0)
        cosine = "" if found.cosine is None else f"{found.cosine:.6f}"
        errors = (f"{values[0]:.3g}", f"{values[1]:.3g}", f"{values[2]:.3g}", cosine)
    cells = f"<td>{MARKS.get(row.state, '?')}</td><td>{_safe(row.name)}</td><td>{_safe(shape)}</td>"
    cells += f"<td>{_safe(row.dtype or '')}</td>" + "".join(f'<td class="n">{error}</td>' for error in errors)
    cells += f"<td>{_safe(format_index(row.where, row.axes))}</td><td>{row.state}</td>"
    note_lines = "".join(f"<div>{_safe(note)}</div>" for note in notes)
    note_row = f'<tr><td></td><td class="notes" colspan="{len(HEADS) - 1}">{note_lines}</td></tr>' if notes else ""
    return f'<tr class="{css}{" above" if notes else ""}">{cells}</tr>{note_row}'
