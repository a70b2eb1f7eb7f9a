"""The interface of a weight that is stored in fewer bits than it is computed in, such as 4."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

Array = Any  # a numpy.ndarray or a cupy.ndarray; the two share no base class


class Layout(NamedTuple):
    """A packed weight's arrays, as kernels read them: a value is a code's number times the scale of its block.

    Attributes
    ----------
    bits : 4 or 8, of a code.
    codes : uint8, two codes a byte, of which the first has the high half; or int8.
    scales : float32 or float16, one a block; of quantized scales: float32, one a group of blocks.
    block : how many consecutive codes have one scale, a power of 2; 0: a row of the weight has one.
    numbers : (16,) float32 in NumPy, what each code of 4 bits means; None: codes of 8 bits are integers.
    unit : what values of 8 bits are also multiplied by, such as 1 / 127 if integers from -127 to 127 mean -1 to 1.
    nested : what each block's quantized scale means: codes (blocks,) uint8, and the 256 numbers, float32, that they
        mean; a block's scale is such a number times its group's, plus ``offset``. Empty: scales are not quantized.
    group : how many blocks form a group, a power of 2.
    first : the row of the arrays that is the weight's first.
    threshold : rows that are multiplied are quantized to 8 bits, too, except columns with a number of at least this
        size (0: all columns); None: they stay floats.
    """

    bits: int
    codes: Array
    scales: Array
    block: int
    numbers: np.ndarray | None = None
    unit: float = 1.0
    nested: tuple[Array, ...] = ()
    group: int = 1
    offset: float = 0.0
    first: int = 0
    threshold: float | None = None


class PackedWeight(ABC):
    """A weight (N, K) that products unpack a tile at a time: it is never in memory as a whole in a wider dtype.

    It takes the place of an array in a layer, and has what its owners ask of one: shape, dtype, size, nbytes, astype.
    ``np.asarray(weight)`` unpacks it as a whole.

    Attributes
    ----------
    shape : (N, K), of the values.
    dtype : the dtype that a model computes in with it; not that of ``arrays``.
    in_tiles : whether ``multiply`` unpacks tiles. If not, it is called for the whole weight, with some of the rows.
    """

    ndim = 2
    in_tiles = True
    shape: tuple[int, int]
    dtype: np.dtype

    @property
    @abstractmethod
    def arrays(self) -> tuple[Array, ...]:
        """All arrays that it is made of, on one backend."""

    @property
    def sample(self) -> Array:
        """One of ``arrays``, whose type says on which backend they are."""
        return self.arrays[0]

    @abstractmethod
    def with_arrays(self, change: Callable[[Array], Array]) -> Self:
        """Return the same weight with each of ``arrays`` changed, such as moved to a device."""

    @abstractmethod
    def part(self, start: int, stop: int) -> Self:
        """Return the outputs from ``start`` to ``stop``; arrays are shared."""

    @property
    def layout(self) -> Layout | None:
        """The arrays, and how kernels of a device are to read them; None if there is no kernel."""
        return None

    @abstractmethod
    def unpack(self, out: np.ndarray) -> None:
        """Write the values to out (N, K), float32 and contiguous."""

    @abstractmethod
    def quantized(self, x: np.ndarray) -> Self:
        """Return other values of the same shape in this format: x (N, K), of floats."""

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """The bytes that it takes, scales included."""
        return sum(x.nbytes for x in self.arrays)

    def __len__(self) -> int:
        return self.shape[0]

    def astype(self, dtype: Any, copy: bool = True) -> Self:
        """Return the weight for a model that computes in ``dtype``. The packed values stay what they are."""
        other = self.with_arrays(lambda x: x.copy() if copy else x)
        other.dtype = np.dtype(dtype)
        return other

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape}, {8 * self.nbytes / max(self.size, 1):.2f} bits a value>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a packed weight has no array of its values: they can only be copied")
        out = np.empty(self.shape, np.float32)
        self.unpack(out)
        return out.astype(self.dtype if dtype is None else dtype, copy=False)

    def prepared(self, rows: np.ndarray) -> Any:
        """Return what ``multiply`` gets as rows (M, K), or as some of them, computed once for all parts."""
        return rows

    def multiply(self, rows: Any, product: Any, tile: np.ndarray, out: np.ndarray) -> None:
        """Write ``rows @ weight.T`` to out (M, N), float32 or float64.

        Parameters
        ----------
        rows : what ``prepared`` returned: (M, K), float32 or float64.
        product : the ``Product`` of arrays, on this thread alone.
        tile : (N, K) float32, memory to unpack the weight into, if it is ``in_tiles``.
        """
        self.unpack(tile)
        product.multiply(rows, tile.astype(out.dtype, copy=False), out)


Weight = np.ndarray | PackedWeight  # of a product on the CPU
