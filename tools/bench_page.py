"""Measure the explorer's page in Chromium on this machine: `python tools/bench_page.py`

Needs the extra `test` and Chromium. First come the first paint and the moment when the model has run, counted from the
start of navigation. Then, for each length of the text and each view, the time from a key press in the text box to the
first frame with all that follows from it, as the browser's own clock has it: median of the presses [min-max], in
milliseconds. The page waits for a pause in typing before it runs a long text; that wait is included. The last line of a
length compares a traced forward pass of all tokens in the page with the same in NumPy.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package in this repository, installed or not

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, Trace
from minibiogpt.view import Explorer
from tests.support.browser import browsing
from tools.benching import machine

SENTENCE = "A lack of insulin causes diabetes. "
ROUNDS = 12
PRESS = """([text, letter]) => new Promise((done) => {
  const box = document.getElementById("text"), begun = performance.now();
  box.value = text + letter;
  box.dispatchEvent(new Event("input"));
  const finish = () => setTimeout(() => done(performance.now() - begun));
  const drawn = () => (app.run.text === box.value ? finish() : requestAnimationFrame(drawn));
  requestAnimationFrame(drawn);
})"""
PAINT = "() => performance.getEntriesByType('paint').map((entry) => [entry.name, entry.startTime])"
READY = "document.documentElement.dataset.readyAt"
FORWARD = """(rounds) => Array.from({ length: rounds }, () => {
  const begun = performance.now();
  app.model.forward({ ids: [app.run.ids], trace: new Trace() });
  return performance.now() - begun;
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="30,128,250", help="lengths of the texts (30,128,250)")
    lengths = [int(part) for part in parser.parse_args().tokens.split(",")]
    model, tokenizer = BioGptForCausalLM.from_pretrained("demo"), BioGptTokenizer.from_pretrained("demo")
    print(
        f"{machine.processor()}, {machine.usable_cores()} cores, load {machine.load():.1f}; NumPy with {machine.blas()}"
    )
    with tempfile.TemporaryDirectory() as folder, browsing() as browser:
        file = Explorer(model).save(Path(folder) / "page.html")
        print(f"page: {file.stat().st_size / 1e6:.2f} MB; Chromium {browser.version}")
        for name, times in _started(browser, file).items():
            print(f"{name:<28} {_text(times)}")
        page = _opened(browser, file)
        for length in lengths:
            text = _text_of(tokenizer, length)
            for view in page.evaluate("app.views.map((view) => view.id)"):
                page.evaluate("([view, text]) => app.set({ view, text, row: null })", [view, text])
                presses = [page.evaluate(PRESS, [text, letter]) for letter in "abcdefghijkl"[:ROUNDS]]
                print(f"key press, {length:>3} tokens, {view:<12} {_text(presses[1:])}")
            ids = tokenizer(text)["input_ids"]
            ours = [_timed(lambda ids=ids: model(ids, trace=Trace())) for _ in range(ROUNDS)]
            theirs = page.evaluate(FORWARD, ROUNDS)
            ratio = statistics.median(theirs[1:]) / statistics.median(ours[1:])
            print(f"forward, {length} tokens: page {_text(theirs[1:])}, NumPy {_text(ours[1:])}, ratio {ratio:.1f}")


def _started(browser: Any, file: Path) -> dict[str, list[float]]:
    """Return the first paints and the moments when the first run was drawn, each from an empty context."""
    found: dict[str, list[float]] = {"first-paint": [], "first-contentful-paint": [], "model has run": []}
    for _ in range(5):
        page = _opened(browser, file)
        for name, at in page.evaluate(PAINT):
            found[name].append(at)
        found["model has run"].append(float(page.evaluate(READY)))
        page.context.close()
    return found


def _opened(browser: Any, file: Path) -> Any:
    page = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True).new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    return page


def _text_of(tokenizer: BioGptTokenizer, length: int) -> str:
    """Return a text of about as many tokens, one fewer than asked for, so that a letter can be added."""
    text = SENTENCE * length
    spans = tokenizer(text, return_offsets=True)["offsets"][0]
    return text[: spans[length - 2][1]] + " "


def _timed(act: Any) -> float:
    begun = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - begun)


def _text(times: list[float]) -> str:
    return f"{statistics.median(times):7.1f} [{min(times):.1f}-{max(times):.1f}]"


if __name__ == "__main__":
    main()
