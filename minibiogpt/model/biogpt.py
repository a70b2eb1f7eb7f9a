"""BioGptModel: the whole architecture on two screens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minibiogpt.backend import Array, Backend, get_backend, ignore_overflow, report_full_memory
from minibiogpt.catalog.parameters import base_shapes
from minibiogpt.config import BioGptConfig
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
    below,
    named_parameters,
)
from minibiogpt.model.outputs import BaseModelOutput
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.trace import Edit, Tap, Trace
from minibiogpt.trace.edits import make_tap

ATTENTION = ("auto", "eager", "blocked")
INSIDE = ("scores", "scores_masked", "probs", "weights")  # what only eager attention makes


class BioGptModel(Pretrained):
    """Tokens and their positions in, one hidden state for each position out.

    Parameters
    ----------
    config : the sizes.
    weights : {name: array} with the checkpoint's names less the leading ``biogpt.``, all of one backend and dtype.
    attn_implementation : "eager" makes every array of attention, "blocked" streams over them; "auto" takes eager
        when something looks inside (a trace, output_attentions). All agree to rounding.

    Source: Luo et al. 2022 (BioGPT); BioGptModel in transformers 4.57, in evaluation mode.
    """

    def __init__(
        self,
        config: BioGptConfig,
        weights: Weights,
        backend: str | Backend = "numpy",
        attn_implementation: str = "auto",
    ) -> None:
        if attn_implementation not in ATTENTION:
            must = f"attn_implementation must be one of {', '.join(ATTENTION)}"
            raise InputError(must, repr(attn_implementation), "choose one of these")
        self.config, self.backend, self.attn_implementation = config, get_backend(backend), attn_implementation
        self.embed_tokens = ScaledEmbedding(weights["embed_tokens.weight"], config.embed_scale)
        self.embed_positions = LearnedPositions(weights["embed_positions.weight"])
        layers = range(config.num_hidden_layers)
        self.layers = [DecoderLayer(config, below(weights, f"layers.{layer}")) for layer in layers]
        self.layer_norm = LayerNorm(**below(weights, "layer_norm"))

    shapes_of = staticmethod(base_shapes)

    @property
    def dtype(self) -> str:
        return str(self.layer_norm.weight.dtype)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        return named_parameters(self)

    @ignore_overflow
    @report_full_memory
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
    ) -> Any:
        """Run the model; nothing that is handed over is changed.

        Parameters
        ----------
        input_ids : (B, T) integers in [0, V). Lists, NumPy or CuPy arrays.
        attention_mask : (B, S), 1 = real, 0 = padding on the left or the right; default all ones. S is past + T.
        head_mask : (H,) for every layer or (L, H), multiplied into the probabilities after the softmax.
        position_ids : (B, T) from 0, -1 for pads; default cumsum(mask) * mask - 1.
        inputs_embeds : (B, T, D) in place of input_ids, already scaled.
        past_key_values : the cache of the positions before these.
        use_cache, output_attentions, output_hidden_states, return_dict : default from the config.
        trace : a Trace that is emptied and then filled with every named array that it wants.
        edits : {name: function}; each named array is replaced by what its function makes of it, of the same shape and
            dtype. Patterns are allowed, as in Trace. The cache keeps k_proj and v_proj, edited; an edit of k or v holds
            for this call alone.
        ablate : (layer, head) pairs whose part of the context becomes 0.
        patch_from : {name: array} that takes the place of this call's: the trace of another one, or a selection of it.
        tap : of the larger call that this one is a part of; it then records and edits.

        Returns
        -------
        BaseModelOutput, or with ``return_dict=False`` a tuple of its fields that are not None.

        Raises
        ------
        InputError
            If an input cannot be, or an edit was never reached: what must hold, what was found and what to do.
        """
        config, backend = self.config, self.backend
        look_inside, keep = _chosen(output_attentions, config.output_attentions), _chosen(use_cache, config.use_cache)
        tap = tap or make_tap(config, backend, trace, edits, ablate, patch_from)

        x = self._token_embeddings(input_ids, inputs_embeds)  # (B, T, D)
        B, T, _ = x.shape
        past = inputs.as_cache(past_key_values, config, B, backend, self.dtype)
        P = past.seq_length if past else 0
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

        states: list[Array] | None = [] if _chosen(output_hidden_states, config.output_hidden_states) else None
        attentions: list[Array] | None = [] if look_inside else None
        told, positions = positions, tap("position_ids", positions)  # (B, T)
        if real is None and position_ids is None and positions is told:
            inputs.check_largest_position(P + T - 1, config)
        else:
            inputs.check_positions(positions, config)
        # The mask has T times S cells: it is made once the positions are known to be no more than N.
        cache = self._extended(past, B, T, keep)
        context = ForwardContext(make_mask(backend, T, P + T, real), cache, self._blocked(look_inside, tap))
        x = self.forward(x, positions, context, heads, tap, states, attentions)
        tap.finish()
        output = BaseModelOutput(
            x,
            cache if keep else None,
            None if states is None else tuple(states),
            None if attentions is None else tuple(attentions),
        )
        return output if _chosen(return_dict, config.return_dict) else output.to_tuple()

    def forward(
        self,
        x: Array,
        position_ids: Array,
        context: ForwardContext,
        head_mask: Array | None,
        tap: Tap,
        states: list[Array] | None = None,
        attentions: list[Array] | None = None,
    ) -> Array:
        """The drawing: token + position, L layers, norm. Each x and the attention weights go into the lists, if any.

        From embedded tokens (B, T, D) and checked positions (B, T): nothing here waits for a device.
        """
        x = tap("embed_tokens", x)
        x = tap("embeddings", x + tap("embed_positions", self.embed_positions(position_ids)))  # (B, T, D)
        _keep(states, x)
        for i, layer in enumerate(self.layers):
            head = None if head_mask is None else head_mask[i]
            x, weights = layer(x, i, context, head, tap.under(f"layers.{i}"))
            _keep(states, x)
            _keep(attentions, weights)
        return tap("layer_norm", self.layer_norm(x))  # (B, T, D)

    @report_full_memory
    def embed(self, input_ids: Any, attention_mask: Any = None, **options: Any) -> Array:
        """One vector for each row, (B, D); see ``minibiogpt.model.pooling.embed`` for the options."""
        return pooling.embed(self, input_ids, attention_mask, **options)

    def _token_embeddings(self, input_ids: Any, inputs_embeds: Any) -> Array:
        """(B, T, D) from exactly one of the two."""
        if (input_ids is None) == (inputs_embeds is None):
            found = "neither" if input_ids is None else "both"
            raise InputError("exactly one of input_ids and inputs_embeds must be given", found, "hand over one")
        if inputs_embeds is not None:
            return inputs.as_embeddings(inputs_embeds, self.config, self.backend, self.dtype)
        return self.embed_tokens(inputs.as_integers("input_ids", input_ids, self.backend, 0, self.config.vocab_size))

    def _positions(self, position_ids: Any, real: Array | None, B: int, P: int, T: int) -> Array:
        if position_ids is None:
            position_ids = inputs.positions_of(real, B, P, T, self.backend)
        else:
            high = self.config.max_position_embeddings
            position_ids = inputs.as_integers("position_ids", position_ids, self.backend, -1, high)
            if position_ids.shape not in ((B, T), (1, T)):
                must = f"position_ids must have the shape of the tokens, ({B}, {T})"
                raise InputError(must, f"shape {position_ids.shape}", "give each new token one position")
            position_ids = self.backend.xp.broadcast_to(position_ids, (B, T))
        return position_ids

    def _extended(self, past: KVCache | None, B: int, T: int, keep: bool) -> KVCache | None:
        """The cache this pass writes to: needed to keep anything, and to attend to what is past."""
        if past is None and keep:
            past = KVCache.empty(self.config, B, T, self.backend, self.dtype)
        return None if past is None else past.extended(T)

    def _blocked(self, output_attentions: bool, tap: Tap) -> bool:
        """Whether attention streams: it does unless an array within it is asked for."""
        if self.attn_implementation == "auto":
            layers = range(self.config.num_hidden_layers)
            inside = (f"layers.{layer}.self_attn.{name}" for layer in layers for name in INSIDE)
            return not output_attentions and not tap.asks(inside)
        if self.attn_implementation == "blocked" and output_attentions:
            raise InputError(
                "output_attentions needs the whole attention matrix",
                "attn_implementation 'blocked'",
                "load the model with attn_implementation='auto' or 'eager'",
            )
        return self.attn_implementation == "blocked"


def _keep(kept: list[Array] | None, x: Array) -> None:
    if kept is not None:
        kept.append(x)


def _chosen(asked: bool | None, default: bool) -> bool:
    return default if asked is None else bool(asked)
