"""Golden values: record them, write them in a format that needs no Python, and check other implementations with them.

``format`` writes and reads cases, ``kit`` makes the conformance kit, ``check`` compares a candidate with a case,
``diagnosis`` says why it differs, ``report`` formats the result, and ``selftest`` corrupts correct arrays to verify
that the check catches it. This subpackage uses traces and the catalog, but no layer directly.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import ``diagnose`` when it is asked for: the parts of this subpackage import each other."""
    if name == "diagnose":
        from minibiogpt.golden.diagnosis.diagnose import diagnose

        return diagnose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
