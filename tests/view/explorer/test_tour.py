"""The guided tour: every stop shows what it speaks of, what it says is true of the demo model, and leaving restores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import Trace
from minibiogpt.lens import logit_lens
from minibiogpt.view import Explorer
from tests.support.browser import overflow
from tests.support.demo import tokenizer
from tests.support.explored import change, explored, settle
from tests.view.test_pages import TEXT, demo

MINE = {"view": "attention", "text": "Aspirin can cause", "layer": 2, "head": 3, "row": 2}
SPOT = """() => {
  const { top, bottom, width, height } = document.querySelector(".tour-spot").getBoundingClientRect();
  return [top, Math.min(bottom, top + 60), tour.panel.getBoundingClientRect().top, width * height];
}"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def go(page: Any, title: str) -> dict[str, Any]:
    """Go to the stop of a title; return the state of the page."""
    at = page.evaluate("(title) => tour.stops.findIndex((stop) => stop.title === title)", title)
    assert at >= 0, title
    page.evaluate("(at) => tour.goTo(at)", at)
    settle(page)
    return dict(page.evaluate("app.state"))


def probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def traced(text: str, **options: Any) -> Trace:
    trace = Trace()
    demo()(tokenizer()(text)["input_ids"], use_cache=False, trace=trace, **options)
    return trace


def answer(text: str, **options: Any) -> tuple[str, float]:
    """The most probable next token, and its probability."""
    p = probabilities(traced(text, **options)["logits"][0, -1])
    return tokenizer().decode([int(p.argmax())]), float(p.max())


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1400, 900)])
@pytest.mark.parametrize("live", [True, False], ids=["live", "recorded"])
def test_every_stop_shows_what_it_speaks_of(
    browser: Any, file: Path, tmp_path: Path, live: bool, width: int, height: int
) -> None:
    if not live:
        file = Explorer(demo(), TEXT, live=False).save(tmp_path / "page.html")
    with explored(browser, file, width=width, height=height) as page:
        page.locator("#tour").click()
        stops = page.evaluate("tour.stops.map(({ title, state }) => ({ title, state }))")
        assert len(stops) == (22 if live else 15)
        for number, stop in enumerate(stops):
            settle(page)
            state = page.evaluate("app.state")
            assert state["tour"] == number
            assert stop["state"].items() <= state.items()
            assert page.evaluate("document.activeElement.textContent") == stop["title"]
            assert page.locator(".tour-tools").is_visible()
            top, bottom, panel, area = page.evaluate(SPOT)
            assert area > 0, stop["title"]
            assert top >= -1, stop["title"]
            assert bottom <= panel, stop["title"]  # not below the panel
            assert panel >= 0.4 * height, stop["title"]
            assert overflow(page) <= 0, stop["title"]
            page.locator(".tour-tools button").nth(1).click()
        settle(page)
        assert page.locator(".tour").is_hidden()
        assert page.evaluate("document.activeElement.id") == "tour"


