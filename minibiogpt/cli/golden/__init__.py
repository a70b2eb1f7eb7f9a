"""minibiogpt golden: record golden values, and check another implementation against them."""

from types import ModuleType

from minibiogpt.cli.golden import check, diagnose, inspect, kit, map, record, selftest

COMMANDS: tuple[ModuleType, ...] = (record, kit, check, diagnose, map, selftest, inspect)
