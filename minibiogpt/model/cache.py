"""KVCache: the keys and values of earlier positions, so that each is computed only once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array, Backend, backend_of, get_backend
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, short_repr
from minibiogpt.idioms import no_attribute

_NO_PLACE = "a KVCache is never changed in place: a model call returns the longer one as past_key_values"
# Names of transformers' caches.
_ADVICE = {
    "crop": "a KVCache is never shortened: run the model on the ids that you keep",
    "update": _NO_PLACE,
    "reset": "a KVCache is never changed: pass past_key_values=None to start again",
    "reorder_cache": "write cache = cache.reorder(beam_indices)",
    "batch_repeat_interleave": "write cache = cache.reorder(np.repeat(np.arange(cache.batch_size), repeats))",
    "batch_select_indices": "write cache = cache.reorder(indices)",
    "batch_split": "write cache.reorder(rows) for the rows of each part",
    "from_legacy_cache": "write KVCache.from_legacy(layers)",
    "get_usable_length": "write cache.seq_length",
    "seen_tokens": "write cache.seq_length",
    "_seen_tokens": "write cache.seq_length",
    "key_cache": "cache[layer] is (keys, values) of a layer",
    "value_cache": "cache[layer] is (keys, values) of a layer",
    "layers": "cache[layer] is (keys, values) of a layer",
    "get_max_length": "write cache.get_max_cache_shape(): it has no limit",
    "get_mask_sizes": "the mask of attention is the array scores_masked of a trace",
    "is_compileable": "leave it out: there is nothing to compile",
    "is_updated": "BioGPT has no cross-attention",
    "self_attention_cache": "BioGPT has no cross-attention: the cache is the KVCache itself",
    "cross_attention_cache": "BioGPT has no cross-attention",
    "offload": "a cache is on one device",
    "prefetch": "a cache is on one device",
    "to": "load the model on the device: its calls return caches there",
    "max_batch_size": "write cache.batch_size",
    "max_cache_len": "write cache.capacity",
}


@dataclass
class _Buffers:
    """The memory behind one or more caches: for each layer, keys and values of shape (B, H, capacity, Dh)."""

    keys: list[Array]
    values: list[Array]
    filled: int  # positions in use by the longest cache that shares these buffers
    borrowed: bool = False  # arrays of the caller: read, never written

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    @classmethod
    def empty(cls, backend: Backend, layers: int, shape: tuple[int, ...], dtype: Any) -> _Buffers:
        """Allocate one block for all arrays, so that the system can use large pages, which are read faster."""
        block = backend.xp.empty((2, layers, *shape), dtype=dtype)
        return cls(list(block[0]), list(block[1]), 0)

    def copy(self, length: int, capacity: int, rows: Any = slice(None)) -> _Buffers:
        """Copy the first ``length`` positions of some rows into new buffers of the given capacity."""
        x, used = self.keys[0], slice(length)
        B, H, _, Dh = x[rows, :, :0].shape
        new = _Buffers.empty(backend_of(x), len(self.keys), (B, H, capacity, Dh), x.dtype)
        for source, target in zip((*self.keys, *self.values), (*new.keys, *new.values), strict=True):
            target[:, :, used] = source[rows, :, used]
        new.filled = length
        return new


class StaticCache:
    """A cache of fixed shape whose length is stored on the device, so that a captured decoding step can be replayed.

    Attention reads all ``capacity`` positions. Those after the newest one are masked, but they must hold finite values,
    because attention still multiplies them by 0.

    Parameters
    ----------
    position : (1,) int64, the index that the next ``write`` fills.
    """

    def __init__(self, buffers: _Buffers, position: Array) -> None:
        self._buffers, self.position = buffers, position

    def write(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Write one position, (B, H, 1, Dh) each; return all keys and values, (B, H, capacity, Dh) each."""
        keys, values = self._buffers.keys[layer], self._buffers.values[layer]
        kernel = backend_of(k, v).kernel("append", k, v, keys, values)
        if kernel:
            kernel(k, v, keys, values, self.position)
        else:
            keys[:, :, self.position] = k
            values[:, :, self.position] = v
        return keys, values


