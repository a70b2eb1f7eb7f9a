"""One line of JSON Lines: an object with a text, or a list of its words, in one of its fields."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from minibiogpt.cli.batch.lines import Fault, command
from minibiogpt.errors import listed

INPUT = "input_"  # prefix of a copied field that is named like a result
NAMES = {"NoneType": "null", "dict": "an object", "list": "a list", "str": "a string", "bool": "true or false"}
REMEDY = "correct that line, or name another --field"


class NotJson(ValueError):
    """What Python's json would read, but is no JSON or would lose a value: what was found, and what to do."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy


def parse_object(
    line: str, field: str, reserved: Collection[str], reserved_with_words: Collection[str], name: str = "FILE"
) -> tuple[str | list[str], dict[str, Any]] | Fault:
    """Return the text or the words of a JSON object, and the fields to copy to the result; or why it has none.

    A field that is named like a result, such as a gold "label", is copied as "input_label". ``name`` is the input's.

    Examples
    --------
    >>> parse_object('{"text": "a drug", "label": 1}', "text", ["label"], [])
    ('a drug', {'text': 'a drug', 'input_label': 1})
    """
    try:
        fields = json.loads(line, object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)
        json.dumps(fields, ensure_ascii=False, allow_nan=False).encode("utf-8")  # 1e999 is read as infinity
    except json.JSONDecodeError as error:
        found = f"an error at character {error.pos + 1}: {error.msg[:1].lower()}{error.msg[1:]}"
        return Fault("must be a JSON object", found, _remedy(line, name))
    except NotJson as error:
        return Fault("must be a JSON object", error.found, error.remedy)
    except UnicodeEncodeError as error:
        found = f"half of a character, \\u{ord(error.object[error.start]):04x}"
        return Fault("must be a JSON object", found, "correct that line")
    except ValueError as error:
        digits = "limit" in str(error)  # of Python, for an integer; the other one is of a float that became infinity
        found = "an integer with too many digits" if digits else "a number that is too large for a float"
        return Fault("must be a JSON object", found, "correct that line")
    except RecursionError:
        return Fault("must be a JSON object", "lists or objects nested too deeply", "correct that line")
    must = f"must be a JSON object whose {field!r} is a string or a list of strings"
    if not isinstance(fields, dict):
        return Fault(must, _kind(fields), _remedy(line, name))
    if field not in fields:
        return Fault(must, f"no such field among {listed(map(repr, sorted(fields)))}", REMEDY)
    value = fields[field]
    if not _is_text(value):
        return Fault(must, "a list that holds something else" if isinstance(value, list) else _kind(value), REMEDY)
    taken = {*reserved, *(reserved_with_words if isinstance(value, list) else ())}
    kept = {(f"{INPUT}{name}" if name in taken else name): value for name, value in fields.items()}
    if len(kept) < len(fields):
        twice = next(name for name in fields if f"{INPUT}{name}" in fields and name in taken)
        must = f"must have no field {twice!r}, a result's name, beside {INPUT + twice!r}"
        return Fault(must, "both", "rename one of them")
    return value, kept


def _kind(value: Any) -> str:
    return NAMES.get(type(value).__name__, "a number")


def _remedy(line: str, name: str) -> str:
    """Return what to do about a line that is no JSON object; it may be a part of a JSON file."""
    if line.lstrip().startswith("["):
        array = command("jq -c '.[]'", name)
        return f"if the input is one JSON array, write an object per line: {array}"
    if line.strip() == "{":
        return f"write each object on one line: {command('jq -c .', name)}"
    return "correct that line, or leave --jsonl out if the lines are plain texts"


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; one of two values of one name would be lost."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise NotJson(f"the field {twice!r} twice", "correct that line")
    return fields


def _refuse_constant(name: str) -> Any:
    raise NotJson(f"{name}, which is not valid JSON", f"write null in place of {name}")


def _is_text(value: Any) -> bool:
    """Return whether a JSON value is a text, or a text split into words."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(word, str) for word in value))
