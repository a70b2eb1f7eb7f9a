"""Experiments on the page: equal to Python's options, shown against the untouched run, by mouse, keys and address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import Trace
from minibiogpt.view import Explorer
from tests.budgets import PAGE_BAR, PAGE_RATIO, PAGE_ZERO, lane_b
from tests.compare import compare_traces
from tests.support.browser import overflow
from tests.support.demo import tokenizer
from tests.support.explored import SCREENS, address, arrays_of, change, explored, settle
from tests.view.test_pages import TEXT, demo

OTHER = "Warfarin is best used for"
COMPLETE = "() => document.querySelector('.ablation > p').textContent.startsWith('With all heads')"
HEADS = [{"kind": "head", "layer": 1, "head": 0, "scale": 0}, {"kind": "head", "layer": 3, "head": 2, "scale": 1.5}]


def patch(name: str, row: int | None = None, source: int | None = None, head: int | None = None) -> dict[str, Any]:
    return {"kind": "patch", "name": name, "text": OTHER, "row": row, "from": source, "head": head}


def trap(key: str, value: Any) -> dict[str, Any]:
    return {"kind": "trap", "key": key, "value": value}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def ids(text: str) -> np.ndarray:
    return tokenizer()(text)["input_ids"]


def other_trace() -> Trace:
    trace = Trace()
    demo()(ids(OTHER), trace=trace)
    return trace


def put(name: str, target: Any, source: Any) -> dict[str, Any]:
    """An edit that writes part of the other run's array into this one."""

    def edit(x: np.ndarray) -> np.ndarray:
        x[target] = other_trace()[name][source]
        return x

    return {name: edit}


ALL = slice(None)
COLUMNS = slice(64, 96)  # of head 2
MASK = [[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1.5, 1]]
OUT_PROJ, CONTEXT = "layers.0.self_attn.out_proj", "layers.2.self_attn.context"
CASES: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    ([HEADS[0]], {"head_mask": [MASK[0], MASK[1], [1] * 4, [1] * 4]}),
    (HEADS, {"head_mask": MASK}),
    ([patch("layers.1", 5, 3)], {"edits": put("layers.1", (ALL, 5), (ALL, 3))}),
    ([patch("layers.2.fc1", 8, 1)], {"edits": put("layers.2.fc1", (ALL, 8), (ALL, 1))}),
    ([patch(CONTEXT, 6, 2, 2)], {"edits": put(CONTEXT, (ALL, 6, COLUMNS), (ALL, 2, COLUMNS))}),
    ([patch(OUT_PROJ)], {"edits": put(OUT_PROJ, (ALL, slice(0, 6)), (ALL, slice(0, 6)))}),
    (
        [patch("embeddings", 0, 0), HEADS[1]],
        {"edits": put("embeddings", (ALL, 0), (ALL, 0)), "head_mask": [[1] * 4] * 3 + [MASK[3]]},
    ),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_an_experiment_has_the_arrays_of_the_same_call_in_python(browser: Any, file: Path, case: int) -> None:
    changes, options = CASES[case]
    assert ids(OTHER).shape[1] == 6 < ids(TEXT).shape[1]
    want = Trace()
    demo()(ids(TEXT), trace=want, **options)
    with explored(browser, file, hash=address({"view": "experiments", "changes": changes})) as page:
        assert page.evaluate("app.state.changes") == changes
        got = arrays_of(page)
        compare_traces(got, want, lambda name: lane_b("demo", name))
        untouched = arrays_of(page, "baseline")
    assert not np.array_equal(got["logits"], untouched["logits"])


def test_a_head_that_is_off_is_ablated(browser: Any, file: Path) -> None:
    """The page sets the weights of the head to 0, ablate sets its context to 0; all that follows is equal."""
    want = Trace()
    demo()(ids(TEXT), trace=want, ablate=[(1, 0)])
    with explored(browser, file, hash=address({"changes": HEADS[:1]})) as page:
        got = arrays_of(page)
    assert (got["layers.1.self_attn.weights"][0, 0] == 0).all()
    assert list(got) == list(want)
    del want["layers.1.self_attn.weights"]
    compare_traces(got, want, lambda name: lane_b("demo", name))


