"""Find what is wrong with the words of a command line, before argparse reads them.

argparse reports the last thing that it notices, in several lines, and knows nothing of other programs' options.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Sequence

from minibiogpt.cli.parsing import foreign
from minibiogpt.cli.parsing.advice import (
    DASHES,
    LONG,
    MAX_TEXT,
    early_option,
    format_called,
    no_command,
    option_like,
    repeated,
    unknown_command,
    unknown_option,
)
from minibiogpt.cli.parsing.commands import name_of, options_of, positionals_of, subcommands, takes_texts
from minibiogpt.cli.parsing.values import check_value
from minibiogpt.errors import InputError

_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")  # argparse takes these for values
_OPENING, _CLOSING = "“„‟«‘‚", "”“‟»’"


def check(top: argparse.ArgumentParser, words: Sequence[str]) -> set[str]:
    """Return the names of the options in a command line, up to where the parser prints help or its version.

    Raises
    ------
    InputError
        If ``words`` are no valid command line.
    """
    parser, rest = top, list(words)
    while commands := subcommands(parser):
        for i, word in enumerate(rest):
            if not word.startswith(tuple(DASHES)) or word in ("-", "--"):
                break
            action = options_of(parser).get(word.partition("=")[0])
            if action is None:
                raise early_option(parser, top, rest[i:])
            if action.nargs != 0:
                check_value(action, _value_of(parser, action, rest, i))
            return set()
        else:
            raise no_command(parser)
        if rest[i] not in commands:
            raise unknown_command(parser, top, rest[i:])
        parser, rest = commands[rest[i]], rest[i + 1 :]
    return _check_command(parser, top, rest)


def with_help(top: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return the words, with ``help COMMAND`` written as ``COMMAND --help``."""
    rest = list(words)
    for depth, parser in enumerate((top, subcommands(top).get(rest[0]) if rest else None)):
        if parser is not None and subcommands(parser) and rest[depth : depth + 1] == ["help"]:
            named = itertools.takewhile(lambda word: word != "help" and not word.startswith("-"), rest[depth + 1 :])
            return [*rest[:depth], *named, "--help"]
    return rest


def _check_command(command: argparse.ArgumentParser, top: argparse.ArgumentParser, words: list[str]) -> set[str]:
    """Check options and their values from left to right, then the texts and files, then what is missing."""
    known, given, groups, i, new = options_of(command), set[str](), list[list[str]](), 0, True
    before: list[argparse.Action | None] = []  # for each group, the option before it
    last: argparse.Action | None = None
    while i < len(words):
        word = words[i]
        name, equals, value = word.partition("=")
        action = known.get(word) or known.get(name) or _attached(command, word)
        if word == "--":
            after = words[i + 1 :]
            if not after and (not positionals_of(command) or (groups and new)):
                raise InputError("-- must be followed by a text or a file", "nothing", "leave -- out")
            before = before if groups and not new else [*before, last]
            groups = [*groups[:-1], [*groups[-1], *after]] if groups and not new else [*groups, after]
            break
        if action is not None and word.startswith("-"):
            if action.nargs == 0 and equals:
                raise _flag_with_value(action, word, value)
            if isinstance(action, argparse._HelpAction):
                return given
            if action.nargs != 0:
                value = _value_of(command, action, words, i)
                i += word == name and word in known
                check_value(action, value)
                if name_of(action) == "--ids":
                    _check_commas(value, words[i + 1 :])
            if action.dest in given and action.metavar == "FILE":  # the last would win, and the other be lost
                raise InputError(f"{name_of(action)} must be given once", f"it again with {value!r}", "leave one out")
            given.add(action.dest)
            new, last = True, action
        elif is_text(word):
            _check_quoted_option(command, top, word)
            _check_dashes(command, top, word, words[i + 1 : i + 2])
            before = [*before, last] if new else before
            groups = [*groups, [word]] if new else [*groups[:-1], [*groups[-1], word]]
            new = False
        else:
            following = words[i + 1] if i + 1 < len(words) and is_text(words[i + 1]) else None
            raise unknown_option(command, top, word, following)
        i += 1
    _check_positionals(command, groups, before)
    missing = [a for a in command._actions if a.required and a.option_strings and a.dest not in given]
    if missing:
        names = ", ".join(f"{name_of(action)} {action.metavar or ''}".strip() for action in missing)
        raise InputError(f"{command.prog} must be called with {names}", "none", f"add {names}")
    return given


def is_text(word: str) -> bool:
    """Return whether a word is a text or a value, and not an option, as in argparse; --prompt='a b' is none either.

    Examples
    --------
    >>> [word for word in ("a", "-", "-1", "-x", "-x y", "--", "-1e5") if is_text(word)]
    ['a', '-', '-1', '-x y']
    """
    if word == "--" or LONG.match(word):
        return False
    return not word.startswith("-") or word == "-" or bool(_NEGATIVE.fullmatch(word)) or " " in word


