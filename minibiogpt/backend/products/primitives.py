"""Products compiled by oneDNN for one shape each ("primitives"), by ctypes: what its C interface calls objects.

Every object is made by a function ``dnnl_..._create...`` that returns a status and writes a handle, and is freed by
``dnnl_..._destroy``. Source: oneDNN 3, include/oneapi/dnnl/dnnl.h and dnnl_types.h, where the numbers below are from.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from threading import local
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.errors import InputError

HANDLE = ctypes.c_void_p
CPU, IN_ORDER, INFERENCE = 1, 1, 96  # an engine's kind, a stream's flag, a propagation's kind
BFLOAT16, FLOAT32, INT32, INT8, UINT8 = 2, 3, 4, 5, 6  # data types
ANY, WEIGHT_OF_PLAN = 1, 131  # a layout that oneDNN chooses, and how it is asked for
ROWS, WEIGHT, OUT = 1, 33, 17  # arguments of a product
OUT_OF_MEMORY = 1  # a status; 0 is success
MOST = 256  # shapes that a thread keeps
FEW = 8  # the rows that a layout is chosen for
ALIGNED = 64  # bytes of a cache line


class Argument(ctypes.Structure):
    _fields_ = (("index", ctypes.c_int), ("memory", HANDLE))


class Shape(NamedTuple):
    """The shape of a product, by which oneDNN compiles it: rows (M, K) times the transpose of a weight (N, K).

    Attributes
    ----------
    kind : the data type of rows and weight, ``BFLOAT16`` or ``FLOAT32``, with outputs in float32; or ``INT8`` for a
        packed weight in int8, rows in uint8 and outputs in int32.
    row_step, weight_step, out_step : the distance of the rows of each matrix, in elements.
    """

    kind: int
    M: int
    N: int
    K: int
    row_step: int
    weight_step: int
    out_step: int


class Primitives:
    """The products that oneDNN has compiled, of each thread its own: they share a thread's working memory."""

    def __init__(self, path: Path, remedy: str) -> None:
        # Functions of the second end at once, and keep the GIL: to get it back may take longer than they do.
        self.library, self.short, self.remedy = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path)), remedy
        self.short.dnnl_memory_set_data_handle.argtypes = [HANDLE, HANDLE]
        self.engine = self.make("engine_create", CPU, ctypes.c_size_t(0))
        self.library.dnnl_primitive_desc_query_md.restype = HANDLE
        self.library.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        self.of_thread = _OfThread()
        self.layouts: dict[tuple[int, int], Layout] = {}

    def make(self, function: str, *arguments: Any) -> ctypes.c_void_p:
        """Return the handle of a new object."""
        handle = HANDLE()
        self.require(getattr(self.library, f"dnnl_{function}")(ctypes.byref(handle), *arguments))
        return handle

    def require(self, status: int) -> None:
        """Raise an error if a function's status is not success."""
        if status == OUT_OF_MEMORY:
            raise MemoryError("oneDNN: out of memory")
        if status:
            raise InputError("oneDNN must multiply these matrices", f"its status {status}", self.remedy)

    def layout(self, N: int, K: int) -> Layout:
        """Return the layout of packed weights (N, K)."""
        if (N, K) not in self.layouts:
            self.layouts.setdefault((N, K), Layout(self, N, K))
        return self.layouts[N, K]

    def multiply(self, shape: Shape, rows: int, weight: int, out: int) -> None:
        """Multiply matrices at these addresses."""
        compiled = self.of_thread.compiled
        if (found := compiled.get(shape)) is None:
            if len(compiled) >= MOST:
                del compiled[next(iter(compiled))]  # the oldest
            found = compiled[shape] = Compiled(self, shape)
        found(rows, weight, out)


class _OfThread(local):
    def __init__(self) -> None:
        self.compiled: dict[Shape, Compiled] = {}


