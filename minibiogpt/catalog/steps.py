"""Steps: every name of a trace in the order of execution, its shape, its equation, and where its symbols come from.

This is one table and a graph: each step names the arrays, parameters and inputs that it is made of, so that any array
can be computed again from those before it. What each part of a ``where`` may be:

- ``inputs/NAME``: what the call was given (``inputs/past_key_values.{l}.k`` is the cache's k of layer l);
- a name that ends in ``.weight`` or ``.bias``: a parameter, by its checkpoint name less the leading ``biogpt.``;
- any other name: an array of the same call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from minibiogpt.catalog import equations
from minibiogpt.catalog.descriptions import HOOKS, MODULES, NOTES, WHAT
from minibiogpt.catalog.equations import Equation, equation, linear, norm
from minibiogpt.catalog.names import LAYER, STEP, kind_of_source, template_of
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, nearest

HEADS = {
    "BioGptModel": "base",
    "BioGptForCausalLM": "causal",
    "BioGptForSequenceClassification": "sequence",
    "BioGptForTokenClassification": "token",
}
"""The heads by the names of their architectures; "generate" is one step of ``generate``."""
IDS = {"input_ids": "int64"}


@dataclass(frozen=True)
class Step:
    """One named array of a call.

    Attributes
    ----------
    name : in the trace; of a table with ``{l}`` for the layer.
    axes : the letters of its shape, with blanks between them: "B H T S"; "" of a scalar.
    equation : the array, as a Python expression of the symbols in ``where`` and ``terms``, of the letters, of NumPy's
        functions and of ``equations.WORDS``. "" when the options of a generation decide what is done.
    where : {symbol: what it is}; how each is written, ``minibiogpt.catalog.steps`` says.
    terms : {symbol: expression}, parts of the equation that are worked out first, in order.
    what : what it is, in a line. note : where people go wrong.
    transformers : the module or output that has it, in transformers 4.57; "" if none has.
    transformer_lens : the hook that sees it, in TransformerLens 2, and its layout there; two "" if none does.
    derived : in no trace, but can be worked out by the equation.
    """

    name: str
    axes: str
    equation: str
    where: dict[str, str]
    terms: dict[str, str] = field(default_factory=dict)
    derived: bool = False

    @property
    def template(self) -> str:
        """The name with ``{l}`` for the layer, and without the step of a generation."""
        return template_of(self.name)

    @property
    def what(self) -> str:
        return WHAT[self.template]

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
        """The names of the arrays of the call that this one is made of."""
        return [source for source in self.where.values() if kind_of_source(source) == "array"]


def steps(config: BioGptConfig, head: str = "causal", given: Mapping[str, str] = IDS) -> list[Step]:
    """The names of a call's trace, in order, for attention in its "eager" form.

    Parameters
    ----------
    head : "base", "causal", "sequence", "token", the name of an architecture, or "generate" (a step of it, without
        what the options decide: see GENERATION_ARRAYS).
    given : {input: dtype} of the call. Which there are decides between equations, and whether there is a loss; the
        dtype matters for the labels of a sequence classifier alone. "past_key_values" is there when the cache holds
        positions already.

    Examples
    --------
    >>> found = {step.name: step for step in steps(BioGptConfig(num_hidden_layers=2))}
    >>> len(found), found["layers.1.fc1"].equation, found["layers.1.fc1"].where["W"]
    (44, 'x @ W.T + b', 'layers.1.fc1.weight')
    >>> found["layers.1.self_attn_layer_norm"].sources
    ['layers.0']
    """
    layers = [
        _of_layer(step, layer) for layer in range(config.num_hidden_layers) for step in steps_in_layer(config, given)
    ]
    return [*before_layers(config, given), *layers, *after_layers(config, _head(head), given)]


def derived_steps(config: BioGptConfig) -> list[Step]:
    """Arrays that no trace holds, but that follow from it by their equations."""
    return [_of_layer(HEAD_OUT, layer) for layer in range(config.num_hidden_layers)]


def step_of(name: str, config: BioGptConfig, head: str = "causal", given: Mapping[str, str] | None = None) -> Step:
    """The step of one name; of ``step.{n}/...`` too, whose sources then have the same in front.

    ``step.{n}/`` with another head than "generate" is the n-th of several calls through one cache: what is past are
    the k and v of the call before.

    Parameters
    ----------
    given : as in ``steps``; by default the ids, and the past when n is above 0.

    Raises
    ------
    InputError
        If nothing has that name; with the nearest.
    """
    prefix, n = _step(name)
    given = dict(IDS if given is None else given) | ({"past_key_values": "cache"} if given is None and n else {})
    if n == 0:
        given.pop("past_key_values", None)
    known = {step.name: step for step in [*steps(config, head, given), *derived_steps(config)]}
    plain = name[len(prefix) :]
    if _head(head) == "generate" and template_of(plain) in GENERATION_ARRAYS:
        return replace(GENERATION_ARRAYS[template_of(plain)], name=name)
    if plain not in known:
        must, near = "a name must be one of a trace of this model", ", ".join(nearest(plain, known))
        raise InputError(must, repr(name[:80]), f"nearest: {near or 'none'}; see docs/trace.md for all names")
    return _in_step(known[plain], prefix, n, _head(head))


def axes_of(name: str, head: str = "causal") -> str:
    """The letters of an array's shape, whatever the layer and the step.

    Examples
    --------
    >>> axes_of("step.2/layers.7.self_attn.scores"), axes_of("logits"), axes_of("logits", "sequence")
    ('B H T S', 'B T V', 'B labels')
    """
    known = _axes(head)
    if template_of(name) not in known:
        near = ", ".join(nearest(template_of(name), known))
        raise InputError("a name must be one of a trace", repr(name[:80]), f"nearest: {near or 'none'}")
    return known[template_of(name)]


@cache
def _axes(head: str) -> dict[str, str]:
    one_layer = steps(BioGptConfig(num_hidden_layers=1), head, IDS | {"labels": "int64"})
    return {step.template: step.axes for step in [*one_layer, HEAD_OUT, *GENERATION_ARRAYS.values()]}


def _step(name: str) -> tuple[str, int | None]:
    """What stands in front, and its number."""
    found = STEP.match(name)
    return (found[0], int(found[1])) if found else ("", None)


def _head(head: str) -> str:
    head = HEADS.get(head, head)
    if head not in (*HEADS.values(), "generate"):
        must = f"head must be one of {', '.join([*HEADS.values(), 'generate', *HEADS])}"
        raise InputError(must, repr(head), "choose one of these")
    return head


def _in_step(step: Step, prefix: str, n: int | None, head: str) -> Step:
    """The same with ``step.{n}/`` in front of its name and of its arrays and inputs."""

    def placed(source: str) -> str:
        if kind_of_source(source) == "parameter":
            return source
        past = re.fullmatch(r"inputs/past_key_values\.(\d+)\.(k|v)", source)
        if past and n and head != "generate":
            return f"step.{n - 1}/layers.{past[1]}.self_attn.{past[2]}"
        return prefix + source

    return replace(step, name=prefix + step.name, where={symbol: placed(x) for symbol, x in step.where.items()})


def _of_layer(step: Step, layer: int) -> Step:
    """The step of one layer, whose input is what the layer before made."""
    before = f"layers.{layer - 1}" if layer else "embeddings"

    def filled(text: str) -> str:
        return text.replace("{x}", before).replace("{l}", str(layer))

    where = {symbol: filled(source) for symbol, source in step.where.items()}
    return replace(step, name=filled(step.name), equation=filled(step.equation), where=where)


def _made(name: str, axes: str, by: Equation) -> Step:
    return Step(name, axes, by.text, by.where, by.terms)


def before_layers(config: BioGptConfig, given: Mapping[str, str]) -> list[Step]:
    """From ids to the first layer."""
    rows = equation("P[position_ids + 2]", {"P": "embed_positions.weight", "position_ids": "position_ids"})
    return [
        _made("position_ids", "B T", equations.position_ids(given)),
        _made("embed_tokens", "B T D", equations.embed_tokens(config, given)),
        _made("embed_positions", "B T D", rows),
        _made("embeddings", "B T D", equation("x + p", {"x": "embed_tokens", "p": "embed_positions"})),
    ]


def steps_in_layer(config: BioGptConfig, given: Mapping[str, str]) -> list[Step]:
    """One layer: attention, then feed-forward; ``{x}`` is what goes in."""
    path = "layers.{l}"
    activation = equation(equations.ACTIVATION[config.hidden_act], {"x": f"{path}.fc1"})
    residual = equation("x + a", {"x": "{x}", "a": f"{path}.self_attn.out_proj"})
    return [
        _made(f"{path}.self_attn_layer_norm", "B T D", norm("{x}", f"{path}.self_attn_layer_norm")),
        *_attention(f"{path}.self_attn", given),
        _made(f"{path}.attn_residual", "B T D", residual),
        _made(f"{path}.final_layer_norm", "B T D", norm(f"{path}.attn_residual", f"{path}.final_layer_norm")),
        _made(f"{path}.fc1", "B T F", linear(f"{path}.final_layer_norm", f"{path}.fc1")),
        _made(f"{path}.activation_fn", "B T F", activation),
        _made(f"{path}.fc2", "B T D", linear(f"{path}.activation_fn", f"{path}.fc2")),
        _made(path, "B T D", equation("x + f", {"x": f"{path}.attn_residual", "f": f"{path}.fc2"})),
    ]


def _attention(path: str, given: Mapping[str, str]) -> list[Step]:
    """Project, split into heads, attend, merge, project."""
    h = "layers.{l}.self_attn_layer_norm"
    scores = equation("q @ k.swapaxes(-1, -2) / sqrt(Dh)", {"q": f"{path}.q", "k": f"{path}.k"})
    mixed = "(weights @ v).swapaxes(1, 2).reshape(B, T, D)"
    return [
        *(_made(f"{path}.{x}_proj", "B T D", linear(h, f"{path}.{x}_proj")) for x in "qkv"),
        _made(f"{path}.q", "B H T Dh", equation(equations.SPLIT, {"x": f"{path}.q_proj"})),
        _made(f"{path}.k", "B H S Dh", equations.heads_of("k", given)),
        _made(f"{path}.v", "B H S Dh", equations.heads_of("v", given)),
        _made(f"{path}.scores", "B H T S", scores),
        _made(f"{path}.scores_masked", "B H T S", equations.scores_masked(given)),
        _made(f"{path}.probs", "B H T S", equations.SOFTMAX),
        _made(f"{path}.weights", "B H T S", equations.weights(given)),
        _made(f"{path}.context", "B T D", equation(mixed, {"weights": f"{path}.weights", "v": f"{path}.v"})),
        _made(f"{path}.out_proj", "B T D", linear(f"{path}.context", f"{path}.out_proj")),
    ]


def after_layers(config: BioGptConfig, head: str, given: Mapping[str, str]) -> list[Step]:
    """The final norm, the head and its loss."""
    found = [_made("layer_norm", "B T D", norm(f"layers.{config.num_hidden_layers - 1}", "layer_norm"))]
    if head == "causal":
        found.append(_made("logits", "B T V", equations.causal_logits(config)))
    elif head == "generate":
        found.append(_made("logits", "B V", equations.causal_logits(config, "[:, -1]")))
    elif head == "token":
        found.append(_made("logits", "B T labels", linear("layer_norm", "classifier")))
    elif head == "sequence":
        found.append(_made("score", "B T labels", equation("h @ W.T", {"h": "layer_norm", "W": "score.weight"})))
        found.append(_made("logits", "B labels", equations.pooled_logits(config, given)))
    if "labels" in given and head in LOSSES:
        found.append(_made("loss", "", LOSSES[head](config, given)))
    return found


LOSSES: dict[str, Callable[[BioGptConfig, Mapping[str, str]], Equation]] = {
    "causal": lambda config, given: equations.causal_loss(),
    "token": lambda config, given: equations.token_loss(given),
    "sequence": lambda config, given: equations.sequence_loss(config, given["labels"]),
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
"""What a step of ``generate`` makes besides its forward pass, in order: which there are, its options decide."""
