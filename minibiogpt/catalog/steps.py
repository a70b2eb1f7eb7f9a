"""Steps: every name of a trace in the order of execution, with its shape, its equation and the sources of its symbols.

This is a table and a graph: each step names the arrays, parameters and inputs that it is computed from, so you can
recompute any array from those before it. Each value of ``where`` is one of these:

- ``inputs/NAME``: an input of the call (``inputs/past_key_values.{l}.k`` is the cached k of layer l);
- a name that ends in ``.weight`` or ``.bias``: a parameter, with its checkpoint name without the leading ``biogpt.``;
- any other name: an array of the same call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from minibiogpt.catalog import equations
from minibiogpt.catalog.descriptions import HOOKS, MODULES, NOTES, SUMMARIES
from minibiogpt.catalog.equations import Equation, equation, linear, norm
from minibiogpt.catalog.names import LAYER, STEP, checked_name, kind_of_source, template_of
from minibiogpt.catalog.similar import suggestion
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, nearest, short_repr

HEADS = {
    "BioGptModel": "base",
    "BioGptForCausalLM": "causal",
    "BioGptForSequenceClassification": "sequence",
    "BioGptForTokenClassification": "token",
}
"""{architecture: head}. There is also the head "generate": one step of ``generate``."""
IDS = {"input_ids": "int64"}


@dataclass(frozen=True)
class Step:
    """One named array of a call.

    Attributes
    ----------
    name : in the trace; in the templates of this module, with ``{l}`` for the layer.
    axes : the letters of its shape, separated by spaces: "B H T S"; "" for a scalar.
    equation : the array as a Python expression of the symbols in ``where`` and ``terms``, the letters, NumPy's
        functions and ``equations.EQUATION_FUNCTIONS``; "" if it depends on the options of ``generate``.
    where : {symbol: source}; the docstring of this module lists the kinds of sources.
    terms : {symbol: expression}, parts of the equation that are evaluated first, in order.
    what : one-line description. note : common mistakes and differences from other tools.
    transformers : the module or output of transformers 4.57 that has this array; "" if none has.
    transformer_lens : the hook of TransformerLens 2 that has this array, and its axes there; ("", "") if none has.
    derived : whether the array is in no trace and must be computed from the equation.
    """

    name: str
    axes: str
    equation: str
    where: dict[str, str]
    terms: dict[str, str] = field(default_factory=dict)
    derived: bool = False

    @property
    def template(self) -> str:
        """The name with ``{l}`` for the layer, without the ``step.{n}/`` of a ``generate`` call."""
        return template_of(self.name)

    @property
    def what(self) -> str:
        return SUMMARIES[self.template]

    @property
    def note(self) -> str:
        return NOTES.get(self.template, "")

    @property
    def transformers(self) -> str:
        key = f"logits {self.axes}" if self.template == "logits" else self.template
        return self._filled(MODULES.get(key, ""))

    @property
    def transformer_lens(self) -> tuple[str, str]:
        hook, axes = HOOKS.get(self.template, ("", ""))
        return self._filled(hook), axes

    def _filled(self, template: str) -> str:
        layer = LAYER.search(self.name)
        return template.replace("{l}", layer[1]) if layer else template

    @property
    def sources(self) -> list[str]:
        """Names of the arrays of the call that this one is computed from."""
        return [source for source in self.where.values() if kind_of_source(source) == "array"]


def steps(config: BioGptConfig, head: str = "causal", inputs: Mapping[str, str] = IDS) -> list[Step]:
    """Return the steps of a call's trace, in order, for "eager" attention.

    Parameters
    ----------
    head : "base", "causal", "sequence", "token", the name of an architecture, or "generate": one step of ``generate``,
        without the arrays that depend on its options (see GENERATION_ARRAYS).
    inputs : {input: dtype} of the call. The inputs present select the equations and decide whether there is a loss;
        the dtype matters only for the labels of a sequence classifier. Include "past_key_values" if the cache already
        holds positions.

    Examples
    --------
    >>> found = {step.name: step for step in steps(BioGptConfig(num_hidden_layers=2))}
    >>> len(found), found["layers.1.fc1"].equation, found["layers.1.fc1"].where["W"]
    (44, 'x @ W.T + b', 'layers.1.fc1.weight')
    >>> found["layers.1.self_attn_layer_norm"].sources
    ['layers.0']
    """
    layers = [
        _for_layer(step, layer) for layer in range(config.num_hidden_layers) for step in steps_in_layer(config, inputs)
    ]
    return [*before_layers(config, inputs), *layers, *after_layers(config, _head(head), inputs)]


def derived_steps(config: BioGptConfig) -> list[Step]:
    """Return the steps of the arrays that no trace holds but that can be computed from one."""
    return [_for_layer(HEAD_OUT, layer) for layer in range(config.num_hidden_layers)]


def step_of(name: str, config: BioGptConfig, head: str = "causal", inputs: Mapping[str, str] | None = None) -> Step:
    """Return the step of one name. If the name starts with ``step.{n}/``, so do the step's sources.

    With a head other than "generate", ``step.{n}/`` is the n-th of several calls that share a cache: the past is the k
    and v of the call before.

    Parameters
    ----------
    inputs : as in ``steps``; by default input_ids, and past_key_values if n > 0.

    Raises
    ------
    InputError
        If the name is unknown; the message suggests the closest names.
    """
    prefix, n = _step_prefix(checked_name(name))
    default = inputs is None
    inputs = dict(IDS if inputs is None else inputs) | ({"past_key_values": "cache"} if default and n else {})
    if n == 0:
        inputs.pop("past_key_values", None)
    known = {step.name: step for step in [*steps(config, head, inputs), *derived_steps(config)]}
    plain = name[len(prefix) :]
    if _head(head) == "generate" and template_of(plain) in GENERATION_ARRAYS:
        return replace(GENERATION_ARRAYS[template_of(plain)], name=name)
    if plain not in known:
        must, hint = "name must be an array in a trace of this model", suggestion(plain, known) or "nearest: none"
        elsewhere = OTHER_CALLS.get(template_of(plain), "")
        raise InputError(must, short_repr(name), elsewhere or f"{hint}; see docs/trace.md for all names")
    return _with_prefix(known[plain], prefix, n, _head(head))


def steps_of_call(prefix: str, config: BioGptConfig, head: str, inputs: Mapping[str, str]) -> dict[str, Step]:
    """Return {full name: step} of one of several calls that share a cache; the prefix is "" or ``step.{n}/``."""
    n = int(STEP.match(prefix)[1]) if prefix else None  # type: ignore[index]
    found = (_with_prefix(step, prefix, n, _head(head)) for step in steps(config, head, inputs))
    return {step.name: step for step in found}


def axes_of(name: str, head: str = "causal") -> str:
    """Return the letters of an array's shape, for any layer and step.

    Examples
    --------
    >>> axes_of("step.2/layers.7.self_attn.scores"), axes_of("logits"), axes_of("logits", "sequence")
    ('B H T S', 'B T V', 'B labels')
    """
    known = _axes(head)
    template = template_of(checked_name(name))
    if template not in known:
        near = ", ".join(nearest(template, known))
        raise InputError("name must be an array in a trace", short_repr(name), f"nearest: {near or 'none'}")
    return known[template]


@cache
def _axes(head: str) -> dict[str, str]:
    one_layer = steps(BioGptConfig(num_hidden_layers=1), head, IDS | {"labels": "int64"})
    return {step.template: step.axes for step in [*one_layer, HEAD_OUT, *GENERATION_ARRAYS.values()]}


def _step_prefix(name: str) -> tuple[str, int | None]:
    """Return the prefix ``step.{n}/`` and n; ("", None) if there is none."""
    found = STEP.match(name)
    return (found[0], int(found[1])) if found else ("", None)


def _head(head: str) -> str:
    head = HEADS.get(head, head) if isinstance(head, str) else head
    if head not in (*HEADS.values(), "generate"):
        must = f"head must be one of {', '.join([*HEADS.values(), 'generate', *HEADS])}"
        raise InputError(must, short_repr(head), "choose one of these")
    return head


def _with_prefix(step: Step, prefix: str, n: int | None, head: str) -> Step:
    """Prepend ``step.{n}/`` to the step's name, its arrays and its inputs."""

    def prefixed(source: str) -> str:
        if kind_of_source(source) == "parameter":
            return source
        past = re.fullmatch(r"inputs/past_key_values\.(\d+)\.(k|v)", source)
        if past and n and head != "generate":
            return f"step.{n - 1}/layers.{past[1]}.self_attn.{past[2]}"
        return prefix + source

    return replace(step, name=prefix + step.name, where={symbol: prefixed(x) for symbol, x in step.where.items()})


