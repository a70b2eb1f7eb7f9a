"""minibiogpt golden: record golden values, and check another implementation with them."""

from types import ModuleType

COMMANDS: tuple[ModuleType, ...] = ()
