"""BioGptModel: the whole architecture, from token ids to the last hidden state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minibiogpt.backend import Array, ignore_overflow, on_backend
from minibiogpt.catalog.parameters import base_shapes
from minibiogpt.errors import InputError
from minibiogpt.model import inputs, pooling
from minibiogpt.model.attention import make_mask
from minibiogpt.model.cache import KVCache
from minibiogpt.model.layers import (
    DecoderLayer,
    ForwardContext,
    LayerNorm,
    LearnedPositions,
    ScaledEmbedding,
    Weights,
    named_parameters,
    weights_under,
)
from minibiogpt.model.loading_options import FUSED
from minibiogpt.model.outputs import BaseModelOutput
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.trace import Edit, Tap, Trace
from minibiogpt.trace.edits import make_tap

EAGER_ONLY = ("scores", "scores_masked", "probs", "weights")  # arrays that only eager attention computes


class BioGptModel(Pretrained):
    """The base model: token ids and positions in, one hidden state for each position out.

    Parameters
    ----------
    config, weights, backend, seed, dtype : see ``Pretrained``: without weights they're drawn from ``seed``.
    attn_implementation : "eager" computes every array of attention; "blocked" streams over the keys; "auto" uses eager
        only when an array inside attention is requested (trace, edits, output_attentions). They agree up to rounding.
        transformers' "sdpa", "flash_attention_2", "flash_attention_3" and "flex_attention" do what "auto" does.

    Source: Luo et al. 2022 (BioGPT); BioGptModel in transformers 4.57, in evaluation mode. A ``head_mask`` applies
    under every implementation; transformers ignores it under "sdpa", its default.

    Examples
    --------
    >>> from minibiogpt import BioGptConfig
    >>> BioGptModel(BioGptConfig(vocab_size=50, hidden_size=8, num_attention_heads=2, num_hidden_layers=1))
    <BioGptModel L=1, D=8, H=2, F=4096, V=50, N=1024; 78,584 parameters, float32, numpy>
    """

    def _build(self, weights: Weights, attn_implementation: str) -> None:
        config, self.attn_implementation = self.config, attn_implementation
        self.embed_tokens = ScaledEmbedding(weights["embed_tokens.weight"], config.embed_scale)
        self.embed_positions = LearnedPositions(weights["embed_positions.weight"])
        layers = range(config.num_hidden_layers)
        self.layers = [DecoderLayer(config, weights_under(weights, f"layers.{layer}")) for layer in layers]
        self.layer_norm = LayerNorm(**weights_under(weights, "layer_norm"))

    shapes_of = staticmethod(base_shapes)

    @property
    def dtype(self) -> str:
        return str(self.layer_norm.weight.dtype)

    @property
    def base_model(self) -> BioGptModel:
        return self

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        return named_parameters(self)

    @ignore_overflow
    @on_backend
    @inputs.by_position("input_ids", "attention_mask", *inputs.ORDER)
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        *,
        head_mask: Any = None,
        position_ids: Any = None,
        inputs_embeds: Any = None,
        past_key_values: KVCache | Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        trace: Trace | None = None,
        edits: Mapping[str, Edit] | None = None,
        ablate: Iterable[tuple[int, int]] | None = None,
        patch_from: Mapping[str, Any] | None = None,
        tap: Tap | None = None,
        cache_position: Any = None,
        **others: Any,
    ) -> Any:
        """Run the model. No argument is modified. Arguments by position have transformers' order.

        Parameters
        ----------
        input_ids : (B, T) integers in [0, V). Lists, NumPy or CuPy arrays.
        attention_mask : (B, S), 1 = real, 0 = padding on the left or the right; default all ones. S is past + T.
        head_mask : (H,) for every layer or (L, H), multiplied into the probabilities after the softmax.
        position_ids : (B, T) from 0, -1 for pads; default cumsum(mask) * mask - 1.
        inputs_embeds : (B, T, D) instead of input_ids, already scaled.
        past_key_values : the cache of earlier positions.
        use_cache, output_attentions, output_hidden_states, return_dict : default from the config.
        trace : a Trace, cleared and then filled with every named array that it selects.
        edits : {name: function}; each named array is replaced by its function's result, of the same shape and dtype.
            Patterns are allowed, as in Trace. Edits of k_proj and v_proj also change the cache; edits of k and v apply
            to this call only.
        ablate : (layer, head) pairs; their part of the context is set to 0.
        patch_from : {name: array}, such as a Trace of a different call or part of it; these arrays replace this call's.
        tap : the Tap of the enclosing call, if any; it replaces trace and the edit options.
        cache_position : (T,) where the tokens follow the cache; there is no other place for them.
        others : ``token_type_ids`` and ``logits_to_keep=0`` make no difference, as in transformers.

        Returns
        -------
        BaseModelOutput, or with ``return_dict=False`` a tuple of its fields that are not None.

        Raises
        ------
        InputError
            If an input is invalid, or an edit was never reached.
        """
        config, backend = self.config, self.backend
        output_attentions = _option(output_attentions, config.output_attentions)
        use_cache = _option(use_cache, config.use_cache)
        tap = tap or make_tap(config, backend, trace, edits, ablate, patch_from)
        inputs.check_others(others, _KEYWORDS)

        x = self._token_embeddings(input_ids, inputs_embeds)  # (B, T, D)
        B, T, _ = x.shape
        past = inputs.as_cache(past_key_values, config, B, backend, self.dtype)
        P = past.seq_length if past else 0
        inputs.check_cache_position(cache_position, P, T)
        real = inputs.as_mask(attention_mask, B, P, T, backend)
        positions = self._positions(position_ids, real, B, P, T)  # (B, T)
        heads = inputs.as_head_mask(head_mask, config, backend, self.dtype)
        tap.describe_call(
            "base",
            {"B": B, "T": T, "S": P + T},
            config,
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            head_mask=head_mask,
            position_ids=position_ids,
            past_key_values=past[0][0] if past and P else None,
        )

        hidden_states: list[Array] | None = [] if _option(output_hidden_states, config.output_hidden_states) else None
        attentions: list[Array] | None = [] if output_attentions else None
        unedited, positions = positions, tap("position_ids", positions)  # (B, T)
        if real is None and position_ids is None and positions is unedited:
            inputs.check_largest_position(P + T - 1, config)
        else:
            inputs.check_position_ids(positions, config)
        # The mask has T * S elements, so it is built only after the positions are known to be at most N.
        cache = self._extended_cache(past, B, T, use_cache)
        mask = make_mask(backend, T, P + T, real)
        context = ForwardContext(mask, cache, self._use_blocked_attention(output_attentions, tap))
        x = self.apply_layers(x, positions, context, heads, tap, hidden_states, attentions)
        tap.finish()
        output = BaseModelOutput(
            x,
            cache if use_cache else None,
            None if hidden_states is None else tuple(hidden_states),
            None if attentions is None else tuple(attentions),
        )
        return output if _option(return_dict, config.use_return_dict) else output.to_tuple()

    def apply_layers(
        self,
        x: Array,
        position_ids: Array,
        context: ForwardContext,
        head_mask: Array | None,
        tap: Tap,
        hidden_states: list[Array] | None = None,
        attentions: list[Array] | None = None,
    ) -> Array:
        """Add the position embeddings, apply the L layers, then the final norm.

        Parameters
        ----------
        x : (B, T, D) token embeddings. position_ids : (B, T), checked by the caller. Nothing here synchronizes
            with the device.
        hidden_states, attentions : lists that collect each x and the attention weights; None to collect nothing.
        """
        x = tap("embed_tokens", x)
        x = tap("embeddings", x + tap("embed_positions", self.embed_positions(position_ids)))  # (B, T, D)
        _append(hidden_states, x)
        for i, layer in enumerate(self.layers):
            layer_head_mask = None if head_mask is None else head_mask[i]
            x, weights = layer(x, i, context, layer_head_mask, tap.under(f"layers.{i}"))
            _append(hidden_states, x)
            _append(attentions, weights)
        return tap("layer_norm", self.layer_norm(x))  # (B, T, D)

    @on_backend
    def embed(self, input_ids: Any, attention_mask: Any = None, **options: Any) -> Array:
        """Return one vector for each row, (B, D); see ``minibiogpt.model.pooling.embed`` for the options."""
        return pooling.embed(self, input_ids, attention_mask, **options)

    def _token_embeddings(self, input_ids: Any, inputs_embeds: Any) -> Array:
        """Return the token embeddings (B, T, D) from exactly one of the two inputs."""
        if (input_ids is None) == (inputs_embeds is None):
            found = "neither" if input_ids is None else "both"
            raise InputError("exactly one of input_ids and inputs_embeds must be given", found, "pass one of them")
        if inputs_embeds is not None:
            return inputs.as_embeddings(inputs_embeds, self.config, self.backend, self.dtype)
        return self.embed_tokens(inputs.as_integers("input_ids", input_ids, self.backend, 0, self.config.vocab_size))

    def _positions(self, position_ids: Any, real: Array | None, B: int, P: int, T: int) -> Array:
        """Return the position ids (B, T): the caller's, or derived from the attention mask."""
        if position_ids is None:
            position_ids = inputs.position_ids_from_mask(real, B, P, T, self.backend)
        else:
            high = self.config.max_position_embeddings
            position_ids = inputs.as_integers("position_ids", position_ids, self.backend, -1, high)
            if position_ids.shape not in ((B, T), (1, T)):
                must = f"position_ids must have the shape of the tokens, ({B}, {T})"
                raise InputError(must, f"shape {position_ids.shape}", "give each new token one position")
            position_ids = self.backend.xp.broadcast_to(position_ids, (B, T))
        return position_ids

    def _extended_cache(self, past: KVCache | None, B: int, T: int, use_cache: bool) -> KVCache | None:
        """Return the cache that this pass writes to, T positions longer than ``past``; None if there is no cache."""
        if past is None and use_cache:
            past = KVCache.empty(self.config, B, T, self.backend, self.dtype)
        return None if past is None else past.extended(T)

    def _use_blocked_attention(self, output_attentions: bool, tap: Tap) -> bool:
        """Return whether attention streams. With "auto" it does, unless an array inside attention is requested.

        Also with transformers' names: its "sdpa" hands such a call to eager attention.
        """
        if self.attn_implementation in ("auto", *FUSED):
            layers = range(self.config.num_hidden_layers)
            names = (f"layers.{layer}.self_attn.{name}" for layer in layers for name in EAGER_ONLY)
            return not output_attentions and not tap.wants(names)
        if self.attn_implementation == "blocked" and output_attentions:
            raise InputError(
                "output_attentions needs the whole attention matrix",
                "attn_implementation 'blocked'",
                "load the model with attn_implementation='auto' or 'eager'",
            )
        return self.attn_implementation == "blocked"


_KEYWORDS = (
    "input_ids", "attention_mask", *inputs.ORDER, "cache_position", "labels", "trace", "edits", "ablate", "patch_from",
)  # fmt: skip


def _append(collected: list[Array] | None, x: Array) -> None:
    if collected is not None:
        collected.append(x)


def _option(value: bool | None, default: bool) -> bool:
    """Return an option of the call, or the config's value when the call leaves it out."""
    return default if value is None else bool(value)
