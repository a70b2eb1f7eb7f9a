"""docs/commands.md is what tools/command_page.py writes, has every option, and shows what the examples print."""

import re

import pytest

from minibiogpt.cli import parsed, parser
from minibiogpt.cli.parsing.commands import every_command, options_of
from minibiogpt.cli.parsing.examples import EXAMPLES
from minibiogpt.errors import InputError
from tools.command_page import PAGE, SHOWN, page

NUMBER = re.compile(r"(-?\d+\.\d+(?:e[+-]\d+)?)(?![\w.])")


def same(got: str, want: str) -> bool:
    """Return whether two pages are equal, but for the last digits of measured numbers and the lines of the source."""
    (got_parts, want_parts) = (NUMBER.split(re.sub(r"\.py:\d+", ".py", text)) for text in (got, want))
    return got_parts[::2] == want_parts[::2] and [float(x) for x in got_parts[1::2]] == pytest.approx(
        [float(x) for x in want_parts[1::2]], rel=1e-3, abs=2e-3
    )


def test_the_page_is_current() -> None:
    assert same(PAGE.read_text(encoding="utf-8"), page()), "run python tools/command_page.py"


def test_a_page_that_is_not_current_is_noticed() -> None:
    assert same("a.py:89: log p -1.3282", "a.py:90: log p -1.3283")
    assert not same("log p -1.3282", "log p -1.3382")
    assert not same("log p -1.3282", "log q -1.3282")
    assert not same("log p -1.3282", "log p -1.3282 0.5")


def test_the_outputs_are_of_examples_and_on_the_page() -> None:
    assert set(SHOWN) <= {line for lines in EXAMPLES.values() for line in lines}
    assert all(f"```text\n$ {line}\n" in page() for line in SHOWN)
    assert "Ibuprofen is best used for pain and inflammation." in page()


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
