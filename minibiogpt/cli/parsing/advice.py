"""What to type instead of a command or an option that is unknown."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterable, Sequence

from minibiogpt.cli.parsing import foreign
from minibiogpt.cli.parsing.commands import every_command, name_of, options_of, positionals_of, subcommands, takes_texts
from minibiogpt.errors import InputError, nearest
from minibiogpt.idioms import did_you_mean

DASHES = "-‐‑‒–—―−﹣－"  # the first is the one that is typed
LONG = re.compile(r"--[A-Za-z][\w-]*(=|$)")  # no text looks like this
MAX_TEXT = 60  # characters of a text that advice repeats


def option_like(word: str) -> str:
    """Return how an option is spelled here: plain hyphens, two in front, and lower case.

    Examples
    --------
    >>> option_like("—num_beams"), option_like("-numBeams=2"), option_like("-o")
    ('--num-beams', '--num-beams', '-o')
    """
    name = word.partition("=")[0].lstrip(DASHES)
    if len(name) == 1 and not word.startswith("--"):
        return f"-{name}"
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name)
    return "--" + re.sub(f"[{DASHES}_]", "-", name).lower()


def repeated(text: str) -> str:
    """Return a text as it is typed in a shell, or TEXT if it is long."""
    return shlex.quote(text) if len(text) <= MAX_TEXT and text.isprintable() else "TEXT"


def unknown_command(parser: argparse.ArgumentParser, top: argparse.ArgumentParser, words: Sequence[str]) -> InputError:
    """Return the error for ``words`` whose first is none of the parser's commands."""
    word, known = words[0], subcommands(parser)
    must = f"{parser.prog} must be followed by a command"
    below = [command for command in every_command(top) if command.prog.rpartition(" ")[2] == word.lower()]
    joined = [
        command for command in every_command(parser) if _letters(command.prog) == _letters(f"{parser.prog}{word}")
    ]
    other = foreign.COMMANDS.get(option_like(word).lstrip("-"), "")
    if parser is not top and not f"{top.prog} {other}".startswith(f"{parser.prog} "):
        other = ""
    starting = [name for name in known if len(word) > 1 and name.startswith(word.lower())]
    if word.lower() in known:
        remedy = f"write {parser.prog} {word.lower()}"
    elif other and " " in other and other.split()[0] not in {*subcommands(top), "--print-completion"}:  # a sentence
        remedy = other
    elif other:
        remedy = f"write {top.prog} {other}"
    elif found := [*joined, *below]:
        remedy = f"write {found[0].prog}"
    elif close := starting if len(starting) == 1 else nearest(word, sorted([*known, "help"]), 1):
        remedy = f"did you mean {parser.prog} {close[0]}?"
    elif parser is top and word.strip() and not word.startswith(tuple(DASHES)) and not {"-h", "--help"} & set(words):
        end = next((i for i, other in enumerate(words) if other.startswith("-")), len(words))
        options = f" {shlex.join(words[end:])}" if end < len(words) else ""
        options = options if len(options) <= MAX_TEXT and options.isprintable() else " ..."
        texts = repeated(" ".join(words[:end]))
        remedy = f"for a text write {parser.prog} generate {texts}{options}; see {parser.prog} --help"
    else:
        remedy = _list_of(parser)
    return InputError(must, repr(word[:200]), remedy)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def no_command(parser: argparse.ArgumentParser) -> InputError:
    return InputError(f"{parser.prog} must be followed by a command", "none", _list_of(parser))


def _list_of(parser: argparse.ArgumentParser) -> str:
    return f"the commands are {', '.join(subcommands(parser))}; see {parser.prog} --help"


def early_option(parser: argparse.ArgumentParser, top: argparse.ArgumentParser, words: Sequence[str]) -> InputError:
    """Return the error for ``words`` whose first is an unknown option before the command."""
    must, like = f"an option before the command must be one of {parser.prog}'s own", option_like(words[0])
    advice = foreign.OPTIONS.get(like.lstrip("-"), "")
    targets = advice.split() if advice.startswith("--") else []
    named = [f"{parser.prog} {word}" for word in words if word in subcommands(parser)]
    commands = {command.prog: options_of(command) for command in every_command(top)}
    for here in [like, *targets]:
        if with_it := [prog for prog, options in commands.items() if here in options]:
            like = here
            break
    if like in options_of(parser):
        plain = " with plain hyphens" if set(words[0][:2]) & set(DASHES[1:]) else ""
        remedy = f"write {like}{plain}"
    elif with_it:
        command = named[0] if named[:1] and named[0] in with_it else with_it[0]
        remedy = f"write {like} after the command: {command} {like}"
    elif like in ("-v", "--v"):
        remedy = f"write {top.prog} --version"
    elif advice == foreign.TEXT:
        remedy = f"write {top.prog} generate TEXT"
    elif advice and not targets:
        remedy = f"{advice} after the command" if " write --" in advice else advice
    else:
        remedy = did_you_mean(like, options_of(parser), f"see {parser.prog} --help")
    return InputError(must, repr(words[0][:200]), remedy)


def unknown_option(
    command: argparse.ArgumentParser, top: argparse.ArgumentParser, word: str, value: str | None
) -> InputError:
    """Return the error for an unknown option ``word`` of a command; ``value`` is what follows it."""
    found = word.partition("=")[0] if word.startswith("-") else word
    return InputError(
        f"{command.prog} must be called with its own options", repr(found[:200]), _remedy(command, top, word, value)
    )


