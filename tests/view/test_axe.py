"""axe-core finds no fault in the pages, in both themes, each at a size of its own, at every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minibiogpt import BioGptTokenizer
from minibiogpt.view import Sampler, Stepper
from tests.support.browser import axe_violations, opened
from tests.view.test_pages import TEXT, demo

SCREENS = [(360, 740, "light"), (1400, 900, "dark")]
KINDS = ["input", "self_attn_layer_norm", "self_attn.q_proj", "self_attn.scores", "self_attn.probs", "activation_fn"]


@pytest.mark.parametrize(("width", "height", "scheme"), SCREENS)
def test_the_stepper_is_accessible(browser: Any, tmp_path: Path, width: int, height: int, scheme: str) -> None:
    file = Stepper(demo(), TEXT, layer=1).save(tmp_path / "page.html")
    with opened(browser, file, width=width, height=height, color_scheme=scheme) as page:
        for step in KINDS:
            page.evaluate("(step) => stepper.goTo(stepper.find(step))", step)
            assert axe_violations(page) == [], step
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        page.keyboard.press("?")
        assert axe_violations(page) == []


@pytest.mark.parametrize(("width", "height", "scheme"), SCREENS)
def test_the_sampler_is_accessible(browser: Any, tmp_path: Path, width: int, height: int, scheme: str) -> None:
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    logits = demo()(tokenizer(TEXT)["input_ids"]).logits[0, -1]
    file = Sampler(logits, tokenizer, text=TEXT).save(tmp_path / "page.html")
    with opened(browser, file, width=width, height=height, color_scheme=scheme) as page:
        assert axe_violations(page) == []
        page.get_by_role("slider", name="top-k").fill("4")
        page.get_by_role("button", name="draw 100", exact=True).click()
        assert axe_violations(page) == []


def test_a_fault_is_found(browser: Any, tmp_path: Path) -> None:
    file = Stepper(demo(), TEXT).save(tmp_path / "page.html")
    with opened(browser, file) as page:
        page.evaluate("stepper.parts.scales.removeAttribute('aria-label')")
        page.evaluate("stepper.parts.scales.parentElement.replaceWith(stepper.parts.scales)")
        (fault,) = axe_violations(page)
        assert fault.startswith("select-name (critical, 1): <select")
