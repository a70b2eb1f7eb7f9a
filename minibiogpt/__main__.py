"""Run the ``minibiogpt`` command, installed or with ``python -m minibiogpt``."""

import sys
import warnings

from minibiogpt.interrupts import run_command


def main() -> int:
    """Run the command and return its exit code."""

    def command() -> int:
        from minibiogpt.cli import main as run

        if any(option.startswith("error") for option in sys.warnoptions):
            warnings.simplefilter("always", UserWarning)  # a warning of ours is a line, not a traceback
        return run()

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
