"""Large arrays in memory that earlier ones have left: fresh memory comes from the system page by page, each zeroed.

A forward pass makes and drops the same few large arrays in each layer. The C library gives such memory back at once,
and the system hands it out anew: at 512 tokens a tenth of the time (docs/performance.md).
"""

from __future__ import annotations

import math
import sys
import threading
from itertools import accumulate
from typing import Any

import numpy as np

LEAST, MOST = 1 << 20, 1 << 28  # bytes; smaller arrays stay within the C library, larger ones are too much to keep
BLOCK = 1 << 22  # bytes of a block at least: NumPy asks for large pages from here on
KEPT = 1 << 29  # bytes in all: the logits of 1,000 tokens of base size, and the arrays of a layer


def references(blocks: list[np.ndarray]) -> int:
    """How many references Python counts to the first of the blocks: to one that no array uses, and within this loop."""
    for block in blocks:
        return sys.getrefcount(block)
    raise ValueError("there must be a block; found none; hand one over")


def count_of_a_free_block() -> int | None:
    """What ``references`` gives for a block that no array uses; None where that does not tell.

    The number differs between versions of Python, so it is measured; other Pythons count no references, or count them
    while other threads go on.
    """
    if not hasattr(sys, "getrefcount") or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    blocks = [np.empty(8, np.uint8)]
    free = references(blocks)
    views = [blocks[0][:4].view(np.float32).reshape(1, 1)]
    used = references(blocks)
    del views
    return free if used == free + 1 and references(blocks) == free else None


class BufferPool:
    """Blocks of memory, each lent to one array at a time.

    Every array that looks at a block, and every view of it, holds a reference to it; when only ours are left, it is
    free again. Nobody has to give anything back; up to KEPT bytes stay with the process.

    Examples
    --------
    >>> memory = BufferPool()
    >>> a = memory.empty((1000, 1000), "float32")
    >>> place, row = a.ctypes.data, a[5]
    >>> del a  # its row still looks at the memory
    >>> b = memory.empty((1000, 1000), "float32")
    >>> b.ctypes.data == place
    False
    >>> del b, row
    >>> pair = [memory.empty((1000, 1000), "float32") for _ in range(2)]
    >>> pair[1].ctypes.data == place
    True
    """

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.free = count_of_a_free_block()
        self.lock = threading.RLock()  # so that no two threads find the same block free

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array to be filled, contiguous; what it holds at first is no matter."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if self.free is None or not LEAST <= size <= MOST:
            return np.empty(shape, dtype)
        with self.lock:
            for block in self.blocks:
                if size <= block.nbytes <= max(BLOCK, 2 * size) and sys.getrefcount(block) == self.free:
                    break
            else:
                block = np.empty(max(BLOCK, size), np.uint8)
            self._keep(block)
            return block[:size].view(dtype).reshape(shape)

    def _keep(self, block: np.ndarray) -> None:
        """The block that was used last comes first; those at the end are forgotten when all come to more than KEPT."""
        self.blocks = [block, *(one for one in self.blocks if one is not block)]
        sizes = accumulate(one.nbytes for one in self.blocks)
        self.blocks = [one for one, total in zip(self.blocks, sizes, strict=True) if total <= KEPT]
