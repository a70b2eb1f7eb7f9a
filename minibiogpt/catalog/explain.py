"""Explain one array of a trace: shape, equation, sources, the line that computes it, and its names in other tools."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minibiogpt.catalog import parameters
from minibiogpt.catalog.equations import EQUATION_FUNCTIONS
from minibiogpt.catalog.foreign import resolve_request
from minibiogpt.catalog.names import STEP, kind_of_source
from minibiogpt.catalog.steps import GENERATION_ARRAYS, Step, axes_of, step_of
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, short_repr

PACKAGE = Path(__file__).parents[1]
WIDTH = 120
INPUT_AXES = {
    "input_ids": "B T",
    "inputs_embeds": "B T D",
    "attention_mask": "B S",
    "position_ids": "B T",
    "head_mask": "L H",
}
SHAPES = {
    "base": parameters.base_shapes,
    "sequence": parameters.sequence_classification_shapes,
    "token": parameters.token_classification_shapes,
    "causal": parameters.causal_lm_shapes,
    "generate": parameters.causal_lm_shapes,
}
HEAD_SOURCES = {
    "causal": ("heads/causal_lm.py", "BioGptForCausalLM"),
    "sequence": ("heads/sequence_classification.py", "BioGptForSequenceClassification"),
    "token": ("heads/token_classification.py", "BioGptForTokenClassification"),
    "generate": ("generation/state.py", "DecodingState"),
}
"""{head: (file, class)}, where the arrays of a head are tapped."""


@dataclass(frozen=True)
class CallFacts:
    """What ``explain`` needs to know about one model call; ``Trace.facts`` makes it.

    Attributes
    ----------
    config, head, inputs, letters : as in Trace.
    shapes, dtypes : {name: shape} and {name: dtype} of the arrays that the trace holds, in order.
    """

    config: BioGptConfig
    head: str
    inputs: Mapping[str, str]
    letters: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]


def explain(facts: CallFacts, name: str) -> str:
    """Return the text of ``Trace.explain``, with the sizes of that call.

    Parameters
    ----------
    name : the name of an array of such a call, whether or not the trace holds it, or its name in transformers,
        TransformerLens or llama.cpp (see ``minibiogpt.catalog.foreign``).

    Raises
    ------
    InputError
        If the name is unknown.
    """
    ours = resolve_request(name)
    try:
        step = step_of(ours, facts.config, facts.head, facts.inputs)
    except InputError as error:
        found = error.found if ours == name else f"{short_repr(name)}, here {ours}"
        raise InputError(error.must, found, error.remedy) from None
    sizes = sizes_of(facts, step.name)
    equation = step.equation or "depends on the options of the generate call"
    rows = [("shape", _shape(step, facts, sizes)), ("equation", equation)]
    rows += [(f"  {symbol}", text) for symbol, text in step.terms.items()]
    rows += [(f"  {symbol}", describe_source(source, facts, sizes)) for symbol, source in step.where.items()]
    letters, functions = symbols_used(step, sizes)
    rows += [("  letters", letters), *((f"  {name}", EQUATION_FUNCTIONS[name]) for name in functions)]
    rows += [("source line", "none: computed on request" if step.derived else source_line(step, facts))]
    rows += [("transformers", step.transformers or "no module or output has it")]
    rows += [("TransformerLens", transformer_lens_hook(step)), ("note", step.note)]
    return "\n".join([f"{step.name}: {step.what}", *(line for row in rows if row[1] for line in _wrapped(*row))])


def sizes_of(facts: CallFacts, name: str) -> dict[str, int]:
    """Return {letter: size}; within a ``generate`` call, those of the same step."""
    found = STEP.match(name)
    prefix = found[0] if found else ""
    sizes = dict(facts.letters)
    for other, shape in facts.shapes.items():
        if other.startswith(prefix) and not _generated(other):
            sizes |= zip(axes_of(other, facts.head).split(), shape, strict=False)
    return sizes


def source_line(step: Step, facts: CallFacts) -> str:
    """Return the source line that taps the array: "minibiogpt/model/attention.py:86: scores = tap(...)"."""
    for file, scope in _locations(step, facts):
        line = _taps(file, scope).get(_tap_name(step))
        if line is not None:
            text = (PACKAGE / file).read_text(encoding="utf-8").splitlines()[line - 1]
            return f"minibiogpt/{file}:{line}: {text.strip()}"
    return "not found: the package is installed without its source"


def _generated(name: str) -> bool:
    """Whether a generation step computes the array after its forward pass."""
    plain = STEP.sub("", name, count=1)
    return plain.startswith("processors.") or plain in GENERATION_ARRAYS


def _tap_name(step: Step) -> str:
    """Return the name in the source line, without the path of the module."""
    if step.template.startswith("processors."):
        return step.template.rpartition(".")[2]
    return step.template.removeprefix("layers.{l}").removeprefix(".").removeprefix("self_attn.")


def _locations(step: Step, facts: CallFacts) -> list[tuple[str, str]]:
    """Return the (file, class or function) pairs in which the array may be tapped."""
    template = step.template
    if template.startswith("layers.{l}.self_attn."):
        return [("model/layers.py", "SelfAttention"), ("model/attention.py", "attend_eager")]
    if template.startswith("layers.{l}"):
        return [("model/layers.py", "DecoderLayer")]
    if template in ("score", "logits", "loss"):
        return [HEAD_SOURCES[facts.head]]
    if template.startswith("processors."):
        return [("generation/processors.py", "apply")]
    if template in GENERATION_ARRAYS:
        beams = any(name.endswith("/origins") for name in facts.shapes)
        return [("generation/beam.py", "beam_search") if beams else ("generation/state.py", "DecodingState")]
    return [("model/biogpt.py", "BioGptModel")]


@cache
def _taps(file: str, scope: str) -> dict[str, int]:
    """Return {name: line} of the calls ``tap("name", ...)`` in one class or function of the package."""
    path = PACKAGE / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    parts = [part for part in tree.body if getattr(part, "name", None) == scope]
    calls = [node for part in parts for node in ast.walk(part) if isinstance(node, ast.Call) and len(node.args) == 2]
    named = [(call.args[0], call.lineno) for call in calls if TAP_CALL.search(ast.unparse(call.func))]
    return {str(first.value): line for first, line in named if isinstance(first, ast.Constant)}


TAP_CALL = re.compile(r"(^|\.)(tap|step|rule)(\.record)?$")  # the variables that hold a tap, and the method


def _shape(step: Step, facts: CallFacts, sizes: dict[str, int]) -> str:
    """Return letters and sizes, and the dtype if the trace holds the array."""
    if step.name in facts.shapes:
        found = dict(zip(step.axes.split(), facts.shapes[step.name], strict=False))
        return f"{format_axes(step.axes, found)}, {facts.dtypes[step.name]}"
    return f"{format_axes(step.axes, sizes)}, not in this trace"


def format_axes(axes: str, sizes: dict[str, int]) -> str:
    """Return the axes with their sizes: "(B 1, T 3)"."""
    return f"({', '.join(f'{letter} {sizes[letter]}' if letter in sizes else letter for letter in axes.split())})"


def describe_source(source: str, facts: CallFacts, sizes: dict[str, int]) -> str:
    """Return the source of a symbol and its shape, as text."""
    kind = kind_of_source(source)
    if kind == "parameter":
        return f"{source}, parameter {SHAPES[facts.head](facts.config)[source]}"
    if kind == "array":
        shape = facts.shapes.get(source, ())
        found = dict(zip(axes_of(source, facts.head).split(), shape, strict=False))
        return f"{source} {format_axes(axes_of(source, facts.head), sizes | found)}"
    name = source.rpartition("inputs/")[2]
    if name.startswith("past_key_values"):
        letter = name.rpartition(".")[2]
        return f"{letter} of the cached positions (B, H, S - T, Dh)"
    axes = INPUT_AXES.get(name)
    return f"{name}, input of the call{' ' + format_axes(axes, sizes) if axes else ''}"


def symbols_used(step: Step, sizes: dict[str, int]) -> tuple[str, list[str]]:
    """Return the letters with their sizes, and the EQUATION_FUNCTIONS, that the equation and its terms use."""
    free = free_symbols(step)
    functions = [name for name in free if name in EQUATION_FUNCTIONS]
    return ", ".join(f"{x} {sizes[x]}" for x in free if x in sizes), functions


def free_symbols(step: Step) -> list[str]:
    """Return the names in the equation and its terms that are neither sources nor terms: letters and functions."""
    texts = [text for text in (step.equation, *step.terms.values()) if text]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text, mode="eval"))]
    used = dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name))
    return [name for name in used if name not in step.where and name not in step.terms]


def transformer_lens_hook(step: Step) -> str:
    """Return the hook of TransformerLens, with its axes if they differ from ours."""
    hook, axes = step.transformer_lens
    if not hook:
        return "no hook in version 2 has it"
    return hook if axes == step.axes else f"{hook}, shape ({axes.replace(' ', ', ')})"


def _wrapped(label: str, text: str) -> list[str]:
    """Return the lines of one row: a label, and a text wrapped beside it."""
    if label in ("equation", "source line") or label.startswith("  "):
        return [f"{label:17}{text}"]
    lines = textwrap.wrap(text, WIDTH - 17, break_on_hyphens=False, break_long_words=False)
    return [f"{label if i == 0 else '':17}{line}" for i, line in enumerate(lines)]
