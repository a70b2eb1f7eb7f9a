"""The lens view in an offline browser: the logit lens and the parts of a logit, compared with minibiogpt.lens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer, Trace
from minibiogpt.lens import logit_attribution, logit_lens
from minibiogpt.model.ops import softmax
from minibiogpt.view import Explorer
from minibiogpt.view.explorer.recorded import MOST_PROBABLE, recorded_lens
from tests.budgets import PAGE_LENS, PAGE_LOGIT, PAGE_MEASURE, PAGE_PROBABILITY, PAGE_STORED, PAGE_THREE_DIGITS
from tests.support import small
from tests.support.browser import opened, overflow
from tests.support.explored import SCREENS
from tests.view.explorer.test_attention_view import press, show
from tests.view.test_pages import TEXT, data_of, demo

PARTS = "[...document.querySelectorAll('.parts-map [data-part]')].map((cell) => cell.textContent)"
STAGES = ["embeddings", "layers.0", "layers.1", "layers.2", "layers.3"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def traced(text: str = TEXT) -> Trace:
    trace = Trace()
    demo()(BioGptTokenizer.from_pretrained("demo")(text)["input_ids"], trace=trace)
    return trace


def labels(explorer: Explorer) -> list[str]:
    return list(data_of(explorer.html)["labels"])


def rows(page: Any) -> list[tuple[str, float]]:
    """The most probable tokens that are shown, with their probabilities."""
    cells = page.locator(".stage-words tbody tr").all()
    return [(row.locator("td").nth(0).inner_text(), float(row.locator("td").nth(1).inner_text())) for row in cells]


def parts(page: Any) -> dict[str, float]:
    """The parts in the map, by their names."""
    found = [text.split(": ") for text in page.evaluate(PARTS)]
    return {name: float(value) for name, value in found}


def assert_parts(page: Any, want: dict[str, Any]) -> None:
    got = parts(page)
    assert list(got) == list(want)
    assert max(abs(got[name] - float(np.array(want[name])[0])) for name in want) <= PAGE_LENS


@pytest.mark.parametrize(("width", "height", "theme"), SCREENS)
def test_by_keyboard_alone_every_layer_is_read(browser: Any, file: Path, width: int, height: int, theme: Any) -> None:
    lens = logit_lens(demo(), traced(), position=None)
    words = labels(Explorer(demo(), TEXT))
    with opened(browser, file, width=width, height=height, color_scheme=theme) as page:
        page.wait_for_selector("html[data-ready]")
        press(page, "4", ",")
        assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Logit lens"
        press(page, "Shift+ArrowUp")  # from layer 0 to the embeddings
        for stage in STAGES:
            probs = softmax(np.array(lens[stage], np.float64))[0, 7]
            best = np.argsort(-probs, kind="stable")[:MOST_PROBABLE]
            got = rows(page)
            assert [word for word, _ in got] == [words[i] for i in best], stage
            assert np.allclose([x for _, x in got], probs[best], atol=PAGE_PROBABILITY)
            press(page, "Shift+ArrowDown")
        assert page.locator(".stage-words h2").inner_text() == "Next token after “used” at position 7:"
        assert overflow(page) == 0


def test_the_table_shows_what_the_model_would_say_after_each_layer(browser: Any, file: Path) -> None:
    lens = logit_lens(demo(), traced(), position=None)
    words = labels(Explorer(demo(), TEXT))
    with opened(browser, file) as page:
        show(page, view="lens")
        texts = page.evaluate("[...document.querySelectorAll('.lens-table .word')].map((text) => text.textContent)")
        probs = page.evaluate(
            "[...document.querySelectorAll('.lens-table .prob')].map((text) => Number(text.textContent))"
        )
        for i, stage in enumerate(STAGES):
            want = softmax(np.array(lens[stage], np.float64))[0]
            assert texts[9 * i : 9 * i + 9] == [words[j] for j in want.argmax(axis=1)]
            assert np.allclose(probs[9 * i : 9 * i + 9], want.max(axis=1), rtol=PAGE_THREE_DIGITS), (
                "three digits are shown"
            )
        bold = page.evaluate(
            "[...document.querySelectorAll('.lens-table .word')].map((x) => x.getAttribute('font-weight'))"
        )
        same = [words[int(j)] for j in np.array(lens["layers.3"])[0].argmax(axis=1)]
        assert [x == "700" for x in bold] == [text == same[i % 9] for i, text in enumerate(texts)]


def test_the_cell_under_the_pointer_is_read_and_a_click_keeps_it(browser: Any, file: Path) -> None:
    lens = logit_lens(demo(), traced(), position=4)
    with opened(browser, file) as page:
        show(page, view="lens")
        box = page.locator(".lens-table rect").nth(3 * 9 + 4)
        box.hover()
        probs = softmax(np.array(lens["layers.2"], np.float64))[0]
        assert abs(rows(page)[0][1] - probs.max()) < PAGE_PROBABILITY
        box.click()
        page.mouse.move(0, 0)
        show(page)
        assert page.evaluate("[app.state.layer, app.row]") == [2, 4]
        token = page.evaluate("app.token")
        words = page.locator(".chosen-token").inner_text()
        logit, rank = (
            float(lens["layers.2"][0, token]),
            int((lens["layers.2"][0] > lens["layers.2"][0, token]).sum()) + 1,
        )
        assert f"has rank {rank} of 1874" in words
        assert abs(float(words.split("logit ")[1].rstrip(".")) - logit) < PAGE_MEASURE


def test_the_parts_of_a_logit_are_those_of_python(browser: Any, file: Path) -> None:
    trace, model = traced(), demo()
    with opened(browser, file) as page:
        show(page, view="lens")
        best = int(trace["logits"][0, -1].argmax())
        assert_parts(page, logit_attribution(model, trace, best))
        assert (
            abs(float(page.locator(".parts-sum b").first.inner_text()) - float(trace["logits"][0, -1, best]))
            < PAGE_LOGIT
        )
        assert "✓ equal within rounding" in page.locator(".parts-sum").inner_text()
        show(page, row=3, token=500, against=77)
        assert_parts(page, logit_attribution(model, trace, 500, 3, against=77))
        logit = float(trace["logits"][0, 3, 500] - trace["logits"][0, 3, 77])
        assert abs(float(page.locator(".parts-sum b").nth(1).inner_text()) - logit) < PAGE_LOGIT


def test_the_rank_of_the_chosen_token_is_counted_from_one(browser: Any, file: Path) -> None:
    lens = logit_lens(demo(), traced(), position=6)
    with opened(browser, file) as page:
        show(page, view="lens", row=6)
        for layer in (0, 2, 3):
            logits = np.array(lens[f"layers.{layer}"])[0]
            order = np.argsort(-logits, kind="stable")
            probs = softmax(np.array(logits, np.float64))
            for rank in (1, 2, 300):
                show(page, layer=layer, token=int(order[rank - 1]))
                words = page.locator(".chosen-token").inner_text()
                assert f"has rank {rank} of {len(logits)}, probability " in words
                _, _, p, logit = [float(x) for x in re.findall(r"[-\d.e]+(?=[ ,.])", words.split("has rank")[1])]
                assert abs(p - probs[order[rank - 1]]) < PAGE_PROBABILITY
                assert abs(logit - logits[order[rank - 1]]) < PAGE_LENS


def test_the_list_is_sorted_by_size_and_leads_to_the_head(browser: Any, file: Path) -> None:
    trace = traced()
    want = {name: float(x[0]) for name, x in logit_attribution(demo(), trace, 300).items()}
    order = sorted(want, key=lambda name: -abs(want[name]))
    with opened(browser, file) as page:
        show(page, view="lens", token=300)
        page.get_by_role("button", name="all 27 parts").click()
        page.get_by_role("button", name="only the largest").wait_for()
        names = page.evaluate("[...document.querySelectorAll('.parts-table tbody [title]')].map((x) => x.title)")
        assert names == order
        head = next(name for name in order if ".heads." in name)
        _, layer, _, _, number = head.split(".")
        page.get_by_role("button", name=f"head {layer}.{number}", exact=True).click()
        state = page.evaluate("app.state")
        assert (state["view"], state["layer"], state["head"]) == ("attention", int(layer), int(number))


def test_a_token_is_chosen_by_its_text(browser: Any, file: Path) -> None:
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    with opened(browser, file) as page:
        show(page, view="lens")
        box = page.get_by_label("token", exact=True)
        box.fill("asthma")
        box.press("Enter")
        asthma, pain = (tokenizer.encode(word)[-1] for word in ("asthma", "pain"))
        assert page.evaluate("app.state.token") == asthma
        assert page.locator("datalist option").count() == 1874
        box.fill("Ibuprofen")
        box.press("Enter")
        page.get_by_text("“Ibuprofen” is 4 tokens; choose one:").wait_for()
        page.locator(".token-picker button").nth(3).click()
        assert page.evaluate("app.state.token") == tokenizer.encode("Ibuprofen")[-1]
        box.fill("id 17")
        box.press("Enter")
        assert page.evaluate("app.state.token") == 17
        box.fill("")
        box.press("Enter")
        assert page.evaluate("app.state.token") is None
        against = page.get_by_label("against (optional)")
        against.fill("pain")
        against.press("Enter")
        assert page.evaluate("app.state.against") == pain
        assert f"against={pain}" in page.evaluate("app.hashOf()")


def test_an_experiment_changes_the_lens_and_the_sum_still_holds(browser: Any, file: Path) -> None:
    tokens = BioGptTokenizer.from_pretrained("demo")(TEXT)["input_ids"]
    trace = Trace()
    demo()(tokens, ablate=[(1, 0)], trace=trace)
    with opened(browser, file) as page:
        show(page, view="lens", changes=[{"kind": "head", "layer": 1, "head": 0, "scale": 0}], token=300)
        assert_parts(page, logit_attribution(demo(), trace, 300))
        assert parts(page)["layers.1.self_attn.heads.0"] == 0
        assert "✓" in page.locator(".parts-sum").inner_text()


FINAL = """() => { const last = lensNow(app).lensLogits(app.run.array("layers.3"));
  return Math.max(...last.map((x, i) => Math.abs(x - app.run.logits.numbers[i]))); }"""


@pytest.mark.parametrize(
    ("key", "value", "holds"),
    [
        ("eps", 0.5, True), ("unbiased", True, True), ("unitGain", True, True), ("finalNorm", False, True),
        ("scaleHead", True, True), ("causal", False, True), ("layerOrder", "reversed", True), ("preNorm", False, False),
    ],
)  # fmt: skip
def test_the_lens_of_a_trap_reads_as_its_model_does(
    browser: Any, file: Path, key: str, value: Any, holds: bool
) -> None:
    with opened(browser, file) as page:
        show(page, view="lens", changes=[{"kind": "trap", "key": key, "value": value}], token=300)
        assert page.evaluate(FINAL) == 0, "the last row is the model's own prediction"
        words = page.locator(".parts-sum").inner_text()
        assert ("✓ equal within rounding" in words) == holds
        assert ("✗ different: with this experiment" in words) != holds


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_recorded_page_shows_what_python_computed(browser: Any, tmp_path: Path, dtype: str) -> None:
    model = small.model(dtype=dtype)
    explorer = Explorer(model, small.ids(rows=1))
    lens = logit_lens(model, explorer.trace, position=2)
    with opened(browser, explorer.save(tmp_path / "page.html")) as page:
        show(page, view="lens", row=2, layer=0)
        page.wait_for_selector(".stage-words tbody tr")
        probs = softmax(np.array(lens["layers.0"], np.float64))[0]
        best = np.argsort(-probs, kind="stable")[:MOST_PROBABLE]
        assert [word for word, _ in rows(page)] == [f"id {i}" for i in best]
        assert np.allclose([x for _, x in rows(page)], probs[best], rtol=PAGE_STORED)
        token = int(explorer.trace["logits"][0, 2].argmax())
        assert_parts(page, logit_attribution(model, explorer.trace, token, 2))
        assert "This page holds no weights." in page.locator(".lens-view").inner_text()
        show(page, token=(token + 1) % small.V)
        assert "The parts of this token are not in the page." in page.locator(".lens-view").inner_text()
        assert page.locator(".parts-map").is_hidden()
        page.get_by_role("button", name="show the most probable token").click()
        page.locator(".parts-map").wait_for(state="visible")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_recorded_page_holds_is_what_the_lens_returns(dtype: str) -> None:
    model, ids = small.model(dtype=dtype), small.ids(rows=1)
    trace = small.traced(model, ids)
    found, lens = recorded_lens(model, trace), logit_lens(model, trace, position=None)
    for stage, logits in enumerate(lens.values()):
        probs = softmax(np.array(logits[0], np.float64))
        order = np.argsort(-probs, axis=1, kind="stable")[:, :MOST_PROBABLE]
        assert np.array_equal(found["lens.ids"][stage], order)
        assert np.allclose(found["lens.probs"][stage], np.take_along_axis(probs, order, 1), rtol=PAGE_STORED)
    for t in range(ids.shape[1]):
        token = int(found["attribution.token"][t])
        assert token == int(np.array(trace["logits"])[0, t].argmax())
        want = [float(x[0]) for x in logit_attribution(model, trace, token, t).values()]
        assert found["attribution"][:, t].tolist() == want


def test_a_recorded_page_prints_the_lens(browser: Any, tmp_path: Path) -> None:
    explorer = Explorer(small.model(), small.ids(rows=1))
    with opened(browser, explorer.save(tmp_path / "page.html")) as page:
        page.wait_for_selector("html[data-ready]")
        page.wait_for_timeout(300)
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert page.locator(".lens-table .word").count() == 3 * 5


@pytest.mark.parametrize("width", [360, 1400])
def test_a_text_of_256_tokens_is_computed_stage_by_stage(browser: Any, file: Path, width: int) -> None:
    with opened(browser, file, width=width) as page:
        show(page, view="lens", text=" ".join(["Aspirin treats pain."] * 60))
        page.wait_for_selector(".lens-box[aria-busy=false]")
        assert page.evaluate("[...document.querySelectorAll('.lens-table .word')].every((text) => text.textContent)")
        assert page.locator(".lens-table .word").count() == 5 * 256
        assert overflow(page) == 0


def test_many_layers(browser: Any, tmp_path: Path) -> None:
    config = BioGptConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=24, num_attention_heads=16, intermediate_size=8
    )
    explorer = Explorer(BioGptForCausalLM.from_config(config, seed=0), list(range(3, 50)))
    with opened(browser, explorer.save(tmp_path / "page.html")) as page:
        show(page, view="lens", layer=20, row=30)
        page.wait_for_selector(".stage-words tbody tr")
        assert page.locator(".lens-table .word").count() == 25 * 47
        assert page.locator(".parts-map [data-part]").count() == 2 + 24 * 18 + 1
        assert overflow(page) == 0


def test_the_embeddings_stand_under_no_head(browser: Any, file: Path) -> None:
    """The map's first rows are the token and the position; the names of the heads are between them and the layers."""
    where = """() => { const all = [...document.querySelectorAll(".parts-map text.name")];
      return Object.fromEntries(all.map((text) => [text.textContent, text.getBoundingClientRect().y])); }"""
    with opened(browser, file) as page:
        show(page, view="lens")
        y = page.evaluate(where)
        assert y["token"] < y["position"] < y["head →"] == y["0"] < y["layer 0"] < y["layer 3"] < y["norm bias"]
        cells = page.evaluate(
            "[...document.querySelectorAll('.parts-map [data-part]')].map((x) => x.getBoundingClientRect().y)"
        )
        assert len(cells) == 3 + 4 * 6
        assert cells[0] < cells[1] < y["head →"] < cells[2]


def test_long_next_tokens_fit_a_phone(browser: Any, file: Path) -> None:
    with opened(browser, file, width=360) as page:
        show(page, view="lens", text="pain pain")
        assert overflow(page) == 0