def python_of(page: Any) -> str:
    return str(page.locator("pre.python").text_content())


def logits_of(code: str) -> np.ndarray:
    """Run the code that the page offers, and return its logits."""
    names: dict[str, Any] = {}
    exec(compile(code, "the page's code", "exec"), names)
    return np.asarray(names["out"].logits)


def test_the_python_code_of_an_experiment_computes_it(browser: Any, file: Path) -> None:
    """The page offers code for every change but post-norm; running it gives the page's logits."""
    with explored(browser, file, hash="view=experiments") as page:
        traps = page.evaluate("TRAPS.map(({ key, value, label }) => ({ key, value, label }))")
        assert len(traps) > 20
        combined = [
            HEADS[0],
            patch("layers.1"),
            trap("causal", False),
            trap("scaleScores", False),
            trap("maskAdds", -10000),
        ]
        norms = [trap("eps", 1e-12), trap("unbiased", True), trap("swapNorms", True), trap("layerOrder", "first")]
        one = [{**patch("layers.2"), "text": "Ibuprofen is best used as"}]
        lists = [*(changes for changes, _ in CASES), combined, norms, one, [patch("layers.2", 3, 3), *HEADS]]
        lists += [[trap(each["key"], each["value"])] for each in traps if each["key"] != "preNorm"]
        said: dict[str, str] = {}
        for changes in lists:
            change(page, changes=changes)
            code, got = python_of(page), arrays_of(page)["logits"]
            want = logits_of(code)
            # A trap may make scores large, so that rounding counts for more: up to ten times an ordinary run's.
            assert abs(got - want).max() <= 10 * lane_b("demo", "logits") * abs(want).max(), code
            said[str(changes)] = code.splitlines()[-1]
        assert said[str([HEADS[0]])] == "out = model(ids, ablate=[(1, 0)])"
        assert said[str(one)] == 'out = model(ids, patch_from=other.select("layers.2"))'
        assert said[str(HEADS)].startswith("out = model(ids, head_mask=[[1, 1, 1, 1], [0, 1, 1, 1]")
        change(page, changes=[trap("preNorm", False)])
        assert "# minibiogpt has no option for this change: post-norm" in python_of(page)


def test_texts_stay_texts_in_the_code(browser: Any, file: Path) -> None:
    text = 'a "quote" \\ \n backslash \u2028 \U0001fa7a </script> \''
    with explored(browser, file, hash="view=experiments") as page:
        change(page, text=text, changes=[{**HEADS[0]}])
        got = arrays_of(page)["logits"]
        want = logits_of(python_of(page))
        assert got.shape == want.shape
        assert abs(got - want).max() <= 10 * lane_b("demo", "logits") * abs(want).max()


