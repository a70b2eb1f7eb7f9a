"""The documentation as Sphinx builds it: no warnings, no broken link or anchor, no use of the network.

The site is built in a temporary folder, with all notebooks and two test notebooks. One of them has unusual outputs.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urldefrag

import pytest

from minibiogpt import BioGptConfig
from tests.support.pages import ROOT, load

PNG = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()
FRAME = '<iframe title="a frame" width="100%" height="80" srcdoc="&lt;p&gt;inside the frame&lt;/p&gt;"></iframe>'
WIDGET = "application/vnd.jupyter.widget-view+json"
OUTPUTS = [
    {"image/png": PNG, "text/plain": ["<Figure>"]},
    {"text/html": [FRAME], "text/plain": ["Stepper"]},
    {WIDGET: {"model_id": "x", "version_major": 2, "version_minor": 0}, "text/html": ["<b>beside the widget</b>"]},
    {"application/javascript": ["fetch('https://example.com')"], "text/plain": ["a script"]},
]


def notebook(title: str, text: str, outputs: list[dict[str, Any]]) -> str:
    """Return the JSON of a notebook with one text cell, and one code cell for each output."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": [f"# {title}\n", "\n", text]},
        *(
            {
                "cell_type": "code",
                "id": f"c{i}",
                "metadata": {},
                "execution_count": 1,
                "source": ["1 + 1"],
                "outputs": [{"output_type": "display_data", "metadata": {}, "data": data}],
            }
            for i, data in enumerate(outputs)
        ),
    ]
    state = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2, "version_minor": 0}}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}, "widgets": state}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def copy_sources(folder: Path) -> Path:
    """Copy what the build reads: the pages and the notebooks. Link to the rest of what the pages link to."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("api", "notebooks", "__pycache__"))
    for name in ("minibiogpt", "tests", "tools", "README.md", "CHANGELOG.md"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "notebooks").mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, folder / "notebooks")
    links = "See [the other](91-other.ipynb), [the trace](../docs/trace.md#the-names), "
    links += "[ops](../minibiogpt/model/ops.py)."
    (folder / "notebooks" / "90-trial.ipynb").write_text(notebook("Trial", f"$e^{{x}} / \\sum$. {links}", OUTPUTS))
    (folder / "notebooks" / "91-other.ipynb").write_text(notebook("Other", "$$\\frac{a}{b}$$", []))
    with (folder / "docs" / "start.md").open("a", encoding="utf-8") as page:
        page.write("\n- [A notebook](../notebooks/91-other.ipynb), [all](../notebooks), [changes](../CHANGELOG.md)\n")
    return folder


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-n",
        "-q",
        "-d",
        str(folder / "read"),
        "docs",
        str(folder / "html"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    absent = [name for name in ("sphinx", "myst_nb", "furo", "sphinx_copybutton") if find_spec(name) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed; the pages cannot be built: pip install '.[docs]'")
    folder = copy_sources(tmp_path_factory.mktemp("site"))
    done = build(folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder / "html"


class Page(HTMLParser):
    """The ids of an HTML page, the targets of its links, and the addresses it loads."""

    LOADS: ClassVar = {
        "script": "src",
        "link": "href",
        "img": "src",
        "iframe": "src",
        "source": "src",
        "object": "data",
    }

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if self.LOADS.get(tag) in values and values.get("rel") not in ("search", "index", "next", "prev", "canonical"):
            self.loads.append(values[self.LOADS[tag]])


def parsed(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def broken_links(pages: dict[Path, Page]) -> list[str]:
    """Return the links within the site to a file or an id that doesn't exist."""
    found = []
    for path, page in pages.items():
        for link in page.links:
            name, anchor = urldefrag(link)
            if name.startswith(("http://", "https://", "mailto:")):
                continue
            target = (path.parent / unquote(name)).resolve() if name else path
            exists = target.is_file() and (not anchor or target not in pages or unquote(anchor) in pages[target].ids)
            if not exists:
                found.append(f"{path.name}: {link}")
    return found


def loaded_from_elsewhere(page: Page) -> list[str]:
    return [address for address in page.loads if address.startswith(("http:", "https:", "//"))]


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {path.resolve(): page for path, page in parsed(site).items()}
    assert len(pages) > 30
    assert broken_links(pages) == []


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    found = {path.name: loaded_from_elsewhere(page) for path, page in parsed(site).items()}
    assert {name: addresses for name, addresses in found.items() if addresses} == {}
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text(encoding="utf-8").replace('"', "").replace("'", ""), sheet


