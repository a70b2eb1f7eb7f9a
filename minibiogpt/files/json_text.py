"""Write JSON that every parser reads: no NaN, no infinity, and no character that UTF-8 lacks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

SURROGATE = re.compile("[\ud800-\udfff]")  # no UTF-8, but a file's or a command line's text may contain one


def json_text(
    value: Any,
    *,
    indent: int | None = None,
    sort_keys: bool = False,
    ascii_only: bool = True,
    compact: bool = False,
    default: Callable[[Any], Any] | None = None,
) -> str:
    """Return ``value`` as JSON. A float that is not finite becomes null, a lone surrogate an escape.

    JSON has neither NaN nor Infinity, although Python's json module writes and reads both.

    Parameters
    ----------
    ascii_only : escape every character outside ASCII.
    compact : leave out the spaces after commas and colons.
    default : what converts an object that is none of JSON's types, as in ``json.dumps``.

    Raises
    ------
    TypeError, ValueError
        If ``json.dumps`` does: for an object that ``default`` does not convert, or one that contains itself.

    Examples
    --------
    >>> json_text({"loss": float("nan"), "text": "\\udc80 é"}, ascii_only=False)
    '{"loss": null, "text": "\\\\udc80 é"}'
    """

    def dumped(value: Any, allow_nan: bool) -> str:
        separators = (",", ":") if compact else None
        return json.dumps(
            value, indent=indent, sort_keys=sort_keys, ensure_ascii=ascii_only, separators=separators, default=default,
            allow_nan=allow_nan,
        )  # fmt: skip

    try:
        text = dumped(value, allow_nan=False)
    except ValueError:  # not finite; or it contains itself, which is raised again
        text = dumped(_finite(json.loads(dumped(value, allow_nan=True))), allow_nan=False)
    return SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _finite(value: Any) -> Any:
    """Return a JSON value with None for every float that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
