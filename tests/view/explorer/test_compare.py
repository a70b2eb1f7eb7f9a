"""Two texts, or two runs of one text, side by side: what the page says differs, compared with Python's traces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import Trace
from minibiogpt.view import Explorer
from tests.budgets import PAGE_DISTANCE, PAGE_MEASURE, PAGE_PROBABILITY
from tests.support.browser import overflow
from tests.support.demo import tokenizer
from tests.support.explored import SCREENS, address, arrays_of, change, explored, settle
from tests.view.test_pages import TEXT, demo

OTHER = "Ibuprofen is best used as a painkiller"
SHIFTED = "Warfarin is best used for"
TANH = {"kind": "trap", "key": "activation", "value": "gelu_new"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def traced(text: str, **options: Any) -> Trace:
    trace = Trace()
    demo()(tokenizer()(text)["input_ids"], trace=trace, **options)
    return trace


def words(page: Any) -> str:
    return str(page.locator(".comparison .wide [aria-live]").inner_text())


def test_equal_beginnings_are_equal_in_every_array(browser: Any, file: Path) -> None:
    with explored(browser, file, hash=address({"view": "compare", "other": OTHER})) as page:
        assert "This text has 9 tokens, the second has 16. Both begin with the same 8 tokens." in words(page)
        assert "every array is equal at positions 0 to 7 (82 of 82 arrays are, bit for bit)" in words(page)
        assert (
            "The first array that differs, in the order of computation, is embed_tokens, first at position 8"
            in words(page)
        )
        profile = np.array(page.evaluate("comparison.shown.profile.values.map((row) => row.slice(0, 8))"))
        assert profile.shape == (5, 8)
        assert (profile == 0).all()
        change(page, other=TEXT)
        assert "They are the same tokens." in words(page)
        assert "At the positions that both have, no array differs." in words(page)


def test_without_the_causal_mask_equal_beginnings_differ(browser: Any, file: Path) -> None:
    changes = [{"kind": "trap", "key": "causal", "value": False}]
    with explored(browser, file, hash=address({"view": "compare", "other": OTHER, "changes": changes})) as page:
        found = re.search(r"equal beginnings do not make equal arrays \((\d+) of 82 are equal", words(page))
        assert found
        assert 0 < int(found[1]) < 82


def test_the_profile_is_the_distance_of_the_streams(browser: Any, file: Path) -> None:
    one, other = traced(TEXT), traced(SHIFTED)
    with explored(browser, file, hash=address({"view": "compare", "other": SHIFTED})) as page:
        pairs = page.evaluate("comparison.shown.pairs")
        assert pairs == [[0, 0], [1, 1], [2, None], [3, None], [4, None], [5, 2], [6, 3], [7, 4], [8, 5]]
        titles = page.locator(".comparison figure").first.locator("rect.cell title").all_text_contents()
        names = ["embeddings", *(f"layers.{i}" for i in range(4))]
        shown = np.array([t.split(": ") for t in titles]).reshape(len(pairs), len(names), 2)
        for k, (i, j) in enumerate(pairs):
            for n, name in enumerate(names):
                label, value = shown[k, n]
                assert label == name
                if j is None:
                    assert value == "no partner"
                    continue
                a, b = one[name][0, i].astype(float), other[name][0, j].astype(float)
                assert np.isclose(
                    float(value), np.linalg.norm(b - a) / np.linalg.norm(a), rtol=PAGE_MEASURE, atol=PAGE_DISTANCE
                )


@pytest.mark.parametrize("name", ["layers.2.self_attn.probs", "layers.1.fc1", "embeddings", "logits"])
def test_the_rows_of_any_array_are_shown_in_full(browser: Any, file: Path, name: str) -> None:
    with explored(browser, file, hash=address({"view": "compare", "other": SHIFTED, "head": 3, "row": 7})) as page:
        page.locator("select[aria-label='array']").select_option(name)
        settle(page)
        row = "([key, name, t, head]) => Array.from(rowsAt(comparison.shown[key].array(name), t)[head])"
        head = 3 if "probs" in name else 0
        one, other = (page.evaluate(row, [key, name, t, head]) for key, t in (("a", 7), ("b", 4)))
        a, b = np.float32(one), np.float32(other)
        n = min(len(a), len(b))
        page.locator(".array-rows svg").focus()
        for col in (0, 3, n - 1):
            change(page, col=col)
            said = page.locator(".array-rows p[role=status]").inner_text()
            found = re.search(r"this text (\S+), second text (\S+), difference (\S+)", said)
            assert found
            assert (np.float32(found[1]), np.float32(found[2])) == (a[col], b[col])
        page.keyboard.press("ArrowLeft")
        settle(page)
        assert page.evaluate("app.state.col") == n - 2
        top = page.locator(".array-rows tbody tr").first.inner_text()
        assert str(int(abs(b[:n] - a[:n]).argmax())) in top.split("\t")[0]
        box = page.locator(".array-rows svg image").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 2.5 / n, box["y"] + 5)
        said = page.locator(".array-rows p[role=status]").inner_text()
        found = re.search(r"this text (\S+), second", said)
        assert found
        assert np.float32(found[1]) == a[2]


def test_the_experiment_against_the_untouched_run(browser: Any, file: Path) -> None:
    with explored(browser, file, hash=address({"view": "compare", "pair": "experiment"})) as page:
        assert "Nothing is changed, so the two runs are one." in words(page)
        change(page, changes=[TANH])
        assert "is layers.0.activation_fn, first at position 0" in words(page)
        for changes, first in [
            ([{"kind": "head", "layer": 2, "head": 1, "scale": 0}], "layers.2.self_attn.weights"),
            ([{"kind": "trap", "key": "finalNorm", "value": False}], "layer_norm"),
            ([{"kind": "trap", "key": "maskAdds", "value": -10000}], "layers.0.self_attn.scores_masked"),
        ]:
            change(page, changes=changes)
            a, b = arrays_of(page, "baseline"), arrays_of(page, "experiment")
            differ = [name for name in a if not np.array_equal(a[name], b[name])]
            assert differ[0] == first
            assert f"is {first}, first at position" in words(page)
        change(page, untouched=True)
        assert page.evaluate("comparison.shown.b === app.experiment")


def test_next_tokens_of_both(browser: Any, file: Path) -> None:
    one, other = (traced(text)["logits"][0, t].astype(float) for text, t in ((TEXT, 8), (SHIFTED, 5)))
    with explored(browser, file, hash=address({"view": "compare", "other": SHIFTED})) as page:
        next = page.evaluate(
            "(({ p, q, ids }) => ({ p: Array.from(p), q: Array.from(q), ids }))(comparison.shown.next)"
        )
        for got, x in ((next["p"], one), (next["q"], other)):
            want = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
            assert np.allclose(got, want, atol=PAGE_PROBABILITY)
            assert set(np.argsort(want)[-5:].tolist()) <= set(next["ids"])
        change(page, row=3)
        assert "which has no partner in the second text" in page.locator(".comparison figcaption").nth(1).inner_text()
        assert "position 3 has no partner" in page.locator(".array-rows figcaption").inner_text()


def test_by_keyboard_alone(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        page.keyboard.press("7")
        settle(page)
        page.keyboard.press("o")
        page.keyboard.type("Warfarin")
        page.keyboard.press("Escape")
        settle(page)
        assert page.evaluate("app.state.other") == "Warfarin"
        page.keyboard.press(",")
        settle(page)
        assert page.evaluate("[app.state.view, app.row]") == ["compare", 7]


@pytest.mark.parametrize(("width", "height", "theme"), SCREENS)
def test_the_view_fits(browser: Any, file: Path, width: int, height: int, theme: Any) -> None:
    for other in (OTHER, "", "pain " * 400, "ألم 🩺 \u202eabc"):
        hash = address({"view": "compare", "other": other, "text": other[::-1]})
        with explored(browser, file, hash=hash, width=width, height=height, color_scheme=theme) as page:
            assert overflow(page) <= 0
            assert page.locator(".comparison").bounding_box()["width"] <= width
            assert words(page)


def test_a_recorded_page_says_why_it_does_not_compare(browser: Any, tmp_path: Path) -> None:
    recorded = Explorer(demo(), TEXT, live=False).save(tmp_path / "page.html")
    with explored(browser, recorded, hash=address({"view": "compare", "other": OTHER})) as page:
        assert "it holds one recorded run" in page.locator(".view.compare").inner_text()


def test_nan_is_shown_as_nan(browser: Any, tmp_path: Path) -> None:
    model = demo()
    model.biogpt.layers[1].fc1.weight[...] = np.nan
    page_file = Explorer(model, TEXT).save(tmp_path / "page.html")
    head = {"kind": "head", "layer": 0, "head": 0, "scale": 0}
    with explored(browser, page_file, hash=address({"view": "compare", "other": OTHER, "changes": [head]})) as page:
        change(page, array="layers.2")
        assert (
            "this text NaN, second text NaN, difference NaN" in page.locator(".array-rows p[role=status]").inner_text()
        )
        change(page, view="experiments")
        assert "The changed model gives NaN." in page.locator(".effect").inner_text()
        bars = page.locator(".results figure").first.locator("text.value").all_text_contents()
        assert bars[2:].count("NaN") == len(bars) - 2
        page.wait_for_timeout(400)
        change(page, view="compare", pair="experiment")
        assert "The first array that differs, in the order of computation, is layers.0.self_attn.weights" in words(page)


def test_without_a_second_text_nothing_is_compared(browser: Any, file: Path) -> None:
    with explored(browser, file, hash=address({"view": "compare"})) as page:
        assert "Write a second text" in words(page)
        assert not page.locator(".comparison figure").filter(visible=True).count()
        assert "NaN" not in page.locator(".view.compare").inner_text()
        page.get_by_role("button", name="start from this text").click()
        settle(page)
        assert page.evaluate("[app.state.other, document.activeElement === comparison.other]") == [TEXT, True]
        assert "They are the same tokens." in words(page)
        page.fill(".comparison textarea", "  ")
        settle(page)
        assert "Write a second text" in words(page)


def test_the_last_tokens_are_compared_even_if_they_differ(browser: Any, file: Path) -> None:
    other = "Warfarin is given as an anticoagulant"
    with explored(browser, file, hash=address({"view": "compare", "other": other})) as page:
        last = len(tokenizer()(other)["input_ids"][0]) - 1
        assert page.evaluate("[comparison.shown.t, comparison.shown.u]") == [8, last]
        assert page.evaluate("comparison.shown.pairs.at(-1)") == [8, last]
        logits = traced(other)["logits"][0, -1].astype(float)
        want = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert np.allclose(page.evaluate("Array.from(comparison.shown.next.q)"), want, atol=PAGE_PROBABILITY)
        caption = page.locator(".comparison figcaption").nth(1).inner_text()
        assert caption.startswith("Next token: this text after “for” at 8, second text after “")
        assert caption.endswith(f"at {last}")


def test_a_token_without_a_partner_has_one_bar(browser: Any, file: Path) -> None:
    with explored(browser, file, hash=address({"view": "compare", "other": "Ibuprofen"})) as page:
        figure = page.locator(".comparison figure").nth(1)
        assert "which has no partner in the second text" in figure.locator("figcaption").inner_text()
        assert figure.locator("rect.before").count() == 6  # five tokens and the key
        assert figure.locator("rect.after").count() == 0
        assert "NaN" not in figure.inner_text()


def test_a_recorded_page_has_python_code_that_runs(browser: Any, tmp_path: Path) -> None:
    recorded = Explorer(demo(), TEXT, live=False).save(tmp_path / "page.html")
    ids = tokenizer()(TEXT)["input_ids"]
    with explored(
        browser, recorded, hash=address({"view": "compare", "layer": 1, "head": 2, "token": int(ids[0, -1])})
    ) as page:
        code = page.locator(".view.compare pre").inner_text()
        change(page, view="experiments")
        ablation = page.locator(".view.experiments pre").inner_text()
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["ids"] == ids.tolist() != found["other"]
    assert next(name for name in found["one"] if (found["one"][name] != found["two"][name]).any()) == "embed_tokens"
    exec(ablation, found)
    assert (found["after"] == demo()(ids, ablate=[(1, 2)]).logits[0, -1]).all()
