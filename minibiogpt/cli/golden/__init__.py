"""minibiogpt golden: record golden values, and check another implementation with them."""

from types import ModuleType

from minibiogpt.cli.golden import inspect, record

COMMANDS: tuple[ModuleType, ...] = (record, inspect)
