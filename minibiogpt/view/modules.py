"""Modules: link JavaScript modules into the one script of a page, without a build tool.

Browsers do not load modules from a local file, and the content security policy of a page allows inline scripts only.
So ``linked`` puts the modules that an entry module needs into one script in strict mode, each after those that it
imports, without their import and export statements. In return they follow a few rules. It checks all but the last:

- an import starts a line and has the form ``import { a, b } from "./file.js";``: a relative path, no renaming, no
  default, no namespace, and a name that the file exports;
- an export is a declaration that starts a line: ``export function``, ``export class`` or ``export const``; or
  ``export * from "./file.js";``, which re-exports all names;
- all modules of a page share one scope, so no name is declared at the top level of two of them; nor is a name that
  belongs to the window of a browser (``FIXED``), because then the browser runs nothing of the script;
- there are no import cycles;
- there is no top-level ``await``.

Node.js and browsers load the same files as modules, unchanged. A function of one module that tests call in a page
needs no ``export``: in the linked script it is a global name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

STATIC = Path(__file__).parent / "static"
IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";\n', re.M)
EXPORT_ALL = re.compile(r'^export \* from "(\.[^"]+)";\n', re.M)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const)\b)", re.M)
DECLARED = re.compile(r"^(?:export )?(?:async )?(?:function\*?|class|const|let|var) +(.*)", re.M)
FURTHER = re.compile(r", (\w+)(?= = |[,;])")
EXPORTED = re.compile(r"^export (?:async )?(?:function\*?|class|const) +(\w+)", re.M)
FIXED = {"Infinity", "NaN", "chrome", "document", "location", "opr", "safari", "top", "undefined", "window"}
"""Properties of a window that a script cannot declare again: of every browser, of Chrome, of Opera and of Safari."""
OTHER = re.compile(r"^(?:import|export)\b.*", re.M)


@cache
def linked(entry: str) -> str:
    """Return the script of a module and of all that it imports.

    Parameters
    ----------
    entry : a file in ``static``, such as "stepper/stepper.js".

    Raises
    ------
    ValueError
        If a module breaks one of the rules above. The tests link every page, so this is a mistake in a new module.
    """
    order: list[str] = []
    _visit(entry, [], order)
    declared: dict[str, str] = {}
    for name in order:
        for variable in declarations(name):
            if variable in declared:
                raise ValueError(f"{variable} is declared in {declared[variable]} and in {name}: rename one of them")
            declared[variable] = name
    return "\n".join(plain(name) for name in order)


@cache
def read(name: str) -> str:
    """Return the text of a module."""
    return (STATIC / name).read_text(encoding="utf-8")


def imports(name: str) -> list[tuple[str, list[str]]]:
    """Return the modules that a module imports from, in order, and the names; "*" for ``export * from``."""
    text = read(name)
    named = [(found.start(), found[2], _names(found[1])) for found in IMPORT.finditer(text)]
    every = [(found.start(), found[1], ["*"]) for found in EXPORT_ALL.finditer(text)]
    return [(_resolved(name, path), names) for _, path, names in sorted(named + every)]


def declarations(name: str) -> Iterator[str]:
    """Yield the names that a module declares at its top level: all that a line declares, not only the first."""
    for found in DECLARED.finditer(read(name)):
        line = found[1]
        if line[0] in "{[":  # const { a, b } = ...
            yield from re.findall(r"\w+(?=\s*[,}\]=])", line.partition(" = ")[0])
            continue
        yield from re.findall(r"^\w+", line)
        if "function" not in found[0] and "class" not in found[0]:
            yield from (more[1] for more in FURTHER.finditer(line) if _is_outside(line[: more.start()]))


def _is_outside(before: str) -> bool:
    """Return whether a place in a line is outside all brackets, as far as brackets in strings do not mislead."""
    return all(before.count(a) == before.count(b) for a, b in ("()", "[]", "{}"))


def exports(name: str) -> set[str]:
    """Return the names that can be imported from a module."""
    own = set(EXPORTED.findall(read(name)))
    return own.union(*(exports(path) for path, names in imports(name) if names == ["*"]))


def _visit(name: str, path: list[str], order: list[str]) -> None:
    """Append a module to the order, after what it imports."""
    if name in path:
        raise ValueError(f"modules must not import in a circle: {' > '.join([*path, name])}")
    if name in order:
        return
    for source, names in imports(name):
        _visit(source, [*path, name], order)
        if missing := set(names) - exports(source) - {"*"}:
            raise ValueError(f"{name} imports {', '.join(sorted(missing))}, which {source} does not export")
    order.append(name)


def plain(name: str) -> str:
    """Return a module without import and export statements."""
    if fixed := FIXED.intersection(declarations(name)):
        raise ValueError(f"{name} declares {', '.join(sorted(fixed))}, which a window of a browser has: rename it")
    text = EXPORT.sub("", EXPORT_ALL.sub("", IMPORT.sub("", read(name))))
    if other := OTHER.search(text):
        raise ValueError(f"{name}: this form of import or export cannot be linked: {other[0]}")
    return text


def _names(text: str) -> list[str]:
    """Return the names in the braces of an import."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [part for part in names if not re.fullmatch(r"\w+", part)]:
        raise ValueError(f"an import must not rename: {wrong[0]}")
    return names


def _resolved(name: str, path: str) -> str:
    """Return the path of an imported module, relative to ``static``."""
    parts: list[str] = []
    for part in (PurePosixPath(name).parent / path).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
