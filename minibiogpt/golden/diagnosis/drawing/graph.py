"""The graph of one call as SVG: a box for each array, a column for each layer, and a line from each source.

The rows are aligned over the layers, and residuals run beside the boxes that they skip, so that a mistake that is made
in every layer is a coloured row, and one that is made in one layer a single box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from minibiogpt.catalog.names import LAYER, STEP
from minibiogpt.catalog.steps import Step
from minibiogpt.golden.diagnosis.drawing.marks import ABSENT_MARK, WRONG, Mark, safe

ROW, BOX, GAP = 25, 16, 3  # pixels: from one row to the next, height of a box, and between lanes
HEAD, LABELS, MARGIN = 20, 138, 4  # pixels: height of the layers' numbers, width of the rows' names, and margin
LANES, WIDTH = 3, 1200  # lanes of a layer, and pixels that all layers may take
MIN_LANE, MAX_LANE, MIN_GUTTER, MAX_GUTTER = 12, 46, 8, 18
WORDS = 100  # pixels from which a box has room for its error in words
PRINTED = 680  # pixels of the width of a printed page
TOGETHER = ({"q_proj", "k_proj", "v_proj"}, {"q", "k", "v"})  # in one row
LANE_OF = {"q_proj": (0, 0), "k_proj": (1, 1), "v_proj": (2, 2), "q": (0, 0), "k": (1, 1), "v": (2, 2)}
LANE_OF |= dict.fromkeys(("scores", "scores_masked", "probs", "weights"), (0, 1))  # v passes beside them
LANE_OF |= dict.fromkeys(("final_layer_norm", "fc1", "activation_fn", "fc2"), (0, 1))  # the residual passes
HALVES = {"embed_tokens": (0, 0), "position_ids": (1, 1), "embed_positions": (1, 1)}
BEFORE, AFTER = "before", "after"
COLORS = 6  # of causes; the seventh has that of the first again, and its own number


@dataclass(frozen=True)
class Box:
    """One array: its place in the picture. ``column`` is its layer, "before" or "after"; ``lanes`` first and last."""

    name: str
    column: int | str
    row: int
    lanes: tuple[int, int]
    x: float
    width: float

    @property
    def top(self) -> float:
        return HEAD + self.row * ROW

    @property
    def bottom(self) -> float:
        return self.top + BOX

    @property
    def middle(self) -> float:
        return self.top + BOX / 2


def graph(steps: Mapping[str, Step], marks: Mapping[str, Mark], label: str, first: str | None = None) -> str:
    """Return the pictures of one call: the names of the rows, which stay in place, and the boxes, which scroll.

    Parameters
    ----------
    steps : {full name: step} of the call, in the order of execution.
    marks : {full name: mark}; arrays without one are in neither.
    label : what the picture shows, for those who cannot see it.
    first : the array that is outlined.
    """
    layout = Layout(steps)
    height = HEAD + len(layout.rows) * ROW
    boxes = "".join(_box(box, steps[box.name], marks.get(box.name, ABSENT_MARK)) for box in layout.boxes.values())
    ring = _ring(layout.boxes[first]) if first in layout.boxes else ""
    fit = min(1.0, PRINTED / (LABELS + layout.width))
    return (
        f'<div class="graph" tabindex="0" role="region" aria-label="{safe(label)}" style="--fit: {fit:.2f}">'
        f'<svg class="labels" width="{LABELS}" height="{height}" viewBox="0 0 {LABELS} {height}" aria-hidden="true">'
        f"{_labels(layout)}</svg>"
        f'<svg width="{layout.width:.0f}" height="{height}" viewBox="0 0 {layout.width:.0f} {height}" role="img" '
        f'aria-label="{safe(label)}">{_layer_numbers(layout, marks)}{_lines(layout, steps)}{boxes}{ring}</svg></div>'
    )


class Layout:
    """Where each box is: ``rows`` are the names of each row's arrays, ``boxes`` {full name: box}."""

    def __init__(self, steps: Mapping[str, Step]) -> None:
        self.layers = sorted({layer for name in steps if isinstance(layer := column_of(name, False), int)})
        count = max(1, len(self.layers))
        self.gutter = max(MIN_GUTTER, min(MAX_GUTTER, WIDTH / count / 6))
        lane = (WIDTH / count - self.gutter - (LANES - 1) * GAP) / LANES
        self.lane = max(MIN_LANE, min(MAX_LANE, lane))
        self.column = self.gutter + LANES * self.lane + (LANES - 1) * GAP
        self.width = count * self.column + MARGIN
        self.rows: list[list[str]] = []
        self.boxes: dict[str, Box] = {}
        self._place(steps)

    def _place(self, steps: Mapping[str, Step]) -> None:
        rows: dict[tuple[int, str], int] = {}  # {(part, short name): row}
        over = False
        for name in steps:
            column = column_of(name, over)
            over = over or isinstance(column, int)
            short = short_name(name)
            key = ((BEFORE, AFTER).index(column) * 2 if isinstance(column, str) else 1, short)
            if key not in rows:
                if not (self.rows and any({short, *self.rows[-1]} <= group for group in TOGETHER)):
                    self.rows.append([])
                self.rows[-1].append(short)
                rows[key] = len(self.rows) - 1
            self.boxes[name] = self._box(name, column, rows[key], short)

    def _box(self, name: str, column: int | str, row: int, short: str) -> Box:
        if isinstance(column, int):
            first, last = lanes = LANE_OF.get(short, (0, LANES - 1))
            x = self.left(column) + first * (self.lane + GAP)
            return Box(name, column, row, lanes, x, (last - first + 1) * (self.lane + GAP) - GAP)
        left = MARGIN
        half = (self.width - 2 * MARGIN - GAP) / 2
        first, last = lanes = HALVES.get(short, (0, 1)) if column == BEFORE else (0, 1)
        return Box(name, column, row, lanes, left + first * (half + GAP), (last - first + 1) * (half + GAP) - GAP)

    def left(self, layer: int) -> float:
        """Return where the boxes of a layer begin."""
        return self.layers.index(layer) * self.column + self.gutter

    def lane_x(self, box: Box, lane: int) -> tuple[float, float]:
        """Return the left and right end of one lane of a box."""
        width = (box.width + GAP) / (box.lanes[1] - box.lanes[0] + 1)
        left = box.x + (lane - box.lanes[0]) * width
        return left, left + width - GAP