def test_what_is_dead_or_loaded_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text('<p id="x"><a href="#x">1</a><a href="#y">2</a><a href="b.html">3</a><a href="https://c">4</a>')
    page = Page(path.read_text() + '<script src="https://c/x.js"></script><img src="i.png"><link href="//c/s.css">')
    assert broken_links({path: page}) == ["a.html: #y", "a.html: b.html"]
    assert loaded_from_elsewhere(page) == ["https://c/x.js", "//c/s.css"]


def test_a_warning_is_an_error(tmp_path: Path, site: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "conf.py").write_text('extensions = ["myst_nb"]\n')
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[nowhere](nowhere.md)\n")
    done = build(tmp_path)
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr


def test_notebooks_are_shown_with_their_outputs(site: Path) -> None:
    page = (site / "notebooks" / "90-trial.html").read_text(encoding="utf-8")
    assert 'srcdoc="&lt;p&gt;inside the frame' in page
    assert "<b>beside the widget</b>" in page
    assert "a script" in page
    assert "example.com" not in page
    assert "<math" in page
    found = Page(page)
    assert {"91-other.html", "../trace.html#the-names", "../_modules/minibiogpt/model/ops.html"} <= set(found.links)
    assert any(address.endswith(".png") for address in found.loads)
    start = Page((site / "start.html").read_text(encoding="utf-8"))
    assert {
        "notebooks/91-other.html",
        "notebooks/index.html",
        "changelog.html",
        "_modules/minibiogpt/model/layers.html",
    } <= set(start.links)


def test_notebooks_can_be_copied_downloaded_and_read_aloud(site: Path) -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        text = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        page = Page(text)
        assert any("copybutton.js" in address for address in page.loads), path
        (link,) = [link for link in page.links if link.endswith(".ipynb")]
        assert (site / "notebooks" / unquote(link)).read_bytes() == path.read_bytes(), "download the notebook itself"
        described = re.findall(r'<img alt="([^"]*)" src="\.\./_images', text)
        assert described, path
        assert [alt for alt in described if " " not in alt] == [], "a file's name describes nothing"
        assert "Show the checks" in text


def test_formulas_are_translated_or_reported() -> None:
    pytest.importorskip("docutils", reason="docutils comes with Sphinx: pip install '.[docs]'")
    from docutils.utils.math import MathError

    mathml = load("mathml")
    assert "<mfrac>" in mathml.translated(r"\tfrac12 \big( x \Bigr)")
    assert "<mtext>out_proj of 5%</mtext>" in mathml.translated(r"W_{\text{out\_proj of 5\%}}")
    with pytest.raises(MathError):
        mathml.translated(r"\nosuchcommand")


def test_what_comes_from_the_code_is_in_the_pages(site: Path) -> None:
    glossary = (site / "glossary.html").read_text(encoding="utf-8")
    for letter in (*BioGptConfig().letters, "B", "T", "S"):
        assert f"<strong>{letter}</strong>" in glossary, letter
    assert "max_position_embeddings" in glossary
    reference = Page((site / "api" / "index.html").read_text(encoding="utf-8"))
    assert {"minibiogpt.trace.trace.Trace.explain", "minibiogpt.backend.base.get_backend"} <= reference.ids
    specification = Page((site / "specification.html").read_text(encoding="utf-8"))
    assert {"c1.1", "c6.8", "c14.3"} <= specification.ids
    assert "#c6.8" in specification.links, "a cited clause must be a link"


