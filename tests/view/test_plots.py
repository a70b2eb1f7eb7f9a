"""Plots: each draws the numbers passed to it, from any backend, labels them, and refuses what it cannot draw."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[notebooks]'")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, InputError, Trace  # noqa: E402
from minibiogpt.lens import ablation_table, logit_attribution, logit_lens  # noqa: E402
from minibiogpt.tokenizer.tokens.labels import labels_of  # noqa: E402
from minibiogpt.view import plots  # noqa: E402
from tests.support.device import device  # noqa: E402


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def run() -> tuple[Any, Any, Trace, Any, list[str]]:
    model, tok = BioGptForCausalLM.from_pretrained("demo"), BioGptTokenizer.from_pretrained("demo")
    ids, trace = tok("Ibuprofen is best used for")["input_ids"], Trace()
    model(ids, trace=trace)
    return model, tok, trace, ids, tok.convert_ids_to_tokens(ids[0])


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def ticks(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_heat_map_shows_the_numbers() -> None:
    x = np.array([[-0.25, 0.5], [0.125, 1.0], [0.0, -2.0]])
    ax = plots.heat_map(x, ["a", "b", "c"], title="t", axes=("down", "across"))
    (image,) = ax.images
    assert np.array_equal(image.get_array(), x)
    assert (image.norm.vmin, image.norm.vmax) == (-2, 2)  # 0 is the middle
    assert texts(ax) == ["-0.25", "0.50", "0.12", "1.00", "0.00", "-2.00"]
    assert (ticks(ax.yaxis), ticks(ax.xaxis)) == (["a", "b", "c"], ["0", "1"])
    assert (ax.get_title(), ax.get_ylabel(), ax.get_xlabel()) == ("t", "down", "across")


def test_hidden_cells_are_hatched_and_not_coloured() -> None:
    ax = plots.heat_map([[1.0, 9.0], [2.0, 3.0]], hidden=[[False, True], [False, False]])
    assert ax.images[0].get_array().mask.tolist() == [[False, True], [False, False]]
    assert ax.images[0].norm.vmax == 3
    assert [patch.get_xy() for patch in ax.patches] == [(0.5, -0.5)]
    assert texts(ax) == ["1.00", "2.00", "3.00"]


def test_hidden_scores_may_be_as_low_as_numbers_go(run: Any) -> None:
    _, _, trace, _, tokens = run
    x = trace["layers.0.self_attn.scores_masked"][0, 0]
    ax = plots.heat_map(x, tokens, tokens, hidden=x < -1e30)
    ax.figure.canvas.draw()
    assert np.array_equal(ax.images[0].get_array().mask, x < -1e30)


@pytest.mark.parametrize("x", [[[0.0, 0.0]], [[np.nan, np.inf]], [[5e-324, 0.0]], [[1e300, -1e300]]])
def test_odd_numbers_are_drawn_too(x: Any) -> None:
    ax = plots.heat_map(x)
    ax.figure.canvas.draw()
    shown = ax.images[0].get_array()
    assert np.array_equal(shown.mask, ~np.isfinite(x))
    assert np.array_equal(shown.compressed(), np.ravel(x)[np.isfinite(x).ravel()])


def test_attention_is_the_traces_and_hides_the_future(run: Any) -> None:
    _, tok, trace, ids, tokens = run
    ax = plots.attention(trace, tokens, layer=2, head=1)
    want = trace["layers.2.self_attn.probs"][0, 1]
    assert np.array_equal(ax.images[0].get_array().filled(0), want)
    assert np.array_equal(ax.images[0].get_array().mask, np.triu(np.ones_like(want), 1))
    labels = labels_of(ids[0], tok)
    assert labels[1:5] == ["I·", "b·", "upro·", "fen"]
    assert (ticks(ax.yaxis), ticks(ax.xaxis), ax.get_title()) == (labels, labels, "head 2.1")
    assert ticks(plots.attention(trace, labels, layer=2).xaxis) == labels
    for part in (want, want[None], want[None, None], want[-2:]):  # the last: two queries after a cache
        drawn = plots.attention(part, tokens).images[0].get_array()
        assert np.array_equal(drawn.filled(0), want[-len(drawn) :])
        assert np.array_equal(drawn.mask, np.triu(np.ones_like(want), 1)[-len(drawn) :])


def test_what_a_row_sees_of_the_future_is_not_hidden() -> None:
    uniform = np.full((2, 2), 0.5)  # the row of a left pad: all keys are masked, so its weights are uniform
    assert not plots.attention(uniform, ["a", "b"]).images[0].get_array().mask.any()


def test_every_head_has_its_picture(run: Any) -> None:
    _, _, trace, _, tokens = run
    grid = plots.attention_heads(trace.select("layers.{1..3}.self_attn.probs"), tokens)
    assert [[ax.get_title() for ax in row] for row in grid] == [
        [f"{layer}.{h}" for h in range(4)] for layer in (1, 2, 3)
    ]
    assert np.array_equal(grid[1, 2].images[0].get_array(), trace["layers.2.self_attn.probs"][0, 2])


def test_a_table_of_heads(run: Any) -> None:
    model, _, _, ids, _ = run
    table = ablation_table(model, ids, lambda out: out.logits[0, -1, 5])
    assert np.allclose(plots.head_table(table).images[0].get_array(), table)


def test_the_most_probable_tokens(run: Any) -> None:
    _, tok, trace, _, _ = run
    logits = trace["logits"][0, -1]
    p = np.exp(logits.astype(float) - logits.max())
    p /= p.sum()
    ax = plots.top_tokens(logits, tok, k=5, kept=p > np.sort(p)[-3])
    best = np.argsort(-p)[:5]
    assert np.allclose([bar.get_width() for bar in ax.patches], p[best])
    assert ticks(ax.yaxis) == labels_of(best, tok)
    assert [bar.get_hatch() for bar in ax.patches] == [None, None, "///", "///", "///"]


def test_the_lens_shows_what_each_layer_predicts(run: Any) -> None:
    model, tok, trace, _, tokens = run
    ax = plots.logit_lens(logit_lens(model, trace, position=None), tok, tokens)
    last_row = texts(ax)[-len(tokens) :]
    assert last_row == labels_of(trace["logits"][0].argmax(axis=-1), tok)
    assert ticks(ax.yaxis) == ["embeddings", *(f"layers.{i}" for i in range(4))]


def test_attribution_sums_to_the_logit_however_few_are_shown(run: Any) -> None:
    model, _, trace, _, _ = run
    parts = logit_attribution(model, trace, token=9)
    for k in (3, 12, 99):
        ax = plots.attribution(parts, k=k)
        assert len(ax.patches) == min(k + 1, len(parts))
        widths = [bar.get_width() for bar in ax.patches]
        assert abs(sum(widths) - float(trace["logits"][0, -1, 9])) < 1e-4
    assert widths == sorted(widths, key=lambda x: -abs(x))


def test_the_residual_streams_lengths(run: Any) -> None:
    _, _, trace, _, tokens = run
    x = plots.stream(trace, tokens).images[0].get_array()
    assert np.allclose(x[0], np.linalg.norm(trace["embeddings"][0], axis=-1))
    assert np.allclose(x[4], np.linalg.norm(trace["layers.3"][0], axis=-1))
    assert len(x) == 5


def colours(ax: Any) -> tuple[str, float, float]:
    (image,) = ax.images
    return image.cmap.name, image.norm.vmin, image.norm.vmax


def test_colours_show_which_way_they_go(run: Any) -> None:
    """Orange below 0, purple above, 0 dark for probabilities: as every text beside a picture says."""
    model, _, trace, ids, tokens = run
    signed, plain = plots.heat_map([[-1.0, 2.0]]), plots.heat_map([[0.0, 2.0]])
    assert (colours(signed), colours(plain)) == (("PuOr", -2, 2), ("cividis", 0, 2))
    red, green, blue, _ = signed.images[0].cmap(signed.images[0].norm(-2.0))
    assert red > green > blue
    red, green, blue, _ = signed.images[0].cmap(signed.images[0].norm(2.0))
    assert blue > red > green
    low, high = (sum(plain.images[0].cmap(plain.images[0].norm(x))[:3]) for x in (0.0, 2.0))
    assert low < high
    assert len(plain.figure.axes) == 2, "a picture has its scale beside it"
    ax = plots.attention(trace, tokens)
    assert colours(ax)[:2] == ("cividis", 0)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("query", "key")
    grid = plots.attention_heads(trace, tokens)
    assert {colours(ax) for ax in grid.ravel()} == {("cividis", 0, 1)}, "heads can be compared"
    ax = plots.head_table(ablation_table(model, ids, lambda out: out.logits[0, -1, 5]))
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("layer", "head")


def test_numbers_are_in_their_cells_and_can_be_read() -> None:
    ax = plots.heat_map([[0.0, 1.0, 0.1], [0.9, 0.2, 0.8]])
    assert [(*text.get_position(), text.get_text()) for text in ax.texts] == [
        (0, 0, "0.00"), (1, 0, "1.00"), (2, 0, "0.10"), (0, 1, "0.90"), (1, 1, "0.20"), (2, 1, "0.80"),
    ]  # fmt: skip
    assert [text.get_color() for text in ax.texts] == ["white", "black", "white", "black", "white", "black"]


def test_the_labels_that_fit_are_at_their_own_positions() -> None:
    ax = plots.heat_map(np.zeros((2, 60)), columns=[f"token {i}" for i in range(60)])
    positions = [int(position) for position in ax.get_xticks()]
    assert len(positions) <= 30
    assert ticks(ax.xaxis) == [f"token {i}" for i in positions]


def test_the_queries_are_the_last_of_the_tokens() -> None:
    """With a cache: two queries, four keys; the second query hides nothing."""
    x = np.array([[0.25, 0.25, 0.5, 0.0], [0.25, 0.25, 0.25, 0.25]])
    ax = plots.attention(x, list("abcd"))
    assert (ticks(ax.yaxis), ticks(ax.xaxis)) == (["c", "d"], list("abcd"))
    assert ax.images[0].get_array().mask.tolist() == [[False, False, False, True], [False] * 4]


def test_each_row_of_a_batch_has_its_own_picture(run: Any) -> None:
    model, tok, _, ids, tokens = run
    batch, trace = np.concatenate([ids[:, ::-1], ids]), Trace()
    model(batch, trace=trace)
    want = trace["layers.1.self_attn.probs"]
    assert np.array_equal(plots.attention(trace, tokens, layer=1, row=1).images[0].get_array().filled(0), want[1, 0])
    grid = plots.attention_heads(trace, tokens, row=1)
    assert np.array_equal(grid[1, 2].images[0].get_array(), want[1, 2])
    lens = logit_lens(model, trace, position=None)
    ax = plots.logit_lens(lens, tok, tokens, row=1)
    assert texts(ax)[-len(tokens) :] == labels_of(trace["logits"][1].argmax(axis=-1), tok)
    positions = [text.get_position() for text in ax.texts]
    assert positions == [(t, i) for i in range(len(lens)) for t in range(len(tokens))]
    stream = plots.stream(trace, tokens, row=1).images[0].get_array()
    assert np.allclose(stream[0], np.linalg.norm(trace["embeddings"][1], axis=-1))
    widths = [bar.get_width() for bar in plots.attribution(logit_attribution(model, trace, token=9), row=1).patches]
    assert abs(sum(widths) - float(trace["logits"][1, -1, 9])) < 1e-4


def test_what_adds_and_what_takes_away_has_different_colours() -> None:
    ax = plots.attribution({"up": np.array([2.0]), "down": np.array([-1.0])})
    assert [bar.get_facecolor() for bar in ax.patches] == [
        matplotlib.colors.to_rgba(ink) for ink in (plots.INK, plots.ACCENT)
    ]
    assert texts(ax) == ["+2.00", "-1.00"]
    assert ax.yaxis_inverted(), "the largest is on top"


def test_bars_show_their_probability(run: Any) -> None:
    _, tok, _, _, _ = run
    ax = plots.top_tokens(np.log([0.2, 0.5, 0.3]), tok, k=3)
    assert texts(ax) == ["0.500", "0.300", "0.200"]
    assert ax.yaxis_inverted(), "the most probable is on top"


def test_drifts_mark_what_is_over_the_budget() -> None:
    ax = plots.drifts({"a": 0.0, "b": 1e-12, "c": 1e-3}, budget=1e-10)
    agrees, differs = (group.get_offsets() for group in ax.collections)
    assert differs.tolist() == [[2, 1e-3]]
    assert agrees[1].tolist() == [1, 1e-12]
    assert agrees[0][1] < 1e-12
    assert (ax.get_yscale(), ticks(ax.xaxis)) == ("log", ["a", "b", "c"])


def test_pieces_that_read_alike_have_a_bar_each(run: Any) -> None:
    """A digit, and the same digit at the end of a word, decode to the same text and have a label each."""
    _, tok, _, _, _ = run
    logits = np.full(len(tok), -9.0)
    logits[[4, 5, 60]] = 3, 2, 1
    assert tok.decode([4]) == tok.decode([5])
    ax = plots.top_tokens(logits, tok, k=3)
    assert [round(bar.get_y() + bar.get_height() / 2) for bar in ax.patches] == [0, 1, 2]
    assert ticks(ax.yaxis)[:2] == [tok.decode([4]) + "·", tok.decode([5])]


def test_an_error_that_is_no_number_differs() -> None:
    """The worst errors must not be missing from the picture."""
    ax = plots.drifts({"a": 1e-12, "b": np.nan, "c": np.inf, "d": 1e-3}, budget=1e-10)
    agrees, differs = (np.asarray(group.get_offsets()) for group in ax.collections)
    assert agrees.tolist() == [[0, 1e-12]]
    assert differs[:, 0].tolist() == [1, 2, 3]
    assert np.isfinite(differs).all()
    assert differs[:2, 1].min() > differs[2, 1]


def test_an_axes_that_is_given_is_drawn_into(run: Any) -> None:
    model, tok, trace, _, tokens = run
    axes = plt.subplots(2, 3)[1].ravel()
    lens, parts = logit_lens(model, trace, position=None), logit_attribution(model, trace, token=9)
    drawn = [
        plots.attention(trace, tokens, ax=axes[0]),
        plots.top_tokens(trace["logits"][0, -1], tok, ax=axes[1]),
        plots.logit_lens(lens, tok, tokens, ax=axes[2]),
        plots.attribution(parts, ax=axes[3]),
        plots.stream(trace, tokens, ax=axes[4]),
        plots.drifts({"a": 1e-3}, ax=axes[5]),
    ]
    assert drawn == list(axes)


def test_arrays_of_a_device_are_drawn() -> None:
    x = device("emulated").asarray([[0.25, 0.5]], dtype="float16")
    assert plots.heat_map(x).images[0].get_array().tolist() == [[0.25, 0.5]]


def test_formulas_in_a_text_are_text(run: Any) -> None:
    ax = plots.heat_map(np.eye(2), ["$\\frac$", "$x$"])
    ax.figure.canvas.draw()
    assert ticks(ax.yaxis) == [r"\$\frac\$", r"\$x\$"]

    tokenizer = BioGptTokenizer.from_pretrained("demo")
    tokenizer.add_tokens(["$\\frac$"])
    logits = np.eye(len(tokenizer))[-1]
    ax = plots.top_tokens(logits, tokenizer, k=2)
    ax.figure.canvas.draw()
    assert ticks(ax.yaxis)[0] == r"\$\frac\$"
    plots.logit_lens({"a": logits[None, None]}, tokenizer, ["x"]).figure.canvas.draw()


BAD: list[tuple[Any, str]] = [
    (lambda t, tok, names: plots.heat_map(np.zeros(3)), r"a matrix.*shape \(3,\)"),
    (lambda t, tok, names: plots.heat_map([["a"]]), "a matrix"),
    (lambda t, tok, names: plots.heat_map(np.eye(2), rows="ab"), "rows must be 2 labels"),
    (lambda t, tok, names: plots.attention(t, names[1:]), "tokens must be"),
    (
        lambda t, tok, names: plots.attention(t, names, layer=4),
        "layer must be one of the trace; found 4; choose one of 0, 1, 2, 3",
    ),
    (lambda t, tok, names: plots.attention(t, names, head=4), r"head must be an integer in \[0, 4\)"),
    (lambda t, tok, names: plots.attention(t, names, head=-1), "head must be"),
    (lambda t, tok, names: plots.attention(t, names, row=1), r"row must be an integer in \[0, 1\)"),
    (lambda t, tok, names: plots.attention(t["logits"][0, 0], names), "weights must be"),
    (lambda t, tok, names: plots.attention_heads({}, names), "must contain"),
    (lambda t, tok, names: plots.stream({"logits": t["logits"]}, names), "must contain"),
    (lambda t, tok, names: plots.stream({}, names), "a non-empty dictionary; found {}"),
    (lambda t, tok, names: plots.stream(None, names), "a non-empty dictionary; found None"),
    (lambda t, tok, names: plots.stream(t, names, row=9), r"row must be an integer in \[0, 1\)"),
    (lambda t, tok, names: plots.attention(None, names), "an array of numbers; found NoneType"),
    (lambda t, tok, names: plots.attention(t, None), "tokens must be 9 labels; found None"),
    (lambda t, tok, names: plots.heat_map(np.eye(2), hidden=[True]), r"hidden must have shape \(2, 2\); found \(1,\)"),
    (lambda t, tok, names: plots.top_tokens(t["logits"][0, 0], tok, kept=[True]), r"kept must have shape \(1874,\)"),
    (lambda t, tok, names: plots.logit_lens({}, tok, names), "the lens must be a non-empty dictionary"),
    (lambda t, tok, names: plots.logit_lens({"x": t["logits"]}, tok, names, row=-1), "row must be"),
    (lambda t, tok, names: plots.attribution({}), "the parts must be a non-empty dictionary"),
    (lambda t, tok, names: plots.attribution({"x": t["logits"][0, 0]}, row=2000), "row must be"),
    (lambda t, tok, names: plots.drifts({}), "the errors must be a non-empty dictionary"),
    (lambda t, tok, names: plots.drifts({"a": "x"}), "the errors must be numbers"),
    (lambda t, tok, names: plots.head_table(None), "an array of numbers; found NoneType"),
    (lambda t, tok, names: plots.top_tokens(t["logits"], tok), "one row"),
    (lambda t, tok, names: plots.top_tokens(t["logits"][0, 0], tok, k=0), "k must be"),
    (lambda t, tok, names: plots.logit_lens({"embeddings": t["logits"][0]}, tok, names), "all positions"),
]


@pytest.mark.parametrize(("draw", "must"), BAD)
def test_what_cannot_be_drawn_is_an_error(run: Any, draw: Any, must: str) -> None:
    _, tok, trace, _, tokens = run
    with pytest.raises(InputError, match=must):
        draw(trace, tok, tokens)


def test_without_matplotlib_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(InputError, match=r"pip install 'minibiogpt\[notebooks\]'"):
        plots.heat_map([[1.0]])


BIG = 10**5000


@pytest.mark.parametrize(
    "value", [BIG, None, "x", b"x", 1.5, np.array(1), np.array([1, 2])], ids=lambda x: type(x).__name__
)
def test_an_index_that_is_none_is_one_line(value: Any, run: Any) -> None:
    trace = run[2]
    T = trace["layer_norm"].shape[1]
    names = ["x"] * T
    parts = {"a": np.ones(1), "b": np.ones(1)}
    for call in (
        lambda: plots.attention(trace, names, layer=value),
        lambda: plots.attention(trace, names, head=value),
        lambda: plots.attention(trace, value),
        lambda: plots.attention_heads(trace, names, row=value),
        lambda: plots.attention_heads(value, names),
        lambda: plots.stream(trace, names, row=value),
        lambda: plots.stream(value, names),
        lambda: plots.attribution(parts, k=-BIG if value is BIG else value),
        lambda: plots.attribution(parts, row=value),
        lambda: plots.drifts(value),
    ):
        with pytest.raises(InputError, match="; found ") as error:
            call()
        assert "\n" not in str(error.value)


def test_the_heads_of_a_generation_are_said_to_be_missing() -> None:
    with pytest.raises(InputError, match="must contain layers.{l}.self_attn.probs"):
        plots.attention_heads({"step.0/layers.0.self_attn.probs": np.ones((1, 1, 1, 1))}, ["x"])
