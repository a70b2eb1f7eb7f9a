"""The README: its Python runs unchanged, its two first commands are marked for CI, its links and numbers are right."""

import re
from pathlib import Path

from minibiogpt.cli import COMMANDS
from minibiogpt.golden.kit.models import CHECKPOINTS
from minibiogpt.golden.kit.probes import probes
from minibiogpt.golden.selftest.runner import GOOD, TRIALS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_runs_in_the_order_of_the_page() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
    assert len(blocks) == 5
    scope: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["best"].shape[0] == 2
    assert scope["out"].logits.shape[-1] == scope["model"].config.vocab_size


def test_the_two_commands_are_marked_for_ci() -> None:
    marked = re.findall(r"<!-- (first|second)-command -->\n```sh\n(.+)\n```\n<!-- end -->", README)
    assert [which for which, _ in marked] == ["first", "second"]
    assert "minibiogpt generate" in marked[0][1]
    assert marked[1][1].endswith("pytest -n 2")


def test_the_commands_are_all_of_them() -> None:
    listed = re.findall(r"^minibiogpt (\w+)", README.partition("## Commands")[2].partition("```\n\n")[0], re.M)
    assert listed == [module.__name__.rpartition(".")[2] for module in COMMANDS]


def test_every_linked_file_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_functions_that_it_points_to_are_there() -> None:
    pointers = re.findall(r"\[`(\w+)` in [\w/.]+\]\(([\w/.]+)\)", README)
    assert len(pointers) > 8
    for name, path in pointers:
        assert re.search(rf"^\s*(def|class) {name}\b", (ROOT / path).read_text(encoding="utf-8"), re.M), (name, path)


def test_the_numbers_of_the_kit_and_of_the_selftest_are_true() -> None:
    words = {7: "seven", 8: "eight", 9: "nine"}
    assert f"{words[len(CHECKPOINTS)]} tiny models, {len(probes(0))} cases" in README
    assert f"corrupts a correct candidate in {len(TRIALS) - len(GOOD)} ways" in README
