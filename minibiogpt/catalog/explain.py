"""Explain: what one array of a trace is, how it was made and from what, on which line, and what other tools call it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minibiogpt.catalog import parameters
from minibiogpt.catalog.aliases import resolve_alias
from minibiogpt.catalog.equations import WORDS
from minibiogpt.catalog.names import STEP, kind_of_source
from minibiogpt.catalog.steps import GENERATION_ARRAYS, Step, axes_of, step_of
from minibiogpt.config import BioGptConfig

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
PLACES = {
    "causal": ("heads/causal_lm.py", "BioGptForCausalLM"),
    "sequence": ("heads/sequence_classification.py", "BioGptForSequenceClassification"),
    "token": ("heads/token_classification.py", "BioGptForTokenClassification"),
    "generate": ("generation/state.py", "DecodingState"),
}
"""Where a head's own arrays are named: the file and the class."""


@dataclass(frozen=True)
class CallFacts:
    """What explains the arrays of one model call; ``Trace.facts`` makes it.

    Attributes
    ----------
    config, head, inputs, letters : of the call, as in Trace.
    shapes, dtypes : {name: shape} and {name: dtype} of the arrays that the trace holds, in order.
    """

    config: BioGptConfig
    head: str
    inputs: Mapping[str, str]
    letters: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]


def explain(facts: CallFacts, name: str) -> str:
    """The text of ``Trace.explain``, with the sizes of that call.

    Parameters
    ----------
    name : of an array of such a call, whether or not the trace holds it; or what transformers or TransformerLens
        calls one (see ``minibiogpt.catalog.aliases``).

    Raises
    ------
    InputError
        If nothing has that name.
    """
    step = step_of(resolve_alias(name), facts.config, facts.head, facts.inputs)
    sizes = sizes_of(facts, step.name)
    rows = [("shape", _shape(step, facts, sizes)), ("equation", step.equation or "what the options say")]
    rows += [(f"  {symbol}", text) for symbol, text in step.terms.items()]
    rows += [(f"  {symbol}", source_of(source, facts, sizes)) for symbol, source in step.where.items()]
    letters, words = vocabulary(step, sizes)
    rows += [("  letters", letters), *((f"  {word}", WORDS[word]) for word in words)]
    rows += [("our line", "none: it is worked out on request" if step.derived else line_of(step, facts))]
    rows += [("transformers", step.transformers or "no module or output has it")]
    rows += [("TransformerLens", lens_of(step)), ("mind", step.note)]
    return "\n".join([f"{step.name}: {step.what}", *(line for row in rows if row[1] for line in _wrapped(*row))])


def sizes_of(facts: CallFacts, name: str) -> dict[str, int]:
    """The sizes by their letters, those of the same step of a generation."""
    found = STEP.match(name)
    prefix = found[0] if found else ""
    sizes = dict(facts.letters)
    for other, shape in facts.shapes.items():
        if other.startswith(prefix) and not _generated(other):
            sizes |= zip(axes_of(other, facts.head).split(), shape, strict=False)
    return sizes


def line_of(step: Step, facts: CallFacts) -> str:
    """Where the package names the array: "attention.py:80: scores = tap(...)", looked up in the source as it is."""
    for file, scope in _places(step, facts):
        number = _taps(file, scope).get(_own_name(step))
        if number is not None:
            text = (PACKAGE / file).read_text(encoding="utf-8").splitlines()[number - 1]
            return f"minibiogpt/{file}:{number}: {text.strip()}"
    return "not found: the package is here without its source"


def _generated(name: str) -> bool:
    plain = STEP.sub("", name, count=1)
    return plain.startswith("processors.") or plain in GENERATION_ARRAYS


def _own_name(step: Step) -> str:
    """What the line itself calls the array: the path before it is known by the module."""
    if step.template.startswith("processors."):
        return step.template.rpartition(".")[2]
    return step.template.removeprefix("layers.{l}").removeprefix(".").removeprefix("self_attn.")


