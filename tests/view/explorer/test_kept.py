"""What the views keep from the run before, or from the run itself, is what they would compute anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minibiogpt.view import Explorer
from tests.support.browser import opened
from tests.view.explorer.test_attention_view import show
from tests.view.test_pages import TEXT, demo

TEXTS = [
    TEXT,
    f"{TEXT} pain",
    f"{TEXT} pain ",  # the same tokens
    "Ibuprofen is best",
    "Ibuprofen was best used for a long time.",
    "",
    "A lack of insulin causes diabetes. " * 12,
    "A lack of insulin causes diabetes. " * 12 + "A",
    "Aspirin",
]
LENS = """() => {
  const kept = lensNow(app), fresh = new LiveLens(app.run), { T } = app.run;
  while (!kept.done) kept.next();
  while (!fresh.done) fresh.next();
  const cells = kept.stages.flatMap((_, stage) => Array.from({ length: T }, (_, t) => [stage, t]));
  const numbers = (lens, [stage, t]) => JSON.stringify([lens.at(stage, t), [...lens.row(stage, t)]]);
  const differing = cells.filter((cell) => numbers(kept, cell) !== numbers(fresh, cell));
  const wide = lensParts.table.wide, labelOfId = (id) => fittedText(app.facts.labels[id], wide);
  const all = (selector) => [...document.querySelectorAll(`.lens-table ${selector}`)].map((text) => text.textContent);
  const heads = app.run.tokens.map(({ label }) => fittedText(label, wide));
  const best = cells.map(([stage, t]) => labelOfId(fresh.at(stage, t).ids[0]));
  return { differing, kept: kept.kept, words: all(".word").join() === best.join(), frames: all(".frame").length,
    heads: all("g:first-of-type .name").join() === heads.join() };
}"""
HEAD = {"kind": "head", "layer": 1, "head": 0, "scale": 0}
TRAP = {"kind": "trap", "key": "scaleScores", "value": False}
PATCH = {"kind": "patch", "name": "layers.0", "text": "Aspirin treats", "row": 2, "from": 1, "head": None}
STEPS = """([changes, untouched]) => {
  app.set({ view: "generation", changes, untouched });
  const settings = generationOf({ generation: { temperature: 2, topP: 0.9, seed: 4 } });
  const found = generationSteps(app, settings, 4).steps;
  const made = (untouched ? [] : changes).filter(({ kind }) => kind !== "patch");
  const { model, options: inputs } = changed(app.model, made), { doSample, temperature, topK, topP, seed } = settings;
  const options = { doSample, temperature, topK, topP, seed, maxNewTokens: 4, inputs };
  const wanted = [...decodingSteps(model, app.run.ids, options)];
  const parts = (step) => [step.ids, step.token, step.uniform, step.cacheLength, [...step.logits], [...step.probs]];
  return wanted.map((step, i) => JSON.stringify(parts(step)) === JSON.stringify(parts(found[i])));
}"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def test_the_lens_after_any_change_of_the_text_is_that_of_the_text(browser: Any, file: Path) -> None:
    kept = []
    with opened(browser, file) as page:
        show(page, view="lens")
        for changes in [[], [HEAD]]:
            for text in TEXTS:
                show(page, view="lens", text=text, changes=changes)
                page.wait_for_selector(".lens-box[aria-busy=false]")
                found = page.evaluate(LENS)
                assert found["differing"] == []
                assert (found["words"], found["heads"], found["frames"]) == (True, True, 2), text
                kept.append(found["kept"])
    assert max(kept[:9]) > 80  # so that the numbers were indeed kept
    assert not any(kept[9:])  # of an experiment nothing is


@pytest.mark.parametrize(
    "changes", [[], [HEAD], [TRAP], [PATCH], [HEAD, PATCH, TRAP]], ids=["none", "head", "trap", "patch", "all"]
)
def test_generation_continues_the_run_as_if_it_had_computed_it(browser: Any, file: Path, changes: Any) -> None:
    with opened(browser, file) as page:
        page.wait_for_selector("html[data-ready]")
        assert page.evaluate(STEPS, [changes, False]) == [True] * 4
        if changes:  # while the page shows the untouched run, what it generates is the untouched model's
            assert page.evaluate(STEPS, [changes, True]) == [True] * 4
