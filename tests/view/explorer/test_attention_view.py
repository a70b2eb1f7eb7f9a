"""The attention view in an offline browser: heads, cells, strips and measures, compared with the trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer, Trace
from minibiogpt.view import Explorer
from minibiogpt.view.colors import PALETTES
from tests.budgets import PAGE_MEASURE, PAGE_WEIGHT
from tests.support import small
from tests.support.browser import contrast, opened, overflow, texts
from tests.support.device import device
from tests.support.device import small as small_on
from tests.support.explored import SCREENS
from tests.view.test_pages import TEXT, demo

TWICE = "Aspirin treats pain. Aspirin treats pain."
READBACK = "willReadFrequently"  # in Chromium's warning when a test reads pixels


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def traced(text: str) -> Trace:
    trace = Trace()
    demo()(BioGptTokenizer.from_pretrained("demo")(text)["input_ids"], trace=trace)
    return trace


def show(page: Any, **state: Any) -> None:
    """Change the state, and wait until it is drawn."""
    page.wait_for_selector("html[data-ready]")
    page.evaluate("async (state) => { app.set(state); await settled(); }".replace("settled()", SETTLED), state)


SETTLED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)
        page.evaluate(f"async () => {{ await {SETTLED}; }}")


def shown(page: Any) -> tuple[float, list[int], str]:
    """The number of the readout, its index in the array, and the name of the array."""
    text = page.locator(".cell-readout").inner_text()
    value = page.locator(".cell-readout b").inner_text()
    name, _, index = page.locator(".cell-readout .mono").nth(1).inner_text().partition("[")
    assert name.startswith("layers."), text
    return float(value), [int(i) for i in index.rstrip("]").split(",")], name


def same(got: float, want: Any, array: Any) -> bool:
    return bool(abs(got - float(want)) <= PAGE_WEIGHT * float(abs(array).max()))


@pytest.mark.parametrize(("width", "height", "theme"), SCREENS)
def test_by_keyboard_alone_every_array_is_read(browser: Any, file: Path, width: int, height: int, theme: Any) -> None:
    trace = traced(TEXT)
    with opened(browser, file, width=width, height=height, color_scheme=theme) as page:
        page.wait_for_selector("html[data-ready]")
        press(page, "2")
        assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Attention"
        press(page, "}", "}", "]", ",", ",")
        for kind in ("probs", "scores", "scores_masked", "weights"):
            array = np.array(trace[f"layers.2.self_attn.{kind}"])
            visible = np.tril(np.ones(array.shape[2:], bool)) * np.ones((4, 1, 1), bool)
            value, index, name = shown(page)
            assert name == f"layers.2.self_attn.{kind}"
            assert index[:3] == [0, 1, 6]
            assert index[3] == int(np.argmax(array[0, 1, 6, :7])), "the largest of the row is shown first"
            assert same(value, array[tuple(index)], array[0][visible])
            press(page, "Shift+ArrowUp", "Shift+ArrowLeft")
            value, index, _ = shown(page)
            assert index[2] == 5
            assert same(value, array[tuple(index)], array[0][visible])
            page.evaluate("app.set({ row: 6, col: null })")
            press(page, "a")
        assert overflow(page) == 0


def test_the_cell_under_the_pointer_is_read_and_a_click_keeps_it(browser: Any, file: Path) -> None:
    trace = traced(TEXT)
    with opened(browser, file) as page:
        show(page, view="attention", layer=1, head=3)
        array = trace["layers.1.self_attn.probs"]
        for row, col in [(8, 0), (4, 4), (7, 2)]:
            x, y = page.evaluate(
                """([row, col]) => { const { canvas, left, cell } = attentionParts.big;
                const box = canvas.getBoundingClientRect();
                return [box.left + left + (col + 0.5) * cell, box.top + left + (row + 0.5) * cell]; }""",
                [row, col],
            )
            page.mouse.move(x, y)
            value, index, _ = shown(page)
            assert index == [0, 3, row, col]
            assert same(value, array[tuple(index)], array)
        page.mouse.click(x, y)
        page.mouse.move(0, 0)
        page.evaluate(f"async () => {{ await {SETTLED}; }}")
        assert shown(page)[1] == [0, 3, 7, 2]
        assert page.evaluate("[app.row, app.state.col]") == [7, 2]


def test_the_strips_show_the_row_and_the_column(browser: Any, file: Path) -> None:
    array = traced(TEXT)["layers.3.self_attn.probs"][0, 2]
    with opened(browser, file) as page:
        show(page, view="attention", layer=3, head=2, row=5, col=3)
        row, column = (page.locator(".token-strip").nth(i) for i in (0, 1))
        assert row.locator("h2").inner_text() == "Where T 5 “is” looks"
        assert column.locator("h2").inner_text() == "Who looks at S 3 “upro·”"
        numbers = row.locator("li span").all_inner_texts()
        assert numbers[6:] == ["masked"] * 3
        assert np.allclose([float(x) for x in numbers[:6]], array[5, :6], atol=PAGE_WEIGHT)
        numbers = column.locator("li span").all_inner_texts()
        assert numbers[:3] == ["masked"] * 3
        assert np.allclose([float(x) for x in numbers[3:]], array[3:, 3], atol=PAGE_WEIGHT)
        row.locator("li").nth(1).click()
        page.evaluate(f"async () => {{ await {SETTLED}; }}")
        assert shown(page)[1] == [0, 2, 5, 1]


def test_the_first_row_says_why_it_has_one_cell(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        show(page, view="attention", row=0)
        assert "The first row has one cell" in page.locator(".cell-readout").inner_text()
        assert shown(page)[0] == 1
        show(page, row=1)
        assert "first row" not in page.locator(".cell-readout").inner_text()
        show(page, row=1, col=4)
        assert "S 4 comes after T 1" in page.locator(".cell-readout").inner_text()
        show(page, row=0, col=None, changes=[{"kind": "trap", "key": "causal", "value": False}])
        assert "first row" not in page.locator(".cell-readout").inner_text(), "nothing is masked"
        assert page.locator(".shaded .hatched").count() == 0


PIXELS = """(at) => { const { canvas, left, cell } = attentionParts.big;
  const ratio = canvas.width / canvas.clientWidth;
  const [x, y] = [at[1], at[0]].map((i) => Math.round((left + i * cell + 2) * ratio));
  const data = canvas.getContext("2d").getImageData(x, y, cell - 4, cell - 4).data, found = new Set();
  for (let i = 0; i < data.length; i += 4) found.add([...data.slice(i, i + 3)].join(","));
  return [...found].map((text) => text.split(",").map(Number)); }"""


def test_cells_have_the_colors_of_the_palette_and_masked_ones_are_hatched(browser: Any, file: Path) -> None:
    array = traced(TEXT)["layers.1.self_attn.probs"][0, 1]
    positions = np.linspace(0, 1, len(PALETTES["sequential"]))
    colors = np.array([[int(x[i : i + 2], 16) for i in (1, 3, 5)] for x in PALETTES["sequential"]])
    with opened(browser, file, allowed=READBACK) as page:
        show(page, view="attention", layer=1, head=1)
        for t, s in [(8, 3), (5, 1), (2, 2)]:
            (got,) = page.evaluate(PIXELS, [t, s])
            want = [np.interp(array[t, s], positions, channel) for channel in colors.T]
            assert np.abs(np.array(got) - want).max() <= 2, (t, s)
        for t, s in [(0, 1), (3, 7), (7, 8)]:
            assert len(page.evaluate(PIXELS, [t, s])) > 1, "lines on a plain background"


def measures(trace: Trace, ids: list[int]) -> dict[str, np.ndarray]:
    """Every measure of every head, (L, H), written down once more."""
    T = len(ids)
    again = [t for t in range(1, T) if ids[t] in ids[:t]]
    of: dict[str, Callable[[np.ndarray], Any]] = {
        "previous": lambda x: np.mean([x[t, t - 1] for t in range(1, T)]),
        "first": lambda x: x[1:, 0].mean(),
        "itself": lambda x: np.diagonal(x)[1:].mean(),
        "same": lambda x: np.mean([sum(x[t, s] for s in range(t) if ids[s] == ids[t]) for t in again]),
        "induction": lambda x: np.mean([sum(x[t, s + 1] for s in range(t - 1) if ids[s] == ids[t]) for t in again]),
        "entropy": lambda x: -np.mean([sum(y * np.log(y) for y in x[t] if y > 0) for t in range(1, T)]),
    }
    probs = [np.array(trace[f"layers.{layer}.self_attn.probs"][0], np.float64) for layer in range(4)]
    return {name: np.array([[measure(x) for x in heads] for heads in probs]) for name, measure in of.items()}


def test_measures_answer_which_head_copies(browser: Any, file: Path) -> None:
    ids = BioGptTokenizer.from_pretrained("demo")(TWICE)["input_ids"]
    row = [int(i) for i in np.array(ids)[0]]
    want = measures(traced(TWICE), row)
    with opened(browser, file) as page:
        show(page, view="attention", text=TWICE)
        for name, numbers in want.items():
            press(page, "m")
            assert page.evaluate("app.state.measure") == name
            got = page.evaluate("(name) => [...headMeasures(app.run, name)]", name)
            assert np.allclose(np.reshape(got, (4, 4)), numbers, atol=PAGE_MEASURE), name
        show(page, measure="induction")
        best = np.unravel_index(np.argmax(want["induction"]), (4, 4))
        first = page.locator(".attention-view p button.link").first
        assert first.inner_text() == f"head {best[0]}.{best[1]}"
        press(page, "o")
        assert page.locator(".head-buttons button").first.get_attribute("data-head") == f"{best[0]}.{best[1]}"
        page.locator(".head-buttons button").first.focus()
        press(page, "Enter")
        assert page.evaluate("[app.state.layer, app.state.head]") == [*map(int, best)]


def test_a_measure_of_repetition_needs_one(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        show(page, view="attention", measure="induction")
        assert page.get_by_text("Not defined for this text").is_visible()
        page.get_by_role("button", name="repeat the text").click()
        assert page.evaluate("app.state.text") == f"{TEXT} {TEXT}"
        page.get_by_text("Largest:").wait_for()
        assert page.locator(".attention-view p button.link").first.inner_text() == "head 1.0", "the demo's copying head"


@pytest.mark.parametrize("text", ["A lack of insulin causes diabetes.", ""])
def test_made_up_words_tell_which_head_copies(browser: Any, file: Path, text: str) -> None:
    """In sentences that the model knows other heads have the largest measure."""
    with opened(browser, file) as page:
        show(page, view="attention", text=text)
        assert page.get_by_role("button", name="made-up words").is_hidden()
        show(page, measure="induction")
        page.get_by_role("button", name="made-up words").click()
        page.get_by_text("Largest:").wait_for()
        first, second = page.get_by_text("Largest:").inner_text().removeprefix("Largest: ").split(", ")[:2]
        name, _, largest = first.rpartition(" ")
        assert name == "head 1.0"
        assert float(largest) > 4 * float(second.rpartition(" ")[2])


@pytest.mark.parametrize(
    ("text", "measure", "why", "repeat"),
    [
        ("", "previous", "it has one token only", False),
        ("", "induction", "it has one token only", False),
        ("pain pain", "induction", "no token of it occurs again after another one", True),
        ("pain", "same", "no token of it occurs twice", True),
    ],
)
def test_why_a_measure_is_not_defined(
    browser: Any, file: Path, text: str, measure: str, why: str, repeat: bool
) -> None:
    with opened(browser, file) as page:
        show(page, view="attention", text=text, measure=measure)
        assert page.get_by_text("Not defined").inner_text() == f"Not defined for this text: {why}."
        assert page.get_by_role("button", name="repeat the text").is_visible() == repeat


def test_a_head_that_is_off_is_marked(browser: Any, file: Path) -> None:
    """Its probs look as ever, since the head mask comes after them; the view says so, and leads to the weights."""
    off, half = ({"kind": "head", "layer": 1, "head": head, "scale": scale} for head, scale in ((0, 0), (2, 0.5)))
    with opened(browser, file) as page:
        show(page, view="attention", layer=1, head=0)
        assert page.locator(".head-off").is_hidden()
        show(page, changes=[off, half])
        assert (
            page.locator(".head-off").inner_text().startswith("Head 1.0 is switched off: its probs are still computed,")
        )
        assert page.locator("[data-head='1.0']").get_attribute("aria-label") == "head 1.0 off"
        assert page.locator("[data-head='1.2']").get_attribute("aria-label") == "head 1.2 × 0.5"
        assert page.locator("[data-head='1.1']").get_attribute("aria-label") == "head 1.1"
        page.get_by_role("button", name="show the weights").click()
        page.evaluate(f"async () => {{ await {SETTLED}; }}")
        assert shown(page)[::2] == (0, "layers.1.self_attn.weights")
        assert page.locator(".head-off").is_hidden()
        show(page, step="self_attn.scores", head=2)
        assert "are its probs × 0.5" in page.locator(".head-off").inner_text()
        show(page, untouched=True)
        assert page.locator(".head-off").is_hidden()
        assert page.locator("[data-head='1.0']").get_attribute("aria-label") == "head 1.0"


def test_the_view_says_how_to_read_the_map(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        show(page, view="attention", row=4)
        words = page.locator(".reading").inner_text()
        assert "(query, T)" in words
        assert "the first row has one cell" in words
        show(page, changes=[{"kind": "trap", "key": "causal", "value": False}])
        assert "first row" not in page.locator(".reading").inner_text(), "nothing is masked"


@pytest.mark.parametrize("view", ["attention", "lens"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_have_enough_contrast(browser: Any, file: Path, view: str, theme: Any) -> None:
    with opened(browser, file, color_scheme=theme) as page:
        show(page, view=view, measure="entropy", row=3)
        low = [(text, round(contrast(ink, paper), 1)) for text, ink, paper in texts(page) if contrast(ink, paper) < 4.5]
        assert low == []


def test_a_head_is_chosen_with_arrow_keys(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        show(page, view="attention")
        page.locator(".head-buttons [aria-pressed=true]").focus()
        press(page, "ArrowDown", "ArrowRight", "ArrowRight", "Enter")
        assert page.evaluate("[app.state.layer, app.state.head]") == [1, 2]
        assert page.locator(".head-buttons [tabindex='0']").count() == 1


def test_q_opens_the_product_of_the_cell(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        show(page, view="attention", layer=2, head=1, row=6, col=4)
        press(page, "q")
        state = page.evaluate("app.state")
        assert {key: state[key] for key in ("view", "layer", "head", "step", "row", "col")} == {
            "view": "layer", "layer": 2, "head": 1, "step": "self_attn.scores", "row": 6, "col": 4,
        }  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_recorded_page_shows_the_same(browser: Any, tmp_path: Path, dtype: str) -> None:
    model = small.model(dtype=dtype)
    explorer = Explorer(model, small.ids(rows=1))
    with opened(browser, explorer.save(tmp_path / "page.html")) as page:
        for kind in ("probs", "scores", "scores_masked", "weights"):
            show(page, view="attention", layer=1, head=2, step=f"self_attn.{kind}", row=4, col=3)
            value, index, name = shown(page)
            assert np.asarray(value, dtype) == explorer.trace[name][tuple(index)]
        show(page, step="self_attn.scores_masked", row=0, col=4)
        assert shown(page)[0] == explorer.trace["layers.1.self_attn.scores_masked"][0, 2, 0, 4]


def test_masked_scores_of_a_recorded_page_are_the_lowest_number_of_its_dtype(browser: Any, tmp_path: Path) -> None:
    device("emulated")
    explorer = Explorer(small_on("emulated", "float16"), small.ids(rows=1))
    with opened(browser, explorer.save(tmp_path / "page.html")) as page:
        show(page, view="attention", layer=1, step="self_attn.scores_masked", row=0, col=4)
        assert shown(page)[0] == -65504
        assert "masked" in page.locator(".cell-readout").inner_text()
        show(page, view="layer")
        assert page.locator(".origin").get_attribute("data-good") == "true"


@pytest.mark.parametrize("width", [360, 1400])
def test_a_text_of_256_tokens(browser: Any, file: Path, width: int) -> None:
    with opened(browser, file, width=width) as page:
        show(page, view="attention", text=" ".join(["Aspirin treats pain."] * 60), measure="induction", head=3)
        assert page.evaluate("app.run.T") == 256
        assert overflow(page) == 0
        assert shown(page)[1][2] == 255
        assert page.locator(".token-strip").first.locator("li").count() == 256


def test_many_heads_and_nan(browser: Any, tmp_path: Path) -> None:
    config = BioGptConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=24, num_attention_heads=16, intermediate_size=8
    )
    model = BioGptForCausalLM.from_config(config, seed=0)
    explorer = Explorer(model, list(range(3, 50)))
    explorer.trace["layers.5.self_attn.probs"][0, 7, 20, 3] = np.nan
    with opened(browser, explorer.save(tmp_path / "page.html")) as page:
        show(page, view="attention", layer=5, head=7, row=20, col=3, measure="entropy")
        assert page.locator(".cell-readout b").inner_text() == "NaN"
        assert page.locator(".head-buttons button").count() == 384
        assert page.locator("[data-head='5.7']").get_attribute("aria-label") == "head 5.7, not defined"
        assert overflow(page) == 0
