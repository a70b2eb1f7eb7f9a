"""README and the pages that it leads to: code that runs, commands marked for CI, links and numbers that are right."""

import re
from pathlib import Path

from minibiogpt.golden.kit.models import CHECKPOINTS
from minibiogpt.golden.kit.probes import probes
from minibiogpt.golden.selftest.runner import GOOD, TRIALS
from tests.support.pages import text_of
from tests.view.twin.test_mistakes import MISTAKES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = text_of(ROOT / "README.md")


def test_the_python_of_the_library_page_runs_in_its_order() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", text_of(DOCS / "library.md"), re.S | re.M)
    assert len(blocks) == 5
    scope: dict = {}
    for block in blocks:
        exec(compile(block, "library.md", "exec"), scope)
    assert scope["best"].shape[0] == 2
    assert scope["out"].logits.shape[-1] == scope["model"].config.vocab_size


def test_the_first_page_is_short_and_has_four_doors() -> None:
    assert len(README.splitlines()) <= 90
    doors = ["Learn", "Look inside", "Verify", "Run"]
    assert re.findall(r"^## (.+)$", README, re.M)[:4] == doors
    for part in re.split(r"^## ", README, flags=re.M)[1:5]:
        assert "](docs/" in part, "a door leads to the documentation"
        assert "```sh" in part, "a door shows what to type"


def test_the_two_commands_are_marked_for_ci() -> None:
    marked = re.findall(r"<!-- (first|second)-command -->\n```sh\n(.+)\n```\n<!-- end -->", README)
    assert [which for which, _ in marked] == ["first", "second"]
    assert "minibiogpt generate" in marked[0][1]
    assert marked[1][1].endswith("pytest -n 2")


def test_every_linked_file_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_functions_that_the_map_points_to_are_there() -> None:
    pointers = re.findall(r"\[`(\w+)` in [\w/.]+\]\(([\w/.]+)\)", text_of(DOCS / "map.md"))
    assert len(pointers) > 8
    for name, path in pointers:
        assert re.search(rf"^\s*(def|class) {name}\b", text_of(DOCS / path), re.M), (name, path)


def test_the_map_has_every_subpackage() -> None:
    table = text_of(DOCS / "map.md").partition("## ")[0]
    folders = {path.parent.name for path in (ROOT / "minibiogpt").glob("*/__init__.py")}
    assert [name for name in folders if f"../minibiogpt/{name}/" not in table] == []


def test_every_notebook_is_listed() -> None:
    start = text_of(DOCS / "start.md")
    listed = re.findall(r"^- (\d\d) \[.+\]\(\.\./notebooks/(.+\.ipynb)\)", start, re.M)
    assert [name for _, name in listed] == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert all(name.startswith(number) for number, name in listed)


def test_the_numbers_of_the_kit_and_of_the_selftest_are_true() -> None:
    words = {7: "seven", 8: "eight", 9: "nine"}
    assert f"{words[len(CHECKPOINTS)]} tiny models, {len(probes(0))} cases" in README
    tested = text_of(DOCS / "tested.md")
    assert f"corrupts a correct candidate in {len(TRIALS) - len(GOOD)} ways" in tested
    sensitivity = text_of(DOCS / "sensitivity.md")
    planted = re.findall(r"^(\d+) mistakes that porters make are planted", sensitivity, re.M)
    right = re.findall(r"^\| float(?:64|32) \|.*\((\d\d\.\d %)\) \|$", sensitivity, re.M)
    for page in (tested, text_of(DOCS / "verify-a-port.md")):
        page = " ".join(page.split())
        assert f"{planted[0]} mistakes" in page
        assert [number for number in right if number not in page] == []
    assert f"{planted[0]} mistakes" in README


def test_the_glossary_has_the_words_of_the_field_in_order_and_says_where_they_are_shown() -> None:
    part = text_of(DOCS / "glossary.md").partition("## Words of the field\n")[2].partition("\n## ")[0]
    entries = dict(re.findall(r"^### ([^\n]+)\n\n(.+?)(?=\n\n###|\Z)", part, re.M | re.S))
    assert list(entries) == sorted(entries, key=str.lower)
    wanted = ["query", "key", "value", "softmax", "logit", "token", "subword", "temperature", "top-k", "top-p", "GELU"]
    wanted += ["perplexity", "padding", "head", "attribution", "ablation", "embedding", "fine-tuning", "LoRA"]
    wanted += ["quantization", "vocabulary", "attention", "decoding", "position embedding"]
    wanted += ["byte-pair encoding", "greedy decoding", "beam search", "residual stream", "layer norm", "causal mask"]
    wanted += ["attention pattern", "induction head", "logit lens", "activation patching", "KV cache"]
    assert [word for word in wanted if word not in entries] == []
    assert [word for word, text in entries.items() if "](" not in text or len(text) < 60] == []


def test_the_number_of_mistakes_in_the_javascript_is_true() -> None:
    assert len(MISTAKES) == 30
    assert "Thirty such mistakes" in text_of(DOCS / "port-javascript.md")
    assert "thirty mistakes planted" in text_of(DOCS / "tested.md")
