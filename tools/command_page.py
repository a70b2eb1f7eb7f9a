"""Write docs/commands.md from the parsers of the command line: `python tools/command_page.py`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minibiogpt.cli import parser
from minibiogpt.cli.parsing.commands import every_command, options_of, positionals_of
from minibiogpt.cli.parsing.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "commands.md"
INTRODUCTION = """\
<!-- written by tools/command_page.py from the parsers: change those, and run it again -->
# The command line

`minibiogpt COMMAND ...` uses the package without a line of Python. `minibiogpt COMMAND --help` and
`minibiogpt help COMMAND` print the options of a command. `minibiogpt --version`, or `-V`, prints the version.

A text is one argument: put it in quotes. Several arguments are several texts. Put `--` before a text that begins with a
dash: `minibiogpt generate -- -omics`. Without a text, or with `-`, a command reads standard input. Without `--model`,
it uses the demo model that is included in the package.

A command line that is wrong is reported in one line that says what to type instead:

```text
$ minibiogpt generate --modle biogpt Ibuprofen
minibiogpt: error: minibiogpt generate must be called with its own options; found '--modle'; did you mean --model?
```

Options can't be abbreviated; the only short ones are `-h`, `-V` and the `-o` of `golden record`. Errors and warnings go
to standard error.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | a check found a difference |
| 2 | the command line or a file can't be used |
| 130 | interrupted with Ctrl-C |

## Completion in your shell

`minibiogpt --print-completion bash` (or `zsh`, or `tcsh`) prints a script that completes commands, options, their
values and files. It needs the package shtab: `pip install shtab`. For bash:

```sh
mkdir -p ~/.local/share/bash-completion/completions
minibiogpt --print-completion bash > ~/.local/share/bash-completion/completions/minibiogpt
```

Then open a new shell. Bash loads the script if the package bash-completion is installed, which most distributions do.
For zsh, write the script to a file named `_minibiogpt` in a folder of `$fpath`.
"""


def page() -> str:
    """Return the page: the introduction, a table of the commands, then a section for each."""
    commands = list(every_command(parser()))
    rows = [f"| [{name}](#{name.replace(' ', '-')}) | {_first_line(command)} |" for name, command in _named(commands)]
    parts = [INTRODUCTION, "## The commands\n\n| command | what it does |\n|---|---|\n" + "\n".join(rows) + "\n"]
    return "\n".join([*parts, *(section(name, command) for name, command in _named(commands))])


def section(name: str, command: argparse.ArgumentParser) -> str:
    """Return the section of one command: what it does, examples, its arguments and options."""
    examples = "\n".join(EXAMPLES[name])
    paragraphs = [" ".join(part.split()) for part in (command.description or "").split("\n\n")]
    arguments = [(_usage(action), _help(action)) for action in positionals_of(command)]
    options = dict.fromkeys(action for action in options_of(command).values() if action.dest != "help")
    arguments += [(_usage(action), _help(action)) for action in options]
    table = "\n".join(f"| {usage} | {text} |" for usage, text in arguments)
    parts = [f"## {name}", *map(_wrapped, paragraphs), f"```sh\n{examples}\n```"]
    parts += [f"| argument | meaning |\n|---|---|\n{table}"] if arguments else []
    return "\n\n".join(parts) + "\n"


def _named(commands: list[argparse.ArgumentParser]) -> list[tuple[str, argparse.ArgumentParser]]:
    return [(command.prog.partition(" ")[2], command) for command in commands]


def _first_line(command: argparse.ArgumentParser) -> str:
    return " ".join((command.description or "").partition("\n\n")[0].split())


def _usage(action: argparse.Action) -> str:
    """Return an argument as it is typed: `--model M`, or `-o FILE, --output FILE`."""
    if not action.option_strings:
        name = str(action.metavar or action.dest).upper()
        return f"`{name} ...`" if action.nargs == "*" else f"`{name}`"
    value = action.metavar or ("" if action.choices else action.dest.upper())
    value = f" {value or '|'.join(map(str, action.choices or ()))}" if action.nargs != 0 else ""
    needed = ", required" if action.required else ""
    return ", ".join(_code(f"{name}{value}") for name in action.option_strings) + needed


def _help(action: argparse.Action) -> str:
    text = " ".join((action.help or "").split())
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _code(text: str) -> str:
    escaped = text.replace("|", "\\|")
    return f"`{escaped}`"


def _wrapped(text: str) -> str:
    """Return a paragraph of a docstring in lines of up to 140 characters, as the other pages have them."""
    lines, line = [], ""
    for word in text.replace("<", "&lt;").split():
        if line and len(line) + 1 + len(word) > 140:
            lines, line = [*lines, line], word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
