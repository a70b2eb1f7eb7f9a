"""Which tokens of each text a row keeps: one row cut to a length, or overlapping windows over a long text."""

from __future__ import annotations

from collections.abc import Sequence

from minibiogpt.errors import InputError

STRATEGIES = ("longest_first", "only_first", "only_second", "do_not_truncate")
Cut = tuple[int, int]  # a row keeps the tokens [start, stop) of a text


def kept(lengths: Sequence[int], room: int, strategy: str, side: str) -> list[Cut]:
    """Return what one row keeps of its texts, in tokens.

    Parameters
    ----------
    lengths : the tokens of the text, or of both texts of a pair. room : the tokens that fit, without added ones.
    side : "right" cuts the ends of the texts, "left" their beginnings.

    Raises
    ------
    InputError
        If "only_first" or "only_second" would have to remove all of that text, or there is no second text.
        (transformers logs an error and returns the row uncut.)

    Examples
    --------
    >>> kept([5, 3], 6, "longest_first", "right"), kept([5, 3], 6, "only_second", "left")
    ([(0, 3), (0, 3)], [(0, 5), (2, 3)])
    """
    surplus = sum(lengths) - room
    if strategy == "do_not_truncate" or surplus <= 0:
        return [(0, length) for length in lengths]
    cuts = (max(length - cut, 0) for length, cut in zip(lengths, _removed(lengths, surplus, strategy), strict=True))
    return [_at(length, keep, side) for length, keep in zip(lengths, cuts, strict=True)]


def windows(lengths: Sequence[int], room: int, strategy: str, side: str, stride: int) -> list[list[Cut]]:
    """Return what each of several rows keeps, so that together they hold the whole of one text.

    Successive windows share ``stride`` tokens. With the side "left", the first row has the end of the text.

    Source: fast tokenizers in transformers 4.57 (overflowing tokens as further rows).

    Raises
    ------
    InputError
        As ``kept``; if ``stride`` tokens fill a row; for a pair with "longest_first".

    Examples
    --------
    >>> windows([7], 4, "longest_first", "right", 1), windows([7], 4, "longest_first", "left", 2)
    ([[(0, 4)], [(3, 7)]], [[(3, 7)], [(1, 5)], [(0, 3)]])
    """
    if strategy == "longest_first" and len(lengths) == 2:
        must = "return_overflowing_tokens must know which text of a pair to split"
        raise InputError(must, "truncation='longest_first'", "write truncation='only_first' or 'only_second'")
    surplus = sum(lengths) - room
    whole = [(0, length) for length in lengths]
    if strategy == "do_not_truncate" or surplus <= 0:
        return [whole]
    target = 1 if strategy == "only_second" else 0
    cut = _removed(lengths, surplus, strategy)[target]
    width = lengths[target] - cut if cut else 0  # no cut: a single text of which nothing would remain
    if stride >= width:
        must = "stride must be smaller than the tokens of the text that fit into a row"
        raise InputError(must, f"stride {stride}, and room for {width}", "decrease stride or increase max_length")
    length, spans = lengths[target], []
    for start in range(0, length, width - stride):
        spans.append((start, min(start + width, length)))
        if start + width >= length:
            break
    if side == "left":
        spans = [(length - stop, length - start) for start, stop in spans]
    return [[*whole[:target], span, *whole[target + 1 :]] for span in spans]


def _removed(lengths: Sequence[int], surplus: int, strategy: str) -> list[int]:
    """Return how many tokens to remove from each text."""
    if strategy == "longest_first":
        return _longest_first(lengths, surplus)
    target = 0 if strategy == "only_first" else 1
    if target == len(lengths):
        must = "truncation='only_second' must have a second text"
        raise InputError(must, f"one text with {surplus} tokens too many", "pass text_pair, or truncation=True")
    if surplus >= lengths[target]:
        must = f"truncation={strategy!r} must leave at least one token of that text"
        found = f"{surplus} of its {lengths[target]} tokens to remove"
        raise InputError(must, found, "increase max_length or write truncation='longest_first'")
    return [surplus if i == target else 0 for i in range(len(lengths))]


def _longest_first(lengths: Sequence[int], surplus: int) -> list[int]:
    """Return how much to cut from each: from the longer of a pair until both are equal, then alternately."""
    if len(lengths) == 1:
        return [surplus if surplus < lengths[0] else 0]  # as in transformers: a single text is never cut to nothing
    first, second = lengths
    uneven = min(abs(first - second), surplus)
    rest = surplus - uneven
    if first > second:
        return [uneven + rest // 2, rest - rest // 2]
    return [rest // 2, uneven + rest - rest // 2]


def _at(length: int, keep: int, side: str) -> Cut:
    return (length - keep, length) if side == "left" else (0, keep)
