"""What a trace tells about the layers' parts: logit lens, what each head writes, direct attribution, ablation tables.

Each function takes a model and the trace of one of its calls, and returns arrays of the model's backend. They hold for
a call as it ran; where ``edits`` replaced an array, what comes before it no longer adds up to what comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from minibiogpt.backend import Array, ignore_overflow
from minibiogpt.checks import is_integer
from minibiogpt.config import LAYER_NORM_EPS
from minibiogpt.errors import InputError
from minibiogpt.model import inputs
from minibiogpt.model.ops import widened
from minibiogpt.trace.patterns import expand

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForCausalLM


@ignore_overflow
def logit_lens(model: BioGptForCausalLM, trace: Mapping[str, Array], position: int | None = -1) -> dict[str, Array]:
    """What the model would predict if it stopped after each layer: E LN(x), LN being the final norm.

    Parameters
    ----------
    trace : must hold ``embeddings`` and each ``layers.{l}``, (B, T, D).
    position : which of the T positions, -1 the last; None: all of them, computed as the model does it, so that the last
        layer's are the very logits of the call.

    Returns
    -------
    {"embeddings": logits, "layers.0": logits, ...}: (B, V) each, (B, T, V) for all positions; unnormalised natural-log
    scores.

    Raises
    ------
    InputError
        If the trace lacks one of these, or is another model's.

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
    stream = _taken(model, trace, ["embeddings", f"layers.{{0..{last}}}"])
    if position is not None:
        stream = {name: x[:, _place(position, x)] for name, x in stream.items()}
    return {name: model.output_projection(model.biogpt.layer_norm(x)) for name, x in stream.items()}


@ignore_overflow
def head_out(model: Any, trace: Mapping[str, Array], layer: int) -> Array:
    """What each head of a layer writes into the residual stream: z_h W_h^T, (B, T, H, D).

    z_h (B, T, Dh) is what head h has mixed, columns h Dh to (h + 1) Dh of ``context``, and W_h (D, Dh) are those
    columns of the output projection: it is parted before the projection, which mixes the heads. Summed over the heads,
    and with the projection's bias, this is ``out_proj``.

    Parameters
    ----------
    model : any of the models. trace : must hold ``layers.{layer}.self_attn.context``.

    Raises
    ------
    InputError
        If the trace lacks it, or is another model's; if there is no such layer.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM, Trace
    >>> model, trace = BioGptForCausalLM.from_pretrained("demo"), Trace()
    >>> output = model([[2, 5, 9]], trace=trace)
    >>> parts = head_out(model, trace, 0)
    >>> parts.shape
    (1, 3, 4, 128)
    >>> whole = parts.sum(axis=2) + model.biogpt.layers[0].self_attn.out_proj.bias
    >>> bool(abs(whole - trace["layers.0.self_attn.out_proj"]).max() < 1e-5)
    True
    """
    L = model.config.num_hidden_layers
    if not is_integer(layer) or not 0 <= layer < L:
        raise InputError(f"layer must be a whole number in [0, {L})", repr(layer), "choose one of the layers")
    name = f"layers.{layer}.self_attn.context"
    return _parted(model, layer, _taken(model, trace, [name])[name])


