"""One decoding step on memory that stays where it is, so that a device can run it again without being told anew.

What bounds a single token on a device is not arithmetic but that each kernel is launched by itself. A recorded step
(a CUDA graph) is one launch. It is the model's own forward pass: only what changes from step to step, the ids, their
positions and the length of the cache, are numbers on the device, and the cache is attended to in its full capacity,
what is not yet filled being hidden.
"""

from __future__ import annotations

from collections.abc import Callable

from minibiogpt.backend import HALVES, Array
from minibiogpt.generation.protocols import LanguageModel
from minibiogpt.model.attention import AttentionMask
from minibiogpt.model.cache import KVCache
from minibiogpt.model.inputs import positions_of
from minibiogpt.model.layers import ForwardContext
from minibiogpt.trace import Tap

WORTH = 4  # steps still to come: recording costs about two


class CapturedDecodingStep:
    """The model on one more id for each row.

    Parameters
    ----------
    cache : what was read so far, with room for all that comes; every call extends it by one position, in place.
    mask : (B, all that will be) int64, 1 where there is a real token or will be; None when nothing is padding.
    """

    def __init__(self, model: LanguageModel, cache: KVCache, mask: Array | None) -> None:
        backend, xp, B = model.backend, model.backend.xp, cache.batch_size
        self.model = model
        self.begun = False
        self.run: Callable[[], None] | None = None  # what was recorded
        self.place = xp.full((1,), cache.seq_length, dtype="int64")
        self.cache = cache.placed(self.place)
        self.ids = xp.zeros((B, 1), dtype="int64")
        real = None if mask is None else mask[:, : cache.seq_length + 1].astype(bool)
        self.positions = positions_of(real, B, cache.seq_length, 1, backend).copy()
        self.columns = xp.arange(cache.capacity)[None, None, None, :]  # S is the capacity
        self.real = xp.ones((B, 1, 1, cache.capacity), dtype=bool)
        if mask is not None:
            self.real[:, 0, 0, : mask.shape[1]] = mask.astype(bool)
        self.logits = xp.empty((B, model.config.vocab_size), dtype="float32" if model.dtype in HALVES else model.dtype)

    def __call__(self, ids: Array) -> Array:
        """(B, 1) ids to logits (B, V), float32 for halves."""
        self.ids[...] = ids
        if not self.begun:
            self.begun, self.run = True, self.model.backend.capture(self.step)
        elif self.run is not None:
            self.run()
        else:
            self.step()
        return self.logits.copy()  # the next call overwrites them

    def step(self) -> None:
        """Everything between the ids and the logits; nothing here may wait for the device, or ask it."""
        base = self.model.biogpt
        visible = (self.columns <= self.place) & self.real
        context = ForwardContext(AttentionMask(visible, padded=True, blind_rows=False), self.cache, blocked=True)
        hidden = base.forward(base.embed_tokens(self.ids), self.positions, context, None, Tap())
        self.logits[...] = self.model.output_projection(hidden[:, -1])
        self.place += 1
        self.positions += 1