def column_of(name: str, over: bool) -> int | str:
    """Return the layer of an array; "before" the layers or "after" them. ``over``: a layer has been there."""
    found = LAYER.search(name)
    return int(found[1]) if found else AFTER if over else BEFORE


def short_name(name: str) -> str:
    """Return the name of an array's row.

    Examples
    --------
    >>> short_name("step.1/layers.2.self_attn.q_proj"), short_name("layers.2"), short_name("logits")
    ('q_proj', 'layers.l', 'logits')
    """
    plain_name = STEP.sub("", name, count=1)
    within = LAYER.sub("", plain_name, count=1)
    if within == plain_name:
        return plain_name
    return within.removeprefix(".").removeprefix("self_attn.") or "layers.l"


def _lines(layout: Layout, steps: Mapping[str, Step]) -> str:
    """Return one path with all lines, and one with all arrowheads."""
    lines, heads = [], []
    for name, step in steps.items():
        target = layout.boxes[name]
        for source in dict.fromkeys(step.sources):
            if source not in layout.boxes:
                continue  # of an earlier call: a cached key or value
            line, head = _line(layout, layout.boxes[source], target)
            lines.append(line)
            heads.append(head)
    return f'<path class="line" d="{"".join(lines)}"/><path class="tip" d="{"".join(heads)}"/>'


