"""Check the value of one option, and say what to type instead."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from minibiogpt.cli.parsing import foreign
from minibiogpt.cli.parsing.commands import name_of
from minibiogpt.errors import InputError, nearest, short_repr

QUOTES = "“”„‟«»‘’‚'\"`"
TYPES = {int: "an integer", float: "a number"}
# Values of these may be any text, or are checked by the command.
TEXTS = ("--stop", "--bad-word", "--text", "--about", "--name", "--field", "--ids", "--names", "--explain", "--cases")


def check_value(action: argparse.Action, value: str) -> None:
    """Raise an InputError if ``value`` is none of the option's choices, no number, empty or in typographic quotes."""
    name = name_of(action)
    if (name == "--stop" and not value) or (name == "--bad-word" and not value.strip()):
        raise InputError(f"{name} must have a text", repr(value[:200]), f"leave {name} out")
    if name in TEXTS:
        return
    bare = value.strip(QUOTES)
    if len(value) > 1 and value[0] in QUOTES and value[-1] in QUOTES and value[0] not in "'\"`":
        raise InputError(f"{name} must have no typographic quotes", repr(value[:200]), f"write {name} {bare}")
    if action.type in TYPES:
        _check_number(action, name, value)
    elif action.choices is not None:
        check_choice(name, [str(choice) for choice in action.choices], value)
    elif value == "":
        example = " demo" if name == "--model" else f" {action.metavar}" if action.metavar else " VALUE"
        raise InputError(f"{name} must have a value", "''", f"write {name}{example}, or leave {name} out")
    elif known := _spelled_here(name, value):
        raise InputError(f"{name} must have a known value", repr(value), f"write {name} {known}")


def _spelled_here(name: str, value: str) -> str:
    """Return what to type for a value of another program, or in capitals; "" if nothing is known."""
    values, lower = foreign.VALUES.get(name, {}), value.lower()
    return values.get(lower, lower if lower != value and lower in values.values() else "")


def _check_number(action: argparse.Action, name: str, value: str) -> None:
    kind = action.type
    try:
        kind(value)  # type: ignore[operator, misc]
    except ValueError:
        if re.fullmatch(r"[+-]?\d{1000,}", value):  # Python reads no integer of more than 4,300 digits
            must = f"{name} must be an integer of at most 1,000 digits"
            raise InputError(must, f"{len(value)} digits", f"write {name} {_example(action)}") from None
        number = _as_number(value, kind)
        remedy = f"write {name} {number}" if number else f"write digits, such as {name} {_example(action)}"
        raise InputError(f"{name} must be {TYPES[kind]}", short_repr(value), remedy) from None  # type: ignore[index]


def _example(action: argparse.Action) -> str:
    return str(action.default) if action.default else "2" if action.type is int else "0.9"


def _as_number(value: str, kind: object) -> str:
    """Return the number that was meant, as it is typed: 0.9 for "0,9" and "90%", 2 for "2.0", -1 for "−1"; else ""."""
    text = value.strip().replace("−", "-").replace("–", "-")
    try:
        if text.endswith("%"):
            x = float(text[:-1]) / 100
        elif kind is int:
            grouped = re.fullmatch(r"[-+]?\d{1,3}([, _]\d{3})+", text)  # "3,5" is no 35
            x = float(re.sub("[, _]", "", text) if grouped else text)
        else:
            x = float(text.replace(",", ".", 1))
        return str(int(x)) if x == int(x) and abs(x) < 1e15 else f"{x:g}" if kind is float else ""
    except (ValueError, OverflowError):
        return ""


def check_choice(name: str, choices: Sequence[str], value: str) -> None:
    """Raise an InputError if ``value`` is none of the choices of an option; it says what may be meant."""
    if value in choices:
        return
    lower = value.lower()
    known, sentences = foreign.VALUES.get(name, {}).get(lower, ""), foreign.SENTENCES.get(name, {})
    same = [choice for choice in choices if choice.lower() == lower.strip()]
    if same or known in choices:
        remedy = f"write {name} {(same or [known])[0]}"
    elif lower in sentences:
        remedy = sentences[lower]
    else:
        close = nearest(lower, choices, 1)
        remedy = f"did you mean {name} {close[0]}?" if close else "choose one of these"
    raise InputError(f"{name} must be one of {', '.join(choices)}", repr(value[:200]), remedy)