def _attached(command: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    """Return the option of a word such as -oFILE."""
    short = word[:2] if word.startswith("-") and not word.startswith("--") else ""
    action = options_of(command).get(short) if not is_text(word) else None
    return action if action is not None and action.nargs != 0 else None


def _value_of(command: argparse.ArgumentParser, action: argparse.Action, words: Sequence[str], i: int) -> str:
    """Return the value of the option ``words[i]``: after its equals sign, attached to it, or the next word."""
    word = words[i]
    name, equals, value = word.partition("=")
    if equals and name in options_of(command):
        return value
    if word not in options_of(command):
        return word[2:]
    if i + 1 < len(words) and is_text(words[i + 1]):
        return words[i + 1]
    must, what = f"{word} must have a value", action.metavar or str([*(action.choices or ()), "VALUE"][0])
    if i + 1 < len(words):
        follows = words[i + 1]
        known = follows.partition("=")[0] in options_of(command)
        remedy = f"write {word} {what} {follows}" if known else f"write {word}={follows}"
        raise InputError(must, f"{follows!r}"[:200], remedy)
    raise InputError(must, "none", f"write {word} {what}")


def _check_commas(value: str, following: Sequence[str]) -> None:
    """Refuse ids that are separated by spaces."""
    more = list(itertools.takewhile(lambda word: re.fullmatch(r"[\d,]+", word), following))
    if more:
        ids = ",".join(filter(None, ",".join([value, *more]).split(",")))
        raise InputError(
            "--ids must be integers separated by commas", repr(more[0][:200]), f"write --ids {ids[:MAX_TEXT]}"
        )


def _flag_with_value(action: argparse.Action, word: str, value: str) -> InputError:
    off = value.lower() in ("false", "no", "0", "off", "none")
    name = word.partition("=")[0]
    return InputError(f"{name} must have no value", repr(word[:200]), "leave it out" if off else f"write {name}")


def _check_quoted_option(command: argparse.ArgumentParser, top: argparse.ArgumentParser, word: str) -> None:
    """Refuse an option and its value in one pair of quotes, which argparse takes for a text."""
    name, space, value = word.partition(" ")
    if not space or not word.startswith("-"):
        return
    if name in options_of(command):
        remedy = f"write {word[:200]} without quotes, or for a text put -- before it"
        raise InputError("an option and its value must not be in quotes together", repr(word[:200]), remedy)
    if LONG.match(name) and (option_like(name) in options_of(command) or option_like(name)[2:] in foreign.OPTIONS):
        raise unknown_option(command, top, name, value)


def _check_dashes(
    command: argparse.ArgumentParser, top: argparse.ArgumentParser, word: str, following: Sequence[str]
) -> None:
    """Refuse an option whose hyphens a text editor or a web page replaced by dashes."""
    if word[0:1] in DASHES[1:] and re.fullmatch(r"[A-Za-z][\w-]*(=.*)?", word.lstrip(DASHES), re.S):
        like = option_like(word)
        if like in options_of(command) or f"-{like}" in options_of(command):
            raise unknown_option(command, top, word, following[0] if following else None)


def _check_positionals(
    command: argparse.ArgumentParser, groups: list[list[str]], before: Sequence[argparse.Action | None]
) -> None:
    actions, words = positionals_of(command), [word for group in groups for word in group]
    _check_quotes(words)
    if takes_texts(command):
        if len(groups) > 1:
            texts = " ".join(map(repeated, words))
            must, found = "all texts must follow one another", f"{groups[1][0][:200]!r} after an option"
            remedy = f"write them together: {command.prog} {texts if len(texts) < 200 else 'TEXTS'}"
            option, word = before[1], groups[1][0]
            if option is not None and option.nargs == 0 and word.lower() in ("true", "false"):
                remedy = f"leave {word} out: {name_of(option)} has no value"
            elif isinstance(option, argparse._AppendAction):
                again = f"{name_of(option)} {repeated(word)}"
                remedy = f"for another value of {name_of(option)} write {again}, or write the texts together"
            raise InputError(must, found, remedy)
        return
    if len(words) < len(actions) and words == ["help"]:
        raise InputError(f"{command.prog} must be called with its arguments", "'help'", f"write {command.prog} --help")
    if len(words) < len(actions):
        names, missing = (list(map(name_of, some)) for some in (actions, actions[len(words) :]))
        usage = " ".join([command.prog, *map(repeated, words), *missing])
        must = f"{command.prog} must be called with {' and '.join(names)}"
        raise InputError(must, f"no {' and no '.join(missing)}", f"write {usage}")
    if len(words) > len(actions):
        extra = words[len(actions)]
        count = f"{len(actions)} argument{'s' * (len(actions) != 1)}" if actions else "options only"
        remedy = _remedy_of_extra(command, extra, bool(actions))
        raise InputError(f"{command.prog} must be called with {count}", repr(extra[:200]), remedy)


def _remedy_of_extra(command: argparse.ArgumentParser, extra: str, has_arguments: bool) -> str:
    known = options_of(command)
    if extra == "help":
        return f"write {command.prog} --help"
    if "--to" in known and (kind := format_called(extra, known["--to"].choices or ())):
        return f"write --to {kind}"
    if not has_arguments and "--text" in known:
        return f"for a text write --text {repeated(extra)}"
    if not has_arguments and "--model" in known:
        return f"for a model write --model {repeated(extra.removeprefix('model='))}"
    return f"see {command.prog} --help"


def _check_quotes(words: Sequence[str]) -> None:
    """Refuse typographic quotes around several words: a shell does not know them."""
    if len(words) < 2 or words[0][:1] not in tuple(_OPENING) or words[-1][-1:] not in tuple(_CLOSING):
        return
    if not set(words[0][1:]) & set(_CLOSING):
        must = "a text of several words must be in straight quotes"
        raise InputError(must, repr(words[0][:200]), f"write {repeated(' '.join(words)[1:-1])}")
