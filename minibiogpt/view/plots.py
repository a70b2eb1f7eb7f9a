"""Plots of arrays and traces with matplotlib: each function draws into one Axes and returns it.

The functions take plain arrays of any backend. Those named after a part of the model also take a trace; their
docstrings name the array they show. ``ax=None`` creates a new figure. Indices count from 0, and shapes use the letters
of ``minibiogpt.config``. A token that ends in · continues in the next one. Probabilities go from dark to bright
(cividis); signed numbers go from orange through white (0) to purple (PuOr). Both colormaps are readable with color
blindness.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, short_repr
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.view.plot_inputs import (
    PROBS,
    at,
    boolean,
    head_weights,
    host,
    labeled,
    matrix,
    missing,
    nonempty,
    plain,
    shown_tokens,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minibiogpt.tokenizer import BioGptTokenizer

SEQUENTIAL, DIVERGING = "cividis", "PuOr"
INK, ACCENT, FAINT = "#33415c", "#b35806", "#9aa3b2"
ANNOTATED = 12  # heat maps with at most this many rows and columns show their values


def heat_map(
    x: Any,
    rows: Sequence[Any] | None = None,
    columns: Sequence[Any] | None = None,
    *,
    hidden: Any = None,
    signed: bool | None = None,
    title: str = "",
    axes: tuple[str, str] = ("", ""),
    numbers: bool | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a matrix as colored cells, the first row on top.

    Parameters
    ----------
    x : (M, M'), numbers. rows, columns : one label for each; by default their indices.
    hidden : bool, same shape as x: cells without color, such as masked scores; hatched unless x has more than 4,096
        cells.
    signed : whether 0 is the middle of the colormap; by default if x has values below 0.
    axes : labels of the vertical and the horizontal axis. numbers : whether to write the value into each cell; by
        default if x has at most 12 rows and columns.

    Raises
    ------
    InputError
        If x is not two-dimensional, or the number of labels is wrong.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("Agg")
    >>> heat_map([[0.0, 1.0], [0.5, 0.5]], rows=["a", "b"], title="two rows").get_title()
    'two rows'
    """
    x = matrix(x, 2, "x must be a matrix, (rows, columns)")
    hatched = np.zeros(x.shape, bool) if hidden is None else boolean("hidden", hidden, x.shape)
    sides = (("rows", rows, x.shape[0]), ("columns", columns, x.shape[1]))
    labels = [labeled(what, range(count) if names is None else names, count) for what, names, count in sides]
    masked = hatched | ~np.isfinite(x)
    shown = np.ma.masked_array(np.where(masked, 0, x), masked)  # a masked score can be too large to draw
    signed = bool((shown < 0).any()) if signed is None else signed
    top = (float(abs(shown).max()) if shown.count() else 0.0) or 1.0
    limits: Any = {"vmin": -top, "vmax": top} if signed else {"vmin": min(0.0, float(shown.min() or 0)), "vmax": top}
    ax = _axes(ax, (1.8 + 0.42 * min(x.shape[1], 24), 1.2 + 0.34 * min(x.shape[0], 24)))
    image = ax.imshow(shown, cmap=DIVERGING if signed else SEQUENTIAL, aspect="auto", interpolation="nearest", **limits)
    _hatch(ax, hatched)
    if numbers or (numbers is None and max(x.shape) <= ANNOTATED):
        _annotate(ax, image, shown)
    _ticks(ax, *labels)
    ax.set(title=title, ylabel=axes[0], xlabel=axes[1])
    ax.figure.colorbar(image, ax=ax, fraction=0.04, pad=0.02)
    return ax


def attention(
    weights: Any, tokens: Sequence[str], *, layer: int = 0, head: int = 0, row: int = 0, ax: Axes | None = None
) -> Axes:
    """Draw the attention probabilities of one head, a row per query and a column per key; future keys are hatched.

    Parameters
    ----------
    weights : a trace, of which ``layers.{layer}.self_attn.probs`` is drawn (the probabilities before the head mask), or
        an array (T, S), (H, T, S) or (B, H, T, S).
    tokens : the S tokens of the keys, as pieces or as labels; the queries are the last T of them.
    head, row : indices on the axes H and B.

    Raises
    ------
    InputError
        If the trace lacks the array, there is no such head or row, or the number of tokens is not S.
    """
    x = head_weights(weights, layer, head, row)
    T, S = x.shape
    tokens = shown_tokens(tokens, S)
    future = np.arange(S)[None] > np.arange(S - T, S)[:, None]
    title = f"head {layer}.{head}" if isinstance(weights, Mapping) else f"head {head}"
    return heat_map(
        x, tokens[S - T :], tokens, hidden=future & (x == 0), signed=False, title=title, axes=("query", "key"), ax=ax
    )