class Objects:
    """Objects of oneDNN that are freed together."""

    def __init__(self, primitives: Primitives) -> None:
        self.primitives, self.made = primitives, list[tuple[str, ctypes.c_void_p]]()

    def make(self, kind: str, function: str, *arguments: Any) -> ctypes.c_void_p:
        handle = self.primitives.make(function, *arguments)
        self.made.append((kind, handle))
        return handle

    def describe(self, sizes: tuple[int, int], kind: int, strides: tuple[int, int]) -> ctypes.c_void_p:
        """Return the handle of a matrix's description."""
        two = ctypes.c_int64 * 2
        return self.make("memory_desc", "memory_desc_create_with_strides", 2, two(*sizes), kind, two(*strides))

    def plan(self, rows: Any, weight: Any, out: Any) -> ctypes.c_void_p:
        """Return the handle of a plan of ``rows @ weight``, without a bias and other attributes."""
        operands = (self.primitives.engine, rows, weight, None, out, None)
        return self.make("primitive_desc", "matmul_primitive_desc_create", *operands)

    def prepare(self, plan: Any, operands: dict[int, Any]) -> None:
        """Compile a plan, and make a place for the address of each operand, {its index: its description}."""
        engine = self.primitives.engine
        self.primitive = self.make("primitive", "primitive_create", plan)
        self.stream = self.make("stream", "stream_create", engine, IN_ORDER)
        self.memories = [self.make("memory", "memory_create", of, engine, None) for of in operands.values()]
        arguments = (Argument(index, memory) for index, memory in zip(operands, self.memories, strict=True))
        self.arguments = (Argument * len(operands))(*arguments)

    def __call__(self, *addresses: int) -> None:
        """Execute what was compiled, with operands at these addresses."""
        for memory, address in zip(self.memories, addresses, strict=True):
            self.primitives.short.dnnl_memory_set_data_handle(memory, address)
        execute = self.primitives.library.dnnl_primitive_execute
        self.primitives.require(execute(self.primitive, self.stream, len(addresses), self.arguments))

    def __del__(self) -> None:
        for kind, handle in reversed(self.made):
            getattr(self.primitives.library, f"dnnl_{kind}_destroy")(handle)


class Compiled(Objects):
    """One product. A single row is multiplied as an inner product, for which oneDNN doesn't pack (copy) the weight."""

    def __init__(self, primitives: Primitives, shape: Shape) -> None:
        super().__init__(primitives)
        kind, M, N, K, row_step, weight_step, out_step = shape
        packed, single = kind == INT8, M == 1
        rows = self.describe((M, K), UINT8 if packed else kind, (row_step, 1))
        out = self.describe((M, N), INT32 if packed else FLOAT32, (out_step, 1))
        if packed:
            weight = primitives.layout(N, K).packed
            plan = self.plan(rows, weight, out)
        elif single:
            weight = self.describe((N, K), kind, (weight_step, 1))
            operands = (primitives.engine, INFERENCE, rows, weight, None, out, None)
            plan = self.make("primitive_desc", "inner_product_forward_primitive_desc_create", *operands)
        else:
            weight = self.describe((K, N), kind, (1, weight_step))
            plan = self.plan(rows, weight, out)
        self.prepare(plan, {ROWS: rows, WEIGHT: weight, OUT: out})


class Layout(Objects):
    """The order of a weight's numbers (N, K), int8, that products with few rows read fastest, as oneDNN chooses it.

    Attributes
    ----------
    packed, plain : handles of the descriptions of the weight in that order, and row by row.
    nbytes : its size in that order.
    """

    def __init__(self, primitives: Primitives, N: int, K: int) -> None:
        super().__init__(primitives)
        two = ctypes.c_int64 * 2
        rows, out = self.describe((FEW, K), UINT8, (K, 1)), self.describe((FEW, N), INT32, (N, 1))
        chosen = self.make("memory_desc", "memory_desc_create_with_tag", 2, two(K, N), INT8, ANY)
        plan = self.plan(rows, chosen, out)
        self.packed = HANDLE(primitives.library.dnnl_primitive_desc_query_md(plan, WEIGHT_OF_PLAN, 0))
        self.nbytes = int(primitives.library.dnnl_memory_desc_get_size(self.packed))
        self.plain = self.describe((K, N), INT8, (1, K))

    def pack(self, weight: np.ndarray) -> np.ndarray:
        """Return a contiguous weight in that order: bytes."""
        bytes_ = np.empty(self.nbytes + ALIGNED, np.uint8)
        bytes_ = bytes_[-bytes_.ctypes.data % ALIGNED :][: self.nbytes]
        self._copy(self.plain, weight, self.packed, bytes_)
        return bytes_

    def unpack(self, bytes_: np.ndarray, weight: np.ndarray) -> None:
        """Write a weight in that order to a contiguous one."""
        self._copy(self.packed, bytes_, self.plain, weight)

    def _copy(self, source: Any, x: np.ndarray, target: Any, y: np.ndarray) -> None:
        copy, engine = Objects(self.primitives), self.primitives.engine
        plan = copy.make("primitive_desc", "reorder_primitive_desc_create", source, engine, target, engine, None)
        copy.prepare(plan, {ROWS: source, OUT: target})
        copy(x.ctypes.data, y.ctypes.data)


def bits_of_bfloat16(x: np.ndarray) -> np.ndarray:
    """Return the upper 16 bits of float32 numbers: bfloat16 numbers, without the package that has the dtype.

    Examples
    --------
    >>> [hex(bits) for bits in bits_of_bfloat16(np.array([1, -2], np.float32))]
    ['0x3f80', '0xc000']
    """
    return (x.view(np.uint32) >> 16).astype(np.uint16)
