"""Wrong values and shapes, each of which a plausible bug in ``golden check`` would let through."""

from __future__ import annotations

import numpy as np

from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.format.case import Case, sample_indices
from minibiogpt.golden.report.text import format_index
from minibiogpt.golden.selftest.fixtures import Arrays, CheckRun, NoSuchArray, Trial, Workspace, arrays_of, trial

VALUES: list[Trial] = []
SHAPES: list[Trial] = []
BEYOND = 4.0  # error in budgets: small, so that a budget four times too large is noticed


def _add(w: Workspace, axes: str, at: float, last: bool = False, ending: str = "") -> CheckRun:
    """Change one element by BEYOND budgets; ``at`` is its position as a fraction of the array."""
    name = w.find(axes, last, ending)

    def change(x: np.ndarray) -> None:
        i = round(at * (x.size - 1))
        x.reshape(-1)[i] += max(BEYOND * w.budget(name), 1e-14 * abs(x.reshape(-1)[i]))

    return w.check_changed(name, change)


VALUES += [
    Trial("one element changed: the first of the first array", lambda w: _add(w, "B T D", 0)),
    Trial("one element changed: in the middle of an array", lambda w: _add(w, "B T F", 0.5)),
    Trial("one element changed: the last of the last array", lambda w: _add(w, "B T V", 1, last=True)),
    Trial("one element changed: late in the largest array", lambda w: _add(w, "B T V", 0.93)),
    Trial("one element changed: in the probabilities", lambda w: _add(w, "B H T S", 0.4, True, ".probs")),
]


@trial("the sign of one element flipped", VALUES)
def _(w: Workspace) -> CheckRun:
    def flip(x: np.ndarray) -> None:
        at = np.unravel_index(np.abs(x).argmax(), x.shape)
        x[at] = -x[at]

    return w.check_changed(w.find("B T D", last=True), flip)


for _about, _change in {
    "every sign flipped": np.negative,
    "an array of zeros": np.zeros_like,
    "the absolute values": np.abs,
    "every element too large by 1e-9 of itself": lambda x: x * (1 + 1e-9),
    "float16 values in a float64 file": lambda x: x.astype("float16").astype("float64"),
    "truncated to integers": np.trunc,
}.items():
    VALUES.append(Trial(_about, lambda w, change=_change: w.check_changed(w.find("B T F"), change)))  # type: ignore[misc]


@trial("an offset of three budgets everywhere", VALUES)
def _(w: Workspace) -> CheckRun:
    name = w.find("B T V")
    return w.check_changed(name, lambda x: x + 3 * w.budget(name))


