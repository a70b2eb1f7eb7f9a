"""Which ways a step can be done in, and which causes to try when its result is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from minibiogpt.golden.check.compare import MIN_TELLING
from minibiogpt.golden.diagnosis.run import At, Way
from minibiogpt.golden.diagnosis.ways import attention, embedding, head, layer, linear, mask, norm
from minibiogpt.golden.diagnosis.ways.attempt import Attempt, Knobs, factor_between
from minibiogpt.golden.diagnosis.ways.precision import reduced

Attempts = Callable[[At, np.ndarray | None, Knobs], Iterator[Attempt]]
LINEAR = (*norm.PROJECTIONS, norm.OUT, norm.FC1, norm.FC2, "score", "logits")
TABLE: dict[str, tuple[Way, Attempts]] = {
    "position_ids": (embedding.position_ids, embedding.position_attempts),
    "embed_tokens": (embedding.embed_tokens, embedding.token_attempts),
    "embed_positions": (embedding.embed_positions, embedding.table_attempts),
    "embeddings": (embedding.embeddings, embedding.sum_attempts),
    **dict.fromkeys(norm.NORMS, (norm.norm, norm.attempts)),
    **dict.fromkeys(LINEAR, (linear.linear, linear.attempts)),
    **dict.fromkeys((attention.Q, attention.K, attention.V), (attention.heads, attention.head_attempts)),
    attention.SCORES: (attention.scores, attention.score_attempts),
    mask.MASKED: (mask.scores_masked, mask.mask_attempts),
    mask.PROBS: (mask.softmax, mask.softmax_attempts),
    attention.WEIGHTS: (attention.weights, attention.weight_attempts),
    attention.CONTEXT: (attention.context, attention.context_attempts),
    norm.RESIDUAL: (layer.residual, layer.residual_attempts),
    layer.ACTIVATION: (layer.activation, layer.activation_attempts),
    norm.LAYER: (layer.residual, layer.residual_attempts),
    "pooled": (head.pooled, head.pooled_attempts),
    "loss": (head.loss, head.loss_attempts),
}
WAYS: dict[str, Way] = {family: way for family, (way, _) in TABLE.items()}
MIN_DROPPED = 5  # elements that must be dropped, so that zeros by chance are not dropout


def attempts(at: At, y: np.ndarray | None, knobs: Knobs) -> Iterator[Attempt]:
    """Yield every cause to try at one step.

    Parameters
    ----------
    y : the candidate's array, from which parameters are estimated; None if it has none.
    knobs : how the step is already done otherwise.
    """
    yield from TABLE[at.family][1](at, y, knobs)
    if y is not None and y.dtype.kind == "f":
        yield from _of_any_step(at, y)


def _of_any_step(at: At, y: np.ndarray) -> Iterator[Attempt]:
    """Yield the causes that can occur at every step: dropout, exchanged columns or rows, a factor."""
    try:
        x = at.within.predicted(at.step.name)
    except ValueError:
        return
    if x.shape != y.shape or not x.size:
        return
    yield from _held(at, x, y)
    yield from _dropout(at, x, y)
    c = factor_between(y.reshape(-1), x.reshape(-1))
    if c is not None and abs(c - 1) > 1e-6 and at.family not in LINEAR and y.size >= MIN_TELLING:
        yield Attempt("factor", {at.template: {"factor": c}}, {"factor": c}, ("factor",), 5)
    if x.ndim >= 2 and 1 < x.shape[-1] <= 4096 and x[..., 0].size >= 2:
        order = _order(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]))
        if order is not None:
            moved = next(i for i, j in enumerate(order) if i != j)
            shown = {"first moved": moved, "holds": order[moved]}
            yield Attempt("columns-moved", {at.template: {"columns": order}}, shown, tuple(shown), 4)
    if x.ndim >= 2 and 1 < len(x) <= 256:
        order = _order(x.reshape(len(x), -1).T, y.reshape(len(x), -1).T)
        if order is not None:
            yield Attempt("rows-moved", {at.template: {"rows": order}}, {"rows": list(order)}, ("rows",), 4)


def _held(at: At, x: np.ndarray, y: np.ndarray) -> Iterator[Attempt]:
    """Yield the attempt that the result is rounded to a precision, if all values of y are such numbers."""
    finite = y[np.isfinite(y) & (y > -1e30)]
    telling = 16 * np.frexp(finite)[0]
    if (telling != np.trunc(telling)).sum() < MIN_TELLING:
        return
    for precision in ("bfloat16", "float16"):
        if np.array_equal(reduced(finite, precision), finite) and not np.array_equal(reduced(x, precision), x):
            yield Attempt(f"precision-{precision}", {at.template: {"held": precision}}, {}, (), 4)
            return  # of the precisions that hold the values, the one with the fewest bits


def _order(x: np.ndarray, y: np.ndarray) -> tuple[int, ...] | None:
    """Return the order of x's columns that makes y, from a few rows; None if there is none but the usual one."""
    rows = np.linspace(0, len(x) - 1, min(len(x), 8)).astype(int)
    a, b = x[rows], y[rows]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    tolerance = 1e-3 * float(np.abs(a).max())
    by_first = np.argsort(a[0], kind="stable")
    places = np.searchsorted(a[0][by_first], b[0])
    found = []
    for i, place in enumerate(places):
        near = by_first[max(0, place - 2) : place + 2]
        distance = np.abs(a[:, near] - b[:, i : i + 1]).max(0)
        if distance.min() > tolerance:
            return None
        found.append(int(near[int(distance.argmin())]))
    return None if found == list(range(a.shape[1])) or len(set(found)) < len(found) else tuple(found)


def _dropout(at: At, x: np.ndarray, y: np.ndarray) -> Iterator[Attempt]:
    """Yield the attempt that some elements were dropped, and the others divided by 1 - p."""
    base = np.zeros_like(x)
    template = at.template
    if template in (norm.RESIDUAL, norm.LAYER):
        base = at["x"]
    branch, theirs = x - base, y - base
    usual = np.abs(branch) > 1e-3 * np.abs(branch).max(initial=0.0)
    with np.errstate(all="ignore"):
        ratio = np.where(usual, theirs / branch, np.nan)
    ratio = ratio[np.isfinite(ratio)]
    dropped = np.abs(ratio) < 1e-3
    kept = ratio[~dropped]
    if dropped.sum() < MIN_DROPPED or kept.size < MIN_DROPPED or dropped.mean() > 0.8:
        return
    c = float(np.median(kept))
    if c <= 1.01 or np.abs(kept / c - 1).max() > 1e-2:
        return
    p = 1 - 1 / c
    if abs(dropped.mean() - p) > 5 * np.sqrt(p * (1 - p) / ratio.size) + 0.02:
        return
    mask = np.where(np.abs(theirs) < np.abs(branch) / 2, 0.0, c)
    shown = {"p": p}
    knob = {"branch": mask} if template in (norm.RESIDUAL, norm.LAYER) else {"kept": mask}
    yield Attempt("dropout-active", {template: knob}, shown, ("p",), 1, local=True)
