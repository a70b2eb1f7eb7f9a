"""Names of other tools in a request: which array of ours a caller asks for, also in a pattern.

The values of a request are always ours, so more spellings are understood here than in ``aliases``, which says what an
array of another program is: module paths that start with ``model.``, and the names of llama.cpp. llama.cpp has no
BioGPT; its names are those of the same places in its other models (read in its source of 2025, not compared).
"""

from __future__ import annotations

import re
from functools import lru_cache

from minibiogpt.catalog.aliases import BELOW_THE_HEAD, REFUSED, Alias, alias_of
from minibiogpt.catalog.descriptions import HOOKS, SUMMARIES
from minibiogpt.catalog.names import LAYER, STEP, checked_name, template_of, wildcards
from minibiogpt.catalog.steps import axes_of
from minibiogpt.errors import InputError, short_repr

OWNER = re.compile(r"(?:base_model\.model|base_model|model|module)\.")
OF_LAYER = re.compile(r"([A-Za-z_]+)-([0-9]{1,9})")
INDEX = re.compile(r"(?<![^.\-\[])[0-9]{1,9}(?![^.\]])")
NUMBER = re.compile(r"[0-9]{1,9}")
LLAMA_CPP = {
    "pos_embd": "embed_positions",
    "inpL": "embeddings",
    "attn_norm": "layers.{l}.self_attn_layer_norm",
    "Qcur": "layers.{l}.self_attn.q_proj",
    "Kcur": "layers.{l}.self_attn.k_proj",
    "Vcur": "layers.{l}.self_attn.v_proj",
    "kq_soft_max": "layers.{l}.self_attn.probs",
    "kq_soft_max_ext": "layers.{l}.self_attn.probs",
    "KQ_soft_max": "layers.{l}.self_attn.probs",
    "kqv_out": "layers.{l}.self_attn.context",
    "ffn_inp": "layers.{l}.attn_residual",
    "ffn_norm": "layers.{l}.final_layer_norm",
    "ffn_up_b": "layers.{l}.fc1",
    "ffn_gelu": "layers.{l}.activation_fn",
    "ffn_out": "layers.{l}.fc2",
    "l_out": "layers.{l}",
    "result_norm": "layer_norm",
    "result_output": "logits",
}
"""{name in llama.cpp, without the ``-3`` of layer 3: ours}."""
BEFORE = "before the output projection, as in llama.cpp since 2025; in older versions it is out_proj"


def request_of(name: str) -> Alias | None:
    """Return the alias of a name of ours or of another tool; None if the name is unknown.

    Examples
    --------
    >>> request_of("model.biogpt.layers.0.fc1").name, request_of("l_out-3").name, request_of("l_out")
    ('layers.0.fc1', 'layers.3', None)
    """
    found = STEP.match(name)
    prefix = found[0] if found else ""
    plain = name[len(prefix) :]
    return alias_of(prefix + OWNER.sub("", plain, count=1) if OWNER.match(plain) else name) or _llama(prefix, plain)


def resolve_request(name: str) -> str:
    """Return our name for a name of another tool; any other name is returned unchanged.

    Raises
    ------
    InputError
        If the name is not a string, or is refused.
    """
    alias = request_of(checked_name(name))
    if alias is not None and alias.refusal:
        raise InputError("a name must have a counterpart in a trace", short_repr(name), alias.refusal)
    return str(name) if alias is None else alias.name


def _llama(prefix: str, plain: str) -> Alias | None:
    found = OF_LAYER.fullmatch(plain)
    ours = LLAMA_CPP.get(found[1] if found else plain, "")
    if not ours or ("{l}" in ours) is not bool(found):
        return None
    name = ours.replace("{l}", found[2]) if found else ours
    return Alias(prefix + name, axes_of(name), note=BEFORE if "kqv_out" in plain else "")


def difference(theirs: str, alias: Alias) -> str:
    """Return what our array has in a different way than theirs: "" or one sentence without the full stop."""
    ours = axes_of(alias.name)
    if alias.axes and alias.axes != ours and template_of(alias.name) not in ("score", "logits"):
        axes = f"({_listed(ours)}) instead of ({_listed(alias.axes)})"
        cached = "; with a cache, the hook has the T new positions only" if alias.axes == "B S H Dh" else ""
        return f"{theirs} is {alias.name} here, with the axes {axes}{cached}"
    return f"{theirs} is {alias.name} here, {alias.note}" if alias.note == BEFORE else ""