@ignore_overflow
def logit_attribution(
    model: BioGptForCausalLM, trace: Mapping[str, Array], token: Any, position: int = -1, against: Any = None
) -> dict[str, Array]:
    """Direct logit attribution: how much each part adds to a token's logit, past all later layers but the final norm.

    The residual stream before the final norm is a sum x of parts c, and the norm is linear once its own mean and scale
    are taken as they are: with s = sqrt(var(x) + eps), part c adds ((c - mean(c)) / s * g) . E[token]. The norm's bias
    adds b . E[token]. Together they are the logit. What a part does to later parts is not counted as its own.

    Parameters
    ----------
    trace : must hold ``embed_tokens``, ``embed_positions``, of each layer ``self_attn.context`` and ``fc2``, and the
        last ``layers.{l}``.
    token : the id whose logit is parted: one for all rows, or one for each, (B,).
    position : which of the T positions; the logit after it.
    against : another id, or (B,) of them; then it is the difference of the two logits that is parted.

    Returns
    -------
    {part: (B,)} in the order of the model: "embed_tokens", "embed_positions"; of each layer
    "layers.{l}.self_attn.heads.{h}" for each head, "layers.{l}.self_attn.out_proj.bias", "layers.{l}.fc2" (with its
    bias); at last "layer_norm.bias". In logits; float32 where the model computes in halves.

    Raises
    ------
    InputError
        If the trace lacks one of these, or is another model's; if a token or the position cannot be.

    Source: Elhage et al. 2021; Wang et al. 2022, "Interpretability in the Wild".

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM, Trace
    >>> model, trace = BioGptForCausalLM.from_pretrained("demo", dtype="float64"), Trace()
    >>> output = model([[2, 5, 9]], trace=trace)
    >>> parts = logit_attribution(model, trace, token=7)
    >>> len(parts)  # 2 embeddings, 4 layers of 4 heads, a bias and a feed-forward, and the last bias
    27
    >>> bool(abs(sum(parts.values()) - output.logits[:, -1, 7]).max() < 1e-9)
    True
    """
    last = _language_model(model).config.num_hidden_layers - 1
    within = [f"layers.{{0..{last}}}.{part}" for part in ("self_attn.context", "fc2")]
    arrays = _taken(model, trace, ["embed_tokens", "embed_positions", *within, f"layers.{last}"])
    place = _place(position, arrays["embed_tokens"])
    at = {name: x[:, place] for name, x in arrays.items()}
    written: dict[str, Array] = {name: at[name] for name in ("embed_tokens", "embed_positions")}
    for layer in range(last + 1):
        path, projection = f"layers.{layer}.self_attn", model.biogpt.layers[layer].self_attn.out_proj
        heads = _parted(model, layer, at[f"{path}.context"][:, None])[:, 0]
        written |= {f"{path}.heads.{h}": heads[:, h] for h in range(heads.shape[1])}
        bias: Array = projection.bias
        written[f"{path}.out_proj.bias"] = bias[None]
        written[f"layers.{layer}.fc2"] = at[f"layers.{layer}.fc2"]
    norm, x = model.biogpt.layer_norm, widened(at[f"layers.{last}"])  # squares of halves overflow
    read = widened(_read_by(model, token, against, x.shape[0]))
    x = x - x.mean(axis=-1, keepdims=True)
    scale = model.backend.xp.sqrt((x * x).mean(axis=-1) + LAYER_NORM_EPS)
    found = {}
    for name, c in written.items():
        centred = widened(c) - widened(c).mean(axis=-1, keepdims=True)
        found[name] = (centred * norm.weight * read).sum(axis=-1) / scale
    found["layer_norm.bias"] = (norm.bias * read).sum(axis=-1)
    return found


def ablation_table(model: Any, input_ids: Any, measure: Callable[[Any], Any], **options: Any) -> Array:
    """What ``measure(output)`` loses when one head's part of the context is 0: (L, H), in the measure's units.

    Entry (l, h) is measure(model(input_ids)) - measure(model(input_ids, ablate=[(l, h)])): L H + 1 calls of the model.

    Parameters
    ----------
    model : any of the models.
    measure : takes what the model returns, gives one number.
    options : of each call, such as attention_mask and labels; heads in ``ablate`` are ablated in every call.

    Returns
    -------
    (L, H) float64.

    Raises
    ------
    InputError
        If ``measure`` gives something else.

    Source: Michel et al. 2019, "Are Sixteen Heads Really Better than One?".

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM
    >>> model = BioGptForCausalLM.from_pretrained("demo")
    >>> ablation_table(model, [[2, 5, 9]], lambda output: output.logits[0, -1, 7]).shape
    (4, 4)
    """
    given = options.pop("ablate", None)
    always = [] if given is None else list(given)
    L, H = model.config.num_hidden_layers, model.config.num_attention_heads

    def measured(*pairs: tuple[int, int]) -> float:
        found = measure(model(input_ids, ablate=[*always, *pairs], **({"use_cache": False} | options)))
        try:
            if getattr(found, "shape", ()) != ():
                raise TypeError(f"an array of shape {found.shape}")
            return float(found)
        except (TypeError, ValueError):
            what = f"{type(found).__name__} of shape {getattr(found, 'shape', None)}"
            must = "measure must give one number of what the model returns"
            raise InputError(must, what, "take a sum, a mean or one element") from None

    whole = measured()
    table = [[whole - measured((layer, head)) for head in range(H)] for layer in range(L)]
    return model.backend.asarray(table, dtype="float64")