@pytest.fixture
def page() -> Iterator[Any]:
    """An offline page in Chromium. Skips if playwright or Chromium is missing, and reports which."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no page can be opened")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync.sync_playwright() as play:
        try:
            program = play.chromium.launch(executable_path=chromium, args=quiet)
        except sync.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        context = program.new_context(offline=True)
        yield context.new_page()
        program.close()


def test_the_site_works_from_a_disk_without_a_network(site: Path, page: Any) -> None:
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.set_viewport_size({"width": 360, "height": 740})
    wide = []
    source_pages = sorted(site.glob("_modules/**/*.html"))
    for path in sorted({*site.rglob("*.html")} - {*source_pages} | {*source_pages[::20]}):  # the others are like them
        page.goto(path.as_uri())
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wide.append(str(path.relative_to(site)))
    assert wide == [], "these pages scroll sideways on a phone"
    assert messages == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:", "about:"))] == []


def test_formulas_are_drawn_and_searching_finds(site: Path, page: Any) -> None:
    page.goto((site / "specification.html").as_uri())
    boxes = [formula.bounding_box() for formula in page.locator("div.math math").all()]
    assert len(boxes) > 30
    assert all(box["width"] > 20 and box["height"] > 5 for box in boxes)
    assert page.locator("div.math math msqrt").count() > 1
    page.goto((site / "search.html").as_uri() + "?q=softmax")
    page.wait_for_selector("#search-results li a")
    assert "softmax" in page.locator("#search-results").inner_text().lower()


def test_every_picture_has_a_description(site: Path) -> None:
    pictures = [tag for path in site.rglob("*.html") for tag in re.findall(r"<img\b[^>]*>", path.read_text("utf-8"))]
    pictures = [tag for tag in pictures if 'class="toggler"' not in tag]  # + and - of the index of modules
    assert len(pictures) > 30
    texts = [found[1] if (found := re.search(r'\balt="([^"]*)"', tag)) else "" for tag in pictures]
    poor = [text for text in texts if len(text) < 20 or text.endswith((".png", ".svg")) or " " not in text]
    assert poor == []


def test_a_picture_is_described_by_the_code_that_draws_it() -> None:
    describe = load("alts").description
    code = 'ax = plots.heat_map(x, title=f"head {layer}.{head}", axes=("query", "key"))'
    assert describe(code, "Masks") == "A heat map, titled “head ...”, axes: query, key. Section: Masks."
    assert describe("ax.barh(a, b)\nax.set(xlabel='logit')", "One") == "A bar chart, axes: logit. Section: One."
    assert describe("draw()", "One") == "A picture. Section: One."


def test_no_formula_shows_a_backslash(site: Path) -> None:
    formulas = [x for path in site.rglob("*.html") for x in re.findall(r"<math\b.*?</math>", path.read_text(), re.S)]
    assert len(formulas) > 100
    assert [formula for formula in formulas if "\\" in formula] == []


@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_a_frame_follows_the_theme_of_the_site(site: Path, page: Any, theme: str) -> None:
    context = page.context.browser.new_context(color_scheme="null", offline=True)  # Chromium's own, not emulated
    shown = context.new_page()
    shown.goto((site / "notebooks" / "10-logits-to-text.html").as_uri())
    shown.evaluate("(theme) => { document.body.dataset.theme = theme; }", theme)
    frame = shown.locator("iframe").first
    frame.scroll_into_view_if_needed()
    dark = "matchMedia('(prefers-color-scheme: dark)').matches"
    wanted = theme == "dark" or (theme == "auto" and shown.evaluate(dark))
    inside = frame.element_handle().content_frame()
    inside.wait_for_function(f"() => {dark} === {str(wanted).lower()}")  # as a function: the page forbids eval
    context.close()


def test_the_front_page_holds_the_live_explorer(site: Path, page: Any) -> None:
    page.goto((site / "index.html").as_uri())
    frame = page.locator("iframe.live-page")
    assert frame.get_attribute("loading") == "lazy"
    assert len(frame.get_attribute("title")) > 20
    frame.scroll_into_view_if_needed()
    inside = page.frame_locator("iframe.live-page")
    inside.locator("html[data-ready=true]").wait_for()
    inside.locator("#text").fill("Insulin is a")
    inside.locator(".tokens li").nth(3).wait_for()
    assert inside.locator(".tokens li").all_inner_texts() == ["</s>", "Insulin", "is", "a"]
    address = page.get_by_role("link", name="Open the page alone").get_attribute("href")
    assert (site / address).stat().st_size < 6e6
    assert {"explorer.html", "sampler.html", "stepper.html"} <= {path.name for path in (site / "_static").iterdir()}


@pytest.mark.parametrize("width", [360, 1400])
def test_a_frame_that_is_used_comes_into_view(site: Path, page: Any, width: int) -> None:
    """The explorer shows its tour at its bottom, which is below the window at first."""
    page.set_viewport_size({"width": width, "height": 800})
    page.goto((site / "index.html").as_uri())
    frame, inside = page.locator("iframe.live-page"), page.frame_locator("iframe.live-page")
    box = frame.bounding_box()
    assert box["y"] + box["height"] > 800
    frame.evaluate("(frame) => frame.loading = 'eager'")
    inside.locator("html[data-ready=true]").wait_for()
    page.evaluate("scrollTo(0, 0)")
    inside.get_by_role("button", name="guided tour").click()
    page.wait_for_function(
        "() => document.querySelector('iframe.live-page').getBoundingClientRect().bottom <= innerHeight + 1"
    )
    task = inside.locator(".tour").bounding_box()
    assert 0 <= task["y"] < task["y"] + task["height"] <= 801
