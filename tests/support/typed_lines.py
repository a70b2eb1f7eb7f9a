"""Run the examples of docs/from-transformers.md in one of the two libraries, and print their variables as JSON.

Usage: python -m tests.support.typed_lines minibiogpt|transformers
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np

from tests.support.pages import DOCS, blocks, text_of

PAGE = DOCS / "from-transformers.md"
MARKS = {"minibiogpt": "+", "transformers": "-"}


def program(diff: str, library: str) -> str:
    """Return the lines of a diff that one library runs: those without a mark, and its own.

    >>> program("- import torch\\n+ import numpy\\n  x = 1\\n", "minibiogpt")
    'import numpy\\nx = 1'
    """
    return "\n".join(line[2:] for line in diff.splitlines() if line[:1] in (" ", "", MARKS[library]))


def examples() -> list[str]:
    """Return the examples of the page, as diffs."""
    return [block.text for block in blocks(text_of(PAGE)) if block.language == "diff"]


def plain(value: Any) -> Any:
    """Return numbers, strings, and arrays as nested lists; for anything else, the name of its class."""
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    return value if value is None or isinstance(value, str | int | float) else type(value).__name__


def main(library: str) -> None:
    found = []
    for diff in examples():
        scope: dict[str, Any] = {}
        exec(compile(program(diff, library), PAGE.name, "exec"), scope)
        names = [name for name, x in scope.items() if not name.startswith("__") and type(x).__name__ != "module"]
        found.append({name: plain(scope[name]) for name in names})
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # about new heads
    main(sys.argv[1])
