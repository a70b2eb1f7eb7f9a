"""Write docs/commands.md from the parsers of the command line: `python tools/command_page.py`."""

from __future__ import annotations

import argparse
import io
import shlex
import sys
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minibiogpt.cli import main, parser
from minibiogpt.cli.parsing.commands import every_command, options_of, positionals_of
from minibiogpt.cli.parsing.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "commands.md"
# Examples whose output the page shows: short, and the same on every machine, up to the last digits of some numbers.
SHOWN = (
    'minibiogpt generate "Ibuprofen is best used for"',
    'minibiogpt tokenize "A beta-blocker lowers the blood pressure."',
    'minibiogpt score "Ibuprofen is best used for pain." --tokens',
    "minibiogpt info",
    'minibiogpt trace "Ibuprofen relieves pain." --names "layers.0.*"',
    "minibiogpt trace Insulin --explain layers.0.self_attn.probs",
    'minibiogpt golden record --text "Ibuprofen is" -o case.safetensors',
)
LINES = 20  # of an output; the rest is left out, with "..."
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

Options can't be abbreviated; the only short ones are `-h`, `-V`, and the `-o` of `explore`, `golden record` and
`golden map`. Errors and warnings go to standard error.

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
For zsh, write the script to a file named `_minibiogpt` in a folder of `$fpath`. The extra `completion` installs
shtab, too.

## Models

Commands that use a model take `--model demo|FOLDER|HUB-ID` and `--revision`, those that read texts `--tokenizer` (for
fine-tunes published without one), and most of them `--adapter`. With the real weights (`download` needs
`pip install '.[hub]'`):

```text
minibiogpt download microsoft/biogpt biogpt
minibiogpt generate --model biogpt "COVID-19 is" --num-beams 5 --min-length 100 --max-length 1024 --early-stopping true
python tools/check_real.py --model biogpt        published results for these weights, reproduced, as a table
```

`--quantization nf4` (or fp4, int8, int8-dynamic, q8_0, q4_0) quantizes the matrices of the layers to 4 or 8 bits while
they are read, so that the model takes less memory: `info` lists how much in each format. `quantize` writes such a model
to a folder; in nf4, fp4 and int8 it also loads in transformers with bitsandbytes.

BioGPT-Large separates digits and writes tags ("1 0 0 mg. < / FREETEXT > ▃"). `--split-digits` converts prompts to
this form and `--clean-large` converts outputs back, by heuristics that can be wrong
([large_text.py](../minibiogpt/tokenizer/large_text.py) explains when). Models fine-tuned with soft prompts take
`--soft-prompt 9`. Soft-prompt tokens are left out of the text; `--keep-soft-prompt` shows them as "learned1" to
"learned9".

## Files of texts

`generate`, `score`, `embed`, `classify` and `tag` also read `--file FILE`, one text per line. The last four also read
JSON Lines (`--jsonl`), compute in batches of similar length, and with `--output FILE` can be interrupted: the same
command resumes where it stopped, and on the same machine the file is byte for byte that of an uninterrupted run.
`generate` has no `--output`: redirect it (`> FILE`). If you interrupt it, run it again from the start.

A file of texts must be UTF-8 text; spreadsheets, PDFs and columns of CSV files are not read. It is checked before
anything is computed. `--skip-bad` skips lines that cannot be used, lists them on standard error, and adds `line` to
each JSON result; `--truncate` cuts texts that are too long. `score`, `embed`, `classify` and `tag` process long texts
in windows, and a JSON Lines field may hold a list of words. `--json` prints the result for another program to read
(`explore`, `view`, `embed` and `golden record` write files instead).
"""


def page() -> str:
    """Return the page: the introduction, a table of the commands, then a section for each."""
    commands = list(every_command(parser()))
    rows = [f"| [{name}](#{name.replace(' ', '-')}) | {_first_line(command)} |" for name, command in _named(commands)]
    parts = [INTRODUCTION, "## The commands\n\n| command | what it does |\n|---|---|\n" + "\n".join(rows) + "\n"]
    return "\n".join([*parts, *(section(name, command) for name, command in _named(commands))])


def section(name: str, command: argparse.ArgumentParser) -> str:
    """Return the section of one command: what it does, examples and what they print, its arguments and options."""
    examples = "\n".join(EXAMPLES[name])
    printed = [f"```text\n$ {line}\n{outputs()[line]}\n```" for line in EXAMPLES[name] if line in outputs()]
    paragraphs = [" ".join(part.split()) for part in (command.description or "").split("\n\n")]
    arguments = [(_usage(action), _help(action)) for action in positionals_of(command)]
    options = dict.fromkeys(action for action in options_of(command).values() if action.dest != "help")
    arguments += [(_usage(action), _help(action)) for action in options]
    table = "\n".join(f"| {usage} | {text} |" for usage, text in arguments)
    parts = [f"## {name}", *map(_wrapped, paragraphs), f"```sh\n{examples}\n```", *printed]
    parts += [f"| argument | meaning |\n|---|---|\n{table}"] if arguments else []
    return "\n\n".join(parts) + "\n"


@cache
def outputs() -> dict[str, str]:
    """Run the examples of SHOWN in an empty folder; return what each of them prints, at most LINES lines."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for line in SHOWN:
            text = io.StringIO()
            with redirect_stdout(text), redirect_stderr(io.StringIO()):
                code = main(shlex.split(line)[1:])
            assert code == 0, line
            lines = [one.rstrip() for one in text.getvalue().rstrip("\n").split("\n")]
            found[line] = "\n".join(lines if len(lines) <= LINES else [*lines[:LINES], "..."])
    return found


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
