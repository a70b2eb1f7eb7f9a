"""Run ``python -m minibiogpt.backend [--json]``: what multiplies matrices on this machine, and how fast."""

from __future__ import annotations

import argparse

from minibiogpt.backend.report import lines, report
from minibiogpt.files.json_text import json_text


def main() -> None:
    """Print the report."""
    about = "Say what multiplies matrices on this machine, and measure how fast: a few seconds."
    parser = argparse.ArgumentParser(prog="python -m minibiogpt.backend", description=about)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = report()
    print(json_text(found, indent=1) if options.json else "\n".join(lines(found)))


if __name__ == "__main__":
    main()
