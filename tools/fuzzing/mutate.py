"""Mutations: of bytes, of JSON values and their text, and of what kind of file a path is."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from random import Random
from typing import Any

KEPT = "outside"  # a folder beside the one under test that must not be changed or read
DEEP, LONG = 100_000, 5_000  # levels and digits: above Python's recursion limit and its limit on integer digits

# JSON that json.dumps cannot write, by its placeholder string.
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
    """Return an unexpected JSON value; lists and objects contain others, ``depth`` levels down."""
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
    """Return the value with one to four elements replaced, removed, repeated, renamed or added."""
    value = copy.deepcopy(value)
    if rng.random() < 0.04:
        _flood(rng, value)
        return value
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        container, key = _random_element(rng, value)
        if container is None or rng.random() < 0.02:
            return odd_value(rng)
        _corrupt(rng, container, key)
    return value


def _flood(rng: Random, value: Any) -> None:
    """Put very many values, or a very long one, where a few short ones are expected, in place."""
    container, key = _random_element(rng, value)
    if container is None:
        return
    many = rng.choice([2000, 40_000])
    container[key] = rng.choice(
        [
            [rng.choice([2, 2.5, "x"])] * many,
            [f"[T{i}]" for i in range(many)],
            [{"content": f"[T{i}]"} for i in range(many)],
            {str(i): f"[T{i}]" for i in range(many)},
            {str(i * (2**61 - 1)): "x" for i in range(many)},
            {"9" * LONG: "x"},
            {f"x{i}": i for i in range(many)},
            "x" * many * 50,
            many * 25,
        ]
    )


def _random_element(rng: Random, value: Any) -> tuple[Any, Any]:
    """Return a container within the value and a key or index of it, or (None, None)."""
    found: tuple[Any, Any] = (None, None)
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        found, value = (value, key), value[key]
        if rng.random() < 0.35:
            break
    return found


def _corrupt(rng: Random, container: Any, key: Any) -> None:
    """Change one element of a list or dictionary in place."""
    edit = rng.randrange(8)
    if edit < 4:
        container[key] = odd_value(rng)
    elif edit == 4:
        del container[key]
    elif edit == 5 and isinstance(container[key], int | float):
        container[key] = rng.choice(
            [-container[key], container[key] + 1, container[key] - 1, container[key] * 2, str(container[key])]
        )
    elif isinstance(container, dict):
        container[rng.choice([*STRINGS, *container])] = rng.choice([copy.deepcopy(container[key]), odd_value(rng)])
    else:
        container.insert(key, rng.choice([container[key], odd_value(rng)]))


def json_bytes(rng: Random, value: Any) -> bytes:
    """Encode the value as JSON, sometimes with a duplicate key, a byte order mark, or corrupted bytes."""
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
    """Apply one to five edits, half of them within the first ``head`` bytes if ``head`` is not 0."""
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
    """Replace a file by nothing, a folder, pipe, device, link, link loop, sparse 8 GB file, locked or empty file."""
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
