"""The HTML page: well-formed, without network or script, with text from files escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from minibiogpt import InputError
from minibiogpt.golden.check.mapping import Mapped
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.report.page import page, write_page
from tests.support.golden_cases import case_of, checked, normal, small

VOID = {"meta", "br", "line", "rect"}


class Reader(HTMLParser):
    """Collects tags, attributes and text; every tag must be closed by its own end tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small(tmp_path / "case.safetensors")


def test_a_bar_for_each_array_with_its_words(case: Case) -> None:
    x = np.array(case.array("layers.0"))
    x[1, 2, 3] += 0.5
    text = page(checked(case, {"layers.0": x, "logits": None}))
    found = Reader(text)
    assert found.tags.count("g") == found.tags.count("title") - 1 == 8
    assert [len(re.findall(f'<rect class="{kind}"', text)) for kind in ("ok", "bad", "none")] == [6, 1, 1]
    assert "<title>layers.0; differs; largest error 0.5; 5e+11 x budget; b=1 t=2 d=3; " in text
    assert "first difference: layers.0" in found.text
    assert "budget" in found.text
    assert found.tags.count("tr") > 8


def test_a_bar_passes_the_line_of_the_budget_when_its_array_differs(case: Case) -> None:
    for off, beyond in ((0.99e-12, False), (1.5e-12, True), (1.0, True), (np.nan, True)):
        text = page(checked(case, {"logits": case.array("logits") + off}))
        line = float(re.search(r'class="budget" x1="\S+" x2="\S+" y1="([\d.]+)"', text)[1])  # type: ignore[index]
        tops = {kind: float(y) for kind, y in re.findall(r'<rect class="(ok|bad)" x="\S+" y="([\d.]+)"', text)}
        assert (tops.get("bad", 1e9) < line) is beyond


def test_no_network_and_no_script(case: Case) -> None:
    found = Reader(page(checked(case)))
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert {name for name, _ in found.attributes} & {"src", "href", "onclick", "onload", "xlink:href"} == set()
    assert not re.search(r"https?://|@import|url\((?!#)", page(checked(case)))
    assert "prefers-color-scheme: dark" in page(checked(case))


def test_what_a_file_holds_is_text(tmp_path: Path) -> None:
    odd = '</title></style><script>alert(1)</script>"&\x1b'
    mapped = {"b": Mapped(f"{odd}3")}
    facts = {"case": odd, "about": odd, "architecture": odd}
    case = case_of(tmp_path / "case.safetensors", {odd: ("B", normal(3)), "b": ("B", normal(3))}, **facts)
    text = page(
        checked(case, {odd: normal(3) + 1, f"{odd}2": normal(1), "b": None, f"{odd}3": normal(3) + 1}, mapped=mapped)
    )
    found = Reader(text)
    assert "script" not in found.tags
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;") > 4


def test_the_page_is_written_beside_and_renamed(case: Case, tmp_path: Path) -> None:
    result, path = checked(case), tmp_path / "deep" / "page.html"
    write_page(path, result)
    assert path.read_text(encoding="utf-8") == page(result)
    assert [one.name for one in path.parent.iterdir()] == ["page.html"]
    with pytest.raises(InputError, match="must be a file, or new"):
        write_page(tmp_path, result)


def test_many_arrays_are_wider_than_the_screen_and_few_fill_it(tmp_path: Path) -> None:
    for count, width in ((1, 860), (500, 58 + 14 + 2500)):
        case = case_of(tmp_path / f"{count}.safetensors", {f"layers.{i}": ("B", normal(2)) for i in range(count)})
        text = page(checked(case))
        assert f'<svg width="{width}"' in text
        assert text.count("<g>") == count


def test_nothing_compared_has_a_page_too(case: Case) -> None:
    nothing = checked(case, dict.fromkeys([one.name for one in case.entries]))
    assert "nothing was compared" in Reader(page(nothing)).text