def _line(layout: Layout, source: Box, target: Box) -> tuple[str, str]:
    """Return the line from a source, and its arrowhead: straight down, or through the gutter before the layer."""
    if isinstance(target.column, int) and source.column != target.column:
        x, y = target.x - layout.gutter / 2, target.middle
        start = f"M{x:.1f},{source.bottom:.1f}" if source.column == BEFORE else f"M{source.x + source.width:.1f},"\
                f"{source.middle:.1f}H{x:.1f}"  # fmt: skip
        return f"{start}V{y:.1f}H{target.x - 2:.1f}", f"M{target.x:.1f},{y:.1f}l-4,-3v6z"
    x = _free_x(layout, source, target)
    return f"M{x:.1f},{source.bottom:.1f}V{target.top - 2:.1f}", f"M{x:.1f},{target.top:.1f}l-3,-4h6z"


def _free_x(layout: Layout, source: Box, target: Box) -> float:
    """Return where a line can go straight down: in the lanes that both have and no box between them takes."""
    if source.column != target.column:
        return source.x + source.width / 2
    shared = set(_lanes(source)) & set(_lanes(target))
    between = [box for box in layout.boxes.values() if box.column == source.column]
    taken = {lane for box in between if source.row < box.row < target.row for lane in _lanes(box)}
    free = sorted(shared - taken) or sorted(shared) or [source.lanes[0]]
    narrow = source if source.width <= target.width else target
    return (layout.lane_x(narrow, free[0])[0] + layout.lane_x(narrow, free[-1])[1]) / 2


def _lanes(box: Box) -> range:
    return range(box.lanes[0], box.lanes[1] + 1)


def _labels(layout: Layout) -> str:
    parts = []
    for i, names in enumerate(layout.rows):
        y = HEAD + i * ROW + BOX / 2 + 4
        parts.append(f'<text x="{LABELS - 8}" y="{y:.0f}" text-anchor="end">{safe("  ".join(names))}</text>')
    return f'<text x="{LABELS - 8}" y="12" text-anchor="end">layer</text>{"".join(parts)}'


def _layer_numbers(layout: Layout, marks: Mapping[str, Mark]) -> str:
    wrong = {box.column for box in layout.boxes.values() if marks.get(box.name, ABSENT_MARK).state in WRONG}
    parts = []
    for layer in layout.layers:
        x = layout.left(layer) + (layout.column - layout.gutter) / 2
        css = ' class="strong"' if layer in wrong else ""
        parts.append(f'<text x="{x:.1f}" y="12" text-anchor="middle"{css}>{layer}</text>')
    return "".join(parts)


def _box(box: Box, step: Step, mark: Mark) -> str:
    sign = mark.sign
    if mark.own is not None and sign and box.width >= WORDS:
        sign += f": {mark.own_error}"
    wide = isinstance(box.column, str)
    x, anchor = (box.x + 8, "start") if wide else (box.x + box.width / 2, "middle")
    text = f'<text x="{x:.1f}" y="{box.top + 12:.0f}" text-anchor="{anchor}">{safe(sign)}</text>' if sign else ""
    return (
        f'<g class="box {css_of(mark)}"><title>{safe("; ".join(_title(box.name, step, mark)))}</title>'
        f'<rect x="{box.x:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" height="{BOX}" rx="2"/>{text}</g>'
    )


def _title(name: str, step: Step, mark: Mark) -> Iterator[str]:
    yield name
    yield f"own error {mark.own_error}" + (f", cause {mark.number}" if mark.number else "")
    yield f"against the case {mark.checked}"
    if step.equation:
        yield f"should be {step.equation}"
    if any("past_key_values" in source for source in step.where.values()):
        yield "also from the cache"


def css_of(mark: Mark) -> str:
    """Return the classes of an array's box or cell: its state, and the colour of its cause."""
    return f"{mark.state} c{(mark.number - 1) % COLORS}" if mark.number else mark.state


def _ring(box: Box) -> str:
    return (
        f'<rect class="ring" x="{box.x - 3:.1f}" y="{box.top - 3:.1f}" width="{box.width + 6:.1f}" '
        f'height="{BOX + 6}" rx="4"/>'
    )
