"""What a port cannot do, and the sizes of a kit that does not ask for it.

Without limits, the kit's models have the sizes of ``Sizes()``: all different, so that a misplaced axis shows. Limits
change as few of them as possible, and keep them different where they can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

from minibiogpt.checks import checked_integer
from minibiogpt.errors import InputError

PIECES = 149  # of the kit's own vocabulary
REAL_VOCABULARY = 42384  # of the published base model
LARGE_VOCABULARY = 4096  # above it, cases with many positions have no logits
EVERY_ID = 1024  # largest vocabulary of which a case uses every id
# {field: the smallest and the largest value}. The cases use up to 13 tokens and position 12; heads need a few columns.
BOUNDS = {
    "hidden": (16, 8192), "heads": (2, 256), "positions": (16, 8192), "multiple_of": (1, 1024), "rows": (1, 64),
    "vocabulary": (PIECES, 1_000_000),
}  # fmt: skip
LEAST_HEAD_WIDTH = 4
HEADS = (3, 5, 7, 4, 2, 6, 8)  # tried in this order, if the hidden size is given


@dataclass(frozen=True)
class Sizes:
    """The sizes of the kit's models, by their letters."""

    V: int = PIECES
    D: int = 21
    L: int = 2
    H: int = 3
    F: int = 37
    N: int = 31

    @property
    def config(self) -> dict[str, Any]:
        """The fields of a config."""
        return {
            "vocab_size": self.V, "hidden_size": self.D, "num_hidden_layers": self.L, "num_attention_heads": self.H,
            "intermediate_size": self.F, "max_position_embeddings": self.N,
        }  # fmt: skip

    @property
    def letters(self) -> dict[str, int]:
        """{letter: size}, with the head width Dh."""
        return asdict(self) | {"Dh": self.D // self.H}


DEFAULT_SIZES = Sizes()


@dataclass(frozen=True)
class Limits:
    """The limits of a port; the default is none.

    Attributes
    ----------
    hidden, heads, positions : the sizes D, H and N.
    multiple_of : of which D, F and V are multiples, and the head width too if it is free: a block of quantised weights.
    rows : largest number of rows in a batch.
    mask : whether the port takes an attention_mask.
    vocabulary : the size V, which ``multiple_of`` rounds up.
    float16 : whether the port computes everything in float16, also the products before they are scaled.

    Examples
    --------
    >>> Limits().sizes == Sizes()
    True
    >>> Limits(multiple_of=32).sizes
    Sizes(V=160, D=96, L=2, H=3, F=64, N=31)
    """

    hidden: int | None = None
    heads: int | None = None
    positions: int | None = None
    multiple_of: int = 1
    rows: int | None = None
    mask: bool = True
    vocabulary: int | None = None
    float16: bool = False

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            if getattr(self, name) is not None:
                checked_integer(name, getattr(self, name), low, high)
        if self.hidden is not None and self.hidden % self.multiple_of:
            nearest = -(-self.hidden // self.multiple_of) * self.multiple_of
            must = f"the hidden size must be a multiple of {self.multiple_of}"
            raise InputError(must, str(self.hidden), f"choose {nearest}, or another multiple_of")
        if self.hidden is not None and self.heads is not None and not _fits(self.hidden, self.heads):
            must = f"the hidden size must be a multiple of heads, at least {LEAST_HEAD_WIDTH} times as large"
            raise InputError(must, f"{self.hidden} and {self.heads} heads", "choose other sizes")

    @property
    def given(self) -> dict[str, Any]:
        """{field: value} of what is limited."""
        return {name: x for name, x in asdict(self).items() if x != getattr(NO_LIMITS, name)}

    @property
    def options(self) -> str:
        """The limits as options of the command."""
        words = []
        for name, x in self.given.items():
            option = "--no-mask" if name == "mask" else f"--{name.replace('_', '-')}"
            words.append(option if isinstance(x, bool) else f"{option} {x}")
        return " ".join(words)

    @property
    def sizes(self) -> Sizes:
        """The sizes of the models."""
        m, default = self.multiple_of, DEFAULT_SIZES
        V = -(-(self.vocabulary or default.V) // m) * m
        N = self.positions or default.N
        D, H = self._hidden_and_heads({V, N})
        taken = {V, N, D, H, D // H}
        F = next(size for size in _multiples(m, default.F) if size not in taken)
        return Sizes(V, D, default.L, H, F, N)

    def _hidden_and_heads(self, taken: set[int]) -> tuple[int, int]:
        """Return D and H: what is given, and the rest different from all others, if possible."""
        m, least = self.multiple_of, DEFAULT_SIZES.D // DEFAULT_SIZES.H
        if self.hidden is None:
            H = self.heads or DEFAULT_SIZES.H
            widths = (width for width in _multiples(m, least) if width * H >= BOUNDS["hidden"][0])
            Dh = next(width for width in widths if not {width, width * H} & (taken | {H}))
            return Dh * H, H
        D = self.hidden
        if self.heads is not None:
            return D, self.heads
        possible = [H for H in HEADS if _fits(D, H)]
        if not possible:
            must = f"the hidden size must be a multiple of one of {', '.join(map(str, sorted(HEADS)))}"
            raise InputError(must, str(D), "give a number of heads too, or choose another size")
        return D, min(possible, key=lambda H: (D // H % m > 0, not _differ(taken, H, D // H, D)))


NO_LIMITS = Limits()


def _fits(D: int, H: int) -> bool:
    return D % H == 0 and D // H >= LEAST_HEAD_WIDTH


def _differ(taken: set[int], *sizes: int) -> bool:
    return len(taken | set(sizes)) == len(taken) + len(sizes)


def _multiples(of: int, least: int) -> Iterator[int]:
    """Yield the multiples of a number that are not below ``least``, upwards."""
    return (of * n for n in count(-(-least // of)))
