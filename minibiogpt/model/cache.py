"""KVCache: the keys and values of the positions already seen, so that each is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array, Backend, backend_of, get_backend
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError


@dataclass
class _Store:
    """The memory that caches share: per layer a (B, H, capacity, Dh) array of keys, and one of values."""

    keys: list[Array]
    values: list[Array]
    filled: int  # positions that the longest cache upon this store has claimed
    borrowed: bool = False  # somebody else's arrays: read, never written

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    @classmethod
    def empty(cls, backend: Backend, layers: int, shape: tuple[int, ...], dtype: Any) -> _Store:
        """Of one block of memory, so that the system can give it in large pages, which are read faster."""
        block = backend.xp.empty((2, layers, *shape), dtype=dtype)
        return cls(list(block[0]), list(block[1]), 0)

    def copied(self, length: int, capacity: int, rows: Any = slice(None)) -> _Store:
        """A store of its own for the first ``length`` positions of some rows, with room for ``capacity``."""
        x, seen = self.keys[0], slice(length)
        B, H, _, Dh = x[rows, :, :0].shape
        new = _Store.empty(backend_of(x), len(self.keys), (B, H, capacity, Dh), x.dtype)
        for old, room in zip((*self.keys, *self.values), (*new.keys, *new.values), strict=True):
            room[:, :, seen] = old[rows, :, seen]
        new.filled = length
        return new


class PlacedCache:
    """A cache whose length is a number on the device: one step more, on the same memory, is the same launches again.

    Every array has the whole capacity. Positions from ``place`` on are hidden by the mask; they must hold numbers all
    the same where attention multiplies them by 0.

    Parameters
    ----------
    place : (1,) int64, where the next position goes.
    """

    def __init__(self, store: _Store, place: Array) -> None:
        self._store, self.place = store, place

    def write(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Put one position, (B, H, 1, Dh) each, in its place; returns all there is room for, (B, H, capacity, Dh)."""
        keys, values = self._store.keys[layer], self._store.values[layer]
        kernel = backend_of(k, v).kernel("append", k, v, keys, values)
        if kernel:
            kernel(k, v, keys, values, self.place)
        else:
            keys[:, :, self.place] = k
            values[:, :, self.place] = v
        return keys, values


class KVCache:
    """Keys and values of every layer; ``cache[l]`` is ``(k, v)``, each (B, H, S, Dh).

    A cache is a value: a model call returns a longer one and leaves the one it was given as it was. Both look at
    the same memory, which is allocated once and grown by doubling. Only when a shorter cache is continued a second
    time (two answers to one prompt) is its part copied, so that neither answer overwrites the other.

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM
    >>> model = BioGptForCausalLM.from_pretrained("demo")
    >>> prompt = model([[2, 5, 9]], use_cache=True).past_key_values
    >>> longer = model([[7]], past_key_values=prompt).past_key_values
    >>> prompt.seq_length, longer.seq_length, len(longer), longer[0][0].shape
    (3, 4, 4, (1, 4, 4, 32))
    """

    def __init__(self, store: _Store, seq_length: int) -> None:
        self._store, self.seq_length = store, seq_length

    @classmethod
    def empty(
        cls,
        config: BioGptConfig,
        batch: int,
        capacity: int,
        backend: str | Backend = "numpy",
        dtype: str = "float32",
    ) -> KVCache:
        """A cache of no positions, with room for ``capacity`` of them, on a device for some more, in ``batch`` rows."""
        backend = get_backend(backend)
        shape = (batch, config.num_attention_heads, backend.capacity(max(capacity, 1)), config.head_size)
        return cls(_Store.empty(backend, config.num_hidden_layers, shape, dtype), 0)

    @classmethod
    def from_legacy(cls, layers: Sequence[tuple[Array, Array]], backend: str | Backend = "numpy") -> KVCache:
        """From transformers' old form, a (k, v) pair for each layer, each (B, H, S, Dh). Copies nothing yet."""
        backend = get_backend(backend)
        pairs = [tuple(backend.asarray(x) for x in pair) for pair in layers]
        shapes = {x.shape for pair in pairs for x in pair}
        if not pairs or any(len(pair) != 2 for pair in pairs) or len(shapes) != 1 or len(next(iter(shapes))) != 4:
            raise InputError(
                "past_key_values must be a KVCache or a (k, v) pair for each layer, all of one shape (B, H, S, Dh)",
                f"{len(pairs)} layers with shapes {sorted(shapes)}",
                "hand over what a model call returned",
            )
        length = pairs[0][0].shape[2]
        return cls(_Store([k for k, _ in pairs], [v for _, v in pairs], length, borrowed=True), length)

    def __len__(self) -> int:
        """L: the number of layers."""
        return len(self._store.keys)

    def __getitem__(self, layer: int) -> tuple[Array, Array]:
        seen = slice(self.seq_length)
        return self._store.keys[layer][:, :, seen], self._store.values[layer][:, :, seen]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        return (self[layer] for layer in range(len(self)))

    @property
    def batch_size(self) -> int:
        """B: the number of rows."""
        return self._store.keys[0].shape[0]

    @property
    def capacity(self) -> int:
        """How many positions fit before the memory grows."""
        return self._store.capacity

    @property
    def nbytes(self) -> int:
        """The memory allocated, in bytes, filled or not."""
        return sum(x.nbytes for x in (*self._store.keys, *self._store.values))

    def extended(self, new: int) -> KVCache:
        """A cache ``new`` positions longer, those positions still to be written; this one stays as it is."""
        length, store = self.seq_length + new, self._store
        if length > store.capacity:
            store = store.copied(self.seq_length, max(length, 2 * store.capacity))
        elif store.filled != self.seq_length:  # somebody else has continued this prefix
            store = store.copied(self.seq_length, store.capacity)
        store.filled = length
        return KVCache(store, length)

    def write(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Put the newest T positions, (B, H, T, Dh) each, at the end; returns all S of them, (B, H, S, Dh)."""
        new = slice(self.seq_length - k.shape[2], self.seq_length)
        self._store.keys[layer][:, :, new] = k
        self._store.values[layer][:, :, new] = v
        return self[layer]

    def placed(self, place: Array) -> PlacedCache:
        """The same memory for steps of one position each, the next goes to ``place``; what is free becomes 0."""
        for x in (*self._store.keys, *self._store.values):
            x[:, :, self.seq_length :] = 0
        return PlacedCache(self._store, place)

    def reorder(self, beam_indices: Array) -> KVCache:
        """Row i of the result is row ``beam_indices[i]`` of this cache, (new B,): what beam search asks for.

        Copies the rows into a cache of the same capacity; this one stays as it is. The number of rows may change.
        """
        return KVCache(self._store.copied(self.seq_length, self.capacity, beam_indices), self.seq_length)

    def exchange(self, beam_indices: Array, since: int) -> None:
        """The same in this very memory, for one who keeps no other cache upon it, and without a change in B.

        Row i and row ``beam_indices[i]`` must be equal up to position ``since`` (the beams of one prompt): only what
        comes later is copied. Arrays taken from this cache before change with it.
        """
        if self._store.borrowed:
            self._store = self._store.copied(self.seq_length, self.capacity)
        later = slice(since, self.seq_length)
        for x in (*self._store.keys, *self._store.values):
            x[:, :, later] = x[beam_indices, :, later]

    def __repr__(self) -> str:
        size = self.nbytes / 1e6
        return f"<KVCache of {self.seq_length} positions, {len(self)} layers, batch {self.batch_size}, {size:.1f} MB>"
