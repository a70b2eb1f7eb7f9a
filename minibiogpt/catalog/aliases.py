"""Aliases: the names of a trace's arrays in transformers 4.57 and in TransformerLens 2 (HookedTransformer).

Every alias was compared element by element: those of transformers with forward hooks and outputs of 4.57.6, those of
TransformerLens with the hooks of 2.18.0 (tests/catalog/test_aliases.py). A name that may hold a different tensor is
refused, and the refusal says what to dump instead. An unknown name gives None.

TransformerLens changes weights when it loads a model (fold_ln, center_writing_weights, center_unembed,
fold_value_biases), so an array of the same name is then a different one. Load the model without processing to compare.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from minibiogpt.catalog.descriptions import HOOKS, MODULES, NOTES, SUMMARIES
from minibiogpt.catalog.names import STEP, template_of
from minibiogpt.catalog.steps import axes_of

INDEXED_OUTPUT = re.compile(r"(hidden_states|attentions)(?:\.([0-9]{1,9})|\[([0-9]{1,9})\])")
BLOCK = re.compile(r"blocks\.([0-9]{1,9})\.(.+)")
BELOW_THE_HEAD = tuple(
    name for name in SUMMARIES if name not in ("score", "logits", "loss") and "processors" not in name
)
NORMALIZED = (
    "hook_normalized holds the norm before its gain and bias if they were folded into the next weights (the default of "
    "TransformerLens), and after them otherwise: dump the norm with gain and bias, as {name}"
)
REFUSED = {
    "ln1.hook_normalized": NORMALIZED.replace("{name}", "layers.{l}.self_attn_layer_norm"),
    "ln2.hook_normalized": NORMALIZED.replace("{name}", "layers.{l}.final_layer_norm"),
    "ln_final.hook_normalized": NORMALIZED.replace("{name}", "layer_norm"),
    "hook_scale": "hook_scale is the divisor of a norm, which a trace does not hold: dump the norm's output",
    "unembed.hook_out": "TransformerLens 2 has no such hook: dump the output of the model, as logits",
}


@dataclass(frozen=True)
class Alias:
    """The array of a trace that a name of another tool refers to.

    Attributes
    ----------
    name : our name, with the same ``step.{n}/`` prefix; "" if the name is refused.
    axes : the letters of the other tool's layout. If they differ from ours, transpose by the letters; for "B T H Dh"
        where ours is "B T D", merge the last two axes.
    refusal : why none of our arrays is comparable, and what to dump instead; "" if one is.
    note : a caveat; "" if there is none.
    """

    name: str
    axes: str = ""
    refusal: str = ""
    note: str = ""


def alias_of(name: str) -> Alias | None:
    """Return the alias of a name of ours, of transformers or of TransformerLens; None if the name is unknown.

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


def _module(name: str) -> Alias | None:
    """The alias of a module of transformers or of one of our own names, with or without ``biogpt.``."""
    ours = name.removeprefix("biogpt.")
    if name in ("output_projection", "classifier"):
        return Alias("logits", axes_of("logits", "causal" if name == "output_projection" else "token"))
    if re.fullmatch(r"layers\.[0-9]{1,9}\.self_attn", ours):
        return Alias(f"{ours}.out_proj", "B T D", note="the module returns a tuple; this is its first element")
    template = template_of(ours)
    if template not in SUMMARIES or (ours != name and template not in BELOW_THE_HEAD):
        return None
    return Alias(ours, axes_of(ours, "sequence" if ours == "score" else "causal"))


def _output(name: str) -> Alias | None:
    """The alias of an output of transformers."""
    if name == "last_hidden_state":
        return Alias("layer_norm", "B T D")
    found = INDEXED_OUTPUT.fullmatch(name)
    if not found:
        return None
    i = int(found[2] or found[3])
    if found[1] == "attentions":
        return Alias(f"layers.{i}.self_attn.weights", "B H T S")
    note = "indexed as in transformers 4.x, where the last one is before the final norm; in 5.x it is layer_norm"
    return Alias(f"layers.{i - 1}" if i else "embeddings", "B T D", note=note)


def _hook(name: str) -> Alias | None:
    """The alias of a hook of TransformerLens."""
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
OTHER_NAMES = [*MODULES.values(), *_BY_HOOK]
"""All known names of other tools, with ``{l}`` for the layer."""
