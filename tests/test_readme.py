"""The README's Python runs as it stands, and its commands are the ones that continuous integration types."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_look_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
    assert len(blocks) == 1
    scope: dict = {}
    exec(compile(blocks[0], "README.md", "exec"), scope)
    assert scope["out"].logits.shape[-1] == scope["model"].config.vocab_size


def test_the_two_commands_are_marked_for_ci() -> None:
    marked = re.findall(r"<!-- (first|second)-command -->\n```sh\n(.+)\n```\n<!-- end -->", README)
    assert [which for which, _ in marked] == ["first", "second"]
    assert "minibiogpt generate" in marked[0][1]
    assert marked[1][1].endswith("pytest")


def test_every_linked_file_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []
