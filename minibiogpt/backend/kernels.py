"""The CUDA kernels of kernels.cu as functions of arrays: equations of ops and attention, each in one launch.

Where a kernel doesn't support its arguments (layout, number of rows, mixed dtypes), the caller computes the equation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

Array = Any
SOURCE = Path(__file__).with_name("kernels.cu")
# dtype: the CUDA type of the arrays, the type of the accumulators, and how many elements one load reads
TYPES = {
    "float32": ("float", "float", 4),
    "float64": ("double", "double", 2),
    "float16": ("__half", "float", 8),
    "bfloat16": ("__nv_bfloat16", "float", 8),
}
THREADS = 256  # per block; in a product each warp computes one column
WARP = 32
ROWS = 8  # rows of a product per block, so that each block reads its weights once for all of them
SHARED_MEMORY = 48 * 1024  # bytes per block, on every device


class CompiledKernels:
    """CUDA kernels, compiled for each dtype on first use.

    Parameters
    ----------
    xp : the module cupy; its RawModule compiles the source.
    """

    sources: tuple[Path, ...] = (SOURCE,)  # compiled as one, in this order
    few_rows = 32  # limit of kernels that multiply rows with a weight: for more, cuBLAS with tensor cores is faster

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self._module, self._function = cache(self._compile), cache(self._get_function)
        self._dtype_name = cache(str)  # cached because str(dtype) is slow in NumPy

    def _compile(self, dtype: Any) -> Any:
        arrays, sums, _ = TYPES[self._dtype_name(dtype)]
        options = ("-std=c++17", f"-DARRAYS={arrays}", f"-DSUMS={sums}")
        return self.xp.RawModule(code=source_of(self.sources), options=options)

    def _get_function(self, dtype: Any, name: str) -> Any:
        return self._module(dtype).get_function(name)

    def takes(self, *arrays: Array | None) -> bool:
        """Whether all arrays have the same supported dtype, and none is empty."""
        dtypes = {x.dtype for x in arrays if x is not None}
        return len(dtypes) == 1 and self._dtype_name(*dtypes) in TYPES and all(x is None or x.size for x in arrays)

    def _launch(self, name: str, dtype: Any, blocks: int, *args: Any, shared: int = 0) -> None:
        self._function(dtype, name)((blocks,), (THREADS,), args, shared_mem=shared)

    def _is_packed(self, *arrays: Array, step: int) -> int:
        """Return 1 if each array, and every ``step``-th element of it, is aligned to a 16-byte pack; otherwise 0."""
        pack = TYPES[self._dtype_name(arrays[0].dtype)][2]
        return int(step % pack == 0 and all(x.data.ptr % 16 == 0 for x in arrays))


def source_of(files: tuple[Path, ...]) -> str:
    """Return the text of source files, one after the other."""
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


class Kernels(CompiledKernels):
    """The kernels of kernels.cu.

    Parameters
    ----------
    lowest : function from a dtype to its lowest finite value.
    """

    few_queries = 8  # limit of ``attend``

    def __init__(self, xp: Any, lowest: Callable[[Any], float]) -> None:
        super().__init__(xp)
        self.lowest = cache(lowest)

    def layer_norm(self, x: Array, weight: Array, bias: Array, eps: float) -> Array:
        """Layer norm of x (..., D): one block per row."""
        x, weight, bias = (self.xp.ascontiguousarray(one) for one in (x, weight, bias))
        y = self.xp.empty(x.shape, dtype=x.dtype)
        self._launch("layer_norm", x.dtype, x.size // x.shape[-1], x, weight, bias, y, x.shape[-1], float(eps))
        return y

    def gelu(self, x: Array) -> Array:
        """GELU of x (...): one thread per element."""
        x = self.xp.ascontiguousarray(x)
        y = self.xp.empty(x.shape, dtype=x.dtype)
        self._launch("gelu", x.dtype, math.ceil(x.size / THREADS), x, y, x.size)
        return y

    def softmax(self, x: Array) -> Array:
        """Softmax of x (..., S) over the last axis: one block per row."""
        x = self.xp.ascontiguousarray(x)
        y = self.xp.empty(x.shape, dtype=x.dtype)
        self._launch("softmax", x.dtype, x.size // x.shape[-1], x, y, x.shape[-1])
        return y

    def masked_softmax(self, scores: Array, visible: Array) -> Array:
        """Masked softmax of scores (B, H, T, S), C-contiguous, in place; visible (B or 1, 1, T, S) bool."""
        B, H, T, S = scores.shape
        visible, per_row, per_query = self._mask_strides(visible)
        lowest = self.lowest(scores.dtype)
        self._launch("masked_softmax", scores.dtype, B * H * T, scores, visible, H, T, S, per_row, per_query, lowest)
        return scores

    def product(self, rows: Array, weight: Array, bias: Array | None) -> Array | None:
        """Return rows (M, K) @ weight (N, K).T + bias (N,), (M, N); None for more than ``few_rows`` rows."""
        (M, K), (N, _) = rows.shape, weight.shape
        if self.few_rows < M or not weight.flags.c_contiguous:
            return None
        rows = self.xp.ascontiguousarray(rows)
        bias = None if bias is None else self.xp.ascontiguousarray(bias)
        y = self.xp.empty((M, N), dtype=rows.dtype)
        block_rows = 1 if M == 1 else ROWS
        blocks = math.ceil(N / (THREADS // WARP)) * math.ceil(M / block_rows)
        packed = self._is_packed(rows, weight, step=K)
        args = rows, weight, 0 if bias is None else bias, y, M, N, K, packed
        self._launch(f"product_{block_rows}", rows.dtype, blocks, *args)
        return y

    def attend(self, q: Array, k: Array, v: Array, visible: Array) -> Array | None:
        """Attention of q (B, H, T, Dh) to k and v (B, H, S, Dh), visible (B or 1, 1, T, S); returns (B, H, T, Dh).

        Returns None for more than ``few_queries`` queries, for more keys than shared memory holds, or if k and v don't
        have the same layout with contiguous rows.
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
        visible, per_row, per_query = self._mask_strides(visible)
        per_batch, per_head, per_key, _ = (stride // k.itemsize for stride in k.strides)
        packed = self._is_packed(k, v, step=math.gcd(Dh, per_batch, per_head, per_key))
        mixed = self.xp.empty((B, T, H, Dh), dtype=q.dtype)
        sizes = H, T, S, Dh, per_batch, per_head, per_key, per_row, per_query
        args = q, k, v, visible, mixed, *sizes, 1 / math.sqrt(Dh), self.lowest(q.dtype), packed
        self._launch("attend", q.dtype, B * H * T, *args, shared=self._shared_bytes(S, Dh, q.dtype))
        return mixed.transpose(0, 2, 1, 3)

    def fits(self, S: int, Dh: int, dtype: Any) -> bool:
        """Whether the scores of S keys of size Dh fit in the shared memory of one block, as ``attend`` needs."""
        return self._shared_bytes(S, Dh, dtype) <= SHARED_MEMORY

    def _shared_bytes(self, S: int, Dh: int, dtype: Any) -> int:
        """Return the size of the query, the scores and one pack per thread, in the accumulator type."""
        name = self._dtype_name(dtype)
        return (Dh + S + THREADS * TYPES[name][2]) * (8 if name == "float64" else 4)

    def append(self, k: Array, v: Array, keys: Array, values: Array, position: Array) -> None:
        """Write k and v (B, H, 1, Dh) to ``position``, (1,) int64, of keys and values (B, H, capacity, Dh)."""
        k, v = self.xp.ascontiguousarray(k), self.xp.ascontiguousarray(v)
        sizes = k.size, k.shape[3], keys.shape[2]
        self._launch("append", k.dtype, math.ceil(k.size / THREADS), k, v, keys, values, position, *sizes)

    def _mask_strides(self, visible: Array) -> tuple[Array, int, int]:
        """Return the mask with a contiguous last axis, and its strides per row and per query (0 if broadcast)."""
        if visible.strides[-1] != 1:
            visible = self.xp.ascontiguousarray(visible)
        per_row, _, per_query, _ = visible.strides
        return visible, per_row if visible.shape[0] > 1 else 0, per_query if visible.shape[2] > 1 else 0