class KVCache:
    """The keys and values of every layer; ``cache[l]`` is ``(k, v)``, each (B, H, S, Dh).

    A cache behaves like an immutable value: a model call returns a longer cache and leaves its argument unchanged.
    Both share the same buffers, which are allocated once and grow by doubling. Otherwise they are copied only when a
    shorter cache is continued a second time (two continuations of one prompt), so that neither overwrites the other.

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM
    >>> model = BioGptForCausalLM.from_pretrained("demo")
    >>> prompt = model([[2, 5, 9]], use_cache=True).past_key_values
    >>> longer = model([[7]], past_key_values=prompt).past_key_values
    >>> prompt.seq_length, longer.seq_length, len(longer), longer[0][0].shape
    (3, 4, 4, (1, 4, 4, 32))
    """

    def __init__(self, buffers: _Buffers, seq_length: int) -> None:
        self._buffers, self.seq_length = buffers, seq_length

    @classmethod
    def empty(
        cls,
        config: BioGptConfig,
        batch: int,
        capacity: int,
        backend: str | Backend = "numpy",
        dtype: str = "float32",
    ) -> KVCache:
        """Return an empty cache of ``batch`` rows that can hold ``capacity`` positions (on a device, a few more)."""
        backend = get_backend(backend)
        shape = (batch, config.num_attention_heads, backend.cache_capacity(max(capacity, 1)), config.head_size)
        return cls(_Buffers.empty(backend, config.num_hidden_layers, shape, dtype), 0)

    @classmethod
    def from_legacy(cls, layers: Sequence[tuple[Array, Array]], backend: str | Backend = "numpy") -> KVCache:
        """Wrap transformers' legacy format, one (k, v) pair per layer, each (B, H, S, Dh), without copying."""
        backend = get_backend(backend)
        must = "past_key_values must be a KVCache or a (k, v) pair for each layer, all of one shape (B, H, S, Dh)"
        remedy = "pass what a model call returned"
        try:
            pairs = [tuple(backend.asarray(x) for x in pair) for pair in layers]
        except TypeError:  # something in it has no elements
            raise InputError(must, short_repr(layers), remedy) from None
        shapes = {x.shape for pair in pairs for x in pair}
        if not pairs or any(len(pair) != 2 for pair in pairs) or len(shapes) != 1 or len(next(iter(shapes))) != 4:
            raise InputError(must, f"{len(pairs)} layers with shapes {short_repr(sorted(shapes))}", remedy)
        length = pairs[0][0].shape[2]
        return cls(_Buffers([k for k, _ in pairs], [v for _, v in pairs], length, borrowed=True), length)

    def __len__(self) -> int:
        """The number of layers, L."""
        return len(self._buffers.keys)

    def __getitem__(self, layer: int) -> tuple[Array, Array]:
        used = slice(self.seq_length)
        return self._buffers.keys[layer][:, :, used], self._buffers.values[layer][:, :, used]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return (self[layer] for layer in range(len(self)))

    @property
    def batch_size(self) -> int:
        """The number of rows, B."""
        return self._buffers.keys[0].shape[0]

    @property
    def capacity(self) -> int:
        """How many positions fit before the buffers must grow."""
        return self._buffers.capacity

    @property
    def nbytes(self) -> int:
        """The size of the buffers in bytes, used or not."""
        return sum(x.nbytes for x in (*self._buffers.keys, *self._buffers.values))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of positions, S, under transformers' name; it is the same in every layer."""
        return self.seq_length

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """-1, as for transformers' DynamicCache: the cache grows without a limit of its own."""
        return -1

    def to_legacy_cache(self) -> tuple[tuple[Array, Array], ...]:
        """Return transformers' legacy format, one (k, v) pair per layer, each (B, H, S, Dh), without copying."""
        return tuple(self)

    def extended(self, new: int) -> KVCache:
        """Return a cache that is ``new`` positions longer, not written yet. This cache is unchanged.

        The buffers grow here: to twice their capacity, or to the new length if that is more.
        """
        length, buffers = self.seq_length + new, self._buffers
        if length > buffers.capacity:
            buffers = buffers.copy(self.seq_length, max(length, 2 * buffers.capacity))
        elif buffers.filled != self.seq_length:  # another cache has already continued this one
            buffers = buffers.copy(self.seq_length, buffers.capacity)
        buffers.filled = length
        return KVCache(buffers, length)

    def with_room(self, capacity: int, rows: Any = slice(None)) -> KVCache:
        """Return a copy with room for ``capacity`` positions in all. ``rows`` selects or repeats rows of the batch."""
        backend = backend_of(self._buffers.keys[0])
        room = backend.cache_capacity(max(capacity, self.seq_length, 1))
        return KVCache(self._buffers.copy(self.seq_length, room, rows), self.seq_length)

    def write(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Write the last T positions, (B, H, T, Dh) each; return all keys and values, (B, H, S, Dh) each."""
        new = slice(self.seq_length - k.shape[2], self.seq_length)
        self._buffers.keys[layer][:, :, new] = k
        self._buffers.values[layer][:, :, new] = v
        return self[layer]

    def placed(self, place: Array) -> StaticCache:
        """Return a StaticCache on the same buffers whose next position is ``place``. Unused positions are zeroed."""
        for x in (*self._buffers.keys, *self._buffers.values):
            x[:, :, self.seq_length :] = 0
        return StaticCache(self._buffers, place)

    def reorder(self, beam_indices: Array) -> KVCache:
        """Return a new cache whose row i is row ``beam_indices[i]`` of this one, as beam search needs.

        ``beam_indices`` is (new B,): the number of rows may change. The capacity is the same. This cache is unchanged.
        """
        try:
            return KVCache(self._buffers.copy(self.seq_length, self.capacity, beam_indices), self.seq_length)
        except (IndexError, TypeError, ValueError):
            must = f"beam_indices must be a row of integers, 0 to {self.batch_size - 1}: rows of this cache"
            raise InputError(must, short_repr(beam_indices), "pass one for each row of the new cache") from None

    def exchange(self, beam_indices: Array, since: int) -> None:
        """Reorder the rows in place, like ``reorder`` but without changing B.

        Only positions from ``since`` on are copied: before it, rows i and ``beam_indices[i]`` must be equal (beams of
        one prompt). Other caches and arrays that share these buffers change too.
        """
        if self._buffers.borrowed:
            self._buffers = self._buffers.copy(self.seq_length, self.capacity)
        later = slice(since, self.seq_length)
        for x in (*self._buffers.keys, *self._buffers.values):
            x[:, :, later] = x[beam_indices, :, later]

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(self, name, _ADVICE)

    def __repr__(self) -> str:
        size = self.nbytes / 1e6
        return f"<KVCache of {self.seq_length} positions, {len(self)} layers, batch {self.batch_size}, {size:.1f} MB>"
