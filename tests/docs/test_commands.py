"""docs/commands.md is what tools/command_page.py writes, and has every option."""

import pytest

from minibiogpt.cli import parsed, parser
from minibiogpt.cli.parsing.commands import every_command, options_of
from minibiogpt.errors import InputError
from tools.command_page import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tools/command_page.py"


def test_the_page_has_every_command_and_option() -> None:
    sections = dict(part.split("\n", 1) for part in page().split("\n## ")[1:])
    for command in every_command(parser()):
        section = sections[command.prog.partition(" ")[2]]
        for name in options_of(command):
            assert name in ("-h", "--help") or f"`{name}" in section


def test_the_error_that_the_page_shows_is_the_one_that_is_printed() -> None:
    line, error = page().partition("$ minibiogpt ")[2].split("\n")[:2]
    with pytest.raises(InputError) as caught:
        parsed(line.split())
    assert error == f"minibiogpt: error: {caught.value}"