def _language_model(model: Any) -> Any:
    if not hasattr(model, "output_projection"):
        raise InputError("model must be a BioGptForCausalLM", type(model).__name__, "load it as one: it has logits")
    return model


def _taken(model: Any, trace: Mapping[str, Array], patterns: list[str]) -> dict[str, Array]:
    """The arrays of these names, (B, T, D) each, on the model's backend."""
    own, letters = model.config.letters, getattr(trace, "letters", {})
    other = {letter: size for letter, size in letters.items() if own.get(letter, size) != size}
    if other:
        must = f"the trace must be this model's: {_told({letter: own[letter] for letter in other})}"
        raise InputError(must, _told(other), "run this model with trace=Trace()")
    names = [name for pattern in patterns for name in expand(pattern)]
    missing = [name for name in names if name not in trace]
    if missing:
        found = f"no {', '.join(missing[:3])}" + (f" and {len(missing) - 3} more" if missing[3:] else "")
        raise InputError(f"the trace must hold {', '.join(patterns)}", found, f"trace the call with names={patterns}")
    arrays = {name: model.backend.asarray(trace[name]) for name in names}
    for name, x in arrays.items():
        if x.ndim != 3 or x.shape[-1] != own["D"] or str(x.dtype) != model.dtype:
            must = f"the trace must be this model's: {name} (B, T, {own['D']}), {model.dtype}"
            raise InputError(must, f"shape {x.shape}, {x.dtype}", "run this model with trace=Trace()")
    if len({x.shape for x in arrays.values()}) > 1:
        found = ", ".join(sorted({str(x.shape) for x in arrays.values()}))
        raise InputError("the arrays of a trace must be of one call", f"shapes {found}", "run the model again")
    return arrays


def _told(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{letter} = {size}" for letter, size in sizes.items())


def _place(position: Any, x: Array) -> int:
    """The position, which must be one of x's (B, T, D)."""
    T = x.shape[1]
    if not is_integer(position) or not -T <= position < T:
        raise InputError(f"position must be a whole number in [{-T}, {T})", repr(position), "-1 is the last")
    return int(position)


def _parted(model: Any, layer: int, context: Array) -> Array:
    """(B, T, D) to (B, T, H, D): each head's columns of the context through their columns of the output projection."""
    B, T, D = context.shape
    H, Dh = model.config.num_attention_heads, model.config.head_size
    base = getattr(model, "biogpt", model)
    weight = base.layers[layer].self_attn.out_proj.weight.reshape(1, D, H, Dh).transpose(0, 2, 1, 3)
    z = context.reshape(1, B * T, H, Dh).transpose(0, 2, 1, 3)  # one matrix product a head
    parts = base.backend.head_products(z, weight, transposed=True)
    return parts[0].transpose(1, 0, 2).reshape(B, T, H, D)


def _read_by(model: Any, token: Any, against: Any, B: int) -> Array:
    """(B, D) the row of the output projection that reads the token's logit, less that of the token against it."""
    weight = model.output_projection.weight

    def row(name: str, ids: Any) -> Array:
        ids = int(ids) if getattr(ids, "shape", None) == () and ids.dtype.kind in "iu" else ids
        ids = inputs.as_integers(name, [ids] * B if is_integer(ids) else ids, model.backend, 0, weight.shape[0], "(B)")
        if ids.shape != (B,):
            raise InputError(f"{name} must be one id, or one for each of {B} rows", f"shape {ids.shape}", "give one id")
        return weight[ids]

    return row("token", token) if against is None else row("token", token) - row("against", against)
