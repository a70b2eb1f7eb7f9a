"""What the processor is: its maker, its name, and the instructions it has."""

from __future__ import annotations

import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Processor:
    """The processor, as the system describes it.

    Attributes
    ----------
    name : such as "AMD EPYC 9B45".
    vendor : "GenuineIntel", "AuthenticAMD", or "" where the system doesn't tell.
    flags : the instruction sets by Linux's names, such as "avx512f"; empty where the system doesn't tell.
    """

    name: str
    vendor: str = ""
    flags: frozenset[str] = frozenset()

    @property
    def has_amx(self) -> bool:
        """Whether it multiplies tiles of bfloat16 and int8 (Intel, from 2023 on)."""
        return {"amx_bf16", "amx_int8", "amx_tile"} <= self.flags

    @property
    def kinds(self) -> list[str]:
        """The instruction sets that matter to matrix products, best last."""
        wanted = (
            "avx2",
            "avx512f",
            "avx512_vnni",
            "avx512_bf16",
            "avx512_fp16",
            "amx_int8",
            "amx_bf16",
            "asimd",
            "sve",
        )
        return [flag for flag in wanted if flag in self.flags]


@cache
def this_processor() -> Processor:
    """Return the processor of this machine."""
    with suppress(OSError):
        if sys.platform.startswith("linux"):
            return parse_cpuinfo(CPUINFO.read_text(encoding="utf-8", errors="replace"))
    name = platform.processor() or platform.machine() or "unknown"
    return Processor(name, next((vendor for vendor in ("GenuineIntel", "AuthenticAMD") if vendor in name), ""))


def parse_cpuinfo(text: str) -> Processor:
    """Return the first processor of Linux's /proc/cpuinfo.

    Examples
    --------
    >>> parse_cpuinfo("vendor_id : AuthenticAMD\\nmodel name : AMD EPYC\\nflags : avx2 avx512f\\n").kinds
    ['avx2', 'avx512f']
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = fields.get("flags") or fields.get("Features") or ""  # x86, Arm
    name = fields.get("model name") or fields.get("Model") or platform.machine() or "unknown"
    return Processor(name, fields.get("vendor_id", ""), frozenset(flags.split()))
