"""The JSON text of a config."""

from __future__ import annotations

from typing import Any

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.json_text import json_text


def config_text(values: dict[str, Any]) -> str:
    """Return the values as JSON, sorted, in ASCII (a lone surrogate has no UTF-8); arrays become lists, NaN null.

    Examples
    --------
    >>> config_text({"b": 1, "a": None})
    '{\\n  "a": null,\\n  "b": 1\\n}\\n'
    """
    try:
        return json_text(values, indent=2, sort_keys=True, default=_as_json) + "\n"
    except (TypeError, ValueError) as error:
        remedy = "remove the attribute, or store its text"
        raise InputError("every value of a config must be JSON", str(error), remedy) from None


def _as_json(value: Any) -> Any:
    if hasattr(value, "tolist"):  # a NumPy array or scalar
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {short_repr(value)}")
