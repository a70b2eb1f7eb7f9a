"""Run ``python -m minibiogpt.backend [--json]``: what multiplies matrices on this machine, and how fast."""

from __future__ import annotations

import argparse
import json

from minibiogpt.backend.report import lines, report


def main() -> None:
    """Print the report."""
    about = "Say what multiplies matrices on this machine, and measure how fast: a few seconds."
    parser = argparse.ArgumentParser(prog="python -m minibiogpt.backend", description=about)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = report()
    print(json.dumps(found, indent=1) if options.json else "\n".join(lines(found)))


if __name__ == "__main__":
    main()
