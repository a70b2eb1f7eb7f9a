"""The stepper in an offline browser: used as a reader would use it, its values compared with the arrays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM
from minibiogpt.view import Stepper
from minibiogpt.view.colors import PALETTES
from tests.budgets import LANE_A
from tests.support import small
from tests.support.browser import opened
from tests.support.configs import CONFIGS
from tests.view.test_pages import TEXT, demo

STEPS = 20
READBACK = "willReadFrequently"  # in Chromium's warning when a test reads pixels


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Stepper(demo(), TEXT, layer=1).save(tmp_path_factory.mktemp("view") / "page.html")


def shown(page: Any) -> str:
    """The full value in the readout."""
    return str(page.locator(".readout b").inner_text())


def title(page: Any) -> str:
    return str(page.locator("h2").inner_text())


def point(page: Any, row: int, col: int, *, click: bool = False) -> None:
    """Scroll to a cell and move the mouse to its center."""
    center = page.evaluate(
        """([row, col]) => { stepper.map.reveal({ row, col }); stepper.map.canvas.scrollIntoView({ block: "nearest" });
        const box = stepper.map.canvas.getBoundingClientRect();
        const m = stepper.map.matrix;
        return [box.left + (col + 0.5) * box.width / m.columns, box.top + (row + 0.5) * box.height / m.rows]; }""",
        [row, col],
    )
    page.mouse.move(*center)
    if click:
        page.mouse.click(*center)


def matrix(stepper: Stepper, step: int, head: int) -> np.ndarray:
    x = stepper.trace[stepper.steps[step].name][0]
    return x[head] if x.ndim == 3 else x


def test_the_cell_under_the_pointer_is_shown_in_full(browser: Any, file: Path) -> None:
    stepper, rng = Stepper(demo(), TEXT, layer=1), np.random.default_rng(0)
    with opened(browser, file) as page:
        page.evaluate("stepper.unfold()")
        for step in range(STEPS):
            page.evaluate("([step, head]) => { stepper.goTo(step); stepper.setHead(head); }", [step, step % 4])
            x = matrix(stepper, step, step % 4)
            for row, col in zip(rng.integers(0, x.shape[0], 3), rng.integers(0, x.shape[1], 3), strict=True):
                point(page, int(row), int(col))
                assert np.float32(shown(page)) == x[row, col], (stepper.steps[step].name, row, col)
                index = [0, *([step % 4] if stepper.trace[stepper.steps[step].name].ndim == 4 else []), row, col]
                assert page.locator(".readout .mono").nth(1).inner_text().strip() == str([int(i) for i in index])


def test_away_from_the_picture_the_chosen_cell_is_shown_again(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        page.evaluate("stepper.goTo(8)")
        chosen = shown(page)
        point(page, 0, 0)
        assert shown(page) != chosen
        page.mouse.move(0, 0)
        assert shown(page) == chosen


EVERY = """(cells) => stepper.source.steps.flatMap((step, i) => {
  stepper.goTo(i);
  const found = [], { computed, value, good } = stepper.parts.origin.dataset;
  found.push([step.name, computed, value, good]);
  for (let head = 0; head < (isByHead(step) ? stepper.source.heads : 1); head++) {
    const matrix = matrixOf(stepper.array(), head);
    for (let n = 0; n < cells; n++) {
      const at = { head, row: (n * 5 + head) % matrix.rows, col: (n * 7 + head * 3) % matrix.columns };
      showOrigin(stepper.parts.origin, stepper.source, step, at, matrix.at(at.row, at.col));
      const { computed, value, good } = stepper.parts.origin.dataset;
      found.push([step.name, computed, value, good]);
    }
  }
  return found;
})"""


def check_origins(browser: Any, stepper: Stepper, file: Path, cells: int) -> None:
    """Check that the page recomputes the value in the array, for every step and head."""
    stepper.save(file)
    with opened(browser, file) as page:
        found = page.evaluate(EVERY, cells)
    assert len(found) >= STEPS * cells
    assert {name for name, *_ in found} == {step.name for step in stepper.steps}
    for name, computed, value, good in found:
        x = stepper.trace[name]
        largest = abs(np.where(x <= -1e30, 0, x)).max()
        assert good == "true", (name, computed, value)
        assert computed != "", name
        if stepper.model.dtype == "float64" and float(value) > -1e30:
            assert abs(float(computed) - float(value)) <= LANE_A * largest, (name, computed, value)


@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_where_each_number_comes_from_is_true(browser: Any, tmp_path: Path, dtype: str, layer: int) -> None:
    check_origins(browser, Stepper(demo(dtype), TEXT, layer=layer), tmp_path / "page.html", 9)


@pytest.mark.parametrize("name", CONFIGS)
def test_where_it_comes_from_in_every_kind_of_model(browser: Any, tmp_path: Path, name: str) -> None:
    config = BioGptConfig(**CONFIGS[name], initializer_range=0.3)
    model = BioGptForCausalLM.from_config(config, seed=1, dtype="float64")
    check_origins(browser, Stepper(model, [2, 5, 9, 7, 11]), tmp_path / "page.html", 5)


def test_where_it_comes_from_behind_padding_and_head_masks(browser: Any, tmp_path: Path) -> None:
    masks = {"attention_mask": small.left_mask(rows=1), "head_mask": [1, 0.5, 0]}
    stepper = Stepper(small.model(), small.ids(rows=1), layer=1, **masks)
    check_origins(browser, stepper, tmp_path / "page.html", 25)
    with opened(browser, tmp_path / "page.html") as page:
        page.evaluate("() => { stepper.goTo(9); stepper.setHead(0); stepper.moveTo(3, 1, true); }")
        first, second, fourth = (page.evaluate(f"data.tokens[{i}].label") for i in (0, 1, 3))
        padding = f"Masked: S 1 “{second}” is padding."
        assert padding in page.locator(".origin").inner_text()
        page.evaluate("stepper.moveTo(0, 1, true)")
        later = f"Masked: S 1 “{second}” comes after T 0 “{first}”, and S 1 “{second}” is padding."
        assert later in page.locator(".origin").inner_text()
        page.evaluate("stepper.moveTo(3, 3, true)")
        visible = f"Visible: S 3 “{fourth}” does not come after T 3 “{fourth}” and is not padding."
        assert visible in page.locator(".origin").inner_text()
        page.evaluate("() => { stepper.goTo(10); stepper.moveTo(0, 1, true); }")
        assert "All keys are masked in this row" in page.locator(".origin").inner_text()
        page.evaluate("() => { stepper.goTo(11); stepper.setHead(1); }")
        assert "multiplies head 1.1 by 0.5" in page.locator(".origin").inner_text()


def test_a_number_that_is_wrong_is_called_so(browser: Any, file: Path) -> None:
    corrupt = """(step) => { stepper.goTo(step); stepper.setHead(0); stepper.moveTo(0, 0, true);
      const before = stepper.parts.origin.dataset.good, { numbers } = stepper.array(), right = numbers[0];
      numbers[0] += 0.001 * limitsOf(stepper.array()).limit;
      stepper.moveTo(0, 0, true);
      numbers[0] = right;
      return [before, stepper.parts.origin.dataset.good, document.querySelector(".verdict .bad")?.textContent]; }"""
    with opened(browser, file) as page:
        for step in range(STEPS):
            assert page.evaluate(corrupt, step) == ["true", "false", "✗ different: something is wrong"]


@pytest.mark.parametrize("weight", [3e38, np.nan])
def test_what_is_no_number_is_shown_too(browser: Any, tmp_path: Path, weight: float) -> None:
    """A page that stayed blank after the first NaN would hide the error that its reader looks for."""
    model = demo()
    model.biogpt.layers[1].fc1.weight[...] = weight
    stepper = Stepper(model, [2, 9, 5, 7], layer=1)
    assert not np.isfinite(stepper.trace["layers.1.fc1"]).any()
    with opened(browser, stepper.save(tmp_path / "page.html")) as page:
        for i, step in enumerate(stepper.steps):
            page.evaluate(f"() => {{ stepper.goTo({i}); stepper.moveTo(2, 1, true); }}")
            assert title(page).endswith(step.name)
            nans = int(np.isnan(stepper.trace[step.name]).sum())
            reported = re.search(r"NaN values: (\d+), drawn", page.locator("figcaption").inner_text())
            assert (int(reported[1]) if reported else 0) == nans
            if np.isnan(weight) and nans:
                assert shown(page) == "NaN"
                assert page.evaluate("stepper.parts.origin.dataset.good") == "true"


def test_the_products_of_q_and_k_are_listed_and_add_up(browser: Any, file: Path) -> None:
    stepper = Stepper(demo(), TEXT, layer=1)
    q, k = (stepper.trace[f"layers.1.self_attn.{name}"][0, 2].astype(float) for name in "qk")
    with opened(browser, file) as page:
        page.evaluate("() => { stepper.goTo(8); stepper.setHead(2); stepper.moveTo(5, 3, true); }")
        rows = page.locator(".terms tbody tr").all()
        found = np.array([[float(cell) for cell in row.locator("td").all_inner_texts()[1:4]] for row in rows])
    want = np.stack([q[5], k[3], q[5] * k[3]], axis=1)
    assert found.shape == want.shape
    assert (abs(found - want) <= 0.5e-3 * abs(want)).all()  # four digits are shown


def test_the_colours_are_those_of_the_numbers(browser: Any, file: Path) -> None:
    stepper = Stepper(demo(), TEXT, layer=1)

    def mixed(anchors: list[str], x: float) -> np.ndarray:
        rgb = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in anchors]
        positions = np.linspace(0, 1, len(rgb))
        return np.array([np.interp(x, positions, channel) for channel in zip(*rgb, strict=True)])

    pixel = """([row, col]) => { const c = stepper.map.canvas, m = stepper.map.matrix;
      const at = [(col + 0.5) * c.width / m.columns, (row + 0.5) * c.height / m.rows].map(Math.floor);
      return [...c.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3); }"""
    for scheme, signed in (("light", "signed"), ("dark", "signedDark")):
        with opened(browser, file, color_scheme=scheme, allowed=READBACK) as page:
            for step, palette in ((8, signed), (10, "sequential"), (15, signed)):
                page.evaluate("(step) => { stepper.goTo(step); stepper.setHead(1); }", step)
                x, whole = matrix(stepper, step, 1), stepper.trace[stepper.steps[step].name]
                limit = page.evaluate("limitsOf(stepper.array()).limit")
                assert limit <= abs(whole).max()
                for row, col in ((3, 3), (5, 2), (6, 0), (4, 1)):
                    position = x[row, col] if palette == "sequential" else 0.5 + x[row, col] / limit / 2
                    want = mixed(PALETTES[palette], float(np.clip(position, 0, 1)))
                    got = page.evaluate(pixel, [row, col])
                    assert abs(got - want).max() <= 1, (scheme, step, row, col)  # channels are integers


def test_masked_cells_are_hatched_and_named_in_the_legend(browser: Any, file: Path) -> None:
    colours = """([row, col]) => { const c = stepper.map.canvas, m = stepper.map.matrix, w = c.width / m.columns;
      const d = c.getContext("2d").getImageData(col * w + 2, row * w + 2, w - 4, w - 4).data;
      return new Set(Array.from({ length: d.length / 4 }, (_, i) => d.slice(4 * i, 4 * i + 3).join())).size; }"""
    with opened(browser, file, allowed=READBACK) as page:
        page.evaluate("stepper.unfold()")
        for step in (9, 10, 11):
            page.evaluate(f"stepper.goTo({step})")
            assert page.evaluate(colours, [2, 5]) > 1
            assert page.evaluate(colours, [5, 2]) == 1
            point(page, 2, 5)
            assert "(masked)" in page.locator(".readout").inner_text()
            assert "masked" in page.locator(".legend").inner_text()
        page.evaluate("stepper.goTo(8)")
        assert page.evaluate(colours, [2, 5]) == 1
        assert "masked" not in page.locator(".legend").inner_text()


def test_each_picture_is_described_in_words(browser: Any, file: Path) -> None:
    stepper = Stepper(demo(), TEXT, layer=1)
    with opened(browser, file) as page:
        page.evaluate("stepper.unfold()")
        for step in range(STEPS):
            page.evaluate(f"stepper.goTo({step})")
            text = page.locator("figcaption").inner_text()
            label = page.locator(".map canvas").get_attribute("aria-label")
            assert label == f"{stepper.steps[step].what}; {text}"
            x = stepper.trace[stepper.steps[step].name]
            x = x[x > -1e30]
            found = re.search(r"Smallest (\S+) .*largest (\S+) \(", text)
            assert found
            if step not in (10, 11):  # there, masked values are 0 and are left out of the minimum
                assert float(found[1]) == pytest.approx(x.min(), rel=1e-3)  # four digits are shown
            assert float(found[2]) == pytest.approx(x.max(), rel=1e-3)
        page.evaluate("() => { stepper.goTo(10); stepper.setHead(3); }")
        probs = stepper.trace["layers.1.self_attn.probs"][0, 3]
        labels = [token["label"] for token in page.evaluate("data.tokens")]
        for row, label in enumerate(labels):
            best = int(probs[row].argmax())
            assert f"T {row} “{label}” → S {best} “{labels[best]}”" in page.locator("figcaption").inner_text()
