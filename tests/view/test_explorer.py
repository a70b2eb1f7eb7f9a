"""The explorer in an offline browser: what it computes, compared with the trace of the same text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptForSequenceClassification, BioGptTokenizer, Trace
from minibiogpt.errors import InputError
from minibiogpt.view import Explorer
from tests.budgets import PAGE_FLOAT32
from tests.support import small
from tests.support.browser import opened
from tests.view.test_pages import TEXT, demo

ARRAY = "(name) => { const { shape, numbers } = app.run.array(name); return [shape, Array.from(numbers)]; }"


@pytest.fixture(scope="module", params=[True, False], ids=["live", "recorded"])
def explorer(request: pytest.FixtureRequest) -> Explorer:
    return Explorer(demo(), TEXT, live=request.param)


@pytest.fixture(scope="module")
def file(explorer: Explorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explorer.save(tmp_path_factory.mktemp("view") / "page.html")


def test_the_page_holds_the_arrays_of_the_trace(browser: Any, explorer: Explorer, file: Path) -> None:
    with opened(browser, file) as page:
        page.wait_for_selector("html[data-ready]")
        names = page.evaluate("app.run.names")
        assert names == list(explorer.trace) or (not explorer.live and sorted(names) == sorted(explorer.trace))
        for name in names:
            shape, numbers = page.evaluate(ARRAY, name)
            want = explorer.trace[name]
            assert tuple(shape) == want.shape
            largest = abs(want[want > -1e30]).max()  # masked scores are the lowest float32
            assert abs(np.reshape(numbers, shape) - want).max() <= (PAGE_FLOAT32 if explorer.live else 0) * largest, (
                name
            )


def test_a_recorded_page_computes_its_norms_again(browser: Any, tmp_path: Path) -> None:
    file = Explorer(demo(), TEXT, live=False).save(tmp_path / "page.html")
    with opened(browser, file) as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate("app.set({ view: 'layer', layer: 1, step: 'self_attn_layer_norm', row: 3, col: 5 })")
        page.wait_for_selector(".origin[data-good='true']")
        assert page.locator(".origin").get_attribute("data-computed")


def test_a_live_page_follows_the_text_box(browser: Any, tmp_path: Path) -> None:
    with opened(browser, Explorer(demo(), TEXT).save(tmp_path / "page.html")) as page:
        page.wait_for_selector("html[data-ready]")
        page.fill("#text", "Aspirin treats pain.")
        trace = Trace()
        model, tokenizer = demo(), Explorer(demo()).tokenizer
        assert tokenizer is not None
        model(tokenizer("Aspirin treats pain.")["input_ids"], trace=trace)
        _, numbers = page.evaluate(ARRAY, "logits")
        assert np.allclose(numbers, trace["logits"].ravel(), atol=PAGE_FLOAT32 * abs(trace["logits"]).max())
        assert page.evaluate("location.hash") == "#text=Aspirin%20treats%20pain."


def test_only_language_models_are_explored() -> None:
    model = BioGptForSequenceClassification.from_config(small.model().config, seed=0)
    with pytest.raises(InputError, match="the explorer needs a BioGptForCausalLM; found BioGptForSequence"):
        Explorer(model, [2, 5])
    with pytest.raises(InputError, match="live must be True, False or None"):
        Explorer(demo(), TEXT, live="yes")


def test_a_recorded_page_that_would_be_too_large_leaves_arrays_out_and_lists_them(tmp_path: Path) -> None:
    ids = list(range(2, 42))
    whole = Explorer(demo(), ids, live=False)
    smaller = Explorer(demo(), ids, live=False, max_megabytes=2)
    assert whole.left_out == []
    assert smaller.left_out[:2] == ["fc1", "activation_fn"]
    assert "layers.0.fc1" in whole.kept
    assert "layers.0.fc1" not in smaller.kept
    assert {"layers.0", "layers.3.self_attn.probs", "logits"} <= smaller.kept.keys()
    with pytest.raises(InputError, match=r"at most 0.1 megabytes; found .* for 40 tokens; pass a shorter text"):
        Explorer(demo(), ids, live=False, max_megabytes=0.1)


def test_a_tokenizer_that_the_page_does_not_have_makes_the_page_recorded() -> None:
    for changed in ("added", "renamed", "split"):
        tokenizer = BioGptTokenizer.from_pretrained("demo", split_special_tokens=changed == "split")
        assert Explorer(demo(), TEXT, tokenizer=BioGptTokenizer.from_pretrained("demo")).live
        if changed == "added":
            tokenizer.add_tokens(["pain"])
        elif changed == "renamed":
            tokenizer.mask_token = "used</w>"
        assert not Explorer(demo(), TEXT, tokenizer=tokenizer).live, changed
        with pytest.raises(InputError, match="a live page needs a tokenizer without added tokens"):
            Explorer(demo(), TEXT, tokenizer=tokenizer, live=True)


def state_of(browser: Any, file: Path) -> tuple[list[int], str, str]:
    with opened(browser, file) as page:
        page.wait_for_selector("html[data-ready]")
        return page.evaluate(  # type: ignore[no-any-return]
            "[app.run.ids, app.run.text, document.querySelector('#explorer').textContent]"
        )


@pytest.mark.parametrize("ids", [[2], [2, 5, 9], [2, 3, 9, 2, 1], [5, 9], [2, *range(10, 265)]])
def test_a_page_of_ids_has_these_ids(browser: Any, tmp_path: Path, ids: list[int]) -> None:
    explorer = Explorer(demo(), ids)
    got, text, _ = state_of(browser, explorer.save(tmp_path / "page.html"))
    assert got == ids
    assert not text.startswith("</s>")
    if explorer.live:
        assert Explorer(demo()).tokenizer.encode(text) == ids
    else:
        with pytest.raises(InputError, match="a live page needs a text, or the token ids of one"):
            Explorer(demo(), ids, live=True)


@pytest.mark.parametrize("live", [None, False])
def test_a_text_that_is_cut_keeps_its_first_tokens(browser: Any, tmp_path: Path, live: bool | None) -> None:
    text = "Ibuprofen relieves pain and fever. " * 200
    with pytest.raises(InputError, match="256"):
        Explorer(demo(), text, live=live)
    explorer = Explorer(demo(), text, live=live, truncate=True)
    assert explorer.tokenizer is not None
    got, shown, _ = state_of(browser, explorer.save(tmp_path / "page.html"))
    assert got == explorer.tokenizer.encode(text)[:256] == explorer.ids
    assert text.startswith(shown)
    assert len(shown) < 1000


def test_a_recorded_page_says_why(browser: Any, tmp_path: Path) -> None:
    added = BioGptTokenizer.from_pretrained("demo")
    added.add_tokens(["pain"])
    for explorer, why in [
        (Explorer(demo(), TEXT, live=False), "it was made without the model"),
        (Explorer(demo(), TEXT, tokenizer=added), "its tokenizer has added or renamed tokens"),
        (Explorer(demo(), [5, 9]), "it starts from token ids that no text has"),
        (Explorer(small.model(), [2, 5]), "it has no tokenizer"),
        (Explorer(demo(), TEXT, max_megabytes=1), "with the model it would have more than 1 MB"),
    ]:
        assert not explorer.live
        *_, words = state_of(browser, explorer.save(tmp_path / "page.html"))
        assert f"A recorded run, whose text can't be changed: {why}" in words
        assert "too large for the page" not in words


def test_a_size_limit_holds_for_live_pages_too() -> None:
    assert len(Explorer(demo(), TEXT, max_megabytes=1).html) < 1.6e6
    with pytest.raises(InputError, match=r"a page must have at most 1 megabytes; found 5.7 for the model"):
        Explorer(demo(), TEXT, max_megabytes=1, live=True)


def test_a_link_from_a_frame_says_that_it_is_the_end_of_one(browser: Any, tmp_path: Path) -> None:
    """A frame in a notebook has no address of its own."""
    file = tmp_path / "frame.html"
    file.write_text(Explorer(demo(), TEXT)._repr_html_(), encoding="utf-8")
    page = browser.new_context(offline=True).new_page()
    page.goto(file.as_uri())
    frame = page.frames[1]
    frame.wait_for_selector("html[data-ready]")
    frame.evaluate("app.set({ layer: 2 })")
    frame.get_by_role("button", name="copy a link to this place").click()
    frame.get_by_text("write it after the name of the saved page").wait_for()
    shown = frame.locator("dialog textarea")
    assert not shown.count() or shown.input_value() == "#layer=2"


def test_the_heading_names_the_dtype_that_the_page_computes_in() -> None:
    page = Explorer(demo("float64"), TEXT).html
    assert "V = 1874 · float32<" in page
    assert len(page) < 6e6  # the weights in float32, as for the float32 model
    assert "V = 1874 · float64<" in Explorer(demo("float64"), TEXT, live=False).html
