"""The prompts on the demo's page continue as printed there, and the documentation shows only sentences it can model."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator

import pytest

from minibiogpt import BioGptForCausalLM, BioGptTokenizer
from tests.support.paths import ROOT

README = (ROOT / "minibiogpt/demo/README.md").read_text(encoding="utf-8")
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
NOTEBOOKS = [f"notebooks/{path.name}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
COMMANDS = {"generate", "score", "embed", "trace", "view", "explore"}  # of texts that the model reads
CALLS = {"tok", "tokenizer", "encode", "generator", "Stepper", "Explorer", "embed", "pipe"}
NAMES = {"true", "false", "text", "texts", "prompt", "prompts", "sentence"}  # of variables that hold such texts
MOST = 10  # perplexity of a prompt on the demo's page
MOST_SHOWN = 50  # of a sentence elsewhere: a passage begins with a code or a name that nothing predicts
DELIBERATE = {  # sentences that are meant to be wrong or unusual
    "A lack of scurvy causes vitamin C.",  # to be scored beside the true one
    "Ibuprofen is rarely used for",  # to be patched in
    "Ibuprofen isn't anti-inflammatory at 5 mg (p < 0.05).",  # to be tokenized
}
SENTENCE = re.compile(r"[A-Z]\S*( \S+){3,}")
ROW = re.compile(r"\| `(.+?)` \| (.+?) \| (\d+\.\d) \|")


@pytest.fixture(scope="module")
def demo() -> tuple[BioGptForCausalLM, BioGptTokenizer]:
    return BioGptForCausalLM.from_pretrained("demo"), BioGptTokenizer.from_pretrained("demo")


def perplexity(demo: tuple[BioGptForCausalLM, BioGptTokenizer], text: str) -> float:
    model, tokenizer = demo
    return float(model.score([tokenizer.encode(text)]).perplexity[0])


def test_every_prompt_of_the_page_continues_as_printed(demo: tuple[BioGptForCausalLM, BioGptTokenizer]) -> None:
    model, tokenizer = demo
    rows = ROW.findall(README)
    assert len(rows) >= 20
    for prompt, continuation, printed in rows:
        ids = model.generate([tokenizer.encode(prompt)], max_new_tokens=40)
        text = tokenizer.decode(ids[0], skip_special_tokens=True)
        assert text.startswith(f"{prompt} {continuation}"), text
        assert f"{perplexity(demo, prompt):.1f}" == printed, prompt
        assert float(printed) < MOST, prompt


def test_the_page_says_what_it_does_not_know(demo: tuple[BioGptForCausalLM, BioGptTokenizer]) -> None:
    text, printed = re.findall(r'"(.+?)" has a perplexity of ([\d,]+)', README)[0]
    assert f"{perplexity(demo, text):,.0f}" == printed
    model, tokenizer = demo
    prompt, wrong = re.findall(r'after "(.+?)" it writes "(.+?)"', README)[0]
    ids = model.generate([tokenizer.encode(prompt)], max_new_tokens=40)
    assert tokenizer.decode(ids[0], skip_special_tokens=True).startswith(f"{prompt} {wrong}.")


def shell_sentences(text: str) -> Iterator[str]:
    """Yield the sentences that commands without --model pass to the demo."""
    for line in re.findall(r"^(?:\$ )?(minibiogpt .*)$", text, re.MULTILINE):
        if line.count('"') % 2 or "'" in line:
            continue
        words = shlex.split(line, comments=True)
        if len(words) > 1 and words[1] in COMMANDS and "--model" not in words:
            yield from (word for word in words[2:] if SENTENCE.fullmatch(word))


def python_sentences(code: str) -> Iterator[str]:
    """Yield the sentences that are passed to a tokenizer or a page, or assigned to a variable such as ``text``."""
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a diff, or a notebook's magic
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            values = node.args if name in CALLS else []
        elif isinstance(node, ast.Assign):
            targets = {one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
            values = [node.value] if targets & NAMES else []
        else:
            continue
        for value in values:
            for part in value.elts if isinstance(value, ast.List | ast.Tuple) else [value]:
                if isinstance(part, ast.Constant) and SENTENCE.fullmatch(str(part.value)):
                    yield str(part.value)


def sentences(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
        text = "\n".join(cells)
        return [*shell_sentences(text), *(one for cell in cells for one in python_sentences(cell))]
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [*shell_sentences(text), *(one for block in blocks for one in python_sentences(block))]


def test_sentences_are_found_in_commands_and_in_python() -> None:
    page = (
        'minibiogpt view "A lack of iron is bad." --open  # the page\nminibiogpt score --model x "Never mind this."\n'
    )
    assert list(shell_sentences(page)) == ["A lack of iron is bad."]
    code = (
        'texts = ["Iron is a mineral, too."]\nStepper(model, "Insulin is a hormone.")\nprint("This is only a message.")'
    )
    assert sorted(python_sentences(code)) == ["Insulin is a hormone.", "Iron is a mineral, too."]
    assert len({one for page in [*PAGES, *NOTEBOOKS] for one in sentences(page)}) > 15


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS])
def test_the_demo_can_model_the_sentences_of_a_page(page: str, demo: tuple[BioGptForCausalLM, BioGptTokenizer]) -> None:
    unlikely = {one: perplexity(demo, one) for one in sentences(page) if one not in DELIBERATE}
    assert {one: p for one, p in unlikely.items() if p >= MOST_SHOWN} == {}
