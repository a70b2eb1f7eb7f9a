"""minibiogpt golden: record golden values, and check another implementation with them."""

from types import ModuleType

from minibiogpt.cli.golden import inspect, kit, record

COMMANDS: tuple[ModuleType, ...] = (record, kit, inspect)
