"""minibiogpt golden: record golden values, and check another implementation against them."""

from types import ModuleType

from minibiogpt.cli.golden import check, inspect, kit, map, record, selftest

COMMANDS: tuple[ModuleType, ...] = (record, kit, check, map, selftest, inspect)