def _listed(axes: str) -> str:
    return ", ".join(axes.split())


@lru_cache(maxsize=20_000)
def spellings(name: str) -> tuple[str, ...]:
    """Return the names of other tools for one of our arrays, with its ``step.{n}/``.

    ``blocks.{l}.hook_resid_pre`` is left out above layer 0: only the model knows whether there is such a layer.

    Examples
    --------
    >>> spellings("layers.1.self_attn.probs")
    ('biogpt.layers.1.self_attn.probs', 'blocks.1.attn.hook_pattern', 'kq_soft_max-1', 'kq_soft_max_ext-1', \
'KQ_soft_max-1')
    """
    found = STEP.match(name)
    prefix = found[0] if found else ""
    plain, template = name[len(prefix) :], template_of(name)
    layer = LAYER.match(plain)
    index = layer[1] if layer else ""
    theirs = [f"biogpt.{plain}"] if template in BELOW_THE_HEAD else []
    if template in HOOKS:
        theirs.append(HOOKS[template][0].replace("{l}", index))
    theirs += _outputs(template, index)
    theirs += [f"{their}-{index}" if index else their for their, ours in LLAMA_CPP.items() if ours == template]
    return tuple(prefix + their for their in theirs)


def _outputs(template: str, index: str) -> list[str]:
    """Return the outputs of transformers."""
    if template in ("layers.{l}", "embeddings"):
        i = int(index) + 1 if index else 0
        return [f"hidden_states.{i}", f"hidden_states[{i}]"]
    if template == "layers.{l}.self_attn.out_proj":
        return [f"layers.{index}.self_attn", f"biogpt.layers.{index}.self_attn"]
    if template == "layers.{l}.self_attn.weights":
        return [f"attentions.{index}", f"attentions[{index}]"]
    return {"layer_norm": ["last_hidden_state"], "logits": ["output_projection", "classifier"]}.get(template, [])


def is_ours(part: str) -> bool:
    """Whether a name, or a pattern with ``*``, matches a name of ours; it then has no other meaning."""
    plain = part.rpartition("/")[2]
    if "*" not in plain:
        return template_of(plain) in SUMMARIES
    return plain.startswith("processors.") or bool(_matching(INDEX.sub("0", plain), ours=True))


def theirs_in(part: str) -> list[str]:
    """Return names of other tools that a pattern with ``*`` matches, for a few layers: enough to see which arrays.

    Raises
    ------
    InputError
        If it matches refused names only, or ``*`` stands for the layer of hook_resid_pre.
    """
    plain = part.rpartition("/")[2]
    if "*" in plain.partition("hook_resid_pre")[0] and "hook_resid_pre" in plain:
        must = "a pattern with hook_resid_pre must name the layers"
        raise InputError(must, short_repr(part), "write the layers of the model, blocks.{0..3}.hook_resid_pre")
    found = _matching(INDEX.sub("0", plain), ours=False)
    if not found:
        matching = wildcards([INDEX.sub("0", plain)])
        scales = ("ln1.hook_scale", "ln2.hook_scale", "ln_final.hook_scale")
        refused = [
            name for name in (*scales, *REFUSED) if matching.fullmatch(name) or matching.fullmatch(f"blocks.0.{name}")
        ]
        if refused:
            resolve_request(refused[0] if refused[0].startswith(("ln_final", "unembed")) else f"blocks.0.{refused[0]}")
    return list(found)


@lru_cache(maxsize=1000)
def _matching(pattern: str, *, ours: bool) -> tuple[str, ...]:
    """Return the names, ours or those of other tools, that a pattern with ``*`` matches, in a few layers."""
    layers = list(dict.fromkeys(["0", *NUMBER.findall(pattern)]))[:20]
    known = [name.replace("{l}", layer) for name in SUMMARIES for layer in (layers if "{l}" in name else [""])]
    matching = wildcards([pattern])
    if ours:
        return tuple(name for name in known if matching.fullmatch(name))
    return tuple(their for name in known for their in spellings(name) if matching.fullmatch(their))
