"""The seeds of pipelines that sample."""

from __future__ import annotations

import numpy as np

from minibiogpt.checks import checked_integer

_STATE: dict[str, np.random.Generator] = {}


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Make the random draws of later pipeline calls repeatable.

    Every call of a pipeline that samples takes a fresh seed from one generator for the whole process, so that two
    equal calls differ. ``set_seed`` starts this generator again. Without it, the generator starts as after
    ``set_seed(0)``, so that a program prints the same texts whenever it is run. ``generate`` is not affected: its
    ``seed`` is an argument.

    Parameters
    ----------
    seed : an integer, 0 or more.
    deterministic : accepted because transformers has it; the same seed always gives the same draws here.

    Raises
    ------
    InputError
        If ``seed`` is not such an integer.

    Source: set_seed in transformers 4.57, which seeds the generators of Python, NumPy and PyTorch.

    Examples
    --------
    >>> set_seed(42)
    >>> first = next_seed(), next_seed()
    >>> set_seed(42)
    >>> first == (next_seed(), next_seed()), first[0] == first[1]
    (True, False)
    """
    _STATE["rng"] = np.random.default_rng(checked_integer("seed", seed, 0))


def next_seed() -> int:
    """Return the seed of the next pipeline call that samples."""
    if not _STATE:
        set_seed(0)
    return int(_STATE["rng"].integers(0, 1 << 62))