def _remedy(command: argparse.ArgumentParser, top: argparse.ArgumentParser, word: str, value: str | None) -> str:
    known, like = options_of(command), option_like(word)
    key = like.lstrip("-")
    if like in known:
        plain = " with plain hyphens" if set(word[:2]) & set(DASHES[1:]) else ""
        return _write(known[like], like + plain, word.partition("=")[2] or value)
    if "--theme" in known and (instead := _for_a_page(command, key)):
        return instead
    if instead := _format_instead(known, key, word.partition("=")[2] or value):
        return instead
    advice = foreign.OPTIONS.get(key, "")
    if "--to" in known:  # what quantize calls the format
        advice = advice.replace("write --quantization", "write --to")
    targets = advice.split() if advice.startswith("--") else []
    if here := [target for target in targets if target in known]:
        return _write(known[here[0]], here[0], word.partition("=")[2] or value)
    if key.startswith("no-") and (on := known.get(f"--{key[3:]}")) and on.nargs == 0 and not advice:
        return f"leave it out: --{key[3:]} is off unless you write it"
    if places := _usage_instead(command, {like, *targets}):
        return places
    if "--overwrite" in (like, advice) and {"--output", "--save"} & set(known):
        return "leave it out: an old file is replaced"
    if advice == "--window" and "--model" in known:
        return "leave it out: the model's config.json sets the maximum"
    if key == "json":
        return advice
    if longer := [name for name in known if like.startswith("--") and len(like) > 3 and name.startswith(like)]:
        return f"write it in full: {' or '.join(longer)}"
    if advice == foreign.TEXT and "--text" in known:
        return "write --text"
    if advice == foreign.TEXT and takes_texts(command):
        text = word.partition("=")[2] or value
        return f"give the text as an argument: {command.prog} {repeated(text) if text else 'TEXT'}"
    if advice and not targets and advice != foreign.TEXT and _is_true(advice, known):
        return advice
    if "--output" in [like, *targets]:
        return "the result goes to standard output: add > FILE"
    if elsewhere := _elsewhere(top, [like, *targets]):
        return elsewhere
    if close := nearest(key, [name[2:] for name in known if name.startswith("--")], 1):
        return f"did you mean --{close[0]}?"
    see = f"see {command.prog} --help"
    if takes_texts(command) and not LONG.match(word):
        return f"for a text that begins with a dash write {command.prog} -- {repeated(word)}; {see}"
    return see


def _format_instead(known: dict[str, argparse.Action], key: str, value: str | None) -> str:
    """Return what to write for a format of quantized weights, as in ``-q int8``; "" if the value is none."""
    option = next((name for name in ("--quantization", "--to") if name in known), None)
    if option is None or (key != "q" and "--quantization" not in foreign.OPTIONS.get(key, "").split()):
        return ""
    kind = format_called(value or "", known[option].choices or ())
    return f"write {option} {kind}" if kind else ""


def format_called(value: str, formats: Iterable[str]) -> str:
    """Return the format that a value of other programs means; "" if none.

    Examples
    --------
    >>> format_called("Q4_0", ["nf4", "q4_0"]), format_called("4bit", ["nf4"]), format_called("Aspirin", ["nf4"])
    ('q4_0', 'nf4', '')
    """
    lower = value.lower()
    kind = lower if lower in formats else foreign.FORMATS.get(lower, "")
    return kind if kind in formats else ""


def _for_a_page(command: argparse.ArgumentParser, key: str) -> str:
    """Return what to do instead of an option of other programs, for a command that writes a page; else ""."""
    explore = foreign.EXPLORE if command.prog.endswith(" explore") else {}
    return explore.get(key) or foreign.PAGES.get(key, "")


def _write(action: argparse.Action, name: str, value: str | None) -> str:
    """Return what to write for an option; other programs give a flag a value: --do_sample True."""
    if action.nargs == 0 and (value or "").lower() == "false":
        return "leave it out"
    return (
        f"write {name}, without a value" if action.nargs == 0 and (value or "").lower() == "true" else f"write {name}"
    )


def _usage_instead(command: argparse.ArgumentParser, names: set[str]) -> str:
    """Return how a command is typed that takes a file or a folder as an argument, and not as an option; else ""."""
    places = [] if takes_texts(command) else [name_of(action) for action in positionals_of(command)]
    if "FOLDER" in places and "--overwrite" in names:
        return "choose a new FOLDER: an old one is never overwritten"
    if ("FOLDER" in places and "--output" in names) or (places and names & {"--model", "--file", "--inputs"}):
        return f"write {command.prog} {' '.join(places)}"
    return ""


def _is_true(advice: str, known: dict[str, argparse.Action]) -> bool:
    """Return whether a command has the option that a sentence says to write."""
    return all(name in known for name in re.findall(r"write (--[\w-]+)", advice))


def _elsewhere(top: argparse.ArgumentParser, names: Sequence[str]) -> str:
    """Say which commands have one of these options; "" if none has."""
    for name in names:
        having = [command.prog.partition(" ")[2] for command in every_command(top) if name in options_of(command)]
        if having:
            return f"{name} is an option of {top.prog} {', '.join(having)}"
    return ""
