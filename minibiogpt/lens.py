"""Analyze a trace: logit lens, head outputs, direct logit attribution, ablation tables.

Each function takes a model and the trace of one of its calls, and returns arrays of the model's backend. The results
describe the call as it ran: if ``edits`` replaced an array, the components before it no longer sum to what follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from minibiogpt.backend import Array, ignore_overflow
from minibiogpt.checks import is_integer
from minibiogpt.config import LAYER_NORM_EPS
from minibiogpt.errors import InputError, listed, short_repr
from minibiogpt.model import inputs
from minibiogpt.model.layers import unpacked
from minibiogpt.model.ops import widened
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.trace.patterns import expand

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForCausalLM


@ignore_overflow
def logit_lens(model: BioGptForCausalLM, trace: Mapping[str, Array], position: int | None = -1) -> dict[str, Array]:
    """Return the logits that the model would predict if it stopped after each layer: E LN(x), with LN the final norm.

    Parameters
    ----------
    trace : must hold ``embeddings`` and each ``layers.{l}``, (B, T, D).
    position : which of the T positions, -1 for the last. None returns all of them, computed as in the model, so that
        those of the last layer are exactly the logits of the call.

    Returns
    -------
    {"embeddings": logits, "layers.0": logits, ...}, (B, V) each, or (B, T, V) for all positions. They are unnormalized
    log-probabilities, in nats.

    Raises
    ------
    InputError
        If the trace lacks one of these arrays or comes from a different model.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM, Trace
    >>> model, trace = BioGptForCausalLM.from_pretrained("demo"), Trace()
    >>> output = model([[2, 5, 9]], trace=trace)
    >>> lens = logit_lens(model, trace, position=None)
    >>> list(lens)
    ['embeddings', 'layers.0', 'layers.1', 'layers.2', 'layers.3']
    >>> bool((lens["layers.3"] == output.logits).all())
    True
    """
    last = _language_model(model).config.num_hidden_layers - 1
    stream = _arrays_of(model, trace, ["embeddings", f"layers.{{0..{last}}}"])
    if position is not None:
        stream = {name: x[:, _check_position(position, x)] for name, x in stream.items()}
    return {name: model.output_projection(model.biogpt.layer_norm(x)) for name, x in stream.items()}


@ignore_overflow
def head_out(model: Any, trace: Mapping[str, Array], layer: int) -> Array:
    """Return what each head of a layer adds to the residual stream: z_h W_h^T, (B, T, H, D).

    z_h (B, T, Dh) is the context of head h, columns h * Dh to (h + 1) * Dh of ``context``; W_h (D, Dh) holds the same
    columns of the output projection. The split comes before the projection because the projection mixes the heads.
    The sum over the heads plus the bias of the projection is ``out_proj``, up to what rounding the context to 8 bits
    changes if the weights are int8-dynamic.

    Parameters
    ----------
    model : a model of any class. trace : must hold ``layers.{layer}.self_attn.context``.

    Raises
    ------
    InputError
        If the trace lacks this array or comes from a different model, or the layer does not exist.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM, Trace
    >>> model, trace = BioGptForCausalLM.from_pretrained("demo"), Trace()
    >>> output = model([[2, 5, 9]], trace=trace)
    >>> parts = head_out(model, trace, 0)
    >>> parts.shape
    (1, 3, 4, 128)
    >>> total = parts.sum(axis=2) + model.biogpt.layers[0].self_attn.out_proj.bias
    >>> bool(abs(total - trace["layers.0.self_attn.out_proj"]).max() < 1e-5)
    True
    """
    L = _checked(model).config.num_hidden_layers
    if not is_integer(layer) or not 0 <= layer < L:
        raise InputError(f"layer must be an integer in [0, {L})", short_repr(layer), "choose one of the layers")
    name = f"layers.{layer}.self_attn.context"
    return _head_outputs(model, layer, _arrays_of(model, trace, [name])[name])


@ignore_overflow
def logit_attribution(
    model: BioGptForCausalLM, trace: Mapping[str, Array], token: Any, position: int = -1, against: Any = None
) -> dict[str, Array]:
    """Direct logit attribution: how much each component adds to a token's logit through the final norm alone.

    The residual stream before the final norm is a sum x of components c, and the norm is linear once its scale is held
    fixed: with s = sqrt(var(x) + eps), component c adds ((c - mean(c)) / s * g) . E[token], and the norm's bias adds
    b . E[token]. These sum to the logit, with int8-dynamic weights up to what rounding the contexts to 8 bits changes.
    The effect of a component on later ones is not attributed to it.

    Parameters
    ----------
    trace : must hold ``embed_tokens``, ``embed_positions``, ``self_attn.context`` and ``fc2`` of each layer, and the
        last ``layers.{l}``.
    token : the id whose logit is decomposed: one for all rows, or one per row, (B,).
    position : which of the T positions; the logit predicts the token after it.
    against : a second id, or (B,) ids. Then the difference of the two logits is decomposed.

    Returns
    -------
    {component: (B,)} in model order: "embed_tokens", "embed_positions"; for each layer
    "layers.{l}.self_attn.heads.{h}" for each head, "layers.{l}.self_attn.out_proj.bias",
    "layers.{l}.fc2" (with its bias); finally "layer_norm.bias". In units of logits; float32 if the model computes in
    half precision.

    Raises
    ------
    InputError
        If the trace lacks one of these arrays or comes from a different model, or a token or the position is invalid.

    Source: Elhage et al. 2021; Wang et al. 2022, "Interpretability in the Wild".

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM, Trace
    >>> model, trace = BioGptForCausalLM.from_pretrained("demo", dtype="float64"), Trace()
    >>> output = model([[2, 5, 9]], trace=trace)
    >>> parts = logit_attribution(model, trace, token=7)
    >>> len(parts)  # 2 embeddings; 4 layers of 4 heads, a bias and a feed-forward output; the bias of the final norm
    27
    >>> bool(abs(sum(parts.values()) - output.logits[:, -1, 7]).max() < 1e-9)
    True
    """
    last = _language_model(model).config.num_hidden_layers - 1
    within = [f"layers.{{0..{last}}}.{part}" for part in ("self_attn.context", "fc2")]
    arrays = _arrays_of(model, trace, ["embed_tokens", "embed_positions", *within, f"layers.{last}"])
    index = _check_position(position, arrays["embed_tokens"])
    at = {name: x[:, index] for name, x in arrays.items()}
    written: dict[str, Array] = {name: at[name] for name in ("embed_tokens", "embed_positions")}
    for layer in range(last + 1):
        path, projection = f"layers.{layer}.self_attn", model.biogpt.layers[layer].self_attn.out_proj
        heads = _head_outputs(model, layer, at[f"{path}.context"][:, None])[:, 0]
        written |= {f"{path}.heads.{h}": heads[:, h] for h in range(heads.shape[1])}
        bias: Array = projection.bias
        written[f"{path}.out_proj.bias"] = bias[None]
        written[f"layers.{layer}.fc2"] = at[f"layers.{layer}.fc2"]
    norm, x = model.biogpt.layer_norm, widened(at[f"layers.{last}"])  # squares overflow in float16
    direction = widened(_unembedding(model, token, against, x.shape[0]))
    x = x - x.mean(axis=-1, keepdims=True)
    scale = model.backend.xp.sqrt((x * x).mean(axis=-1) + LAYER_NORM_EPS)
    found = {}
    for name, c in written.items():
        centered = widened(c) - widened(c).mean(axis=-1, keepdims=True)
        found[name] = (centered * norm.weight * direction).sum(axis=-1) / scale
    found["layer_norm.bias"] = (norm.bias * direction).sum(axis=-1)
    return found


def ablation_table(model: Any, input_ids: Any, measure: Callable[[Any], Any], **options: Any) -> Array:
    """Return how much ``measure(output)`` drops when each head is ablated: (L, H), in the units of the measure.

    Entry (l, h) is measure(model(input_ids)) - measure(model(input_ids, ablate=[(l, h)])). This calls the model
    ``L * H + 1`` times.

    Parameters
    ----------
    model : a model of any class.
    measure : function of the model's output that returns one number.
    options : passed to each call, such as attention_mask and labels. Heads in ``ablate`` are ablated in every call.

    Returns
    -------
    (L, H) float64.

    Raises
    ------
    InputError
        If ``measure`` returns something else.

    Source: Michel et al. 2019, "Are Sixteen Heads Really Better than One?".

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM
    >>> model = BioGptForCausalLM.from_pretrained("demo")
    >>> ablation_table(model, [[2, 5, 9]], lambda output: output.logits[0, -1, 7]).shape
    (4, 4)
    """
    ablate = options.pop("ablate", None)
    try:
        always = [] if ablate is None else list(ablate)
    except TypeError:
        raise InputError("ablate must be pairs (layer, head)", short_repr(ablate), "pass a list: [(0, 1)]") from None
    if not callable(measure):
        must, remedy = "measure must be a function of the model's output", "pass lambda output: output.logits[0, -1, 7]"
        raise InputError(must, short_repr(measure), remedy)
    L, H = _checked(model).config.num_hidden_layers, model.config.num_attention_heads

    def measured(*pairs: tuple[int, int]) -> float:
        found = measure(model(input_ids, ablate=[*always, *pairs], **({"use_cache": False} | options)))
        try:
            if getattr(found, "shape", ()) != ():
                raise TypeError(f"an array of shape {found.shape}")
            return float(found)
        except (TypeError, ValueError):
            result = f"{type(found).__name__} of shape {getattr(found, 'shape', None)}"
            must = "measure must return one number"
            raise InputError(must, result, "take a sum, a mean or one element") from None

    baseline = measured()
    table = [[baseline - measured((layer, head)) for head in range(H)] for layer in range(L)]
    return model.backend.asarray(table, dtype="float64")


def _checked(model: Any) -> Any:
    if not isinstance(model, Pretrained):
        must, remedy = "model must be a BioGPT model", "pass BioGptForCausalLM.from_pretrained(...)"
        raise InputError(must, type(model).__name__, remedy)
    return model


def _language_model(model: Any) -> Any:
    if not hasattr(_checked(model), "output_projection"):
        raise InputError("model must be a BioGptForCausalLM", type(model).__name__, "load it as one: it has logits")
    return model


def _arrays_of(model: Any, trace: Mapping[str, Array], patterns: list[str]) -> dict[str, Array]:
    """Return the arrays of these names, (B, T, D) each, on the model's backend."""
    if not isinstance(trace, Mapping):
        raise InputError("trace must be a Trace", short_repr(trace), "pass one that a call has filled")
    own, letters = model.config.letters, getattr(trace, "letters", {})
    other = {letter: size for letter, size in letters.items() if own.get(letter, size) != size}
    if other:
        must = f"the trace must come from this model: {_sizes_text({letter: own[letter] for letter in other})}"
        raise InputError(must, _sizes_text(other), "run this model with trace=Trace()")
    names = [name for pattern in patterns for name in expand(pattern)]
    missing = [name for name in names if name not in trace]
    if missing:
        raise InputError(
            f"the trace must hold {', '.join(patterns)}",
            f"no {listed(missing, 3)}",
            f"trace the call with names={patterns}",
        )
    try:
        arrays = {name: model.backend.asarray(trace[name]) for name in names}
    except (TypeError, ValueError) as error:
        raise InputError("the trace must hold arrays", str(error), "run this model with trace=Trace()") from None
    for name, x in arrays.items():
        if x.ndim != 3 or x.shape[-1] != own["D"] or str(x.dtype) != model.dtype:
            must = f"the trace must come from this model: {name} (B, T, {own['D']}), {model.dtype}"
            raise InputError(must, f"shape {x.shape}, {x.dtype}", "run this model with trace=Trace()")
    if len({x.shape for x in arrays.values()}) > 1:
        found = ", ".join(sorted({str(x.shape) for x in arrays.values()}))
        raise InputError("the arrays of a trace must come from one call", f"shapes {found}", "run the model again")
    return arrays