def attention_heads(trace: Mapping[str, Any], tokens: Sequence[str], *, row: int = 0) -> np.ndarray:
    """Draw every head of every traced layer in a small picture; return an array of Axes, (layers, H)."""
    plt = _pyplot()
    if not isinstance(trace, Mapping):
        raise InputError("trace must be a Trace", short_repr(trace), "pass one that a call has filled")
    found = [PROBS.fullmatch(str(name)) for name in trace]
    layers = [int(match[1]) for match in found if match]
    if not layers:
        missing("layers.{l}.self_attn.probs")
    H = trace[f"layers.{layers[0]}.self_attn.probs"].shape[1]
    figure, grid = plt.subplots(
        len(layers), H, figsize=(2.1 * H, 2.1 * len(layers)), squeeze=False, layout="constrained"
    )
    for axes, layer in zip(grid, layers, strict=True):
        for head, ax in enumerate(axes):
            x = head_weights(trace, layer, head, row)
            shown_tokens(tokens, x.shape[1])
            image = ax.imshow(x, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
            ax.set_title(f"{layer}.{head}", fontsize=9)
            ax.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=grid, fraction=0.02)
    figure.supylabel("query", fontsize=9)
    figure.supxlabel("key", fontsize=9)
    return grid


def head_table(table: Any, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw one value per head, (L, H), such as the result of ``lens.ablation_table``; layers are rows."""
    x = matrix(table, 2, "the table must be (L, H)")
    return heat_map(x, title=title, axes=("layer", "head"), numbers=True, ax=ax)


def top_tokens(
    logits: Any, tokenizer: BioGptTokenizer, *, k: int = 10, kept: Any = None, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the k most probable next tokens and their probabilities, softmax(logits); a logit of -inf has probability 0.

    Parameters
    ----------
    logits : (V,), unnormalized log-probabilities, in nats. kept : (V,) bool: bars of the other tokens are hatched.
    """
    x = matrix(logits, 1, "logits must be one row, (V,)")
    if not is_integer(k) or not 1 <= k <= len(x):
        raise InputError(f"k must be an integer from 1 to V = {len(x)}", short_repr(k), "request fewer tokens")
    p = softmax(x[None])[0]
    best = np.argsort(-p, kind="stable")[:k]
    ax = _axes(ax, (6, 0.6 + 0.32 * k))
    bars = ax.barh(range(k), p[best], color=INK)  # by index, because two tokens can decode to the same text
    ax.set_yticks(range(k), list(map(plain, labels_of(best, tokenizer))))
    for bar, i in zip(bars, best, strict=True):
        if kept is not None and not boolean("kept", kept, x.shape)[i]:
            bar.set(facecolor="white", edgecolor=FAINT, hatch="///")
    ax.bar_label(bars, [f"{x:.3f}" for x in p[best]], padding=3, fontsize=8)
    ax.invert_yaxis()
    ax.set(title=title, xlabel="probability", xlim=(0, min(1.15, float(p.max()) * 1.2)))
    return ax


def logit_lens(
    lens: Mapping[str, Any], tokenizer: BioGptTokenizer, tokens: Sequence[str], *, row: int = 0, ax: Axes | None = None
) -> Axes:
    """Draw the most probable next token after each layer at each position, colored by its probability.

    Parameters
    ----------
    lens : {name: (B, T, V)}, the result of ``lens.logit_lens(model, trace, position=None)``. tokens : the T tokens.
    """
    names, must = list(nonempty("the lens", lens)), "the lens must cover all positions, (B, T, V)"
    probs = [softmax(at(matrix(lens[name], 3, must), "row", row)) for name in names]
    best = np.array([p.max(axis=-1) for p in probs])
    tokens = shown_tokens(tokens, best.shape[1])
    ax = _axes(ax, (1.5 + 0.8 * best.shape[1], 1.2 + 0.45 * len(names)))
    ax = heat_map(
        best, names, tokens, signed=False, numbers=False, title="most probable next token", axes=("after", ""), ax=ax
    )
    for i, p in enumerate(probs):
        for t, label in enumerate(labels_of(p.argmax(axis=-1), tokenizer)):
            ink = "white" if best[i, t] < 0.6 * best.max() else "black"
            ax.text(t, i, plain(label), ha="center", va="center", color=ink, fontsize=8)
    return ax


def attribution(
    parts: Mapping[str, Any], *, row: int = 0, k: int = 12, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw what each component adds to a token's logit: the k largest in magnitude, and the sum of the others.

    Parameters
    ----------
    parts : {name: (B,)}, the result of ``lens.logit_attribution``.
    """
    if not is_integer(k) or k < 1:
        raise InputError("k must be an integer, 1 or more", short_repr(k), "choose a different value")
    values = {name: float(at(np.ravel(host(x)), "row", row)) for name, x in nonempty("the parts", parts).items()}
    ordered = sorted(values, key=lambda name: -abs(values[name]))
    shown = {name: values[name] for name in ordered[:k]}
    if len(ordered) > k:
        shown[f"{len(ordered) - k} others"] = sum(values[name] for name in ordered[k:])
    ax = _axes(ax, (6.5, 0.8 + 0.3 * len(shown)))
    bars = ax.barh(list(shown), list(shown.values()), color=[INK if x >= 0 else ACCENT for x in shown.values()])
    ax.bar_label(bars, [f"{x:+.2f}" for x in shown.values()], padding=3, fontsize=8)
    ax.axvline(0, color=FAINT, linewidth=0.8)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set(title=title, xlabel="added to the logit")
    return ax


def stream(trace: Mapping[str, Any], tokens: Sequence[str], *, row: int = 0, ax: Axes | None = None) -> Axes:
    """Draw the norm of the residual stream: a row for the embeddings and each layer, a column per token."""
    stages = [name for name in nonempty("the trace", trace) if name.startswith("layers.") and name.count(".") == 1]
    names = [name for name in ("embeddings", *stages) if name in trace]
    if not names:
        missing("embeddings and layers.{l}")
    norms = [np.linalg.norm(at(host(trace[name]), "row", row).astype(float), axis=-1) for name in names]
    tokens = shown_tokens(tokens, norms[0].size)
    return heat_map(norms, names, tokens, signed=False, title="norm of the residual stream", ax=ax)


def drifts(found: Mapping[str, float], *, budget: float | None = None, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the error of each named array in the order of execution, on a logarithmic scale; 0 is at the bottom.

    NaN and infinity are above every budget and are drawn above all other errors.

    Parameters
    ----------
    found : {name: error}, not negative. budget : the largest error that rounding explains, drawn as a line; larger
        errors have a different marker.
    """
    names = list(nonempty("the errors", found))
    values = matrix(list(found.values()), 1, "the errors must be numbers")
    large = ~np.isfinite(values)
    floor = min([*values[(values > 0) & ~large], *([budget] if budget else [])], default=1e-16) / 3
    over = large | (values > (np.inf if budget is None else budget))
    values = np.where(large, 10 * max([floor, *values[~large], budget or 0]), values)
    ax = _axes(ax, (max(5, 0.22 * len(names)), 3.6))
    ax.scatter(np.flatnonzero(~over), np.maximum(values, floor)[~over], marker="o", color=INK, label="agrees")
    ax.scatter(np.flatnonzero(over), values[over], marker="X", color=ACCENT, label="differs")
    if budget is not None:
        ax.axhline(budget, color=FAINT, linestyle="--", label="budget")
        ax.legend(fontsize=8)
    ax.set_yscale("log")
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    ax.set(title=title, ylabel="error, relative to the largest")
    return ax


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    return _pyplot().subplots(figsize=size, layout="constrained")[1]


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise InputError("plots need matplotlib", "none installed", "pip install 'minibiogpt[notebooks]'") from None
    return plt


def _ticks(ax: Axes, rows: list[str], columns: list[str]) -> None:
    """Label every row and column, or every n-th if they would not fit."""
    for axis, labels, angle in ((ax.yaxis, rows, 0), (ax.xaxis, columns, 60)):
        positions = range(0, len(labels), max(1, len(labels) // 24))
        short = max((len(labels[i]) for i in positions), default=0) <= 2
        rotated: Any = {"rotation": angle, "ha": "right", "rotation_mode": "anchor"} if angle and not short else {}
        axis.set_ticks(positions, [labels[i] for i in positions], fontsize=8, **rotated)


def _hatch(ax: Axes, hidden: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    for i, j in np.argwhere(hidden) if hidden.size <= 4096 else ():
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, hatch="////", fill=False, edgecolor=FAINT, linewidth=0))


def _annotate(ax: Axes, image: Any, x: Any) -> None:
    """Write each value into its cell, black on bright colors and white on dark ones, 3 digits for the largest."""
    top = float(abs(x).max()) if x.count() else 0.0
    fixed = 1e-3 <= top < 1e5 or not top
    spec = f".{max(0, 2 - math.floor(math.log10(top or 1)))}f" if fixed else ".1e"
    for i, j in np.argwhere(~np.ma.getmaskarray(x)):
        red, green, blue, _ = image.cmap(image.norm(x[i, j]))
        ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
        ax.text(j, i, format(x[i, j], spec), ha="center", va="center", fontsize=7, color=ink)