def test_leaving_restores_the_text_and_the_place_of_the_reader(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        change(page, **MINE)
        mine = page.evaluate("app.state")
        for leave in ("t", "Escape", "button"):
            page.keyboard.press("t")
            for _ in range(3):
                page.get_by_role("button", name="next stop").click()
            page.fill("#text", "Warfarin acts by")
            settle(page)
            assert page.evaluate("app.state.tour") == 3
            if leave == "button":
                page.get_by_role("button", name="leave the tour").click()
            else:
                page.locator(".tour h2").focus()
                page.keyboard.press(leave)
            settle(page)
            assert page.evaluate("app.state") == mine
            assert page.locator(".tour-spot").count() == 0
            assert page.input_value("#text") == MINE["text"]


def test_a_link_to_a_stop(browser: Any, file: Path) -> None:
    """It opens at the stop, without taking the focus; leaving goes to the start of the page."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(f"{file.as_uri()}#view=layer&step=self_attn.scores&tour=6")
    page.wait_for_selector("html[data-ready]")
    settle(page)
    assert page.locator(".tour h2").inner_text() == "A score is a dot product"
    assert page.evaluate("document.activeElement === document.body")
    page.keyboard.press("Escape")
    settle(page)
    assert page.evaluate("app.state") == page.evaluate("app.start")
    context.close()


def test_the_browser_s_back_button_leaves_too(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        change(page, **MINE)
        page.wait_for_timeout(300)
        page.keyboard.press("t")
        page.wait_for_function("() => app.state.tour === 0")
        page.go_back()
        page.wait_for_function("() => app.state.tour === null")
        assert MINE.items() <= page.evaluate("app.state").items()


def test_the_text_of_a_stop_folds(browser: Any, file: Path) -> None:
    with explored(browser, file, width=360, height=740) as page:
        page.keyboard.press("t")
        settle(page)
        height = page.locator(".tour").bounding_box()["height"]
        page.get_by_role("button", name="hide the text of the tour").click()
        assert page.locator(".tour").bounding_box()["height"] < height / 2
        assert page.locator(".tour h2").is_visible()
        assert page.locator(".tour-head button").get_attribute("aria-expanded") == "false"
        page.get_by_role("button", name="next stop").click()
        settle(page)
        assert page.locator(".tour .task").is_visible()


# What the stops say ---------------------------------------------------------------------------------------------------


def test_the_answers_that_the_first_stops_speak_of(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        assert go(page, "The whole way")["text"] == TEXT
        assert page.locator(".next-answer").inner_text().startswith("next: pain 99")
        page.fill("#text", f"{TEXT} pain")
        settle(page)
        assert page.locator(".next-answer").inner_text().startswith("next: and 99")
        assert answer(f"{TEXT} pain")[0] == "and"
        go(page, "Text becomes tokens")
        assert page.locator("#explorer .tokens").first.inner_text().split() == [
            "</s>",
            "I·",
            "b·",
            "upro·",
            "fen",
            "is",
            "best",
            "used",
            "for",
        ]


def test_position_0_uses_row_2() -> None:
    table = dict(demo().named_parameters())["biogpt.embed_positions.weight"]
    assert np.array_equal(traced(TEXT)["embed_positions"][0, 0], table[2])


def test_head_0_0_looks_one_token_back(browser: Any, file: Path) -> None:
    probs = traced(TEXT)["layers.0.self_attn.probs"][0]
    assert min(probs[0, t, t - 1] for t in range(1, probs.shape[1])) > 0.98
    with explored(browser, file) as page:
        state = go(page, "Many heads")
        assert (state["layer"], state["head"], state["measure"]) == (0, 0, "previous")
        shown = page.evaluate("Array.from(headMeasures(app.run, 'previous'))")
        assert shown.index(max(shown)) == 0
        assert page.locator("option[value=first]").inner_text().startswith("to the first token")
        most = page.evaluate("Array.from(headMeasures(app.run, 'first'))")
        assert sorted(most)[-1] - sorted(most)[-2] > 0.1  # one head is clearly the answer


def test_a_head_of_the_softmax_stop_spreads_its_weights(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        state = go(page, "Softmax")
        row = np.sort(traced(TEXT)[f"layers.{state['layer']}.self_attn.probs"][0, state["head"], -1])
        assert row[-3] > 0.1


def test_head_1_0_copies_and_without_it_the_code_is_lost(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        copy = go(page, "The head that copies")
        row = traced(copy["text"])["layers.1.self_attn.probs"][0, 0, -1]
        assert page.evaluate("[app.run.tokens.at(-1).label, app.run.tokens[1].label]") == ["sample", "Sample"]
        assert int(row.argmax()) == 2
        assert page.evaluate("app.run.tokens[2].label") == "P3·"
        assert "P3·" in page.locator(".cell-readout").inner_text()
        assert page.locator(".next-answer").inner_text().startswith("next: P3· 99")
        without = go(page, "Without one head")
        assert without["changes"] == [{"kind": "head", "layer": 1, "head": 0, "scale": 0}]
        mask = np.ones((4, 4))
        mask[1, 0] = 0
        lost = probabilities(traced(copy["text"], head_mask=mask)["logits"][0, -1])
        assert lost[page.evaluate("app.baseline.ids[2]")] < 1e-4
        assert "from 99.56 % to < 0.01 %" in page.locator(".effect").inner_text()
        mask = np.ones((4, 4))
        mask[1, 1] = 0
        assert answer(copy["text"], head_mask=mask)[1] > 0.9  # head 1.1 is not as important


def test_most_numbers_after_gelu_are_close_to_0() -> None:
    assert (abs(traced(TEXT)["layers.1.activation_fn"]) < 0.2).mean() > 0.8


def test_the_answer_appears_after_layer_2(browser: Any, file: Path) -> None:
    lens = logit_lens(demo(), traced(TEXT))
    said = [tokenizer().decode([int(logits[0].argmax())]) for logits in lens.values()]
    assert said[-3:] == ["for", "pain", "pain"]
    with explored(browser, file) as page:
        go(page, "Reading the stream early")
        words = page.evaluate("[...document.querySelectorAll('.lens-table .word')].map((word) => word.textContent)")
        assert words[8::9][-3:] == said[-3:]  # the last column


def test_top_p_leaves_two_tokens(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        state = go(page, "Top-k and top-p")
        p = np.sort(probabilities(traced(state["text"])["logits"][0, -1]))[::-1]
        assert p[0] < 0.5 <= p[:2].sum()
        page.get_by_label("top-p").last.fill("0.5")
        settle(page)
        assert "2 of 1,874 tokens can be chosen" in page.locator(".generation-view > div > p[role=status]").inner_text()


def test_the_cache_grows_by_one_position_for_each_token(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        go(page, "The cache")
        for count in range(2, 6):
            page.keyboard.press("n")
            settle(page)
            caption = page.locator("figure:has(.gen-cache) figcaption").inner_text()
            assert f"{2 * 4 * (8 + count) * 128 * 4:,} bytes" in caption


def test_tanh_gelu_changes_numbers_but_not_the_answer(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        go(page, "A trap for porters")
        for label in ("tanh GELU", "eps 1e-12"):
            page.get_by_label(label, exact=True).check()
            settle(page)
            now, before = (page.evaluate(f"largest(app.{run}.row('logits', app.row))") for run in ("run", "baseline"))
            moved = page.evaluate(
                "app.run.row('logits', app.row).some((x, i) => x !== app.baseline.row('logits', app.row)[i])"
            )
            assert now == before
            assert moved
            page.get_by_label(label, exact=True).uncheck()


def test_two_texts_differ_first_at_the_first_different_token(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        go(page, "Two texts")
        words = page.locator(".comparison .wide").inner_text()
        assert "Both begin with the same 5 tokens." in words
        assert (
            "The first array that differs, in the order of computation, is embed_tokens, first at position 5" in words
        )
