"""Wrong numbers, each of which a plausible mistake in ``golden check`` would let through."""

from __future__ import annotations

import numpy as np

from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.format.case import Case, sample_places
from minibiogpt.golden.report.text import place
from minibiogpt.golden.selftest.fixtures import Absent, Arrays, Attempt, Bench, Trial, arrays_of, trial

NUMBERS: list[Trial] = []
SHAPES: list[Trial] = []
BEYOND = 4.0  # budgets: little beyond one, so that a budget four times too large is noticed


def _add(b: Bench, axes: str, at: float, last: bool = False, ending: str = "") -> Attempt:
    """Move one element, at this part of the array, by little more than the budget."""
    name = b.find(axes, last, ending)

    def change(x: np.ndarray) -> None:
        i = round(at * (x.size - 1))
        x.reshape(-1)[i] += max(BEYOND * b.budget(name), 1e-14 * abs(x.reshape(-1)[i]))

    return b.changed(name, change)


NUMBERS += [
    Trial("one element changed: the first of the first array", lambda b: _add(b, "B T D", 0)),
    Trial("one element changed: in the middle of an array", lambda b: _add(b, "B T F", 0.5)),
    Trial("one element changed: the last of the last array", lambda b: _add(b, "B T V", 1, last=True)),
    Trial("one element changed: late in the largest array", lambda b: _add(b, "B T V", 0.93)),
    Trial("one element changed: of the probabilities", lambda b: _add(b, "B H T S", 0.4, True, ".probs")),
]


@trial("the sign of one element flipped", NUMBERS)
def _(b: Bench) -> Attempt:
    def flip(x: np.ndarray) -> None:
        at = np.unravel_index(np.abs(x).argmax(), x.shape)
        x[at] = -x[at]

    return b.changed(b.find("B T D", last=True), flip)


for _about, _change in {
    "every sign flipped": np.negative,
    "an array of zeros": np.zeros_like,
    "the absolute values": np.abs,
    "everything a little too large (1e-9 of it)": lambda x: x * (1 + 1e-9),
    "numbers of float16's size in a float64 file": lambda x: x.astype("float16").astype("float64"),
    "cut to integers": np.trunc,
}.items():
    NUMBERS.append(Trial(_about, lambda b, change=_change: b.changed(b.find("B T F"), change)))  # type: ignore[misc]


@trial("an offset of three budgets everywhere", NUMBERS)
def _(b: Bench) -> Attempt:
    name = b.find("B T V")
    return b.changed(name, lambda x: x + 3 * b.budget(name))


