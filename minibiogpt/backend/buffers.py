"""A pool that reuses the memory of large arrays.

A forward pass allocates and frees the same few large arrays in each layer. The C library returns such memory to the
system at once, and the system zeroes each page before it hands it out again. At 512 tokens this takes a tenth of the
time (docs/performance.md). The pool keeps the memory and reuses it.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import weakref
from itertools import accumulate
from typing import Any

import numpy as np

# Bytes. Smaller arrays are left to the C library's own pool; larger ones are too big to keep.
MIN_BYTES, MAX_BYTES = 1 << 20, 1 << 28
MIN_BUFFER = 1 << 22  # bytes: from this size on, NumPy requests huge pages
MAX_KEPT = 1 << 29  # bytes in all: the logits of 1,000 tokens at base size, and one layer's arrays


def reference_count(buffers: list[np.ndarray]) -> int:
    """Return the reference count of the first buffer, as seen inside a loop over ``buffers``."""
    for buffer in buffers:
        return sys.getrefcount(buffer)
    raise ValueError("there must be a buffer; found none; pass one")


def free_buffer_count() -> int | None:
    """Return what ``reference_count`` gives for a buffer that no array uses; None if it doesn't show that.

    The count differs between versions of Python, so it is measured. Other Pythons have no reference counts, or change
    them while other threads run (free-threaded builds).
    """
    if not hasattr(sys, "getrefcount") or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    buffers = [np.empty(8, np.uint8)]
    free = reference_count(buffers)
    views = [buffers[0][:4].view(np.float32).reshape(1, 1)]
    used = reference_count(buffers)
    del views
    return free if used == free + 1 and reference_count(buffers) == free else None


class BufferPool:
    """A pool of memory buffers, each used by one array at a time.

    An array, and every view of it, holds a reference to its buffer. When the last of these references is gone, the pool
    reuses the buffer, so nothing has to be freed explicitly. The pool keeps up to MAX_KEPT bytes.

    Examples
    --------
    >>> pool = BufferPool()
    >>> a = pool.empty((1000, 1000), "float32")
    >>> address, row = a.ctypes.data, a[5]
    >>> del a  # row is a view of the same buffer
    >>> b = pool.empty((1000, 1000), "float32")
    >>> b.ctypes.data == address
    False
    >>> del b, row
    >>> pair = [pool.empty((1000, 1000), "float32") for _ in range(2)]
    >>> pair[1].ctypes.data == address
    True
    """

    def __init__(self) -> None:
        self.free_count = free_buffer_count()
        self.clear()
        _POOLS.add(self)

    def clear(self) -> None:
        """Start with no buffers and a new lock; arrays that use a buffer keep it alive."""
        self.buffers: list[np.ndarray] = []
        self.lock = threading.RLock()  # so that two threads never take the same buffer

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an uninitialized, C-contiguous array."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if self.free_count is None or not MIN_BYTES <= size <= MAX_BYTES:
            return np.empty(shape, dtype)
        with self.lock:
            for buffer in self.buffers:
                if size <= buffer.nbytes <= max(MIN_BUFFER, 2 * size) and sys.getrefcount(buffer) == self.free_count:
                    break
            else:
                buffer = np.empty(max(MIN_BUFFER, size), np.uint8)
            self._keep(buffer)
            return buffer[:size].view(dtype).reshape(shape)

    def _keep(self, buffer: np.ndarray) -> None:
        """Move the buffer to the front (most recently used), and drop the last ones beyond MAX_KEPT bytes in all."""
        self.buffers = [buffer, *(other for other in self.buffers if other is not buffer)]
        sizes = accumulate(one.nbytes for one in self.buffers)
        self.buffers = [one for one, total in zip(self.buffers, sizes, strict=True) if total <= MAX_KEPT]


_POOLS: weakref.WeakSet[BufferPool] = weakref.WeakSet()


def _clear_pools() -> None:
    """Clear every pool in a forked process, which has none of its parent's other threads.

    One of these may have held a pool's lock, which nobody would release, and its arrays would occupy buffers forever.
    """
    for pool in list(_POOLS):
        pool.clear()


if hasattr(os, "register_at_fork"):  # absent on Windows, which has no fork
    os.register_at_fork(after_in_child=_clear_pools)