def _for_layer(step: Step, layer: int) -> Step:
    """Fill in the layer index, and the output of the layer before as ``{x}``."""
    before = f"layers.{layer - 1}" if layer else "embeddings"

    def filled(text: str) -> str:
        return text.replace("{x}", before).replace("{l}", str(layer))

    where = {symbol: filled(source) for symbol, source in step.where.items()}
    return replace(step, name=filled(step.name), equation=filled(step.equation), where=where)


def _make_step(name: str, axes: str, equation: Equation) -> Step:
    return Step(name, axes, equation.text, equation.where, equation.terms)


def before_layers(config: BioGptConfig, inputs: Mapping[str, str]) -> list[Step]:
    """The steps from the ids to the input of the first layer."""
    rows = equation("P[position_ids + 2]", {"P": "embed_positions.weight", "position_ids": "position_ids"})
    return [
        _make_step("position_ids", "B T", equations.position_ids(inputs)),
        _make_step("embed_tokens", "B T D", equations.embed_tokens(config, inputs)),
        _make_step("embed_positions", "B T D", rows),
        _make_step("embeddings", "B T D", equation("x + p", {"x": "embed_tokens", "p": "embed_positions"})),
    ]


def steps_in_layer(config: BioGptConfig, inputs: Mapping[str, str]) -> list[Step]:
    """The steps of one layer: attention, then the feed-forward network; ``{x}`` is the input of the layer."""
    path = "layers.{l}"
    activation = equation(equations.ACTIVATION[config.hidden_act], {"x": f"{path}.fc1"})
    residual = equation("x + a", {"x": "{x}", "a": f"{path}.self_attn.out_proj"})
    return [
        _make_step(f"{path}.self_attn_layer_norm", "B T D", norm("{x}", f"{path}.self_attn_layer_norm")),
        *_attention(f"{path}.self_attn", inputs),
        _make_step(f"{path}.attn_residual", "B T D", residual),
        _make_step(f"{path}.final_layer_norm", "B T D", norm(f"{path}.attn_residual", f"{path}.final_layer_norm")),
        _make_step(f"{path}.fc1", "B T F", linear(f"{path}.final_layer_norm", f"{path}.fc1")),
        _make_step(f"{path}.activation_fn", "B T F", activation),
        _make_step(f"{path}.fc2", "B T D", linear(f"{path}.activation_fn", f"{path}.fc2")),
        _make_step(path, "B T D", equation("x + f", {"x": f"{path}.attn_residual", "f": f"{path}.fc2"})),
    ]


