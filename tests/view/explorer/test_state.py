"""The state of the page in its address: what anyone can write there, what the history does, and texts of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from minibiogpt import Trace
from minibiogpt.view import Explorer
from tests.budgets import PAGE_MEASURE
from tests.support.browser import overflow
from tests.support.demo import tokenizer
from tests.support.explored import address, change, explored, settle
from tests.view.test_pages import HOSTILE, TEXT, demo

HEAD = {"kind": "head", "layer": 1, "head": 0, "scale": 0}
PATCH = {"kind": "patch", "name": "layers.1", "text": "Warfarin is", "row": 1, "from": 2, "head": None}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def go(page: Any, hash: str) -> dict[str, Any]:
    """Follow an address within the page, and return its state."""
    page.evaluate("(hash) => { location.hash = hash; }", hash)
    settle(page)
    return dict(page.evaluate("app.state"))


def test_a_link_is_the_same_place_in_a_fresh_page(browser: Any, file: Path) -> None:
    """Every key of the state that differs from the start survives the address, in a page opened with it."""
    state = {
        "view": "compare",
        "layer": 2,
        "head": 3,
        "step": "fc1",
        "row": 4,
        "col": 7,
        "token": 5,
        "changes": [HEAD, PATCH, {"kind": "trap", "key": "eps", "value": 1e-12}],
        "untouched": True,
        "other": "α & β = 100 % #1 +",
        "pair": "experiment",
        "array": "logits",
        "text": "Aspirin, 100 % & more?#",
    }
    with explored(browser, file) as page:
        change(page, **state)
        page.wait_for_timeout(400)
        hash = page.evaluate("location.hash")
        assert hash == f"#{page.evaluate('app.hashOf()')}"
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(file.as_uri() + hash)
    page.wait_for_selector("html[data-ready]")
    got = page.evaluate("app.state")
    context.close()
    assert {key: got[key] for key in state} == state


WORDS = """
# &&&===&= view view= view=nothing view=<img/src=x/onerror=alert(1)> layer=x layer=1e999 layer=-7
layer=99999999999999999999 layer=[1] layer={} layer=null layer=NaN head=1.7 row=-3 row=1e9 row=true row="2"
col=-1 token=1e12 token=[] % text=%E0%A4%A text=%F0%9F text=%00%07 text=%ED%A0%80 text= __proto__=1
__proto__={"x":1} constructor=1 toString=1 hasOwnProperty=1 prototype=1 changes=1 changes={} changes=null
changes=[null,1,[],{}] changes=[[[[]]]] untouched=1 untouched=null other=1 other=%00 pair=__proto__
array=__proto__ array=layers.99.fc1 step=__proto__ step=../../x step=constructor step=self_attn tour=-1
tour=1e9 tour={} old_key=1 view=layer&view=lens text=a&text=b generation=1 generation=[]
generation={"temperature":"x","topK":-1,"seed":{}} measure=__proto__ lines=__proto__ against=-5
"""
NONSENSE = [*WORDS.split(), "", "changes=" + "[" * 5000, "layer=" + "9" * 50_000]


def head(**changes: Any) -> dict[str, Any]:
    return HEAD | changes


def patch(**changes: Any) -> dict[str, Any]:
    return PATCH | changes


def trap(key: str, value: Any) -> dict[str, Any]:
    return {"kind": "trap", "key": key, "value": value}


BAD_CHANGES: list[Any] = [
    *[head(layer=x) for x in (9, -1, 0.5, "0", "__proto__", None)],
    *[head(scale=x) for x in (3, -0.1, "0", None, [])],
    *[trap(*x) for x in (("eps", 1), ("eps", None), ("__proto__", True), ("toString", True))],
    *[patch(name=x) for x in ("layers.9", "layers.01", "layers.1.nothing", "layers.1.self_attn.probs", "__proto__", 5)],
    *[patch(row=x) for x in (-1, 1e9, None, "0")],
    *[patch(head=x) for x in (0, 9)],
    *[{key: x for key, x in PATCH.items() if key != missing} for missing in PATCH],
    *[patch(text=x) for x in (None, 5, "x" * 30_000)],
    *[{"kind": x} for x in ("head", "trap", "patch", "zero", "__proto__", "constructor", None)],
    *["head", None, 3, []],
]


def usable(page: Any) -> None:
    """The page shows its view and follows its text box."""
    settle(page)
    assert page.locator("#view").inner_text() is not None
    assert page.evaluate("Object.hasOwn(Object.prototype, 'x')") is False
    page.fill("#text", "Aspirin")
    page.wait_for_function("() => app.run.text === 'Aspirin'")
    assert page.evaluate("app.run.array('logits').numbers.every(Number.isFinite)")


def test_nonsense_in_the_address_does_nothing(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        start = page.evaluate("app.state")
        for at, view in enumerate(page.evaluate("app.views.map((view) => view.id)")):
            for hash in NONSENSE[at % 2 :: 2]:  # each in three or four of the seven views
                state = go(page, f"view={view}&{hash}")
                assert set(state) == set(start), hash
                assert 0 <= state["layer"] < 4
                assert 0 <= state["head"] < 4
                assert state["row"] is None or 0 <= state["row"] < page.evaluate("app.run.T")
                assert state["token"] is None or 0 <= state["token"] < 1874
                assert state["changes"] == []
                assert state["pair"] == "texts"
            usable(page)
            go(page, "")


def test_nonsense_in_a_fresh_page(browser: Any, file: Path) -> None:
    for hash in [
        "changes=[null,{}]&text=%00&view=layer&step=__proto__",
        "%&__proto__=1&layer=1e999",
        "text=" + quote("ab " * 40_000),
    ]:
        context = browser.new_context(offline=True)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error, found=problems: found.append(str(error)))
        page.goto(f"{file.as_uri()}#{hash}")
        page.wait_for_selector("html[data-ready]")
        usable(page)
        context.close()
        assert problems == []


def test_changes_that_this_model_cannot_make_are_dropped(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        for bad in BAD_CHANGES:
            state = go(page, address({"view": "experiments", "changes": [bad, HEAD]}))
            assert state["changes"] == [HEAD], bad
        state = go(
            page, address({"changes": [HEAD, {**HEAD, "scale": 0.5}, {**HEAD, "scale": 1, "head": 2}] + [PATCH] * 300})
        )
        assert state["changes"] == [{**HEAD, "scale": 0.5}, PATCH]
        assert go(page, address({"changes": [{**HEAD, "extra": "<b>", "__proto__": 1}]}))["changes"] == [HEAD]
        assert go(page, address({"changes": [], "untouched": True}))["untouched"] is False
        assert page.evaluate("app.run === app.baseline")
        many = [patch(text=f"text {i} {'of many tokens ' * 60}", row=i, **{"from": i}) for i in range(100)]
        assert go(page, address({"changes": many}))["changes"] == many[:4]  # each text takes a run of the model
        page.evaluate("""() => { window.runs = 0; const runOf = app.runOf;
            app.runOf = (...all) => { runs++; return runOf.apply(app, all); }; }""")
        change(page, row=1, view="experiments")
        change(page, row=2, view="compare")
        assert page.evaluate("runs") <= 2  # those of the patches are kept


def test_text_in_changes_is_text(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        for text in HOSTILE:
            change(page, view="experiments", changes=[{**PATCH, "text": text}], other=text)
            assert page.locator(".chips bdi").count() == 1
            change(page, view="compare")
        assert page.locator("#explorer script, #explorer img, #explorer b b").count() == 0
        assert page.title() == "BioGPT, explored"


def test_back_and_forward(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        page.locator("#tab-attention").click()
        settle(page)
        change(page, layer=2)
        change(page, head=3)
        page.locator("#tab-experiments").click()
        settle(page)
        change(page, changes=[HEAD])
        page.wait_for_timeout(400)
        page.go_back()
        page.wait_for_function("() => app.state.view === 'attention'")
        assert page.evaluate("[app.state.layer, app.state.head, app.state.changes]") == [2, 3, []]
        page.go_back()
        page.wait_for_function("() => app.state.view === 'model'")
        assert page.evaluate("[app.state.layer, app.state.head]") == [0, 0]
        page.go_forward()
        page.go_forward()
        page.wait_for_function("() => app.state.view === 'experiments'")
        assert page.evaluate("app.state.changes") == [HEAD]
        settle(page)
        assert page.locator(".experiment-banner").is_visible()


def test_typing_writes_the_address_a_few_times_a_second_and_ends_right(browser: Any, file: Path) -> None:
    """Browsers limit how often an address may change, and warn when a page changes it too often."""
    with explored(browser, file) as page:
        page.evaluate("""() => { window.writes = 0; const real = history.replaceState.bind(history);
            history.replaceState = (...all) => { window.writes += 1; real(...all); }; }""")
        page.evaluate("() => { for (let i = 0; i < 500; i++) app.set({ row: i % 9 }); }")
        page.wait_for_timeout(600)
        assert page.evaluate("writes") <= 3
        assert page.evaluate("location.hash") == f"#{page.evaluate('app.hashOf()')}" == "#row=4"


LONE = "half a pair: \ud83d"
TEXTS = [
    "",
    "   ",
    "\n\n",
    "\t",
    *HOSTILE,
    "\x00",
    LONE,
    "\udc00\ud800",
    "🩺" * 40,
    "ابت " * 10,
    "a" * 10_000,
    "pain " * 2000,
    "\u200b\ufeff\u2060",
    "</s>",
    "<pad><unk></s>",
    "\r\n a",
    "e\u0301" * 100,
]


def test_texts_of_every_kind(browser: Any, file: Path) -> None:
    """The page has the ids of Python's tokenizer, says what it leaves out, and keeps its width."""
    with explored(browser, file, width=360, height=740) as page:
        for view in ["experiments", "compare"]:
            for text in TEXTS:
                change(page, view=view, text=text, other=text, changes=[HEAD, {**PATCH, "text": text}])
                ids = page.evaluate("app.run.ids")
                want = tokenizer()(text)["input_ids"][0]
                assert ids == want[:256].tolist(), text[:40]
                note = page.locator("#explorer > p[role=status]").inner_text()
                left = len(want) - 256
                assert (
                    f"The model has 256 positions; the last {left} of the text's {256 + left} tokens are left out."
                    in note
                ) is (left > 0)
                assert overflow(page) <= 0, text[:40]
                assert page.evaluate("app.problem") == ""
                page.wait_for_timeout(1)
        usable(page)


