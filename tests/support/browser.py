"""Chromium for tests of HTML pages. It is offline, and any error in a page fails the test that opened it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run"
)
EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Return the path of Chromium: $CHROMIUM, or one found on PATH. Skip the test if there is none."""
    named = os.environ.get("CHROMIUM")
    found = [named] if named else [path for path in map(shutil.which, EXECUTABLES) if path]
    if not found:
        pytest.skip("Chromium is not installed: install it, or set CHROMIUM to its path")
    return found[0]


@contextmanager
def browsing() -> Iterator[Any]:
    """Context manager for a browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = chromium()
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, shared by the tests of one file."""
    with browsing() as found:
        yield found


@contextmanager
def opened(
    browser: Any, file: Path, *, width: int = 1400, height: int = 900, allowed: str = "", **context: Any
) -> Iterator[Any]:
    """Context manager for the page in a file, offline. Any error, console message, dialog or request fails the test.

    Parameters
    ----------
    allowed : a substring of console messages to ignore.
    """
    problems: list[str] = []
    requests: list[str] = []
    browser_context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **context)
    page = browser_context.new_page()
    page.set_default_timeout(30_000)  # a busy machine is slow, not wrong
    page.on("console", lambda message: problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    yield page
    browser_context.close()
    assert [x for x in problems if not (allowed and x.startswith("console: ") and allowed in x)] == []
    assert requests == [file.as_uri()]


def overflow(page: Any) -> int:
    """Return by how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def luminance(color: tuple[float, ...]) -> float:
    """Return the relative luminance of an sRGB color (0 to 255), as in the Web Content Accessibility Guidelines 2."""
    parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the contrast ratio of two colors, from 1 (none) to 21 (black on white)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXTS = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const texts = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((part) => part.nodeType === 3 && part.data.trim());
    if (!own || ["SCRIPT", "NOSCRIPT", "STYLE"].includes(node.tagName) || !node.getClientRects().length) continue;
    if (node.disabled || node.ownerSVGElement) continue;
    texts.push([node.textContent.slice(0, 30), rgb(getComputedStyle(node).color).slice(0, 3), behind(node)]);
  }
  return texts;
}"""


def texts(page: Any) -> list[tuple[str, tuple[float, ...], tuple[float, ...]]]:
    """Return every visible text: its first characters, its color and its background color."""
    return [(text, tuple(color), tuple(behind)) for text, color, behind in page.evaluate(TEXTS)]


SVG_TEXTS = """() => {
  const rgba = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, share, below) => below.map((x, i) => top[i] * share + x * (1 - share));
  const seen = (node, svg) => { // the product of the opacities from a node up to its picture
    let product = 1;
    for (let at = node; svg.contains(at); at = at.parentElement) product *= Number(getComputedStyle(at).opacity);
    return product;
  };
  const paper = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] > 0) return color.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const texts = [];
  for (const svg of document.querySelectorAll("svg")) {
    const rects = [];
    for (const node of svg.querySelectorAll("rect, text")) {
      const style = getComputedStyle(node), box = node.getBoundingClientRect();
      if (!style.fill.startsWith("rgb") || style.visibility === "hidden" || !box.width) continue;
      const color = rgba(style.fill), share = seen(node, svg) * Number(style.fillOpacity) * color[3];
      if (node.tagName === "rect") {
        rects.push({ box, color, share });
      } else if (share && node.textContent.trim()) {
        for (const at of [0.1, 0.5, 0.9]) {
          const x = box.left + at * box.width, y = box.top + box.height / 2;
          const below = rects.filter(({ box: r }) => r.left <= x && x <= r.right && r.top <= y && y <= r.bottom);
          const behind = below.reduce((color, one) => over(one.color, one.share, color), paper(svg));
          texts.push([node.textContent.slice(0, 30), over(color, share, behind), behind]);
        }
      }
    }
  }
  return texts;
}"""


def svg_texts(page: Any) -> list[tuple[str, tuple[float, ...], tuple[float, ...]]]:
    """Return every text in a drawing, at three places: its first characters, its color, and what is drawn behind it.

    axe-core and ``texts`` leave drawings out. Behind a text lie the rectangles that were drawn before it.
    """
    return [(text, tuple(color), tuple(behind)) for text, color, behind in page.evaluate(SVG_TEXTS)]


def axe_violations(page: Any) -> list[str]:
    """Return what axe-core finds wrong with the accessibility of the page as it is now: rule, impact, first element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']} ({one['impact']}, {len(one['nodes'])}): {one['nodes'][0]['html'][:200]}" for one in found]