def _attention(path: str, inputs: Mapping[str, str]) -> list[Step]:
    """Project, split into heads, attend, merge the heads, project."""
    h = "layers.{l}.self_attn_layer_norm"
    scores = equation("q @ k.swapaxes(-1, -2) / sqrt(Dh)", {"q": f"{path}.q", "k": f"{path}.k"})
    mixed = "(weights @ v).swapaxes(1, 2).reshape(B, T, D)"
    return [
        *(_make_step(f"{path}.{x}_proj", "B T D", linear(h, f"{path}.{x}_proj")) for x in "qkv"),
        _make_step(f"{path}.q", "B H T Dh", equation(equations.SPLIT, {"x": f"{path}.q_proj"})),
        _make_step(f"{path}.k", "B H S Dh", equations.heads_of("k", inputs)),
        _make_step(f"{path}.v", "B H S Dh", equations.heads_of("v", inputs)),
        _make_step(f"{path}.scores", "B H T S", scores),
        _make_step(f"{path}.scores_masked", "B H T S", equations.scores_masked(inputs)),
        _make_step(f"{path}.probs", "B H T S", equations.SOFTMAX),
        _make_step(f"{path}.weights", "B H T S", equations.weights(inputs)),
        _make_step(f"{path}.context", "B T D", equation(mixed, {"weights": f"{path}.weights", "v": f"{path}.v"})),
        _make_step(f"{path}.out_proj", "B T D", linear(f"{path}.context", f"{path}.out_proj")),
    ]


def after_layers(config: BioGptConfig, head: str, inputs: Mapping[str, str]) -> list[Step]:
    """The steps of the final norm, the head and its loss."""
    found = [_make_step("layer_norm", "B T D", norm(f"layers.{config.num_hidden_layers - 1}", "layer_norm"))]
    if head == "causal":
        found.append(_make_step("logits", "B T V", equations.causal_logits(config)))
    elif head == "generate":
        found.append(_make_step("logits", "B V", equations.causal_logits(config, "[:, -1]")))
    elif head == "token":
        found.append(_make_step("logits", "B T labels", linear("layer_norm", "classifier")))
    elif head == "sequence":
        found.append(_make_step("score", "B T labels", equation("h @ W.T", {"h": "layer_norm", "W": "score.weight"})))
        found.append(_make_step("logits", "B labels", equations.pooled_logits(config, inputs)))
    if "labels" in inputs and head in LOSSES:
        found.append(_make_step("loss", "", LOSSES[head](config, inputs)))
    return found


LOSSES: dict[str, Callable[[BioGptConfig, Mapping[str, str]], Equation]] = {
    "causal": lambda config, inputs: equations.causal_loss(),
    "token": lambda config, inputs: equations.token_loss(inputs),
    "sequence": lambda config, inputs: equations.sequence_loss(config, inputs["labels"]),
}
HEAD_OUT = Step(
    "layers.{l}.self_attn.head_out",
    "B T H D",
    'einsum("bthd,ohd->btho", x.reshape(B, T, H, Dh), W.reshape(D, H, Dh))',
    {"x": "layers.{l}.self_attn.context", "W": "layers.{l}.self_attn.out_proj.weight"},
    derived=True,
)
GENERATION_ARRAYS = {
    name: Step(name, axes, "", {})
    for name, axes in {
        "processors.{i}.{rule}.before": "B V",
        "processors.{i}.{rule}.after": "B V",
        "origins": "B",
        "tokens": "B",
    }.items()
}
"""The arrays of a generation step after its forward pass, in order. Its options decide which of them exist."""
OTHER_CALLS = dict.fromkeys(GENERATION_ARRAYS, "only a generate call has one") | {
    "loss": "only a call with labels has one",
    "logits": "only a model with a head computes it",
}
"""{array that this call or model does not make: what it takes}."""