for _value, _word in ((np.nan, "1 NaN"), (np.inf, "1 infinite"), (-np.inf, "1 infinite")):

    def _one(b: Bench, value: float = _value, word: str = _word) -> Attempt:
        name = b.find("B T F", last=True)
        return b.changed(name, lambda x: np.put(x, x.size // 2, value), f"first difference at {name}", word)

    NUMBERS.append(Trial(f"{_value} at one place", _one))


@trial("nothing but NaN", NUMBERS)
def _(b: Bench) -> Attempt:
    return b.changed(b.find("B T D"), lambda x: np.full_like(x, np.nan))


@trial("NaN in every array", NUMBERS)
def _(b: Bench) -> Attempt:
    changed = {name: np.full_like(x, np.nan) for name, x in b.arrays.items() if x.dtype.kind == "f"}
    return b.attempt(dict(changed), f"first difference at {next(iter(changed))}")


@trial("zeros in every array", NUMBERS)
def _(b: Bench) -> Attempt:
    return b.attempt({name: np.zeros_like(x) for name, x in b.arrays.items()}, "first difference at")


@trial("integers off by one", NUMBERS)
def _(b: Bench) -> Attempt:
    return b.changed(b.find("B T"), lambda x: x + 1)


@trial("one integer off by one", NUMBERS)
def _(b: Bench) -> Attempt:
    return b.changed(b.find("B T"), lambda x: np.put(x, x.size - 1, x.flat[-1] - 1))


@trial("the rows of the batch exchanged", NUMBERS)
def _(b: Bench) -> Attempt:
    return b.changed(b.find("B T D", last=True), lambda x: x[::-1])


@trial("every array shifted by one position", NUMBERS)
def _(b: Bench) -> Attempt:
    moved = {name: np.roll(x, 1, 1) for name, x in b.arrays.items() if b.entries[name].axes.startswith("B T")}
    return b.attempt(dict(moved), "first difference at")


@trial("two arrays of one shape exchanged", NUMBERS)
def _(b: Bench) -> Attempt:
    first, last = b.find("B T D"), b.find("B T D", last=True)
    if first == last:
        raise Absent
    return b.attempt({first: b.arrays[last], last: b.arrays[first]}, f"first difference at {first}", last)


def _whole(arrays: Arrays, path: str, b: Bench, *words: str) -> Attempt:
    return Attempt([path, b.written(arrays)], list(words))


@trial("stale arrays, of other ids", NUMBERS)
def _(b: Bench) -> Attempt:
    own = b.folder / "main.safetensors"
    return _whole(b.stale, str(own), b, "first difference at embed_tokens")


@trial("one stale array in a right candidate", NUMBERS)
def _(b: Bench) -> Attempt:
    own, name = b.folder / "main.safetensors", "layers.1.fc2"
    return _whole(arrays_of(own) | {name: b.stale[name]}, str(own), b, f"first difference at {name}")


@trial("the reference of another model", NUMBERS)
def _(b: Bench) -> Attempt:
    return _whole(arrays_of(b.other), str(b.folder / "main.safetensors"), b, "V is 67, not 30011", "first difference")


@trial("other inputs", NUMBERS)
def _(b: Bench) -> Attempt:
    name = next(iter(b.inputs))
    return b.attempt({name: np.roll(b.inputs[name], 1)}, "ran on other inputs", name)


@trial("a step with a cache missing", NUMBERS)
def _(b: Bench) -> Attempt:
    kept = {name: x for name, x in arrays_of(b.steps).items() if name.startswith("step.0/")}
    return _whole(kept, str(b.steps), b, "step.1/embed_tokens", "missing from the candidate", "incomplete")


@trial("keys of the new positions only, without the cache", NUMBERS)
def _(b: Bench) -> Attempt:
    arrays, name = arrays_of(b.steps), "step.1/layers.0.self_attn.k"
    arrays[name] = arrays[name][:, :, -2:]
    return _whole(arrays, str(b.steps), b, "without the 5 positions of the cache", "the last 2 agree")


@trial("the second step's numbers from a run without a cache", NUMBERS)
def _(b: Bench) -> Attempt:
    arrays, name = arrays_of(b.steps), "step.1/layers.1"
    arrays[name] = arrays[name.replace("1/", "0/")][:, :2]
    return _whole(arrays, str(b.steps), b, f"first difference at {name}")


def _slim(b: Bench, sampled: bool) -> Attempt:
    """One element of the logits changed: the first sample, or the one behind it, which is none."""
    arrays, entry = arrays_of(b.folder / "main.safetensors"), Case.read(b.slim).entry("logits")
    at = int(sample_places(arrays["logits"].size, entry.samples or 1)[0])
    arrays["logits"].reshape(-1)[at if sampled else at + 1] += 1.0
    told = place(tuple(map(int, np.unravel_index(at, entry.shape))), entry.axes) if sampled else "the sum weighted"
    return _whole(arrays, str(b.slim), b, "first difference at logits", told)


def _rolled(b: Bench) -> Attempt:
    """Every element but the samples one place on: their sum and their squares are the same."""
    arrays, entry = arrays_of(b.folder / "main.safetensors"), Case.read(b.slim).entry("logits")
    flat = arrays["logits"].reshape(-1)
    others = np.setdiff1d(np.arange(flat.size), sample_places(flat.size, entry.samples or 1))
    flat[others] = np.roll(flat[others], 1)
    return _whole(arrays, str(b.slim), b, "first difference at logits", "the sum weighted")


NUMBERS += [
    Trial("a slim case: a sample changed", lambda b: _slim(b, True)),
    Trial("a slim case: an element changed that is no sample", lambda b: _slim(b, False)),
    Trial("a slim case: all but the samples in another order", _rolled),
]


def _marks(b: Bench, change: str) -> Attempt:
    name = b.find("B H T S", ending=".scores_masked")
    before, marked = b.arrays.get(name.removesuffix("_masked")), b.arrays[name] == LOWEST
    if before is None:
        raise Absent
    sighted = marked & ~marked.all(axis=-1, keepdims=True)  # marks in rows that see something
    first = sighted & (np.cumsum(sighted).reshape(marked.shape) == 1)
    found = {
        "visible": before,
        "weak": np.where(sighted, before - 700.0, b.arrays[name]),
        "uneven": np.where(marked & ~sighted, before * 1e5 - 1e6, b.arrays[name]),
        "zero": np.where(marked & ~sighted, 0.0, b.arrays[name]),
        "one visible": np.where(first, before, b.arrays[name]),
        "too many": np.where(np.arange(marked.shape[-1]) == 0, LOWEST, b.arrays[name]),
        "nan": np.where(marked, np.nan, before),
        "inf": np.where(marked, np.inf, before),
    }[change]
    if change in ("uneven", "zero") and not (marked & ~sighted).any():
        raise Absent
    return b.changed(name, lambda x: found)


NUMBERS += [
    Trial("hidden scores visible", lambda b: _marks(b, "visible")),
    Trial("one hidden score visible", lambda b: _marks(b, "one visible")),
    Trial("hidden scores not far enough below", lambda b: _marks(b, "weak")),
    Trial("the scores of a row that sees nothing uneven", lambda b: _marks(b, "uneven")),
    Trial("the scores of a row that sees nothing at zero", lambda b: _marks(b, "zero")),
    Trial("scores hidden that the reference sees", lambda b: _marks(b, "too many")),
    Trial("NaN in the place of hidden scores", lambda b: _marks(b, "nan")),
    Trial("+infinity in the place of hidden scores", lambda b: _marks(b, "inf")),
]


def _shaped(about: str, axes: str, change: object, word: str) -> None:
    """An array of another shape: it must be called not comparable, in these words."""

    def make(b: Bench) -> Attempt:
        name = b.find(axes)
        return b.changed(name, change, "not comparable", name, word)  # type: ignore[arg-type]

    SHAPES.append(Trial(about, make))


_shaped("the batch and the positions transposed", "B T F", lambda x: x.swapaxes(0, 1), "candidate axes are T B F")
_shaped("heads behind positions", "B H T Dh", lambda x: x.swapaxes(1, 2), "candidate axes are B T H Dh")
_shaped("cut short by a position", "B T D", lambda x: x[:, :-1], "1 missing")
_shaped("a position more", "B T D", lambda x: np.concatenate([x[:, :1], x], 1), "one more (a </s> in front?)")
_shaped("a column less", "B T F", lambda x: x[..., :-1], "1 missing")
_shaped("a vocabulary padded", "B T V", lambda x: np.pad(x, ((0, 0), (0, 0), (0, 5))), "5 columns more")
_shaped("one number in a list, to be broadcast", "B T F", lambda x: x.reshape(-1)[:1], "broadcast")
_shaped("a scalar, to be broadcast", "B T F", lambda x: np.float64(x.flat[0]), "broadcast")
_shaped("one row of each, to be broadcast", "B T F", lambda x: x[:, :1], "missing")
_shaped("without the batch", "B T F", lambda x: x[0], "the batch axis is missing")
_shaped("no numbers at all", "B T F", lambda x: x[:0], "no numbers")


@trial("heads interleaved inside D", SHAPES)
def _(b: Bench) -> Attempt:
    name = b.find("B T D", ending=".context")
    if b.heads < 2:
        raise Absent
    batch, length, size = b.arrays[name].shape
    apart = (batch, length, b.heads, size // b.heads)
    return b.changed(name, lambda x: x.reshape(apart).swapaxes(2, 3).reshape(x.shape), name, "B T Dh*H")
