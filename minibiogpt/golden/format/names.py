"""Names of cases, which are names of files in a kit, and the numbers of steps."""

from __future__ import annotations

import re
from typing import Any

from minibiogpt.errors import InputError, short_repr

MAX_NAME = 100  # characters; with an ending, a file name may have 255 bytes
FORBIDDEN = '/\\:*?"<>|'  # in file names: of Windows, and of the others
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows' devices
STEP = re.compile(r"step\.(0|[1-9][0-9]{0,5})/(.+)", re.DOTALL)  # without leading zeros: a step has one name


def is_case_name(name: Any) -> bool:
    """Whether ``name`` can be that of a file on every system.

    Examples
    --------
    >>> [is_case_name(name) for name in ("left_padding", "a b", "../x", "..", "", "con", "a\\nb", 5)]
    [True, True, False, False, False, False, False, False]
    """
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_NAME
        and name.isprintable()
        and name == name.strip(" .")
        and not set(name) & set(FORBIDDEN)
        and not RESERVED.fullmatch(name)
    )


def check_case_name(name: str) -> str:
    """Return the name of a case, or raise an InputError if it can't be a file name."""
    if not is_case_name(name):
        must = f"--name must be the name of a file on every system: up to {MAX_NAME} characters, none of {FORBIDDEN}"
        raise InputError(must, short_repr(name), "choose a name such as left_pad")
    return name


def step_of_name(name: str) -> tuple[int, str] | None:
    """Return (1, "logits") of "step.1/logits"; (0, name) of a name without a step; None of a malformed step.

    Examples
    --------
    >>> step_of_name("step.12/logits"), step_of_name("logits"), step_of_name("step.01/x"), step_of_name("step.²/x")
    ((12, 'logits'), (0, 'logits'), None, None)
    """
    found = STEP.fullmatch(name)
    if found:
        return int(found[1]), found[2]
    return None if name.startswith("step.") else (0, name)
