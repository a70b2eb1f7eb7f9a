"""The stepper as a reader uses it: keys, mouse, themes, window sizes, hostile texts, copying, a notebook frame."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptTokenizer
from minibiogpt.view import Stepper
from tests.support.browser import contrast, luminance, opened, overflow, texts
from tests.view.test_browser import STEPS, point, shown, title
from tests.view.test_pages import HOSTILE, TEXT, demo

LONG = "Ibuprofen is best used for pain and fever, metformin is the first drug for type 2 diabetes, and insulin lowers."


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Stepper(demo(), TEXT, layer=1, start="input").save(tmp_path_factory.mktemp("view") / "page.html")


def test_keys_go_through_all_steps(browser: Any, file: Path) -> None:
    names = [step.name for step in Stepper(demo(), TEXT, layer=1).steps]
    with opened(browser, file) as page:
        for i, name in enumerate(names):
            assert title(page) == f"{i + 1}. {name}"
            assert page.locator("nav [aria-current]").get_attribute("title") == name
            page.keyboard.press("ArrowRight")
        assert title(page) == f"20. {names[-1]}"
        page.keyboard.press("ArrowLeft")
        assert title(page) == f"19. {names[-2]}"
        page.keyboard.press("Home")
        assert title(page) == f"1. {names[0]}"
        page.keyboard.press("End")
        assert title(page) == f"20. {names[-1]}"


def test_keys_choose_head_token_and_cell(browser: Any, file: Path) -> None:
    def state(*names: str) -> list[Any]:
        return [page.evaluate(f"stepper.state.{name}") for name in names]

    with opened(browser, file) as page:
        page.evaluate("stepper.goTo(10)")
        last = state("row")[0]
        page.keyboard.press("]")
        assert state("head") == [1]
        assert page.locator(".heads [aria-pressed=true]").inner_text() == "1.1"
        page.keyboard.press("[")
        page.keyboard.press("[")
        assert state("head") == [3]
        page.keyboard.press(",")
        assert state("row", "pinned") == [last - 1, False]
        page.keyboard.press(".")
        assert state("row") == [last]
        page.evaluate("stepper.moveTo(3, 1)")
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("Shift+ArrowLeft")
        assert state("row", "col", "pinned") == [2, 0, True]
        assert "pinned" in page.locator(".readout").inner_text()
        page.keyboard.press("Escape")
        assert state("pinned") == [False]
        page.keyboard.press("?")
        assert "previous and next head" in page.locator("dialog").inner_text()
        page.keyboard.press("Escape")
        page.locator("dialog").wait_for(state="detached")  # the close event comes a moment later


def test_the_mouse_can_do_the_same(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        page.get_by_role("button", name="next step").click()
        assert title(page).startswith("2. ")
        page.get_by_role("button", name="previous step").click()
        assert page.get_by_role("button", name="previous step").is_disabled()
        page.get_by_role("slider", name="step").fill("8")
        assert title(page) == "9. layers.1.self_attn.scores"
        page.locator(".equation button", has_text="k").click()
        assert title(page) == "7. layers.1.self_attn.k"
        page.locator(".symbols button").click()
        assert title(page) == "4. layers.1.self_attn.k_proj"
        page.locator("nav button", has_text="probs").click()
        page.get_by_role("button", name="head 1.2").click()
        assert page.evaluate("stepper.state.head") == 2
        point(page, 4, 2, click=True)
        assert page.locator(".marker.loose").count() == 0
        pinned = page.locator(".origin").inner_text()
        value = shown(page)
        point(page, 5, 3)
        assert shown(page) != value
        assert page.locator(".origin").inner_text() == pinned
        page.keyboard.press("ArrowRight")
        assert page.evaluate("[stepper.state.row, stepper.state.col, stepper.state.head]") == [4, 2, 2]
        page.mouse.move(0, 0)
        assert "pinned" in page.locator(".readout").inner_text()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_shown_as_text(browser: Any, tmp_path: Path, text: str) -> None:
    stepper = Stepper(demo(), text)
    stepper.save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        plain = re.sub("[\ud800-\udfff]", "\ufffd", text).replace("\x00", "\ufffd")
        assert page.locator("p.text").evaluate("(p) => p.textContent") == plain
        assert page.title() == "Layer 0 of BioGPT, step by step"
        pieces = BioGptTokenizer.from_pretrained("demo").convert_ids_to_tokens(stepper.ids)
        page.evaluate("stepper.goTo(10)")
        labels = page.locator(".down span").evaluate_all("(all) => all.map((span) => span.textContent)")
        assert len(labels) == len(pieces)
        for label, piece in zip(labels, pieces, strict=True):
            assert (
                label.removesuffix("·") == piece.removesuffix("</w>").encode("utf-8", "replace").decode()
                or "\ufffd" in label
            )
        assert page.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_is_wider_than_the_window_and_all_can_be_read(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    Stepper(demo(), LONG).save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html", width=width, color_scheme=scheme) as page:
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(tuple(map(float, re.findall(r"\d+", paper)[:3]))) < 0.2) is (scheme == "dark")
        for step in range(STEPS):
            page.evaluate(f"stepper.goTo({step})")
            assert overflow(page) == 0, step
            if step in (3, 5, 6, 7, 12, 14, 15, 18, 19):  # another step of the same kind is checked
                continue
            found = texts(page)
            assert len(found) > 40
            assert [text for text in found if contrast(*text[1:]) < 4.5] == [], step


def test_the_theme_button_overrides_the_system(browser: Any, file: Path) -> None:
    with opened(browser, file, color_scheme="dark") as page:
        paper = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(paper)
        page.locator("#theme").click()
        assert page.locator("#theme").inner_text() == "theme: light"
        assert page.evaluate(paper) == "rgb(255, 255, 255)" != dark
        page.locator("#theme").click()
        assert page.evaluate(paper) == dark
        page.locator("#theme").click()
        assert page.locator("#theme").inner_text() == "theme: auto"


def test_tab_reaches_everything_and_the_focus_is_seen(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        page.evaluate("stepper.goTo(8)")
        reached = []
        for _ in range(70):
            page.keyboard.press("Tab")
            name, style, width = page.evaluate(
                "(() => { const e = document.activeElement, s = getComputedStyle(e);"
                "const name = e.getAttribute('aria-label') ?? e.textContent;"
                "return [e.tagName + ' ' + name, s.outlineStyle, s.outlineWidth]; })()"
            )
            if name.startswith("BODY"):
                break
            assert (style, width) != ("none", "0px"), name
            reached.append(name)
        wanted = ["previous step", "step", "next step", "theme", "keyboard", "fc1", "head 1.3", "copy as TSV"]
        wanted += ["layers.1.self_attn.scores, head", "terms of this value", "source of"]
        assert [word for word in wanted if not any(word in name for name in reached)] == []


def test_numbers_are_copied_or_can_be(browser: Any, file: Path) -> None:
    stepper = Stepper(demo(), TEXT, layer=1)
    with opened(browser, file, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.evaluate("() => { stepper.goTo(10); stepper.setHead(2); }")
        page.get_by_role("button", name="copy as TSV").click()
        page.get_by_text("copied", exact=True).wait_for()
        lines = page.evaluate("navigator.clipboard.readText()").splitlines()
        assert lines[0].split("\t")[:2] == ["layers.1.self_attn.probs", "</s>"]
        got = np.array([line.split("\t")[1:] for line in lines[1:]]).astype("float32")
        assert (got == stepper.trace["layers.1.self_attn.probs"][0, 2]).all()
    with opened(browser, file) as page:
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }")
        page.get_by_role("button", name="copy as JSON").click()
        assert '"name":"layers.0"' in page.locator("dialog textarea").input_value()


def test_a_frame_in_a_notebook_shows_it(browser: Any, tmp_path: Path) -> None:
    frame = Stepper(demo(), TEXT, start="input")._repr_html_()
    (tmp_path / "notebook.html").write_text(f"<!doctype html><meta charset=utf-8><body>{frame}", encoding="utf-8")
    with opened(browser, tmp_path / "notebook.html") as page:
        inner = page.frame_locator("iframe")
        inner.get_by_role("button", name="next step").click()
        assert inner.locator("h2").inner_text() == "2. layers.0.self_attn_layer_norm"
        inner.get_by_role("button", name="copy as JSON").click()
        inner.get_by_role("status").filter(has_text="cop").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_frame_follows_the_color_scheme_of_the_page_around_it(browser: Any, tmp_path: Path, scheme: str) -> None:
    frame = Stepper(demo(), TEXT)._repr_html_()
    text = f"<!doctype html><meta charset=utf-8><style>body {{ color-scheme: {scheme}; }}</style><body>{frame}"
    (tmp_path / "site.html").write_text(text, encoding="utf-8")
    with opened(browser, tmp_path / "site.html", color_scheme="null") as page:  # nothing emulated
        inner = page.frame_locator("iframe")
        assert inner.locator("#theme").inner_text() == "theme: auto"
        paper = inner.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}[scheme]


def test_the_policy_forbids_the_network(browser: Any, file: Path) -> None:
    with opened(browser, file, allowed="Content Security Policy") as page:
        found = page.evaluate("fetch('https://example.org').then(() => 'reached', (error) => error.name)")
        assert found == "TypeError"
    with pytest.raises(AssertionError), opened(browser, file) as page:  # in any other test this message is a failure
        page.evaluate("fetch('https://example.org').catch(() => 0)")
