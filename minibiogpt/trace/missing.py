"""Names that matched no array: why a call has none of that name, or what the caller may have meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from minibiogpt.catalog.names import STEP
from minibiogpt.errors import InputError, short_repr
from minibiogpt.trace.patterns import Pattern, alternatives

NOT_BLOCKED = ("scores", "scores_masked", "probs", "weights")  # arrays that only eager attention makes
EAGER = "arrays inside attention need attn_implementation 'auto' or 'eager'"
HEAD_OUT = "compute head_out with minibiogpt.lens.head_out(model, trace, layer)"
HEAD = "only a model with a head computes it"
GENERATE = "only a generate call has one"
SCORE = "only a sequence classifier has one; those of attention are layers.{l}.self_attn.scores"
PROCESSORS = "processors."


def check_all_matched(
    patterns: Iterable[Pattern],
    names: Iterable[str],
    must: str,
    hint: str = "",
    made: Collection[str] = (),
    editing: bool = False,
) -> None:
    """Check that every pattern has matched a name.

    Parameters
    ----------
    names : of which the closest are suggested.
    must : the error's first part. hint : follows "correct the name".
    made : the arrays of the call; for a name that such a call makes under other
        conditions, the error says which.
    editing : whether the names are those of edits.

    Raises
    ------
    InputError
        If one has not; the message says what it takes, or suggests corrections and the closest of ``names``.
    """
    missed = [pattern for pattern in patterns if not pattern.matched]
    if missed:
        known, unknown, remedies = list(names), [], []
        for pattern in missed[:3]:
            why = reason(pattern, made, editing=editing) if made else ""
            unknown.append(f"{short_repr(pattern.text)}{_hint_of(pattern, [] if why else known)}")
            remedies.append(why or f"correct the name{hint}")
        more = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
        raise InputError(must, f"none called {'; '.join(unknown)}{more}", "; ".join(dict.fromkeys(remedies)))


def in_lists(patterns: Iterable[Pattern], names: Iterable[str]) -> list[Pattern]:
    """Return the patterns, and the entries of their lists in braces that match none of the names.

    ``{q,x}`` matches q, so a misspelled x shows only if each entry is checked. A range may go beyond the last layer.
    """
    found, every = [], dict.fromkeys(names)
    plain = dict.fromkeys(name.rpartition("/")[2] for name in every)
    for pattern in patterns:
        found.append(pattern)
        entries = alternatives(pattern.text) if pattern.matched else []
        for entry in map(Pattern, entries if len(entries) > 1 else ()):
            known = every if "/" in entry.text else plain
            if entry.text not in known and not any(map(entry.matches, known)):
                found.append(entry)
                break
            entry.matched = True
    return found


def reason(pattern: Pattern, made: Collection[str], *, editing: bool = False) -> str:
    """Return why a call that made these arrays has none of this name, or what it takes; "" for an unknown name."""
    starts = dict.fromkeys(found[0] if (found := STEP.match(name)) else "" for name in made)
    generating = any(starts)
    inside = [name.removesuffix("v") for name in made if name.endswith(".self_attn.v")]
    no_head = not any(name.endswith("logits") for name in made)
    no_loss = "generate computes no loss" if generating else HEAD if no_head else "the loss needs labels"
    reasons: list[tuple[Iterable[str], str]] = [
        (made if editing else (), "it can be recorded, but not replaced"),
        ([path + name for path in inside for name in NOT_BLOCKED], EAGER),
        ([f"{path}head_out" for path in inside], "edit context, from which it is computed" if editing else HEAD_OUT),
        ([f"{start}loss" for start in starts], no_loss),
        ([f"{start}score" for start in starts], SCORE),
        ([f"{start}logits" for start in starts], HEAD),
        ([f"{start}origins" for start in starts], "only beam search has one" if generating else GENERATE),
        ([f"{start}tokens" for start in starts], GENERATE),
    ]
    for names, why in reasons:
        if any([pattern.matches(name) for name in names]):
            return why
    if pattern.text.rpartition("/")[2].startswith(PROCESSORS) and not any(PROCESSORS in name for name in made):
        return "this generate call has no logits processors" if generating else GENERATE
    return ""


def with_eager(names: Iterable[str]) -> list[str]:
    """Return the names, and those of the arrays that the call would have made in eager attention."""
    found = dict.fromkeys(names)
    inside = [f"{name.removesuffix('v')}{x}" for name in found if name.endswith(".self_attn.v") for x in NOT_BLOCKED]
    return list(found | dict.fromkeys(inside))


def how_to_record(name: str) -> str:
    """Return the advice for an array that a call like this one can make, but that its trace does not hold."""
    plain = STEP.sub("", name, count=1)
    if plain == "loss":
        return "pass labels"
    if plain == "origins":
        return "only beam search has them: generate with num_beams"
    attention = f"; {EAGER}" if plain.endswith(tuple(f".self_attn.{x}" for x in NOT_BLOCKED)) else ""
    return f"record it: Trace() records all names{attention}"


def suggested(missed: str, known: list[str], *, patterns: bool = False) -> str:
    """Return what the caller may have meant by a name that is not known, which layers and which steps there are."""
    from minibiogpt.catalog.similar import suggestion

    steps = [int(found[1]) for name in known if (found := STEP.match(name))]
    one = STEP.match(missed)
    outside = f"the steps are 0 to {max(steps)}" if one and steps and int(one[1]) > max(steps) else ""
    return "; ".join(
        part for part in (suggestion(missed, comparable(missed, known), patterns=patterns), outside) if part
    )


def _hint_of(pattern: Pattern, known: list[str]) -> str:
    """Return what the caller may have meant, in parentheses; "" if nothing is known."""
    if not known:
        return ""
    ours = f"here {pattern.meant}" if pattern.meant != pattern.text else ""
    text = "; ".join(part for part in (ours, suggested(pattern.meant, known, patterns=True)) if part)
    return f" ({text})" if text else ""


def comparable(missed: str, known: list[str]) -> list[str]:
    """Return the names of one step of a ``generate`` call: the step of ``missed``, or else the last one."""
    steps = [found[0][:-1] if (found := STEP.match(name)) else "" for name in known]
    found = STEP.match(missed)
    if not found:
        return list(dict.fromkeys(name[len(step) + bool(step) :] for name, step in zip(known, steps, strict=True)))
    step = found[0][:-1]
    step = step if step in steps or not steps else steps[-1]
    return [name for name, prefix in zip(known, steps, strict=True) if prefix == step]
