"""Large arrays in memory that earlier ones have left: fresh memory comes from the system page by page, each zeroed.

A forward pass makes and drops the same few large arrays in each layer. The C library gives such memory back at once,
and the system hands it out anew: at 512 tokens a tenth of the time (docs/performance.md).
"""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np

LEAST, MOST = 1 << 20, 1 << 26  # bytes; smaller arrays stay within the C library, larger ones are results
BLOCK = 1 << 22  # bytes of a block at least: NumPy asks for large pages from here on
KEPT = 1 << 28  # bytes in all
FREE = 3  # references to a block that no array uses: the list's, the loop's, and that of the call that counts


class LeftMemory:
    """Blocks of memory, each lent to one array at a time.

    Every array that looks at a block, and every view of it, holds a reference to it; when only ours are left, it is
    free again. Nobody has to give anything back.

    Examples
    --------
    >>> memory = LeftMemory()
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
        self.lock = threading.Lock()  # so that no two threads find the same block free

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array to be filled, contiguous; what it holds at first is no matter."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not LEAST <= size <= MOST:
            return np.empty(shape, dtype)
        with self.lock:
            for block in self.blocks:
                if size <= block.nbytes <= max(BLOCK, 2 * size) and sys.getrefcount(block) == FREE:
                    break
            else:
                block = np.empty(max(BLOCK, size), np.uint8)
                self._keep(block)
            return block[:size].view(dtype).reshape(shape)

    def _keep(self, block: np.ndarray) -> None:
        """The newest first; the oldest are forgotten when all come to more than KEPT."""
        self.blocks.insert(0, block)
        total = 0
        for i, one in enumerate(self.blocks):
            total += one.nbytes
            if total > KEPT:
                del self.blocks[i:]
                return
