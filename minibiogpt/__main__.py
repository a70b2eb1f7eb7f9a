"""`python -m minibiogpt` is the command `minibiogpt`."""

import sys

from minibiogpt.cli import main

sys.exit(main())
