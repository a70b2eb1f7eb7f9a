"""The generation view of the explorer: its tokens, rules and random numbers are those of ``generate``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import Trace
from minibiogpt.view import Explorer
from tests.budgets import PAGE_CELL
from tests.support.browser import opened, overflow
from tests.support.explored import SCREENS
from tests.view.explorer.test_overview import ROWS
from tests.view.test_pages import TEXT, demo

SETTINGS: list[dict[str, Any]] = [
    {},
    {"doSample": False},
    {"doSample": False, "repetitionPenalty": 1.3, "noRepeatNgramSize": 2},
    {"temperature": 2.5, "topK": 0, "seed": 7},
    {"temperature": 2, "topK": 100, "topP": 0.9, "minP": 0.02, "repetitionPenalty": 1.2, "noRepeatNgramSize": 3,
     "seed": 123456},
]  # fmt: skip
STATE = "(generation) => { app.set({ view: 'generation', generation }); }"
TOKENS = "generationSteps(app, generationOf(app.state), generationOf(app.state).count).steps.map((step) => step.token)"


@pytest.fixture(scope="module")
def live() -> Explorer:
    return Explorer(demo(), TEXT)


@pytest.fixture(scope="module")
def file(live: Explorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return live.save(tmp_path_factory.mktemp("view") / "page.html")


def start(page: Any, settings: dict[str, Any]) -> None:
    page.wait_for_selector("html[data-ready]")
    page.evaluate(STATE, settings)
    page.wait_for_selector(".generation-view")


def called(explorer: Explorer, call: str, trace: Trace | None = None) -> list[int]:
    """Run the call that the page shows, and return the new tokens."""
    names = {"model": explorer.model, "tokenizer": explorer.tokenizer, "trace": trace}
    found = eval(f"{call[:-1]}, trace=trace)", names)  # the text of the page under test
    return [int(i) for i in found[0, len(explorer.ids) :]]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_tokens_are_those_of_the_call_shown(
    browser: Any, live: Explorer, file: Path, settings: dict[str, Any]
) -> None:
    with opened(browser, file) as page:
        start(page, settings)
        for key in "nnnr":
            page.keyboard.press(key)
        count = page.evaluate("generationOf(app.state).count")
        assert count > 3
        page.wait_for_function(f"() => document.querySelectorAll('.gen-tokens button').length === {count}")
        tokens = page.evaluate(TOKENS)[:count]
        assert count == 23 or tokens[-1] == live.model.config.eos_token_id
        call = page.locator(".gen-python").inner_text()
        assert called(live, call) == tokens
        labels = page.evaluate("app.facts.labels")
        assert page.locator(".gen-tokens button").all_inner_texts() == [labels[i] for i in tokens]
        page.keyboard.press("b")
        page.wait_for_function("() => document.querySelectorAll('.gen-tokens button').length === " + str(count - 1))
        page.keyboard.press("0")
        page.wait_for_function("() => document.querySelectorAll('.gen-tokens button').length === 0")


def test_a_link_reproduces_the_tokens(browser: Any, live: Explorer, file: Path) -> None:
    with opened(browser, file) as page:
        start(page, {"temperature": 2.5, "seed": 3, "count": 6, "at": 2})
        page.wait_for_function("() => document.querySelectorAll('.gen-tokens button').length === 6")
        tokens, hash_ = page.evaluate(TOKENS), page.evaluate("location.hash")
    page_url = file.as_uri() + hash_
    context = browser.new_context()
    again = context.new_page()
    again.goto(page_url)
    again.wait_for_selector(".gen-tokens button")
    assert again.evaluate(TOKENS) == tokens
    assert again.locator(".gen-tokens button[aria-pressed=true]").get_attribute("title").startswith("step 2,")
    context.close()


@pytest.mark.parametrize(("width", "height", "theme"), SCREENS)
def test_the_numbers_of_the_rules_by_keyboard(
    browser: Any, live: Explorer, file: Path, width: int, height: int, theme: str
) -> None:
    settings = {**SETTINGS[-1], "count": 4, "at": 3}
    trace = Trace()
    with opened(browser, file, width=width, height=height, color_scheme=theme) as page:
        start(page, settings)
        page.wait_for_selector(".gen-cell")
        call = page.locator(".gen-python").inner_text()
        called(live, call, trace=trace)
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.matches('.gen-cell')"):
                break
        seen = set()
        for key in ["ArrowRight"] * 7 + (["ArrowDown"] * 3 + ["ArrowLeft"] * 2) * 4:
            for what, name, number in page.locator(".generation-view .ov-tip table").evaluate(ROWS):
                if found := re.fullmatch(r"(?:softmax\()?(step\.3/[\w.]+)\[0(?:]\)\[|, )(\d+)]", name):
                    logits = trace[found[1]][0].astype("float64")
                    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
                    want = (p if what == "probability" else logits)[int(found[2])]
                    got = float(number)
                    assert got == want or got == pytest.approx(want, rel=PAGE_CELL), name
                    seen.add(found[1])
            page.keyboard.press(key)
        rules = ["0.RepetitionPenalty", "1.NoRepeatNGram", "2.Temperature", "3.TopK", "4.TopP", "5.MinP"]
        assert seen == {"step.3/logits", *(f"step.3/processors.{rule}.after" for rule in rules)}
        assert overflow(page) == 0


def test_what_a_rule_removed_is_counted_over_the_whole_vocabulary(browser: Any, live: Explorer, file: Path) -> None:
    trace = Trace()
    with opened(browser, file) as page:
        start(page, {"temperature": 2.5, "topK": 30, "topP": 0.8, "seed": 3, "count": 1})
        page.wait_for_selector(".gen-tokens button")
        tokens = called(live, page.locator(".gen-python").inner_text(), trace=trace)
        heads = page.locator(".gen-rules .gen-removed").all_text_contents()
        words = page.locator(".generation-view figure .described").all_text_contents()
        for i, rule in enumerate(["TopK", "TopP"], 1):
            before, after = (
                trace[f"step.0/processors.{i}.{rule}.{x}"][0].astype("float64") for x in ("before", "after")
            )
            removed = np.isinf(after) & ~np.isinf(before)
            p = np.exp(before - before.max()) / np.exp(before - before.max()).sum()
            assert f"removes {removed.sum():,}" in heads
            assert f"together {100 * p[removed].sum():.2f} %" in heads
            assert f"removes {removed.sum()} tokens, together {100 * p[removed].sum():.2f} %" in words[0]
        u = np.random.default_rng(3).random()
        assert f"u = {float(u)!r}" in page.locator(".gen-strip text").all_text_contents()
        label = page.evaluate("app.facts.labels")[tokens[0]]
        assert f"The uniform number {float(u)!r} is in the segment of “{label}”" in words[1]
        crossed = page.locator(".gen-cross").count()
        assert crossed == page.locator("rect.gen-gone[fill='url(#gen-hatch)']").count() > 0


def test_the_cache_grows_by_a_column_per_step(browser: Any, live: Explorer, file: Path) -> None:
    T, config = len(live.ids), live.model.config
    with opened(browser, file) as page:
        start(page, {"count": 3})
        for at in range(3):
            page.evaluate(f"changeGeneration(app, {{ at: {at} }})")
            S = T + at
            size = f"{2 * config.num_hidden_layers * S * config.hidden_size * 4:,} bytes"
            page.wait_for_function(f"() => gen.step.step === {at}")
            page.wait_for_function(f"() => document.body.innerText.includes('the cache in step {at}: {size}')")
            cells, L = "(d) => (d ?? '').match(/M/g)?.length ?? 0", config.num_hidden_layers
            keys = {name: page.locator(f".gen-cache .{name}.k") for name in ("prompt", "earlier", "fresh")}
            drawn = {name: page.evaluate(cells, x.get_attribute("d")) if x.count() else 0 for name, x in keys.items()}
            assert drawn == {
                "prompt": L * (T if at else 0),
                "earlier": L * max(0, at - 1),
                "fresh": L * (1 if at else T),
            }


def test_the_continuation_becomes_the_text(browser: Any, live: Explorer, file: Path) -> None:
    with opened(browser, file) as page:
        start(page, {"doSample": False, "count": 3})
        page.wait_for_function("() => document.querySelectorAll('.gen-tokens button').length === 3")
        page.get_by_role("button", name="use as text").click()
        page.wait_for_function("() => document.querySelectorAll('.gen-tokens button').length === 0")
        text = page.locator("#text").input_value()
        ids = live.model.generate([live.ids], max_new_tokens=3)
        assert live.tokenizer is not None
        assert text == live.tokenizer.decode(ids[0], skip_special_tokens=True)
        assert page.evaluate("app.run.text") == text


def test_a_recorded_page_has_one_step_and_says_so(browser: Any, tmp_path: Path) -> None:
    explorer = Explorer(demo(), TEXT, live=False)
    with opened(browser, explorer.save(tmp_path / "page.html")) as page:
        start(page, {"temperature": 2.5, "seed": 5})
        page.get_by_role("button", name="next token").click()
        page.wait_for_selector(".gen-tokens button")
        assert page.get_by_role("button", name="next token").is_disabled()
        assert page.get_by_role("button", name="run 20").is_disabled()
        assert "so it shows the first step" in page.locator(".generation-view").inner_text()
        call = page.locator(".gen-python").inner_text()
        assert called(explorer, call) == page.evaluate(TOKENS)


@pytest.mark.parametrize("state", ["3", "{}", '{"seed":-4,"topP":"x","count":-2,"at":9}', '{"count":1e300,"topK":0.4}'])
def test_a_foreign_state_is_put_right(browser: Any, file: Path, state: str) -> None:
    with opened(browser, file) as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate(f"(async () => app.set({{ view: 'generation', generation: {state} }}))()")
        page.wait_for_selector(".generation-view")
        assert page.locator(".gen-python").inner_text().startswith("model.generate(")


def test_nan_is_shown_as_nan(browser: Any, tmp_path: Path) -> None:
    model = demo()
    weights = dict(model.named_parameters())
    weights["biogpt.layers.2.fc2.bias"][3] = np.nan
    with opened(browser, Explorer(model, TEXT).save(tmp_path / "page.html")) as page:
        page.wait_for_selector("html[data-ready]")
        assert "NaN" in page.locator("[data-part='layers.3.feed']").text_content()
        assert "NaN" in page.locator("[data-part='answer 0']").text_content()
        start(page, {"doSample": False, "count": 2})
        page.wait_for_selector(".gen-cell")
        assert "NaN" in page.locator(".gen-cell").first.text_content()
        start(page, {"count": 2})
        page.wait_for_function(
            "() => gen.status.textContent.includes('must leave a token to choose; found at most NaN')"
        )


def test_the_focus_stays_where_it_was_when_a_step_is_drawn_again(browser: Any, file: Path) -> None:
    with opened(browser, file) as page:
        start(page, {"count": 4, "temperature": 2})
        page.locator(".gen-tokens button").nth(2).focus()
        page.keyboard.press("ArrowLeft")
        page.wait_for_function("() => document.activeElement.getAttribute('aria-pressed') === 'true'")
        page.locator(".gen-cell[tabindex='0']").focus()
        for key in ["ArrowDown", "ArrowRight", "Enter"]:
            page.keyboard.press(key)
        second = page.evaluate("ruleRows(gen.step, true)[1]")
        page.wait_for_function(f"() => app.state.token === {second}")
        page.wait_for_function(
            "() => document.activeElement === gen.cells.find((x) => x.row === 1 && x.column === 1).group"
        )
