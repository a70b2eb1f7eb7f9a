"""The page as a whole: keys, touch, sizes, themes, contrast, accessibility, long texts, NaN, and the answer on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import Trace
from minibiogpt.view import Explorer
from tests.support.browser import axe_violations, contrast, overflow, svg_texts, texts
from tests.support.demo import tokenizer
from tests.support.explored import SCREENS, change, explored, settle
from tests.view.test_pages import TEXT, demo

VIEWS = ["model", "attention", "layer", "lens", "generation", "experiments", "compare"]
HEAD = {"kind": "head", "layer": 1, "head": 0, "scale": 0}
OTHER = "Ibuprofen acts by"
FOCUSED = """() => { const { activeElement: at } = document;
  return [at === document.body, at.id, Boolean(at.closest('#view')), at.checkVisibility()]; }"""
SELECTED = """() => { const bar = frame.tabs.getBoundingClientRect();
  const tab = frame.tabs.querySelector("[aria-selected=true]").getBoundingClientRect();
  return bar.left - 1 <= tab.left && tab.right <= bar.right + 1; }"""
MOVING = "[...document.querySelectorAll('*')].filter((x) => getComputedStyle(x).transitionDuration !== '0s').length"
MARK = "() => { const seen = document.activeElement.seen; document.activeElement.seen = true; return seen; }"


@pytest.fixture(scope="module", params=[True, False], ids=["live", "recorded"])
def any_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT, live=request.param).save(tmp_path_factory.mktemp("view") / "page.html")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def in_every_view(page: Any, **state: Any) -> Any:
    """Yield each view's name, once it is shown."""
    assert page.evaluate("app.views.map((view) => view.id)") == VIEWS
    for view in VIEWS:
        change(page, view=view, **state)
        assert page.locator("#view > .view").count() == 1
        yield view


@pytest.mark.parametrize(("width", "height", "theme"), [*SCREENS, (360, 740, "dark")])
def test_every_view_fits_and_can_be_read(browser: Any, any_file: Path, width: int, height: int, theme: Any) -> None:
    """No message, no request (see ``opened``), no overflow; every text, in drawings too, has a contrast of 4.5."""
    with explored(browser, any_file, width=width, height=height, color_scheme=theme) as page:
        count = 0
        for view in in_every_view(page, changes=[HEAD], other=OTHER, generation={"topP": 0.5, "count": 2}, tour=3):
            assert overflow(page) <= 0, view
            assert page.evaluate(SELECTED) is True, view
            for text, color, behind in [*texts(page), *svg_texts(page)]:
                assert contrast(color, behind) >= 4.5, (view, text, color, behind)
                count += 1
        assert count > 1000


@pytest.mark.parametrize(
    ("width", "height", "theme", "busy"),
    [(360, 740, "light", False), (360, 740, "dark", True), (1400, 900, "light", True), (1400, 900, "dark", False)],
)
def test_axe_finds_nothing(browser: Any, file: Path, width: int, height: int, theme: Any, busy: bool) -> None:
    """As it opens, and with an experiment, a stop of the tour, and everything unfolded. Contrast is tested above."""
    state = {"changes": [HEAD], "other": OTHER, "generation": {"count": 2}, "tour": 3} if busy else {}
    with explored(browser, file, width=width, height=height, color_scheme=theme) as page:
        for view in in_every_view(page, **state):
            if busy:
                page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert axe_violations(page) == [], view


def test_axe_finds_nothing_in_a_recorded_page(browser: Any, tmp_path: Path) -> None:
    with explored(browser, Explorer(demo(), TEXT, live=False).save(tmp_path / "page.html")) as page:
        for view in in_every_view(page):
            assert axe_violations(page) == [], view
        page.keyboard.press("?")
        assert axe_violations(page) == []


# Keys and touch -------------------------------------------------------------------------------------------------------


def test_every_view_by_its_number_and_by_the_arrows_of_the_tabs(browser: Any, any_file: Path) -> None:
    with explored(browser, any_file) as page:
        for number, view in enumerate(VIEWS):
            page.keyboard.press(str(number + 1))
            settle(page)
            assert page.evaluate("app.view.id") == view
        page.locator("[role=tab][aria-selected=true]").focus()
        for view in [*VIEWS, *VIEWS[:2]]:
            page.keyboard.press("ArrowRight")
            settle(page)
            assert page.evaluate("[app.view.id, document.activeElement.id]") == [view, f"tab-{view}"]
        page.keyboard.press("ArrowLeft")
        settle(page)
        assert page.evaluate("document.activeElement.id") == "tab-model"


