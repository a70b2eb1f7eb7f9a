"""The inputs of the kit's cases, drawn at random for the sizes of the models.

A function draws the calls of one case. With the default sizes and a seed, it always draws the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np

from minibiogpt.golden.kit.limits import EVERY_ID, Limits, Sizes
from minibiogpt.golden.kit.models import FLAT_TOKENS, ID2LABEL, QUIET_POSITIONS, draw_nonzero, round_to_bfloat16

Call = dict[str, np.ndarray]  # keyword arguments of a model call
PAD, FIRST_ORDINARY = 1, 4  # the id of <pad>, and the first id that is no special token
SPLIT = ((0, 5), (5, 6), (6, 12))  # the calls of a case with a cache
WIDEST = 30  # positions of a case with every id
TELLING_IDS = (0, 1, 2, 3, 255, 256, 2049, 32767, 32768)  # of those in the vocabulary, besides the last two


@dataclass(frozen=True)
class Draw:
    """Where a case's inputs come from: a random generator and the sizes.

    Attributes
    ----------
    rows, length : batch size and length of most cases; in the default sizes, no other axis has these sizes.
    long : length of the cases with one text.
    every_id : whether the vocabulary is small enough for a case with every id.
    """

    rng: np.random.Generator
    sizes: Sizes
    rows: int
    length: int
    long: int
    every_id: bool

    @classmethod
    def of(cls, rng: np.random.Generator, limits: Limits) -> Draw:
        """Return a Draw whose batch size and lengths differ from the sizes of the models."""
        sizes = limits.sizes
        taken = set(sizes.letters.values())
        rows = min(limits.rows or 5, next(n for n in (4, 3, 5) if n not in taken))
        length = next(n for n in count(6) if n not in taken)
        long = next((n for n in (13, 14, 15, 16) if n not in taken), 13)
        chunks = -(-sizes.V // min(WIDEST, sizes.N - 1))
        every_id = sizes.V <= EVERY_ID and chunks <= (limits.rows or chunks)
        return cls(rng, sizes, rows, length, long, every_id)

    def ids(self, rows: int | None = None, length: int | None = None) -> np.ndarray:
        """Draw (rows, length) ordinary tokens, neither special nor flat."""
        ordinary = np.setdiff1d(np.arange(FIRST_ORDINARY, self.sizes.V), FLAT_TOKENS)
        return self.rng.choice(ordinary, (rows or self.rows, length or self.length))

    def padded(self, mask: list[list[int]], telling: int = 0) -> Call:
        """Draw ordinary ids, with <pad> where the mask is 0.

        The mask has 4 x 6 numbers. Further columns repeat the last one, and a further row the first one. Of fewer rows,
        the one at ``telling`` is the first.
        """
        rows = [row + row[-1:] * (self.length - len(row)) for row in mask]
        if self.rows < len(rows):
            rows = [rows[telling], *rows[:telling], *rows[telling + 1 :]]
        real = np.array((rows + rows[:1])[: self.rows])
        return {"input_ids": np.where(real == 1, self.ids(*real.shape), PAD), "attention_mask": real}


def _put(x: np.ndarray, at: list[tuple[int, int]], value: int) -> None:
    """Put a value into these elements of x, as far as x has their rows."""
    for row, column in at:
        if row < len(x):
            x[row, column] = value


LEFT = [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
RIGHT = [row[::-1] for row in LEFT]
HOLE = [[1, 1, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 1], [0, 1, 1, 0, 0, 1]]
MIXED = [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0], [1, 1, 0, 1, 1, 1]]
BLIND = [[1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]


def one_text(draw: Draw) -> Call:
    return {"input_ids": draw.ids(1, draw.long)}


def one_short_text(draw: Draw) -> Call:
    return {"input_ids": draw.ids(1, draw.length)}


def one_token(draw: Draw) -> Call:
    return {"input_ids": draw.ids(draw.rows, 1)}


def longest(draw: Draw) -> Call:
    return {"input_ids": draw.ids(1, draw.sizes.N)}


def with_mask(mask: list[list[int]], telling: int = 0) -> Callable[[Draw], Call]:
    return lambda draw: draw.padded(mask, telling)


def nearly_constant(draw: Draw) -> Call:
    """Put the flat tokens at the quiet positions."""
    ids = draw.ids(1, QUIET_POSITIONS[-1] + 1)
    ids[0, list(QUIET_POSITIONS)] = FLAT_TOKENS
    return {"input_ids": ids}


def equal_scores(draw: Draw) -> Call:
    """Repeat one token at one position: all keys are equal."""
    T = draw.length
    return {"input_ids": np.tile(draw.ids(1, 1), (1, T)), "position_ids": np.full((1, T), 3)}


def repeated_token(draw: Draw) -> Call:
    return {"input_ids": np.tile(draw.ids(1, 1), (1, draw.length))}


def pad_id_in_text(draw: Draw) -> Call:
    ids = draw.ids()
    _put(ids, [(0, 2), (0, 3), (1, 0), (3, 5)], PAD)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def explicit_positions(draw: Draw) -> Call:
    N = draw.sizes.N
    positions = np.array([[0, N - 1, 5, 0, -1, 12, N - 2, 4, 3, 2, -1]])
    return {"input_ids": draw.ids(*positions.shape), "position_ids": positions}


def cache_steps(draw: Draw) -> list[Call]:
    ids = draw.ids(draw.rows, SPLIT[-1][1])
    return [{"input_ids": ids[:, a:b]} for a, b in SPLIT]


def cache_left_pad(draw: Draw) -> list[Call]:
    mask = [[int(t >= pads) for t in range(SPLIT[-1][1])] for pads in (2, 0, 4, 1)]
    call = draw.padded(mask)
    ids, real = call["input_ids"], call["attention_mask"]
    return [{"input_ids": ids[:, a:b], "attention_mask": real[:, :b]} for a, b in SPLIT]


def _of_heads(three: list[float], heads: int) -> list[float]:
    """Return a number for each head, all different: three given ones, and those plus 1/4, 1/2, ..."""
    return [three[head % 3] + head // 3 / 4 for head in range(heads)]


def head_mask(draw: Draw) -> Call:
    return {"input_ids": draw.ids(1, draw.length), "head_mask": np.array(_of_heads([0.5, 0.0, 1.75], draw.sizes.H))}


def head_mask_layers(draw: Draw) -> Call:
    layers = [_of_heads(three, draw.sizes.H) for three in ([0.25, 1.5, 0.0], [-0.5, 0.75, 1.25])]
    return draw.padded(MIXED) | {"head_mask": np.array(layers)}


def inputs_embeds(draw: Draw) -> Call:
    x = draw_nonzero(draw.rng, (1, draw.length, draw.sizes.D), 0.1, 1.9)
    return {"inputs_embeds": round_to_bfloat16(x).astype(np.float64)}


def all_ids(draw: Draw) -> Call:
    """Arrange every id in rows, with the last one repeated; by default the 149 ids as 5 x 30.

    If they are too many, one row has the first, the last, and others from the whole range.
    """
    V, width = draw.sizes.V, min(WIDEST, draw.sizes.N - 1)
    if not draw.every_id:
        width = 15
        telling = [i for i in TELLING_IDS if i < V - 2] + [V - 2, V - 1]
        others = np.linspace(FIRST_ORDINARY, V - 3, 2 * width, dtype=int)
        more = draw.rng.choice(np.setdiff1d(others, telling), width - len(telling), replace=False)
        return {"input_ids": draw.rng.permutation(np.append(telling, more))[None]}
    rows = -(-V // width)
    ids = np.append(np.arange(V), np.full(rows * width - V, V - 1))
    return {"input_ids": draw.rng.permutation(ids).reshape(rows, width)}


def lm_loss(draw: Draw) -> Call:
    call = draw.padded(RIGHT)
    labels = np.where(call["attention_mask"] == 1, draw.ids(*call["input_ids"].shape), -100)
    _put(labels, [(1, 0), (1, 3)], -100)
    return call | {"labels": labels}


def classes(mask: list[list[int]]) -> Callable[[Draw], Call]:
    """Return a function that draws one class for each text."""
    return lambda draw: draw.padded(mask) | {"labels": draw.rng.permutation(len(ID2LABEL))[: draw.rows]}


def sequence_pad_in_text(draw: Draw) -> Call:
    call = draw.padded(RIGHT)
    _put(call["input_ids"], [(0, 1), (1, 2), (1, 3)], PAD)
    return call


def regression(draw: Draw) -> Call:
    call = draw.padded(RIGHT)
    return call | {"labels": round_to_bfloat16(draw_nonzero(draw.rng, (draw.rows,), 0.5, 3)).astype(np.float64)}


def several_labels(draw: Draw) -> Call:
    labels = [[1, 0, 0, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0]]
    return draw.padded(RIGHT) | {"labels": np.array(labels[: draw.rows], dtype=np.float64)}


def token_labels(draw: Draw) -> Call:
    """Label some real tokens -100, and padding with classes, which the mask excludes."""
    labels = draw.rng.integers(0, len(ID2LABEL), (draw.rows, draw.length))
    _put(labels, [(0, 2), (1, 4), (2, 3)], -100)
    return draw.padded(MIXED) | {"labels": labels}
