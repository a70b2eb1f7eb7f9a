"""A warning that points at the line that called this package."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path

import numpy as np

_INSIDE = tuple(str(folder) + os.sep for folder in (Path(__file__).parents[2], Path(np.__file__).parent))
_CONTEXTLIB = contextlib.__file__  # decorators made of context managers


def warn_caller(message: str) -> None:
    """Warn of ``message`` as a UserWarning at the innermost line outside this package and its decorators."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(_INSIDE) or frame.f_code.co_filename == _CONTEXTLIB
    ):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
