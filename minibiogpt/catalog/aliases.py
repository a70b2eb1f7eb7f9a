"""Aliases: what other tools call the arrays of a trace: transformers 4.57, and TransformerLens 2's HookedTransformer.

Each was compared number by number: those of transformers with forward hooks and outputs of 4.57.6, those of
TransformerLens with the hooks of 2.18.0 (tests/catalog/test_aliases.py). A name that may hold another tensor is
refused, with what to dump instead; a name that nobody is known to use gives None.

TransformerLens changes weights when it loads a model (fold_ln, center_writing_weights, center_unembed,
fold_value_biases): an array by the same name is then another one. Compare a model that was loaded without processing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from minibiogpt.catalog.descriptions import HOOKS, MODULES, NOTES, WHAT
from minibiogpt.catalog.names import STEP, template_of
from minibiogpt.catalog.steps import axes_of
from minibiogpt.errors import InputError

NUMBER = re.compile(r"(hidden_states|attentions)(?:\.(\d+)|\[(\d+)\])")
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
BELOW_THE_HEAD = tuple(name for name in WHAT if name not in ("score", "logits", "loss") and "processors" not in name)
NORMALIZED = (
    "hook_normalized holds the norm before its gain and bias when norms were folded into the next weights, which "
    "TransformerLens does by default, and after them otherwise: dump gain and bias included, as {name}"
)
REFUSED = {
    "ln1.hook_normalized": NORMALIZED.replace("{name}", "layers.{l}.self_attn_layer_norm"),
    "ln2.hook_normalized": NORMALIZED.replace("{name}", "layers.{l}.final_layer_norm"),
    "ln_final.hook_normalized": NORMALIZED.replace("{name}", "layer_norm"),
    "hook_scale": "hook_scale is what a norm divides by, which has no name here: dump the norm's output",
    "unembed.hook_out": "TransformerLens 2 has no such hook: dump what the model returns, as logits",
}


@dataclass(frozen=True)
class Alias:
    """What a name of another tool means.

    Attributes
    ----------
    name : ours, with the same ``step.{n}/`` in front; "" when the name is refused.
    axes : the letters of the other tool's layout. Other than ours, it is to be transposed by its letters; "B T H Dh"
        for ours "B T D": then heads and their widths are to be joined.
    refusal : why no array of ours can be compared with it, and what to dump instead; "" when one can.
    note : what to know of it; "".
    """

    name: str
    axes: str = ""
    refusal: str = ""
    note: str = ""


def alias_of(name: str) -> Alias | None:
    """What ``name`` means here: one of our names, of transformers' or of TransformerLens'; None if nobody's.

    Examples
    --------
    >>> alias_of("blocks.3.attn.hook_q")
    Alias(name='layers.3.self_attn.q', axes='B T H Dh', refusal='', note='')
    >>> alias_of("biogpt.layers.0.fc1").name, alias_of("hidden_states[2]").name, alias_of("attn.q")
    ('layers.0.fc1', 'layers.1', None)
    """
    found = STEP.match(name)
    prefix = found[0] if found else ""
    plain = name[len(prefix) :]
    alias = _hook(plain) or _output(plain) or _module(plain)
    return replace(alias, name=prefix + alias.name) if alias and alias.name else alias


def resolve_alias(name: str) -> str:
    """Our name for one of another tool's, if it is one; any other name as it is.

    Raises
    ------
    InputError
        If the name is refused.
    """
    alias = alias_of(name)
    if alias is not None and alias.refusal:
        raise InputError("a name must be of an array that is here too", repr(name[:80]), alias.refusal)
    return name if alias is None else alias.name


def _module(name: str) -> Alias | None:
    """A module of transformers, or one of our own names, with or without ``biogpt.``."""
    ours = name.removeprefix("biogpt.")
    if name in ("output_projection", "classifier"):
        return Alias("logits", axes_of("logits", "causal" if name == "output_projection" else "token"))
    if re.fullmatch(r"layers\.\d+\.self_attn", ours):
        return Alias(f"{ours}.out_proj", "B T D", note="the module's output is a tuple; this is its first part")
    template = template_of(ours)
    if template not in WHAT or (ours != name and template not in BELOW_THE_HEAD):
        return None
    return Alias(ours, axes_of(ours, "sequence" if ours == "score" else "causal"))


def _output(name: str) -> Alias | None:
    """A field of transformers' output."""
    if name == "last_hidden_state":
        return Alias("layer_norm", "B T D")
    found = NUMBER.fullmatch(name)
    if not found:
        return None
    i = int(found[2] or found[3])
    if found[1] == "attentions":
        return Alias(f"layers.{i}.self_attn.weights", "B H T S")
    note = "counted as in transformers 4.x, where the last is before the final norm; in 5.x it is layer_norm"
    return Alias(f"layers.{i - 1}" if i else "embeddings", "B T D", note=note)


def _hook(name: str) -> Alias | None:
    """A hook of TransformerLens."""
    block = BLOCK.fullmatch(name)
    layer, inner = (int(block[1]), block[2]) if block else (0, name)
    if inner.endswith(".hook_scale"):
        return Alias("", refusal=REFUSED["hook_scale"])
    if inner in REFUSED and bool(block) is inner.startswith(("ln1", "ln2")):
        return Alias("", refusal=REFUSED[inner].replace("{l}", str(layer)))
    if block and inner == "hook_resid_pre":
        return Alias(f"layers.{layer - 1}" if layer else "embeddings", "B T D")
    template = f"blocks.{{l}}.{inner}" if block else name
    if template not in _BY_HOOK:
        return None
    ours, axes = _BY_HOOK[template]
    note = NOTES[ours] if ours.endswith((".k", ".v", ".scores_masked", ".probs")) else ""
    return Alias(ours.replace("{l}", str(layer)), axes, note=note)


_BY_HOOK = {hook: (ours, axes) for ours, (hook, axes) in HOOKS.items()}
THEIRS = [*MODULES.values(), *_BY_HOOK]
"""Every name of another tool that is known, ``{l}`` for a layer."""
