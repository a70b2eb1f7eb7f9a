"""Spoiling things: bytes, JSON values and their text, and files that are no files."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from random import Random
from typing import Any

KEPT = "outside"  # a folder beside the one under test, which nothing may touch or read
DEEP, LONG = 100_000, 5_000  # levels and digits: beyond Python's recursion limit and its limit on integers

# JSON that json.dumps cannot write, by the string that stands for it until then.
RAW = {
    "@deep list": "[" * DEEP + "]" * DEEP,
    "@deep object": '{"a":' * DEEP + "1" + "}" * DEEP,
    "@rather deep list": "[" * 300 + "]" * 300,
    "@nearly too deep": '{"a":' * 900 + "1" + "}" * 900,
    "@long": "9" * LONG,
    "@negative": "-" + "1" * LONG,
    "@tiny": "1e-99999",
    "@infinite": "1e99999",
    "@minus zero": "-0",
    "@constant": "-Infinity",
    "@surrogate": r'"\ud800\udfff\udc00"',
    "@control": '"\x01"',
}
NUMBERS = [
    0,
    1,
    -1,
    2,
    7,
    255,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**18,
    10**30,
]
NUMBERS += [10**400, 0.0, -0.0, 0.5, 1.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]
STRINGS = [
    "",
    " ",
    "x",
    "1",
    "true",
    "null",
    "F32",
    "</s>",
    "a\0b",
    "\x1b[31mred",
    "\u202e",
    "é",
    "𝒳",
    "\ud800",
    "x\ny",
    "{}",
]
STRINGS += [
    "../outside/kept",
    "/etc/passwd",
    "~",
    "%s%n",
    "A" * 3000,
    "ａ" * 300,
    "&apos;",
    "\ufeff",
    "\u2028",
    "__proto__",
]


def odd_value(rng: Random, depth: int = 2) -> Any:
    """Some JSON value that nobody expects there; lists and objects hold others, ``depth`` levels down."""
    kind = rng.randrange(10 if depth else 8)
    if kind < 4:
        return rng.choice(NUMBERS)
    if kind < 6:
        return rng.choice(STRINGS)
    if kind < 7:
        return rng.choice(list(RAW))
    if kind < 8:
        return rng.choice([None, True, False])
    odd = [odd_value(rng, depth - 1) for _ in range(rng.choice([0, 1, 2, 3, 40]))]
    return odd if kind < 9 else {rng.choice(STRINGS): value for value in odd}


def mutate_json(rng: Random, value: Any) -> Any:
    """The value with one to four places replaced, removed, repeated, renamed or added."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        holder, key = _somewhere(rng, value)
        if holder is None or rng.random() < 0.02:
            return odd_value(rng)
        _spoil(rng, holder, key)
    return value


def _somewhere(rng: Random, value: Any) -> tuple[Any, Any]:
    """A container within the value and a key or index in it, or (None, None)."""
    found: tuple[Any, Any] = (None, None)
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        found, value = (value, key), value[key]
        if rng.random() < 0.35:
            break
    return found


def _spoil(rng: Random, holder: Any, key: Any) -> None:
    how = rng.randrange(8)
    if how < 4:
        holder[key] = odd_value(rng)
    elif how == 4:
        del holder[key]
    elif how == 5 and isinstance(holder[key], int | float):
        holder[key] = rng.choice([-holder[key], holder[key] + 1, holder[key] - 1, holder[key] * 2, str(holder[key])])
    elif isinstance(holder, dict):
        holder[rng.choice([*STRINGS, *holder])] = rng.choice([copy.deepcopy(holder[key]), odd_value(rng)])
    else:
        holder.insert(key, rng.choice([holder[key], odd_value(rng)]))


def json_bytes(rng: Random, value: Any) -> bytes:
    """The value as JSON text, now and then with a key twice, a mark in front, or bytes spoilt."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    if isinstance(value, dict) and value and rng.random() < 0.15:
        twice = json.dumps({rng.choice(list(value)): rng.choice(NUMBERS + STRINGS)})
        text = rng.choice([f"{twice[:-1]}, {text[1:]}", f"{text[:-1]}, {twice[1:]}"])
    if rng.random() < 0.05:
        text = rng.choice(["\ufeff" + text, text + "\0", text + text, " " * 100_000 + text, text.replace('"', "'"), ""])
    data = text.encode("utf-16" if rng.random() < 0.01 else "utf-8", "surrogatepass")
    return mutate_bytes(rng, data) if rng.random() < 0.1 else data


def mutate_bytes(rng: Random, data: bytes, head: int = 0) -> bytes:
    """One to five edits; half of them within the first ``head`` bytes, where there is such a part."""
    for _ in range(rng.choice([1, 1, 2, 5])):
        end = head if head and rng.random() < 0.5 else len(data)
        at = rng.randrange(min(end, len(data)) + 1)
        data = rng.choice(_EDITS)(rng, data, at)
    return data


def _flip(rng: Random, data: bytes, at: int) -> bytes:
    return data[:at] + bytes(byte ^ (1 << rng.randrange(8)) for byte in data[at : at + 1]) + data[at + 1 :]


def _overwrite(rng: Random, data: bytes, at: int) -> bytes:
    new = rng.choice([b"\0", b"\xff", b'"', b"{", b"\x7f\xff\xff\xff", b"\x00\x00\x80\x7f", b"9", b"\xed\xa0\x80"])
    new *= rng.choice([1, 1, 8, 200])
    return data[:at] + new + data[at + len(new) :]


def _insert(rng: Random, data: bytes, at: int) -> bytes:
    return data[:at] + rng.randbytes(rng.choice([1, 4, 100])) + data[at:]


def _cut(rng: Random, data: bytes, at: int) -> bytes:
    return data[:at]


def _remove(rng: Random, data: bytes, at: int) -> bytes:
    return data[:at] + data[at + rng.choice([1, 8, 300]) :]


def _repeat(rng: Random, data: bytes, at: int) -> bytes:
    block = data[at : at + rng.choice([1, 16, 1000])]
    return data[:at] + block * rng.choice([2, 3]) + data[at + len(block) :]


_EDITS = (_flip, _flip, _overwrite, _insert, _cut, _remove, _repeat)


def odd_file(rng: Random, path: Path) -> None:
    """In the place of a file: nothing, a folder, a pipe, a device, a loop, a link, a hole of 8 GB, or no permission."""
    content = path.read_bytes() if path.is_file() else b""
    path.unlink(missing_ok=True)
    kind = rng.choice(["absent", "folder", "pipe", "device", "loop", "link", "hole", "locked", "empty"])
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(rng.choice(["/dev/zero", "/dev/null"]))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "link":  # as the hub's cache lays them out
        (path.parent / "blob").write_bytes(content)
        path.symlink_to("blob")
    elif kind == "hole":
        path.touch()
        os.truncate(path, 8 << 30)
    elif kind == "locked":
        path.write_bytes(content)
        path.chmod(0)
    elif kind == "empty":
        path.touch()
