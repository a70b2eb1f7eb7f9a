"""The printed page: every view on a page of its own, in light colors, with its title, without controls, nothing cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minibiogpt.view import Explorer
from tests.support.explored import explored
from tests.view.test_pages import TEXT, demo

TITLES = ["Model", "Attention", "Layer", "Logit lens", "Generation", "Experiments", "Compare"]
CONTROLS = """() => [...document.querySelectorAll("button:not(.link), select, input, textarea, nav, summary")]
  .filter((one) => one.checkVisibility() && !one.closest('.head-buttons')).map((one) => one.outerHTML.slice(0, 80))"""
BEYOND = """(width) => [...document.querySelectorAll("#explorer *")]
  .filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > width + 1)
  .map((one) => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module", params=[True, False], ids=["live", "recorded"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT, live=request.param).save(tmp_path_factory.mktemp("view") / "page.html")


@pytest.mark.parametrize("landscape", [False, True])
def test_the_pdf_has_a_page_for_every_view_and_the_screen_is_as_before(
    browser: Any, file: Path, landscape: bool
) -> None:
    with explored(browser, file, color_scheme="dark", hash="view=lens&row=3&tour=2") as page:
        before = page.evaluate("[app.state, root.dataset.theme, document.body.style.width]")
        pdf = page.pdf(format="A4", landscape=landscape)
        assert pdf.startswith(b"%PDF")
        assert pdf.count(b"/Type /Page\n") >= len(TITLES)
        assert page.evaluate("[app.state, root.dataset.theme, document.body.style.width]") == before
        assert page.locator("#view > *").count() == 1
        assert page.locator("#view > .view.lens").is_visible()
        assert page.locator(".tour").is_visible()


@pytest.mark.parametrize(("width", "height"), [(718, 1030), (1040, 704)])  # A4 less its margins
def test_what_is_printed(browser: Any, file: Path, width: int, height: int) -> None:
    state = "view=layer&step=fc1&tour=2&changes=" + '[{"kind":"head","layer":1,"head":0,"scale":0}]'
    with explored(browser, file, width=width, height=height, color_scheme="dark", hash=state) as page:
        live = page.evaluate("app.live")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        page.wait_for_timeout(150)  # a page that is printed may be resized
        assert page.locator("h2.printed").all_inner_texts() == TITLES
        said = f"The text: “{TEXT}”" + (", with 1 change of the model" if live else "")
        assert page.locator("p.printed").inner_text() == said
        assert page.locator("h1").is_visible()
        breaks = page.evaluate("[...document.querySelectorAll('.view')].map((one) => getComputedStyle(one).breakAfter)")
        assert breaks == ["page"] * 6 + ["auto"]
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate(CONTROLS) == []
        assert page.evaluate(BEYOND, width) == []
        assert page.locator(".tour").is_hidden()
        for picture in page.locator("#view svg.overview, #view svg.lens-table, #view .map canvas").all():
            assert picture.bounding_box()["width"] > 100
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert page.locator("#view > .view").count() == 1
