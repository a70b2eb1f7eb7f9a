"""One decoding step in fixed buffers, captured as a CUDA graph and replayed for every token.

On a device the time per token is bound by kernel launches, not by arithmetic. Replaying a captured step is one launch.
The step is the model's own forward pass. Everything that changes between steps (the ids, their positions, the length of
the cache) is stored on the device. Attention runs over the cache's full capacity; unused positions are masked.
"""

from __future__ import annotations

from collections.abc import Callable

from minibiogpt.backend import HALVES, Array
from minibiogpt.generation.protocols import LanguageModel
from minibiogpt.model.attention import AttentionMask
from minibiogpt.model.cache import KVCache
from minibiogpt.model.inputs import position_ids_from_mask
from minibiogpt.model.layers import ForwardContext
from minibiogpt.trace import Tap

MIN_STEPS_LEFT = 4  # a step is captured only if more than these are left: capturing costs about as much as two steps


class CapturedDecodingStep:
    """A callable that runs the model on one more id for each row.

    Parameters
    ----------
    cache : of all earlier positions, with enough capacity for the coming ones. Each call extends it in place by one.
    mask : (B, final length) int64, 1 = holds or will hold a real token; None when nothing is padding.
    head_mask : (L, H) or None.
    """

    def __init__(
        self, model: LanguageModel, cache: KVCache, mask: Array | None, head_mask: Array | None = None
    ) -> None:
        backend, xp, B = model.backend, model.backend.xp, cache.batch_size
        self.model, self.head_mask = model, None if head_mask is None else head_mask.copy()
        self.started = False
        self.replay: Callable[[], None] | None = None  # launches the captured graph; None if it could not be captured
        self.position = xp.full((1,), cache.seq_length, dtype="int64")  # index in the cache, counting pads
        self.cache = cache.placed(self.position)
        self.ids = xp.zeros((B, 1), dtype="int64")
        real = None if mask is None else mask[:, : cache.seq_length + 1].astype(bool)
        self.position_ids = position_ids_from_mask(real, B, cache.seq_length, 1, backend).copy()
        self.key_positions = xp.arange(cache.capacity)[None, None, None, :]  # S is the capacity
        self.real_keys = xp.ones((B, 1, 1, cache.capacity), dtype=bool)
        if mask is not None:
            self.real_keys[:, 0, 0, : mask.shape[1]] = mask.astype(bool)
        self.logits = xp.empty((B, model.config.vocab_size), dtype="float32" if model.dtype in HALVES else model.dtype)

    def __call__(self, ids: Array) -> Array:
        """Return the logits (B, V) that follow ids (B, 1); float32 for float16 and bfloat16 models."""
        self.ids[...] = ids
        if not self.started:
            self.started, self.replay = True, self.model.backend.capture(self.step)
        elif self.replay is not None:
            self.replay()
        else:
            self.step()
        return self.logits.copy()  # the next call overwrites them

    def step(self) -> None:
        """Compute ``logits`` from ``ids`` and advance by one position. Nothing here may synchronize with the device."""
        base = self.model.biogpt
        visible = (self.key_positions <= self.position) & self.real_keys
        mask = AttentionMask(visible, padded=True, fully_masked_rows=False)
        context = ForwardContext(mask, self.cache, blocked=True)
        hidden = base.apply_layers(base.embed_tokens(self.ids), self.position_ids, context, self.head_mask, Tap())
        self.logits[...] = self.model.output_projection(hidden[:, -1])
        self.position += 1
        self.position_ids += 1
