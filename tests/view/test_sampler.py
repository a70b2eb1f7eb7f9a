"""The sampler's page in a browser: its logits processors compared with the library's, its draws, its initial state."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptTokenizer
from minibiogpt.errors import InputError
from minibiogpt.generation.config import GenerationConfig
from minibiogpt.generation.processor_list import logits_processors
from minibiogpt.model.ops import softmax
from minibiogpt.view import Sampler
from tests.budgets import LANE_A
from tests.support.browser import contrast, opened, overflow, texts
from tests.view.test_pages import HOSTILE, TEXT, demo

GRID = [
    {"temperature": temperature, "topK": k, "topP": p}
    for temperature in (0.1, 0.7, 1, 3)
    for k in (0, 1, 5, 50, 1874)
    for p in (0.01, 0.3, 0.9, 1)
]
TIES = np.log([0.25, 0.125, 0.25, 0.125, 0.125, 0.0625, 0.0625])


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    return demo("float64")(tokenizer(TEXT)["input_ids"]).logits[0, -1] / 4  # flatter, so that top-k and top-p matter


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, logits: np.ndarray) -> Path:
    sampler = Sampler(logits, BioGptTokenizer.from_pretrained("demo"), text=TEXT, top=15)
    return sampler.save(tmp_path_factory.mktemp("view") / "page.html")


def scores(logits: np.ndarray, temperature: float, k: int, p: float) -> np.ndarray:
    """The logits that ``generate`` samples from with these options, (1, V)."""
    options = {"do_sample": True, "temperature": float(temperature), "top_k": k, "top_p": float(p)}
    x = logits[None]
    for process in logits_processors(GenerationConfig(**options), 1, 1):
        x = process(np.zeros((1, 1), int), x)
    return x


def ours(logits: np.ndarray, temperature: float, k: int, p: float) -> np.ndarray:
    """The distribution that ``generate`` samples from with these options."""
    return softmax(scores(logits, temperature, k, p).astype("float64"))[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["demo", "random", "ties", "forbidden"])
def test_the_rules_are_those_of_generate(
    browser: Any, tmp_path: Path, logits: np.ndarray, kind: str, dtype: str
) -> None:
    random = np.random.default_rng(0).normal(size=300) * 3
    forbidden = np.where(np.arange(300) % 3, random, -np.inf)
    x = {"demo": logits, "random": random, "ties": TIES, "forbidden": forbidden}[kind].astype(dtype)
    Sampler(x, None).save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        found = page.evaluate("(grid) => grid.map((one) => Array.from(processed(logits, one).probs))", GRID)
    assert len(found) == len(GRID)
    for one, got in zip(GRID, found, strict=True):
        want = ours(x, one["temperature"], int(one["topK"]), one["topP"])
        assert ((np.array(got) > 0) == (want > 0)).all(), one
        assert abs(np.array(got) - want).max() <= LANE_A * want.max(), one


def rows(page: Any) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator(".bars tbody tr").all()]


def test_something_is_shown_before_any_touch(browser: Any, file: Path, logits: np.ndarray) -> None:
    with opened(browser, file) as page:
        found = rows(page)
        assert len(found) == 16
        labels = page.evaluate("data.tokens")
        order = np.argsort(-logits, kind="stable")
        assert [row[0] for row in found[:-1]] == [labels[i] for i in order[:15]]
        assert found[-1][0] == f"{logits.size - 15} others"
        shown = [page.locator(f"tr[data-id='{i}']").get_attribute("data-p") for i in order[:15]]
        np.testing.assert_allclose(np.array(shown, float), softmax(logits)[order[:15]], rtol=LANE_A)
        assert f"{logits.size} of {logits.size} tokens can be drawn" in page.locator("p[role=status]").inner_text()


def test_sliders_and_fields_move_each_other_and_the_bars(browser: Any, file: Path, logits: np.ndarray) -> None:
    order = np.argsort(-logits, kind="stable")
    with opened(browser, file) as page:
        page.get_by_role("slider", name="top-k").fill("3")
        assert page.get_by_role("spinbutton", name="top-k").input_value() == "3"
        assert [row[3] for row in rows(page)[3:]] == ["cut by top-k"] * 12 + ["all cut"]
        page.get_by_role("spinbutton", name="top-k").fill("2.6")
        assert page.evaluate("settings.topK") == 3, "k is rounded to an integer"
        page.get_by_role("spinbutton", name="top-p").fill("0.01")
        assert page.get_by_role("slider", name="top-p").input_value() == "0.01"
        assert [row[3] for row in rows(page)[:4]] == ["100.00 %", "cut by top-p", "cut by top-p", "cut by top-k"]
        assert page.locator(f"tr[data-id='{order[0]}']").get_attribute("data-p") == "1"
        page.get_by_role("slider", name="temperature").focus()
        page.keyboard.press("Home")
        assert page.evaluate("settings.temperature") == 0.1
        page.get_by_role("spinbutton", name="temperature").fill("")
        page.get_by_role("spinbutton", name="temperature").fill("-4")
        assert page.evaluate("settings.temperature") == 0.1
        page.keyboard.press("Tab")
        assert page.get_by_role("spinbutton", name="temperature").input_value() == "0.1"


def test_draws_come_from_what_is_left_and_a_seed_gives_them_again(browser: Any, file: Path, logits: np.ndarray) -> None:
    counts = "Array.from(logits, (_, i) => draws.counts.get(i) ?? 0)"
    with opened(browser, file) as page:
        page.get_by_role("slider", name="top-k").fill("6")
        page.get_by_role("button", name="draw 10000").click()
        first = np.array(page.evaluate(counts))
        p = ours(logits, 1, 6, 1)
        assert first.sum() == 10_000
        assert (first[p == 0] == 0).all()
        # Within 5 standard deviations of a binomial count. The seed is fixed, so the result never changes.
        assert (abs(first - 10_000 * p) <= 5 * np.sqrt(10_000 * p * (1 - p)) + 1).all()
        order = np.argsort(-logits, kind="stable")
        assert [int(row[4]) for row in rows(page)] == [*first[order[:15]].tolist(), first[order[15:]].sum()]
        page.get_by_role("button", name="reset draws").click()
        assert sum(page.evaluate(counts)) == 0
        page.get_by_role("button", name="draw 10000").click()
        assert (np.array(page.evaluate(counts)) == first).all()
        page.get_by_role("button", name="draw a token").click()
        assert sum(page.evaluate(counts)) == 10_001
        page.get_by_role("slider", name="top-p").fill("0.5")
        assert sum(page.evaluate(counts)) == 0  # they came from another distribution


@pytest.mark.parametrize("seed", [0, 2**64 + 3])
def test_draws_are_those_of_generate(browser: Any, tmp_path: Path, seed: int) -> None:
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    model, ids = demo("float32"), tokenizer("Patients with")["input_ids"]
    options = {"do_sample": True, "seed": seed, "temperature": 3.0, "top_k": 40, "max_new_tokens": 1}
    Sampler(model(ids).logits[0, -1], tokenizer, seed=seed).save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        page.get_by_role("spinbutton", name="temperature").fill("3")
        page.get_by_role("spinbutton", name="top-k").fill("40")
        drawn = []
        for _ in range(6):
            before = page.evaluate("Object.fromEntries(draws.counts)")
            page.get_by_role("button", name="draw a token").click()
            after = page.evaluate("Object.fromEntries(draws.counts)")
            drawn += [int(token) for token in after if after[token] != before.get(token, 0)]
    assert drawn[0] == model.generate(ids, **options)[0, -1]
    assert drawn == model.generate(ids, num_return_sequences=6, **options)[:, -1].tolist()
    assert len(set(drawn)) > 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_and_can_be_read(browser: Any, file: Path, width: int, scheme: str) -> None:
    with opened(browser, file, width=width, color_scheme=scheme) as page:
        page.get_by_role("slider", name="top-k").fill("4")
        page.get_by_role("button", name="draw 100", exact=True).click()
        assert overflow(page) == 0
        found = texts(page)
        assert len(found) > 40
        assert [text for text in found if contrast(*text[1:]) < 4.5] == []


def plain(text: str) -> str:
    """A lone surrogate reads differently when it comes back from the browser."""
    return re.sub("[\ud800-\udfff\ufffd]", "?", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_pieces_are_shown_as_text(browser: Any, tmp_path: Path, text: str) -> None:
    sampler = Sampler(np.array([2.0, 1.0]), None, text=text)
    sampler.pieces = [text, "</script>"]
    sampler.save(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        shown = page.locator(".bars tbody td:first-child").evaluate_all("(all) => all.map((td) => td.textContent)")
        assert [plain(one) for one in shown] == [plain(text), "</script>"]
        assert page.locator("script").count() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"logits": np.zeros((2, 3))}, r"one row of numbers, \(V,\); found shape \(2, 3\)"),
        ({"logits": [1.0]}, "found list"),
        ({"logits": np.array([])}, "found shape"),
        ({"logits": np.array([np.nan, 1])}, "no NaN"),
        ({"logits": np.array([np.inf, 1])}, "a finite maximum"),
        ({"logits": np.array([-np.inf])}, "only -inf"),
        ({"logits": np.zeros(3), "top": 0}, "top must be an integer, 1 or more; found 0"),
        ({"logits": np.zeros(3), "seed": -1}, "seed must be"),
        ({"logits": np.zeros(3), "theme": "blue"}, "theme must be one of"),
    ],
)
def test_logits_that_are_none(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Sampler(**arguments)


@pytest.mark.parametrize("size", [5, 99999])
def test_a_tokenizer_of_another_vocabulary_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"as many tokens as the logits, V = {size}; found"):
        Sampler(np.zeros(size), BioGptTokenizer.from_pretrained("demo"))


def test_rows_beyond_the_tokens_are_shown_by_their_ids() -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    tok.add_tokens(["nirmatrelvir"])
    sampler = Sampler(np.zeros(1920), tok)
    assert sampler.pieces[549] == "treats"
    assert sampler.pieces[1874:1876] == ["nirmatrelvir", "id 1875"]
    soft = BioGptTokenizer(tok.vocab, [], soft_prompt=2)
    assert Sampler(np.zeros(1876), soft).pieces[-1] == "learned2"
