"""The kernels of kernels.cu as functions of arrays: the same equations as in ops and attention, each in one launch.

What a kernel does not take (another layout, too many rows, a mixture of dtypes) is for the equation itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

Array = Any
SOURCE = Path(__file__).with_name("kernels.cu")
# dtype: the type of the arrays, the type that sums are made in, and how many numbers one load fetches
TYPES = {
    "float32": ("float", "float", 4),
    "float64": ("double", "double", 2),
    "float16": ("__half", "float", 8),
    "bfloat16": ("__nv_bfloat16", "float", 8),
}
THREADS = 256  # of a block; in a product each of its warps makes one column
WARP = 32
ROWS = 8  # of a product that one block makes with one reading of the weights
SHARED = 48 * 1024  # bytes that every device gives to a block


class Kernels:
    """The kernels, compiled when they are first asked for, for each dtype by itself.

    Parameters
    ----------
    xp : the module whose arrays they take; its RawModule compiles them.
    lowest : dtype to its lowest finite number.
    """

    few_rows = 32  # of a product; beyond, the device's own matrix units are worth their launch
    few_queries = 8  # of an attention without tiles

    def __init__(self, xp: Any, lowest: Callable[[Any], float]) -> None:
        self.xp, self.lowest = xp, cache(lowest)
        self._module, self._function = cache(self._compiled), cache(self._chosen)
        self._name = cache(str)  # of a dtype: NumPy takes long to say it

    def _compiled(self, dtype: Any) -> Any:
        arrays, sums, _ = TYPES[self._name(dtype)]
        options = ("-std=c++17", f"-DARRAYS={arrays}", f"-DSUMS={sums}")
        return self.xp.RawModule(code=SOURCE.read_text(encoding="utf-8"), options=options)

    def _chosen(self, dtype: Any, name: str) -> Any:
        return self._module(dtype).get_function(name)

    def takes(self, *arrays: Array | None) -> bool:
        """Whether all arrays are of one dtype that there are kernels for, and hold anything."""
        dtypes = {x.dtype for x in arrays if x is not None}
        return len(dtypes) == 1 and self._name(*dtypes) in TYPES and all(x is None or x.size for x in arrays)

    def _launch(self, name: str, dtype: Any, blocks: int, *given: Any, shared: int = 0) -> None:
        self._function(dtype, name)((blocks,), (THREADS,), given, shared_mem=shared)

    def layer_norm(self, x: Array, weight: Array, bias: Array, eps: float) -> Array:
        """(..., D): a block for each row."""
        x, weight, bias = (self.xp.ascontiguousarray(one) for one in (x, weight, bias))
        y = self.xp.empty(x.shape, dtype=x.dtype)
        self._launch("layer_norm", x.dtype, x.size // x.shape[-1], x, weight, bias, y, x.shape[-1], float(eps))
        return y

    def gelu(self, x: Array) -> Array:
        """(...): a thread for each number."""
        x = self.xp.ascontiguousarray(x)
        y = self.xp.empty(x.shape, dtype=x.dtype)
        self._launch("gelu", x.dtype, math.ceil(x.size / THREADS), x, y, x.size)
        return y

    def softmax(self, x: Array) -> Array:
        """(..., S): a block for each row."""
        x = self.xp.ascontiguousarray(x)
        y = self.xp.empty(x.shape, dtype=x.dtype)
        self._launch("softmax", x.dtype, x.size // x.shape[-1], x, y, x.shape[-1])
        return y

    def masked_softmax(self, scores: Array, visible: Array) -> Array:
        """scores (B, H, T, S), C-contiguous, in place; visible (B or 1, 1, T, S) bool."""
        B, H, T, S = scores.shape
        visible, per_row, per_query = self._steps(visible)
        lowest = self.lowest(scores.dtype)
        self._launch("masked_softmax", scores.dtype, B * H * T, scores, visible, H, T, S, per_row, per_query, lowest)
        return scores

    def product(self, rows: Array, weight: Array, bias: Array | None) -> Array | None:
        """rows (M, K) times weight (N, K) transposed, plus bias (N): (M, N); None for more than a few rows."""
        (M, K), (N, _) = rows.shape, weight.shape
        if self.few_rows < M or not weight.flags.c_contiguous:
            return None
        rows = self.xp.ascontiguousarray(rows)
        bias = None if bias is None else self.xp.ascontiguousarray(bias)
        y = self.xp.empty((M, N), dtype=rows.dtype)
        at_once = 1 if M == 1 else ROWS
        blocks = math.ceil(N / (THREADS // WARP)) * math.ceil(M / at_once)
        packed = self._packed(rows, weight, step=K)
        given = rows, weight, 0 if bias is None else bias, y, M, N, K, packed
        self._launch(f"product_{at_once}", rows.dtype, blocks, *given)
        return y

    def attend(self, q: Array, k: Array, v: Array, visible: Array) -> Array | None:
        """q (B, H, T, Dh) of a few queries, k and v (B, H, S, Dh), visible (B or 1, 1, T, S): mixed (B, H, T, Dh).

        None for more queries, for more keys than the memory of a block takes, or where k and v lie differently.
        """
        (B, H, T, Dh), S = q.shape, k.shape[2]
        if (
            self.few_queries < T
            or not self.fits(S, Dh, q.dtype)
            or k.strides != v.strides
            or k.strides[-1] != k.itemsize
        ):
            return None
        q = self.xp.ascontiguousarray(q)
        visible, per_row, per_query = self._steps(visible)
        per_batch, per_head, per_key, _ = (step // k.itemsize for step in k.strides)
        packed = self._packed(k, v, step=math.gcd(Dh, per_batch, per_head, per_key))
        mixed = self.xp.empty((B, T, H, Dh), dtype=q.dtype)
        sizes = H, T, S, Dh, per_batch, per_head, per_key, per_row, per_query
        given = q, k, v, visible, mixed, *sizes, 1 / math.sqrt(Dh), self.lowest(q.dtype), packed
        self._launch("attend", q.dtype, B * H * T, *given, shared=self._shared(S, Dh, q.dtype))
        return mixed.transpose(0, 2, 1, 3)

    def fits(self, S: int, Dh: int, dtype: Any) -> bool:
        """Whether ``attend`` takes so many keys of this width: they share the memory of one block."""
        return self._shared(S, Dh, dtype) <= SHARED

    def _shared(self, S: int, Dh: int, dtype: Any) -> int:
        """Bytes: the query, the scores and a pack for each thread, in the type that sums are made in."""
        name = self._name(dtype)
        return (Dh + S + THREADS * TYPES[name][2]) * (8 if name == "float64" else 4)

    def append(self, k: Array, v: Array, keys: Array, values: Array, place: Array) -> None:
        """k and v (B, H, 1, Dh) to position ``place``, (1,) int64, of keys and values (B, H, capacity, Dh)."""
        k, v = self.xp.ascontiguousarray(k), self.xp.ascontiguousarray(v)
        sizes = k.size, k.shape[3], keys.shape[2]
        self._launch("append", k.dtype, math.ceil(k.size / THREADS), k, v, keys, values, place, *sizes)

    def _steps(self, visible: Array) -> tuple[Array, int, int]:
        """A mask whose last axis lies in one piece, and how far its next row and its next query are."""
        if visible.strides[-1] != 1:
            visible = self.xp.ascontiguousarray(visible)
        per_row, _, per_query, _ = visible.strides
        return visible, per_row if visible.shape[0] > 1 else 0, per_query if visible.shape[2] > 1 else 0

    def _packed(self, *arrays: Array, step: int) -> int:
        """1 if a pack, 16 bytes, begins where each array does and every ``step`` numbers on; otherwise 0."""
        pack = TYPES[self._name(arrays[0].dtype)][2]
        return int(step % pack == 0 and all(x.data.ptr % 16 == 0 for x in arrays))
