"""Run the ``minibiogpt`` command with ``python -m minibiogpt``."""

import sys

from minibiogpt.cli import main

sys.exit(main())
