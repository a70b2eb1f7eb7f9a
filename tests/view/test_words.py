"""What a page shows around its values: labels at their positions, texts about the right cell, bars."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptTokenizer
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.view import Sampler, Stepper
from minibiogpt.view.colors import PALETTES
from tests.support.browser import opened
from tests.view.test_browser import READBACK, matrix, point
from tests.view.test_pages import TEXT, demo

PROBS, CONTEXT, FC1 = 10, 12, 16  # steps
ROUNDED = 0.5e-3  # four digits are shown


@pytest.fixture(scope="module")
def stepper() -> Stepper:
    return Stepper(demo(), TEXT, layer=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, stepper: Stepper) -> Path:
    return stepper.save(tmp_path_factory.mktemp("view") / "page.html")


@pytest.fixture(scope="module")
def tokens(stepper: Stepper) -> list[str]:
    return labels_of(stepper.ids, stepper.tokenizer)


def rgb(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


PIXEL = """([canvas, x, y]) => { const c = document.querySelector(canvas);
  const at = [x * c.width, y * c.height].map(Math.floor);
  return [...c.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3); }"""


def test_each_heads_button_shows_its_own_head(browser: Any, file: Path, stepper: Stepper) -> None:
    positions = np.linspace(0, 1, len(PALETTES["sequential"]))
    colors = np.array([rgb(color) for color in PALETTES["sequential"]])
    rows = len(stepper.ids)
    with opened(browser, file, allowed=READBACK) as page:
        page.evaluate(f"stepper.goTo({PROBS})")
        for head in range(4):
            x, button = matrix(stepper, PROBS, head), f".heads button:nth-child({head + 1}) canvas"
            for row, col in ((5, 2), (6, 0), (3, 3)):
                got = page.evaluate(PIXEL, [button, (col + 0.5) / rows, (row + 0.5) / rows])
                want = [np.interp(x[row, col], positions, channel) for channel in colors.T]
                assert abs(np.array(got) - want).max() <= 1, (head, row, col)  # channels are integers
            seen = {tuple(page.evaluate(PIXEL, [button, (rows - 2 + i / 9) / rows, 0.5 / rows])) for i in range(18)}
            assert len(seen) > 1, "masked cells are hatched there too"


BOXES = """(selector) => [...document.querySelectorAll(selector)].map((e) => {
  const b = e.getBoundingClientRect(), c = stepper.map.canvas.getBoundingClientRect(), m = stepper.map.matrix;
  return [e.textContent, (b.left + b.width / 2 - c.left) / c.width * m.columns,
    (b.top + b.height / 2 - c.top) / c.height * m.rows, (b.left - c.left) / c.width * m.columns]; })"""


def test_labels_and_markers_are_at_their_cells(browser: Any, file: Path, tokens: list[str]) -> None:
    with opened(browser, file) as page:
        page.evaluate(f"stepper.goTo({PROBS})")
        down, across = (page.evaluate(BOXES, f".{side} span") for side in ("down", "across"))
        assert [(text, int(y)) for text, _, y, _ in down] == [(token, i) for i, token in enumerate(tokens)]
        assert [(text, int(x)) for text, x, _, _ in across] == [(token, j) for j, token in enumerate(tokens)]
        point(page, 4, 2)
        assert page.locator(".down .lit").all_inner_texts() == [tokens[4]]
        assert page.locator(".across .lit").evaluate_all("(all) => all.map((e) => e.textContent)") == [tokens[2]]
        ((_, x, y, _),) = page.evaluate(BOXES, ".marker.pointed:not([hidden])")
        assert (int(x), int(y)) == (2, 4)
        point(page, 5, 1, click=True)
        ((_, x, y, _),) = page.evaluate(BOXES, ".marker:not(.pointed)")
        assert (int(x), int(y)) == (1, 5)
        for step, every, name in ((3, 32, "head 1.{}"), (CONTEXT, 32, "head 1.{}"), (1, None, "{}")):
            page.evaluate(f"stepper.goTo({step})")
            ticks = [(text, round(left)) for text, _, _, left in page.evaluate(BOXES, ".across .tick") if text]
            assert len(ticks) > 2
            for i, (text, left) in enumerate(ticks):
                assert (text, left) == (name.format(i if every else left), i * every if every else left)


def test_a_cell_is_described_by_its_own_tokens(browser: Any, file: Path, tokens: list[str]) -> None:
    with opened(browser, file) as page:
        page.evaluate(f"stepper.goTo({PROBS})")
        point(page, 4, 2)
        assert f"query T 4 “{tokens[4]}”, key S 2 “{tokens[2]}”" in page.locator(".readout").inner_text()
        page.evaluate(f"stepper.goTo({FC1})")
        point(page, 3, 40)
        assert f"T 3 “{tokens[3]}”, F 40" in page.locator(".readout").inner_text()


def test_the_caption_reports_where_the_extremes_are(browser: Any, file: Path, stepper: Stepper) -> None:
    with opened(browser, file) as page:
        for step in (3, 8, FC1):
            page.evaluate(f"stepper.goTo({step})")
            text, x = page.locator("figcaption").inner_text(), stepper.trace[stepper.steps[step].name]
            found = re.findall(r"(?:Smallest|largest) (\S+) \((.*?)\)", text)
            assert len(found) == 2
            for number, cell in found:
                index = tuple(int(i) for i in re.findall(r"\b(?:[A-Z]\w?) (\d+)", re.sub("“.*?”", "", cell)))
                assert abs(x[(0, *index)] - float(number)) <= ROUNDED * abs(float(number)), (step, cell)


def test_the_legend_has_the_colours_of_the_picture(browser: Any, file: Path) -> None:
    bar = ".legend canvas"
    with opened(browser, file, allowed=READBACK) as page:
        for step, name in ((8, "signed"), (PROBS, "sequential")):
            page.evaluate(f"stepper.goTo({step})")
            palette = PALETTES[name]
            for at, color in ((0, palette[0]), (0.999, palette[-1])):
                assert abs(np.array(page.evaluate(PIXEL, [bar, at, 0])) - rgb(color)).max() <= 1
            low, high = (float(page.locator(f".legend .{end}").inner_text().split()[0]) for end in ("low", "high"))
            limit = page.evaluate("limitsOf(stepper.array()).limit")
            want = (0, 1) if name == "sequential" else (-limit, limit)
            assert (low, high) == pytest.approx(want, rel=1e-2)  # three digits
        legend = page.locator(".legend")
        assert "and below" not in legend.inner_text()
        assert "and above" not in legend.inner_text()
        page.evaluate(
            "() => { stepper.goTo(15); const x = stepper.array(); x.numbers[0] = 1e9;"
            "limitsFound.delete(x); stepper.draw(); }"
        )
        assert [legend.inner_text().count(f"and {side}") for side in ("below", "above")] == [1, 1], (
            "the scale is clipped"
        )
        limits = page.evaluate("(() => { const f = (x) => computeLimits({ numbers: x }, { numbers: x });"
                               "return [f([...Array(200).fill(1), 99]), f([1, -2])]; })()")  # fmt: skip
        assert [(one["limit"], one["clipped"]) for one in limits] == [(1, True), (2, False)]


def test_shift_and_arrows_go_to_the_cell_beside(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        page.evaluate(f"() => {{ stepper.goTo({PROBS}); stepper.moveTo(3, 2); }}")
        for key, want in (("Right", [3, 3]), ("Down", [4, 3]), ("Left", [4, 2]), ("Up", [3, 2])):
            page.keyboard.press(f"Shift+Arrow{key}")
            assert page.evaluate("[stepper.state.row, stepper.state.col]") == want
        page.keyboard.press("]")
        assert page.evaluate("[stepper.state.row, stepper.state.col, stepper.state.head]") == [3, 2, 1], (
            "a pinned cell stays"
        )


def test_what_is_copied_has_its_labels(browser: Any, file: Path, stepper: Stepper, tokens: list[str]) -> None:
    with opened(browser, file) as page:
        page.evaluate(
            "() => { window.kept = []; navigator.clipboard.writeText = async (text) => { kept.push(text); }; }"
        )
        page.evaluate(
            f"() => {{ stepper.goTo({PROBS}); stepper.setHead(2);"
            "for (const kind of ['TSV', 'JSON']) copyNumbers(stepper, kind); }"
        )
        table, copied = page.evaluate("kept")
    lines = [line.split("\t") for line in table.split("\n")]
    assert lines[0] == ["layers.1.self_attn.probs", *tokens]
    assert [line[0] for line in lines[1:]] == tokens
    found, x = json.loads(copied), stepper.trace["layers.1.self_attn.probs"][0, 2]
    assert (found["name"], found["head"], found["rows"], found["columns"]) == (lines[0][0], 2, tokens, tokens)
    assert np.array_equal(np.array(found["numbers"], dtype="float32"), x)


def test_what_a_number_is_made_of_names_the_right_things(browser: Any, file: Path, stepper: Stepper) -> None:
    tokens = labels_of(stepper.ids, stepper.tokenizer)
    parameters = {name.removeprefix("biogpt."): x for name, x in stepper.model.named_parameters()}
    with opened(browser, file) as page:
        origin = page.locator(".origin")
        page.evaluate(f"() => {{ stepper.goTo({PROBS}); stepper.moveTo(5, 2, true); }}")
        assert f"Row of T 5 “{tokens[5]}”" in origin.inner_text()
        assert origin.locator("tr.here td").first.inner_text() == tokens[2]
        page.evaluate(f"() => {{ stepper.goTo({CONTEXT}); stepper.moveTo(5, 70, true); }}")
        assert "element 6 of head 1.2" in origin.inner_text()
        assert f"how much T 5 “{tokens[5]}” attends to each" in origin.inner_text()
        page.evaluate("() => { stepper.goTo(1); stepper.moveTo(4, 9, true); }")
        for word, name in (("gain g", "weight"), ("bias b", "bias")):
            cell = origin.locator("tr", has_text=word).locator("td").inner_text()
            assert float(cell) == pytest.approx(parameters[f"layers.1.self_attn_layer_norm.{name}"][9], rel=1e-6)
        page.evaluate(f"() => {{ stepper.goTo({FC1}); stepper.moveTo(4, 9, true); }}")
        x, w = stepper.trace["layers.1.final_layer_norm"][0, 4].astype(float), parameters["layers.1.fc1.weight"][9]
        products = np.array(sorted(x * w, key=abs))
        rest = float(origin.locator("tr", has_text="others, summed").locator("td").nth(1).inner_text())
        assert rest == pytest.approx(products[:-12].sum(), rel=1e-3)
        below = origin.locator(".terms tbody tr .bar").evaluate_all("(all) => all.map((e) => e.className)")
        assert below == ["bar below" if one < 0 else "bar" for one in [*products[::-1][:12], rest]]


def test_the_listing_marks_the_line_that_names_the_array(browser: Any, file: Path, stepper: Stepper) -> None:
    with opened(browser, file) as page:
        for i, step in enumerate(stepper.steps[1:], 1):
            page.evaluate(f"stepper.goTo({i})")
            own = step.name.rpartition(".")[2]
            assert f'"{"" if own.isdigit() else own}"' in page.locator(".code pre .here").first.inner_text()
            assert page.locator(".tools input").get_attribute("aria-valuetext") == f"{i + 1}: {step.name}"
            shape = page.locator(".symbols tr").first.inner_text()
            assert shape.endswith(", float32")


def test_another_theme_and_another_width_redraw(browser: Any, file: Path) -> None:
    with opened(browser, file, allowed=READBACK) as page:
        page.evaluate("stepper.goTo(8)")
        pixels = (
            "(() => { const c = stepper.map.canvas; return c.width + ' ' + c.toDataURL().length + c.toDataURL(); })()"
        )
        light = page.evaluate(pixels)
        page.locator("#theme").click()  # light, which auto already was
        assert page.evaluate(pixels) == light
        page.locator("#theme").click()
        assert page.evaluate(pixels) != light
        page.evaluate(f"stepper.goTo({FC1})")
        page.set_viewport_size({"width": 1400, "height": 900})
        page.evaluate("stepper.goTo(1)")
        wide = page.evaluate("stepper.map.canvas.width")
        page.set_viewport_size({"width": 500, "height": 900})
        narrower = """async (wide) => { // the page's policy forbids eval, which Playwright's own wait needs
          const frame = () => new Promise(requestAnimationFrame);
          for (let i = 0; i < 600 && stepper.map.canvas.width >= wide; i++) await frame();
          return stepper.map.canvas.width < wide; }"""
        assert page.evaluate(narrower, wide)


def test_the_samplers_rows_show_the_right_values(browser: Any, tmp_path: Path) -> None:
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    logits = demo("float64")(tokenizer(TEXT)["input_ids"]).logits[0, -1] / 4
    Sampler(logits, tokenizer, top=8).save(tmp_path / "page.html")
    order, warm = np.argsort(-logits, kind="stable")[:8], softmax(logits[None] / 2)[0]
    few = warm[order[:3]] / warm[order[:3]].sum()
    with opened(browser, tmp_path / "page.html") as page:
        page.get_by_role("slider", name="temperature").fill("2")
        page.get_by_role("slider", name="top-k").fill("3")
        page.get_by_role("button", name="draw 100", exact=True).click()
        lines = page.locator(".bars tbody tr")
        cells = [line.locator("td").all_inner_texts() for line in lines.all()]
        widths = lines.locator(".bar").evaluate_all("(all) => all.map((e) => parseFloat(e.style.width))")
        assert lines.evaluate_all("(all) => all.map((e) => e.className)") == [""] * 3 + ["cut"] * 6
        assert page.locator(".bars thead").inner_text().count("drawn of 100") == 1
        summary = page.locator("p[role=status]").inner_text()
        assert (
            f"3 of {logits.size} tokens can be drawn. The most probable is “{tokenizer.decode([order[0]])}”" in summary
        )
    assert [float(line[1]) for line in cells[:8]] == pytest.approx(logits[order], rel=1e-3)
    assert [float(line[3].split()[0]) for line in cells[:3]] == pytest.approx(100 * few, abs=0.006)  # two decimals
    assert [float(line[5]) for line in cells[:3]] == pytest.approx(100 * few, abs=0.06)  # one decimal
    assert widths[:8] == pytest.approx([*100 * few / few[0], *100 * warm[order[3:]] / few[0]], rel=1e-3)