def _places(step: Step, facts: CallFacts) -> list[tuple[str, str]]:
    """The files and the class or function in which the array may be named."""
    template = step.template
    if template.startswith("layers.{l}.self_attn."):
        return [("model/layers.py", "SelfAttention"), ("model/attention.py", "attend_eager")]
    if template.startswith("layers.{l}"):
        return [("model/layers.py", "DecoderLayer")]
    if template in ("score", "logits", "loss"):
        return [PLACES[facts.head]]
    if template.startswith("processors."):
        return [("generation/processors.py", "apply")]
    if template in GENERATION_ARRAYS:
        beams = any(name.endswith("/origins") for name in facts.shapes)
        return [("generation/beam.py", "beam_search") if beams else ("generation/state.py", "DecodingState")]
    return [("model/biogpt.py", "BioGptModel")]


@cache
def _taps(file: str, scope: str) -> dict[str, int]:
    """{name: line} of the calls ``tap("name", ...)`` in one class or function of the package's source."""
    path = PACKAGE / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    parts = [part for part in tree.body if getattr(part, "name", None) == scope]
    calls = [node for part in parts for node in ast.walk(part) if isinstance(node, ast.Call) and len(node.args) == 2]
    named = [(call.args[0], call.lineno) for call in calls if TAPS.search(ast.unparse(call.func))]
    return {str(first.value): line for first, line in named if isinstance(first, ast.Constant)}


TAPS = re.compile(r"(^|\.)(tap|step|rule)(\.note)?$")  # what taps are called in the source


def _shape(step: Step, facts: CallFacts, sizes: dict[str, int]) -> str:
    """Letters and sizes, and the dtype when the trace holds the array."""
    if step.name in facts.shapes:
        found = dict(zip(step.axes.split(), facts.shapes[step.name], strict=False))
        return f"{lettered(step.axes, found)}, {facts.dtypes[step.name]}"
    return f"{lettered(step.axes, sizes)}, not in this trace"


def lettered(axes: str, sizes: dict[str, int]) -> str:
    return f"({', '.join(f'{letter} {sizes[letter]}' if letter in sizes else letter for letter in axes.split())})"


def source_of(source: str, facts: CallFacts, sizes: dict[str, int]) -> str:
    """Where a symbol comes from, and its shape."""
    kind = kind_of_source(source)
    if kind == "parameter":
        return f"{source}, a parameter {SHAPES[facts.head](facts.config)[source]}"
    if kind == "array":
        shape = facts.shapes.get(source, ())
        found = dict(zip(axes_of(source, facts.head).split(), shape, strict=False))
        return f"{source} {lettered(axes_of(source, facts.head), sizes | found)}"
    name = source.rpartition("inputs/")[2]
    if name.startswith("past_key_values"):
        letter = name.rpartition(".")[2]
        return f"the cache's {letter} of the positions before (B, H, S - T, Dh)"
    axes = INPUT_AXES.get(name)
    return f"{name}, as the call was given it{' ' + lettered(axes, sizes) if axes else ''}"


def vocabulary(step: Step, sizes: dict[str, int]) -> tuple[str, list[str]]:
    """The letters with their sizes, and the words, that the equation and its terms use."""
    texts = [text for text in (step.equation, *step.terms.values()) if text]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text, mode="eval"))]
    used = dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name))
    free = [name for name in used if name not in step.where and name not in step.terms]
    return ", ".join(f"{x} {sizes[x]}" for x in free if x in sizes), [name for name in free if name in WORDS]


def lens_of(step: Step) -> str:
    hook, axes = step.transformer_lens
    if not hook:
        return "no hook of version 2 sees it"
    return hook if axes == step.axes else f"{hook}, laid out ({axes.replace(' ', ', ')})"


def _wrapped(label: str, text: str) -> list[str]:
    """One row: a label and a text that goes on below itself."""
    if label in ("equation", "our line") or label.startswith("  "):
        return [f"{label:17}{text}"]
    lines = textwrap.wrap(text, WIDTH - 17, break_on_hyphens=False, break_long_words=False)
    return [f"{label if i == 0 else '':17}{line}" for i, line in enumerate(lines)]
