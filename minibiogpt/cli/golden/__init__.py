"""minibiogpt golden: record golden values, and check another implementation with them."""

from types import ModuleType

from minibiogpt.cli.golden import check, inspect, kit, record

COMMANDS: tuple[ModuleType, ...] = (record, kit, check, inspect)