for _value, _word in ((np.nan, "1 NaN"), (np.inf, "1 infinite"), (-np.inf, "1 infinite")):

    def _one(w: Workspace, value: float = _value, word: str = _word) -> CheckRun:
        name = w.find("B T F", last=True)
        return w.check_changed(name, lambda x: np.put(x, x.size // 2, value), f"first difference at {name}", word)

    VALUES.append(Trial(f"{_value} in one element", _one))


@trial("nothing but NaN", VALUES)
def _(w: Workspace) -> CheckRun:
    return w.check_changed(w.find("B T D"), lambda x: np.full_like(x, np.nan))


@trial("NaN in every array", VALUES)
def _(w: Workspace) -> CheckRun:
    changed = {name: np.full_like(x, np.nan) for name, x in w.arrays.items() if x.dtype.kind == "f"}
    return w.check_with(dict(changed), f"first difference at {next(iter(changed))}")


@trial("zeros in every array", VALUES)
def _(w: Workspace) -> CheckRun:
    return w.check_with({name: np.zeros_like(x) for name, x in w.arrays.items()}, "first difference at")


@trial("integers off by one", VALUES)
def _(w: Workspace) -> CheckRun:
    return w.check_changed(w.find("B T"), lambda x: x + 1)


@trial("one integer off by one", VALUES)
def _(w: Workspace) -> CheckRun:
    return w.check_changed(w.find("B T"), lambda x: np.put(x, x.size - 1, x.flat[-1] - 1))


@trial("the rows of the batch swapped", VALUES)
def _(w: Workspace) -> CheckRun:
    return w.check_changed(w.find("B T D", last=True), lambda x: x[::-1])


@trial("every array shifted by one position", VALUES)
def _(w: Workspace) -> CheckRun:
    moved = {name: np.roll(x, 1, 1) for name, x in w.arrays.items() if w.entries[name].axes.startswith("B T")}
    return w.check_with(dict(moved), "first difference at")


@trial("two arrays of the same shape swapped", VALUES)
def _(w: Workspace) -> CheckRun:
    first, last = w.find("B T D"), w.find("B T D", last=True)
    if first == last:
        raise NoSuchArray
    return w.check_with({first: w.arrays[last], last: w.arrays[first]}, f"first difference at {first}", last)


def _check_arrays(arrays: Arrays, path: str, w: Workspace, *expected: str) -> CheckRun:
    return CheckRun([path, w.write_candidate(arrays)], list(expected))


@trial("stale arrays, from different ids", VALUES)
def _(w: Workspace) -> CheckRun:
    main = w.folder / "main.safetensors"
    return _check_arrays(w.stale, str(main), w, "first difference at embed_tokens")


@trial("one stale array in a correct candidate", VALUES)
def _(w: Workspace) -> CheckRun:
    main, name = w.folder / "main.safetensors", "layers.1.fc2"
    return _check_arrays(arrays_of(main) | {name: w.stale[name]}, str(main), w, f"first difference at {name}")


@trial("the reference of a different model", VALUES)
def _(w: Workspace) -> CheckRun:
    main = w.folder / "main.safetensors"
    return _check_arrays(arrays_of(w.other), str(main), w, "V is 67, not 30011", "first difference")


@trial("different inputs", VALUES)
def _(w: Workspace) -> CheckRun:
    name = next(iter(w.inputs))
    return w.check_with({name: np.roll(w.inputs[name], 1)}, "ran on different inputs", name)


@trial("a step with a cache missing", VALUES)
def _(w: Workspace) -> CheckRun:
    kept = {name: x for name, x in arrays_of(w.steps).items() if name.startswith("step.0/")}
    return _check_arrays(kept, str(w.steps), w, "step.1/embed_tokens", "missing from the candidate", "incomplete")


@trial("keys of the new positions, without the cache", VALUES)
def _(w: Workspace) -> CheckRun:
    arrays, name = arrays_of(w.steps), "step.1/layers.0.self_attn.k"
    arrays[name] = arrays[name][:, :, -2:]
    return _check_arrays(arrays, str(w.steps), w, "without the 5 positions of the cache", "the last 2 agree")


@trial("the second step's values from a run without a cache", VALUES)
def _(w: Workspace) -> CheckRun:
    arrays, name = arrays_of(w.steps), "step.1/layers.1"
    arrays[name] = arrays[name.replace("1/", "0/")][:, :2]
    return _check_arrays(arrays, str(w.steps), w, f"first difference at {name}")


def _slim(w: Workspace, sampled: bool) -> CheckRun:
    """Change one element of the logits: the first sample, or the element after it, which is no sample."""
    arrays, entry = arrays_of(w.folder / "main.safetensors"), Case.read(w.slim).entry("logits")
    at = int(sample_indices(arrays["logits"].size, entry.samples or 1)[0])
    arrays["logits"].reshape(-1)[at if sampled else at + 1] += 1.0
    index = tuple(map(int, np.unravel_index(at, entry.shape)))
    expected = format_index(index, entry.axes) if sampled else "the index-weighted sum"
    return _check_arrays(arrays, str(w.slim), w, "first difference at logits", expected)


def _rolled(w: Workspace) -> CheckRun:
    """Roll all elements but the samples by one: the sums of values and of squares stay the same."""
    arrays, entry = arrays_of(w.folder / "main.safetensors"), Case.read(w.slim).entry("logits")
    flat = arrays["logits"].reshape(-1)
    others = np.setdiff1d(np.arange(flat.size), sample_indices(flat.size, entry.samples or 1))
    flat[others] = np.roll(flat[others], 1)
    return _check_arrays(arrays, str(w.slim), w, "first difference at logits", "the index-weighted sum")


VALUES += [
    Trial("a slim case: a sample changed", lambda w: _slim(w, True)),
    Trial("a slim case: an element changed that isn't a sample", lambda w: _slim(w, False)),
    Trial("a slim case: all but the samples in a different order", _rolled),
]


def _masking(w: Workspace, change: str) -> CheckRun:
    name = w.find("B H T S", ending=".scores_masked")
    scores, masked = w.arrays.get(name.removesuffix("_masked")), w.arrays[name] == LOWEST
    if scores is None:
        raise NoSuchArray
    partly = masked & ~masked.all(axis=-1, keepdims=True)  # masked scores in rows that have visible ones
    first = partly & (np.cumsum(partly).reshape(masked.shape) == 1)
    changed = {
        "visible": scores,
        "weak": np.where(partly, scores - 700.0, w.arrays[name]),
        "uneven": np.where(masked & ~partly, scores * 1e5 - 1e6, w.arrays[name]),
        "zero": np.where(masked & ~partly, 0.0, w.arrays[name]),
        "one visible": np.where(first, scores, w.arrays[name]),
        "too many": np.where(np.arange(masked.shape[-1]) == 0, LOWEST, w.arrays[name]),
        "nan": np.where(masked, np.nan, scores),
        "inf": np.where(masked, np.inf, scores),
    }[change]
    if change in ("uneven", "zero") and not (masked & ~partly).any():
        raise NoSuchArray
    return w.check_changed(name, lambda x: changed)


VALUES += [
    Trial("masked scores visible", lambda w: _masking(w, "visible")),
    Trial("one masked score visible", lambda w: _masking(w, "one visible")),
    Trial("masked scores not low enough", lambda w: _masking(w, "weak")),
    Trial("unequal scores in a fully masked row", lambda w: _masking(w, "uneven")),
    Trial("zero scores in a fully masked row", lambda w: _masking(w, "zero")),
    Trial("visible scores masked", lambda w: _masking(w, "too many")),
    Trial("NaN instead of masked scores", lambda w: _masking(w, "nan")),
    Trial("+infinity instead of masked scores", lambda w: _masking(w, "inf")),
]


def _reshaped(about: str, axes: str, change: object, expected: str) -> None:
    """Add a trial with an array of a different shape, which must be reported as not comparable, for this reason."""

    def make(w: Workspace) -> CheckRun:
        name = w.find(axes)
        return w.check_changed(name, change, "not comparable", name, expected)  # type: ignore[arg-type]

    SHAPES.append(Trial(about, make))


_reshaped("batch and positions transposed", "B T F", lambda x: x.swapaxes(0, 1), "candidate axes are T B F")
_reshaped("heads after positions", "B H T Dh", lambda x: x.swapaxes(1, 2), "candidate axes are B T H Dh")
_reshaped("a position missing", "B T D", lambda x: x[:, :-1], "1 missing")
_reshaped("an extra position", "B T D", lambda x: np.concatenate([x[:, :1], x], 1), "1 extra (a leading </s>?)")
_reshaped("a column missing", "B T F", lambda x: x[..., :-1], "1 missing")
_reshaped("a padded vocabulary", "B T V", lambda x: np.pad(x, ((0, 0), (0, 0), (0, 5))), "5 extra columns")
_reshaped("a single value in a list, to be broadcast", "B T F", lambda x: x.reshape(-1)[:1], "broadcast")
_reshaped("a scalar, to be broadcast", "B T F", lambda x: np.float64(x.flat[0]), "broadcast")
_reshaped("one position per row, to be broadcast", "B T F", lambda x: x[:, :1], "missing")
_reshaped("no batch axis", "B T F", lambda x: x[0], "the batch axis is missing")
_reshaped("an empty array", "B T F", lambda x: x[:0], "no elements")


@trial("heads interleaved inside D", SHAPES)
def _(w: Workspace) -> CheckRun:
    name = w.find("B T D", ending=".context")
    if w.heads < 2:
        raise NoSuchArray
    batch, length, size = w.arrays[name].shape
    split = (batch, length, w.heads, size // w.heads)
    return w.check_changed(name, lambda x: x.reshape(split).swapaxes(2, 3).reshape(x.shape), name, "B T Dh*H")