@pytest.mark.parametrize("view", VIEWS)
def test_tab_goes_through_everything_and_round(browser: Any, file: Path, view: str) -> None:
    """Neither lost nor trapped: Tab reaches everything that it can, each once, and then the page's start again."""
    with explored(browser, file, hash=f"view={view}") as page:
        page.locator("#text").focus()
        page.evaluate(MARK)
        inside, selected = 0, False
        for _ in range(400):
            page.keyboard.press("Tab")
            nowhere, id, in_view, visible = page.evaluate(FOCUSED)
            assert nowhere or visible
            if not nowhere and page.evaluate(MARK):
                break
            inside += in_view
            selected |= id == f"tab-{view}"
        else:
            pytest.fail("Tab does not come round")
        assert selected
        assert inside > 3


def test_the_keys_of_all_views(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        for number, view in enumerate(VIEWS):
            page.keyboard.press(str(number + 1))
            settle(page)
            for keys, state in [
                (",", "row"),
                (".", "row"),
                ("]", "head"),
                ("[", "head"),
                ("}", "layer"),
                ("{", "layer"),
            ]:
                before = page.evaluate(f"app[{state!r}] ?? app.state.{state}")
                page.keyboard.press(keys)
                settle(page)
                assert page.evaluate(f"app[{state!r}] ?? app.state.{state}") != before, (view, keys)
            assert page.evaluate("[app.row, app.state.head, app.state.layer]") == [8, 0, 0], view


def test_the_text_box_by_keys(browser: Any, file: Path) -> None:
    with explored(browser, file, hash="view=attention") as page:
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "text"
        page.keyboard.press("Control+A")
        page.keyboard.type("Warfarin acts by 3")  # the digit is text here, not a view
        settle(page)
        assert page.evaluate("[app.run.text, app.view.id]") == ["Warfarin acts by 3", "attention"]
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.id") == "tab-attention"
        page.keyboard.press("3")
        settle(page)
        assert page.evaluate("app.view.id") == "layer"


def test_the_help_gives_the_focus_back(browser: Any, file: Path) -> None:
    with explored(browser, file, hash="view=generation") as page:
        page.locator("#tab-generation").focus()
        page.keyboard.press("?")
        assert "Keys: Generation" in page.locator("dialog").inner_text()
        page.keyboard.press("1")  # no key acts behind the dialog
        page.keyboard.press("Escape")
        settle(page)
        assert page.locator("dialog").count() == 0
        assert page.evaluate("[app.view.id, document.activeElement.id]") == ["generation", "tab-generation"]


def test_the_focus_is_kept_when_its_element_goes(browser: Any, file: Path) -> None:
    with explored(browser, file, hash="view=attention") as page:
        page.locator("#view select").first.focus()
        page.evaluate("app.set({ view: 'lens' })")
        settle(page)
        assert page.evaluate("document.activeElement.id") == "view"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('#view') !== null")
        change(page, view="experiments", changes=[HEAD])
        page.locator(".experiment-banner button").first.focus()
        page.keyboard.press("Enter")
        settle(page)
        assert page.evaluate("app.state.changes") == []
        assert page.evaluate(FOCUSED)[0] is False


def test_touch(browser: Any, file: Path) -> None:
    with explored(browser, file, width=360, height=740, has_touch=True) as page:
        page.locator("#explorer .tokens button").nth(3).tap()
        settle(page)
        assert page.evaluate("app.state.row") == 3
        page.locator(".examples button").nth(1).tap()
        settle(page)
        assert page.evaluate("[app.run.text, app.state.row]") == ["Mutations in CFTR cause", None]
        change(page, view="attention", text=TEXT)
        page.locator(".head-buttons button").nth(4 * 2 + 1).tap()
        settle(page)
        assert page.evaluate("[app.state.layer, app.state.head]") == [2, 1]
        change(page, view="layer", step="self_attn.probs")
        box = page.locator(".stepper .cells").bounding_box()
        page.locator(".stepper .cells").tap(position={"x": box["width"] * 1.5 / 9, "y": box["height"] * 7.5 / 9})
        settle(page)
        assert page.evaluate("[app.state.row, app.state.col]") == [7, 1]
        page.locator("#tab-experiments").tap()
        settle(page)
        page.locator("#tour").tap()
        settle(page)
        assert page.locator(".tour").is_visible()


def test_nothing_moves_for_those_who_asked_for_that(browser: Any, file: Path) -> None:
    for reduced in ("reduce", "no-preference"):
        with explored(browser, file, reduced_motion=reduced) as page:
            for view in in_every_view(page, tour=1):
                assert (page.evaluate(MOVING) > 0) is (reduced == "no-preference"), view
                if reduced == "reduce":
                    assert page.evaluate("document.getAnimations().length") == 0, view


# Texts and numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "more"), [(360, 2), (1400, 0)])
def test_long_texts(browser: Any, file: Path, width: int, more: int) -> None:
    """256 tokens are shown; the page says how many more are left out."""
    text = "pain " * (255 + more)  # each is one token, after </s>
    with explored(browser, file, width=width) as page:
        for view in in_every_view(page, text=text, other=text, changes=[HEAD]):
            assert page.evaluate("app.run.T") == 256
            assert overflow(page) <= 0, view
            note = page.locator("#explorer > p[role=status]").inner_text()
            assert ("the last 2 of the text's 258 tokens are left out" in note) is (more == 2)
            page.keyboard.press(",")
            settle(page)
            assert page.evaluate("app.row") == 254
            page.keyboard.press(".")


def test_nan_is_shown_in_every_view(browser: Any, tmp_path: Path) -> None:
    model = demo()
    weights = dict(model.named_parameters())
    weights["biogpt.layers.1.fc1.weight"][:] = np.nan
    with explored(browser, Explorer(model, TEXT).save(tmp_path / "page.html")) as page:
        for view in in_every_view(page, layer=2, step="self_attn.probs", other=OTHER, changes=[HEAD], row=2):
            assert "NaN" in page.locator("#view").inner_text() or "NaN" in page.evaluate(
                "[...document.querySelectorAll('#view [aria-label]')].map((x) => x.getAttribute('aria-label')).join()"
            ), view
            assert page.locator(".next-answer").inner_text() == "after position 2: NaN"


@pytest.mark.parametrize("text", ["", "  ", "☃ 漢字 🩺", "\u0000"])
def test_texts_without_a_known_character(browser: Any, file: Path, text: str) -> None:
    ids = tokenizer()(text)["input_ids"]
    logits = demo()(ids).logits[0, -1].astype("float64")
    best = tokenizer().decode([int(logits.argmax())])
    with explored(browser, file) as page:
        for _ in in_every_view(page, text=text):
            assert page.evaluate("app.run.ids") == ids[0].tolist()
            assert page.locator(".next-answer b").inner_text().rstrip("·") == best


def test_the_answer_on_top_is_that_of_the_token_under_study(browser: Any, any_file: Path) -> None:
    trace = Trace()
    demo()(tokenizer()(TEXT)["input_ids"], trace=trace)
    logits = trace["logits"][0].astype("float64")
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    probs = powers / powers.sum(-1, keepdims=True)
    with explored(browser, any_file) as page:
        labels = page.evaluate("app.facts.labels")
        for row in range(len(probs)):
            change(page, row=row)
            start = "next: " if row == len(probs) - 1 else f"after position {row}: "
            best = int(probs[row].argmax())
            said = page.locator(".next-answer").inner_text()
            assert said.startswith(f"{start}{labels[best]} ")
            assert float(said.split()[-2]) == pytest.approx(100 * probs[row, best], abs=0.0051)


def test_the_first_screen_says_what_to_do(browser: Any, any_file: Path) -> None:
    with explored(browser, any_file) as page:
        live = page.evaluate("app.live")
        assert page.locator("h1").inner_text() == "BioGPT, explored"
        assert "says which token (a piece of a word) comes next" in page.locator("header").inner_text()
        assert page.get_by_label("Your text" if live else "The recorded text").count() == 1
        assert page.locator(".examples button").count() == (4 if live else 0)
        for example in page.locator(".examples button").all():
            example.click()
            settle(page)
            assert page.evaluate("app.run.text") == example.get_attribute("title")
            assert float(page.locator(".next-answer").inner_text().split()[-2]) > 95  # the model knows it
        for view in in_every_view(page):
            letters = page.locator("#view details.letters")
            assert letters.count() == 1, view
            assert "the token that starts every text" in letters.text_content()
