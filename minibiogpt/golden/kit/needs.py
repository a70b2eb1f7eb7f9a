"""What each case of a kit asks of an implementation, and what the kit does not show because of its limits."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from minibiogpt.errors import listed
from minibiogpt.golden.kit.inputs import Call
from minibiogpt.golden.kit.limits import LARGE_VOCABULARY, NO_LIMITS, PIECES, Limits
from minibiogpt.golden.kit.models import CHECKPOINTS, ID2LABEL
from minibiogpt.golden.kit.probes import MOST_POSITIONS, Probe, mistakes_not_shown
from minibiogpt.heads import BioGptForCausalLM

WIDTH = 119
INPUTS = ("attention_mask", "position_ids", "head_mask", "inputs_embeds", "labels")


def rows_and_positions(call: Call) -> tuple[int, int]:
    """Return B and T of a call."""
    B, T = (call["input_ids"] if "input_ids" in call else call["inputs_embeds"]).shape[:2]
    return B, T


def needs_of(probe: Probe) -> list[str]:
    """Return what the case needs besides input_ids, one text and a language model whose head is the embedding.

    Examples
    --------
    >>> from minibiogpt.golden.kit.probes import probes
    >>> needs_of(probes()["cache_left_pad"])
    ['several rows', 'a cache', 'attention_mask']
    """
    checkpoint = CHECKPOINTS[probe.model]
    kind = checkpoint.model_class
    found = [] if kind is BioGptForCausalLM else [kind.__name__]
    found += [f"{key} false" for key, value in checkpoint.changes.items() if value is False]
    found += ["several rows"] * any(rows_and_positions(call)[0] > 1 for call in probe.calls)
    found += ["a cache"] * (len(probe.calls) > 1)
    return found + [name for name in INPUTS if any(name in call for call in probe.calls)]


def needs_table(chosen: Iterable[Probe]) -> str:
    """Return the rows of a table in Markdown: case, rows x positions of each call, what it needs."""
    lines = []
    for probe in chosen:
        shapes = ", ".join(f"{B} x {T}" for B, T in map(rows_and_positions, probe.calls))
        lines.append(f"| `{probe.name}` | {shapes} | {', '.join(needs_of(probe))} |")
    return "\n".join(lines)


def equal_letters(sizes: Mapping[str, int]) -> list[str]:
    """Return the letters of equal sizes, such as ["D and N are both 64"]."""
    groups: dict[int, list[str]] = {}
    for letter, size in sizes.items():
        groups.setdefault(size, []).append(letter)
    return [
        f"{' and '.join(letters)} are {'both' if len(letters) == 2 else 'all'} {size}"
        for size, letters in groups.items()
        if len(letters) > 1
    ]


def equal_axes(probe: Probe, limits: Limits) -> list[str]:
    """Return the axes of a case's arrays that have the same size, except S = T and what the model's sizes share."""
    letters = {letter: size for letter, size in limits.sizes.letters.items() if letter not in "LN"}
    if "id2label" in CHECKPOINTS[probe.model].changes:
        letters["labels"] = len(ID2LABEL)
    found, past = [], 0
    for call in probe.calls:
        B, T = rows_and_positions(call)
        own = {"B": B, "T": T} | ({"S": past + T} if past else {})
        every = equal_letters(own | letters)
        found += [text for text in every if set(text.partition(" are ")[0].split(" and ")) & set(own)]
        past += T
    return list(dict.fromkeys(found))


def limits_text(
    chosen: Sequence[Probe], limits: Limits, left_out: Mapping[str, str], own_weights: bool, pieces: int
) -> str:
    """Return the README's section about the limits; nothing without any."""
    if limits == NO_LIMITS and not own_weights and pieces == PIECES:
        return ""
    lines = list(_points(chosen, limits, left_out, pieces))
    if own_weights:
        lines.append(
            "The weights are given ones (`--weights`); the values and the budgets were computed with them. That the "
            "cases show their mistakes was tried with the kit's own weights."
        )
    written = f"This kit was written with `{limits.options}`.\n\n" if limits.options else ""
    points = "".join(wrapped(line, "- ") for line in lines)
    return f"## The limits of this kit\n\n{written}{points}" + "\n" * bool(points)


def wrapped(text: str, start: str = "") -> str:
    """Return a paragraph, or an item of a list, in lines of the README's width."""
    wrapper = textwrap.TextWrapper(WIDTH, break_on_hyphens=False, break_long_words=False)
    wrapper.initial_indent, wrapper.subsequent_indent = start, " " * len(start)
    return wrapper.fill(text) + "\n"


def _points(chosen: Sequence[Probe], limits: Limits, left_out: Mapping[str, str], pieces: int) -> Iterator[str]:
    sizes, m = limits.sizes, limits.multiple_of
    for why in dict.fromkeys(left_out.values()):
        names = [f"`{name}`" for name in left_out if left_out[name] == why]
        yield f"Left out: {', '.join(names)}: {why}."
    if limits != NO_LIMITS and (hidden := mistakes_not_shown(chosen)):
        yield f"No case is made to show these mistakes: {'; '.join(hidden)}."
    if m > 1:
        Dh = sizes.letters["Dh"]
        yield f"D, F and V are multiples of {m}; the width of a head, {Dh}, is {'not' if Dh % m else 'one, too'}."
    equal: dict[str, list[str]] = {}
    for probe in chosen:
        for text in equal_axes(probe, limits):
            equal.setdefault(text, []).append(f"`{probe.name}`")
    for text, names in equal.items():
        yield f"Axes of one size, which can be exchanged without changing the shape: {text} in {listed(names)}."
    if pieces < sizes.V:
        yield f"vocab.json has {pieces} pieces; ids from {pieces} to {sizes.V - 1} have a row of E, but no piece."
    if sizes.V > LARGE_VOCABULARY:
        yield f"`logits` are large: only cases with at most {MOST_POSITIONS} positions, all rows together, have them."
    if limits.float16:
        yield "float16 can represent every value, and every product of q and k before it is scaled."