def _sizes_text(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{letter} = {size}" for letter, size in sizes.items())


def _check_position(position: Any, x: Array) -> int:
    """Return the position as an int; it must be one of those of x, (B, T, D)."""
    T = x.shape[1]
    if not is_integer(position) or not -T <= position < T:
        raise InputError(f"position must be an integer in [{-T}, {T})", short_repr(position), "-1 is the last")
    return int(position)


def _head_outputs(model: Any, layer: int, context: Array) -> Array:
    """Map a context (B, T, D) to (B, T, H, D): each head through its columns of the output projection."""
    B, T, D = context.shape
    H, Dh = model.config.num_attention_heads, model.config.head_size
    base = getattr(model, "biogpt", model)
    weight = unpacked(base.layers[layer].self_attn.out_proj.weight, base.backend)
    weight = weight.reshape(1, D, H, Dh).transpose(0, 2, 1, 3)
    z = context.reshape(1, B * T, H, Dh).transpose(0, 2, 1, 3)  # one matrix product per head
    parts = base.backend.head_products(z, weight, transposed=True)
    return parts[0].transpose(1, 0, 2).reshape(B, T, H, D)


def _unembedding(model: Any, token: Any, against: Any, B: int) -> Array:
    """Return (B, D): the output projection's row of the token, minus the row of ``against`` if it is given."""
    weight = model.output_projection.weight

    def row(name: str, ids: Any) -> Array:
        ids = int(ids) if getattr(ids, "shape", None) == () and ids.dtype.kind in "iu" else ids
        ids = inputs.as_integers(name, [ids] * B if is_integer(ids) else ids, model.backend, 0, weight.shape[0], "(B)")
        if ids.shape != (B,):
            raise InputError(f"{name} must be one id, or one for each of {B} rows", f"shape {ids.shape}", "give one id")
        return weight[ids]

    return row("token", token) if against is None else row("token", token) - row("against", against)