def test_a_text_that_is_too_long_for_the_page_is_cut_and_said_so(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        page.evaluate(
            "(text) => { frame.text.value = text; frame.text.dispatchEvent(new Event('input')); }",
            "ab 🩺" * 5001,
        )
        page.wait_for_function("() => app.state.text.length > 100")
        settle(page)
        assert page.evaluate("app.state.text.length") == 20_000
        assert page.evaluate("document.getElementById('text').value.length") == 20_000
        assert (
            "The text was 5005 characters too long for the page; its end is left out."
            in page.locator("#explorer > p[role=status]").inner_text()
        )
        change(page, row=3)
        assert "5005 characters too long" in page.locator("#explorer > p[role=status]").inner_text()
        change(page, text="x" * 19_999 + "🩺")
        assert page.evaluate("app.state.text") == "x" * 19_999
        change(page, text="short")
        assert "too long" not in page.locator("#explorer > p[role=status]").inner_text()


def test_an_experiment_that_fails_is_reported_and_the_page_goes_on(browser: Any, file: Path) -> None:
    with explored(browser, file, hash="view=experiments") as page:
        page.evaluate(
            """() => { const runOf = app.runOf; app.runOf = function (text, list = []) {
              if (list.length) throw new Error("no such run");
              return runOf.call(this, text, list); }; }"""
        )
        change(page, changes=[HEAD])
        assert "The changed model did not run: no such run" in page.locator(".experiment-banner").inner_text()
        assert page.evaluate("app.run === app.baseline")


def test_a_patch_takes_the_other_text_untouched(browser: Any, file: Path) -> None:
    """The second text runs without the other changes, as the page says."""
    other = Trace()
    demo()(tokenizer()("Warfarin is")["input_ids"], trace=other)
    with explored(browser, file, hash=address({"changes": [HEAD, PATCH]})) as page:
        row = page.evaluate("Array.from(app.run.row('layers.1', 1))")
    assert np.allclose(row, other["layers.1"][0, 2], rtol=0, atol=PAGE_MEASURE)


def test_the_data_of_the_page_names_the_model_but_no_path(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert json.dumps("demo") in text
    assert "site-packages" not in text
    assert "/minibiogpt/" not in text