def test_the_banner_is_in_every_view_and_takes_changes_back(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        banner = page.locator(".experiment-banner")
        assert banner.is_hidden()
        change(page, changes=[HEADS[0], trap("activation", "gelu_new")])
        for view in page.evaluate("app.views.map((view) => view.id)"):
            change(page, view=view)
            assert banner.is_visible()
            words = " ".join(banner.inner_text().split())
            assert words.startswith("2 changes: head 1.0 off × tanh GELU × every number below is of the changed model.")
        changed = arrays_of(page)["logits"]
        page.get_by_role("button", name="show the untouched run").click()
        settle(page)
        assert "every number below is of the untouched model" in banner.inner_text()
        assert np.array_equal(arrays_of(page)["logits"], arrays_of(page, "baseline")["logits"])
        assert np.array_equal(arrays_of(page, "experiment")["logits"], changed)
        page.get_by_role("button", name="show the changed run").click()
        settle(page)
        assert np.array_equal(arrays_of(page)["logits"], changed)
        page.get_by_role("button", name="remove: tanh GELU").click()
        settle(page)
        assert page.evaluate("app.state.changes") == [HEADS[0]]
        page.get_by_role("button", name="remove all changes").click()
        settle(page)
        assert banner.is_hidden()
        assert page.evaluate("app.run === app.baseline")


def test_the_numbers_that_are_shown_are_those_of_the_two_runs(browser: Any, file: Path) -> None:
    before, after = Trace(), Trace()
    demo()(ids(TEXT), trace=before)
    demo()(ids(TEXT), trace=after, ablate=[(1, 0)])

    def probs(trace: Trace, t: int) -> np.ndarray:
        x = np.exp(trace["logits"][0, t].astype(float) - trace["logits"][0, t].max())
        return x / x.sum()

    with explored(browser, file, hash=address({"view": "experiments", "changes": HEADS[:1]})) as page:
        for t in (8, 5):
            change(page, row=t)
            p, q = probs(before, t), probs(after, t)
            effect = page.evaluate("({ ...effectOf(app), p: null, q: null })")
            assert effect["id"] == p.argmax()
            assert np.isclose(effect["kl"], (p * np.log(p / q)).sum(), rtol=PAGE_RATIO)
            moved = after["logits"][0, t] - before["logits"][0, t]
            assert effect["logit"]["id"] == abs(moved).argmax()
            for name, x in effect["stream"]:
                a, b = before[name][0, t].astype(float), after[name][0, t].astype(float)
                assert np.isclose(x, np.linalg.norm(b - a) / np.linalg.norm(a), rtol=PAGE_RATIO, atol=PAGE_ZERO), name
            rows = [row.locator("td").all_text_contents() for row in page.locator(".results table tbody tr").all()]
            assert len(rows) >= 5
            labels, shown = [row[0] for row in rows], [[float(x) for x in row[1:]] for row in rows]
            names = page.evaluate("data.labels")
            for label, (x, y, _) in zip(labels, shown, strict=True):
                i = names.index(label)
                assert np.isclose(x, p[i], rtol=PAGE_BAR)
                assert np.isclose(y, q[i], rtol=PAGE_BAR)
            sentence = page.locator(".effect").inner_text()
            assert f"the probability of “{names[effect['id']]}” goes from {100 * p.max():.2f} %" in sentence


def test_the_ablation_table_has_one_run_for_each_head(browser: Any, file: Path) -> None:
    with explored(browser, file, hash=address({"view": "experiments", "changes": HEADS[1:]})) as page:
        page.wait_for_function(COMPLETE)
        token = page.evaluate("studiedToken(app)")
        shown = page.locator(".ablation title").all_text_contents()
        assert len(shown) == 16
        for i, text in enumerate(shown):
            mask = np.array(MASK, dtype=float)
            mask[1, 0] = 1
            mask[i // 4, i % 4] = 0
            x = demo("float64")(ids(TEXT), head_mask=mask).logits[0, -1]
            want = np.exp(x - x.max())[token] / np.exp(x - x.max()).sum()
            assert text.startswith(f"without head {i // 4}.{i % 4}: ")
            assert np.isclose(float(text.split(": ")[1].split(",")[0]), want, rtol=PAGE_RATIO, atol=PAGE_ZERO)


def test_the_ablation_table_is_given_up_when_the_text_changes(browser: Any, file: Path) -> None:
    with explored(browser, file, hash="view=experiments") as page:
        page.evaluate("app.set({ text: 'Aspirin is used for' })")
        page.wait_for_timeout(200)
        page.evaluate("app.set({ text: 'Metformin acts by' })")
        page.wait_for_function(COMPLETE)
        label = page.evaluate("labelOf(app, studiedToken(app))")
        assert (
            f"Probability of “{label}” at position {page.evaluate('app.row')}"
            in page.locator(".ablation figcaption").inner_text()
        )
        long = "Aspirin is used for pain and " * 30
        change(page, text=long)
        page.wait_for_timeout(300)
        assert "takes a run of the model for each head" in page.locator(".ablation").inner_text()
        page.get_by_role("button", name="compute the table").click()
        page.wait_for_function("() => /\\d+ of 16 heads/.test(document.querySelector('.ablation > p').textContent)")
        change(page, text="Aspirin")
        page.wait_for_function(COMPLETE)


def test_heads_by_keyboard_alone(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        page.keyboard.press("6")
        settle(page)
        assert page.evaluate("app.state.view") == "experiments"
        for key in ["]", "}", "x"]:
            page.keyboard.press(key)
        settle(page)
        assert page.evaluate("app.state.changes") == [{"kind": "head", "layer": 1, "head": 1, "scale": 0}]
        page.locator(".head-cell.here").focus()
        for key in ["ArrowRight", "ArrowUp", "Enter", "ArrowLeft", "+", "-", "-"]:
            page.keyboard.press(key)
            settle(page)
        assert page.evaluate("document.activeElement.ariaLabel") == "head 0.1: factor 0.9"
        scales = {(x["layer"], x["head"]): x["scale"] for x in page.evaluate("app.state.changes")}
        assert scales == {(1, 1): 0, (0, 2): 0, (0, 1): 0.9}
        page.keyboard.press("Backspace")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        settle(page)
        assert {(x["layer"], x["head"]) for x in page.evaluate("app.state.changes")} == {(1, 1), (0, 2)}
        page.locator("input.factor").fill("1.25")
        settle(page)
        assert page.evaluate("app.state.changes.at(-1)") == {"kind": "head", "layer": 0, "head": 1, "scale": 1.25}
        page.keyboard.press("Escape")
        page.keyboard.press("u")
        settle(page)
        assert page.evaluate("app.run === app.baseline")


def test_a_patch_and_a_trap_by_their_forms(browser: Any, file: Path) -> None:
    with explored(browser, file, hash="view=experiments") as page:
        page.locator("summary", has_text="Patch").click()
        page.get_by_label("second text", exact=True).fill(OTHER)
        settle(page)
        note = page.locator(".patch-form [role=status]")
        assert (
            "This text has 9 tokens, the second has 6. Positions are paired by their number, 0 to 5."
            in note.inner_text()
        )
        page.locator("select[aria-label='array']").select_option("layers.2.self_attn.context")
        page.locator("select[aria-label='head']").select_option("2")
        page.locator(".patch-form select[aria-label='position in this text']").select_option("6")
        page.locator(".patch-form select[aria-label='position in the second text']").select_option("2")
        assert (
            "Only position 6 of this text changes: it gets the numbers of position 2 of the second."
            in note.inner_text()
        )
        page.get_by_role("button", name="patch it in").click()
        settle(page)
        assert page.evaluate("app.state.changes") == [patch("layers.2.self_attn.context", 6, 2, 2)]
        page.locator("summary", has_text="Traps").click()
        page.locator("#trap-activation-gelu_new").check()
        page.locator("#trap-activation-relu").check()
        settle(page)
        assert page.evaluate("app.state.changes.slice(1)") == [trap("activation", "relu")]
        assert not page.locator("#trap-activation-gelu_new").is_checked()
        assert page.locator("#trap-paddingMask-true, #trap-paddingMask-false").is_disabled()
        page.locator("#trap-activation-relu").uncheck()
        settle(page)
        assert len(page.evaluate("app.state.changes")) == 1
        change(page, text="Warfarin")
        assert "(does nothing: this text has no position 6)" in page.locator(".experiment-banner").inner_text()


@pytest.mark.parametrize(("width", "height", "theme"), SCREENS)
def test_the_view_fits(browser: Any, file: Path, width: int, height: int, theme: Any) -> None:
    changes = [*HEADS, patch("layers.2.self_attn.context", 6, 2, 2), trap("causal", False)]
    hash = address({"view": "experiments", "changes": changes, "other": OTHER})
    with explored(browser, file, hash=hash, width=width, height=height, color_scheme=theme) as page:
        for summary in page.locator("details.panel > summary").all()[1:]:
            summary.click()
        page.wait_for_function(COMPLETE)
        assert overflow(page) <= 0
        assert page.locator(".view.experiments").bounding_box()["width"] <= width


def test_a_recorded_page_says_why_it_has_no_experiments(browser: Any, tmp_path: Path) -> None:
    recorded = Explorer(demo(), TEXT, live=False).save(tmp_path / "page.html")
    with explored(browser, recorded, hash=address({"view": "experiments", "changes": HEADS})) as page:
        assert "this page holds one recorded run" in page.locator(".view.experiments").inner_text()
        assert page.locator(".experiment-banner").is_hidden()
