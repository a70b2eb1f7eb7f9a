"""What a caller may have meant by an unknown name: corrected part by part, then the closest names, and the layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from minibiogpt.catalog.descriptions import HOOKS
from minibiogpt.catalog.names import template_of, wildcards
from minibiogpt.errors import nearest

MOST_PARTS, MOST_NAMES = 12, 20_000
SEPARATOR = re.compile(r"(?<!\.)\.(?!\.)|[/\[\]\s]+|__")
LAYERS = re.compile(r"(?:layers|blocks)\.(\{[^{}]*\}|[^.]*)")
BRACES = re.compile(r"\{([^{}]*)\}")
LAYER_LAST = re.compile(r"([A-Za-z_]+)-([0-9*]{1,9})")
RANGE = re.compile(r"[0-9]+\.\.[0-9]+")
OTHER_WORDS = {
    "layer": "layers", "h": "layers", "block": "layers", "blocks": "layers",
    "attn": "self_attn", "attention": "self_attn", "self_attention": "self_attn",
    "query": "q", "key": "k", "value": "v", "query_proj": "q_proj", "key_proj": "k_proj", "value_proj": "v_proj",
    "wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "out_proj", "o_proj": "out_proj", "z": "context",
    "softmax": "probs", "pattern": "probs", "attention_probs": "probs", "attn_weights": "weights",
    "ln1": "self_attn_layer_norm", "ln_1": "self_attn_layer_norm", "input_layernorm": "self_attn_layer_norm",
    "ln2": "final_layer_norm", "ln_2": "final_layer_norm", "post_attention_layernorm": "final_layer_norm",
    "ln_f": "layer_norm", "final_norm": "layer_norm", "norm": "layer_norm",
    "c_fc": "fc1", "up_proj": "fc1", "down_proj": "fc2", "act": "activation_fn", "gelu": "activation_fn",
    "activation": "activation_fn", "wte": "embed_tokens", "wpe": "embed_positions", "embedding": "embeddings",
    "lm_head": "logits", "logit": "logits", "unembed": "logits", "embed": "embed_tokens",
    "pos_embed": "embed_positions",
    "attn_out": "out_proj", "attn_output": "out_proj", "attn_scores": "scores_masked",
    "mlp_out": "fc2", "ffn_out": "fc2", "mlp_output": "fc2", "ffn_up": "fc1", "ffn_gate": "fc1", "ffn_down": "fc2",
    "pre": "fc1", "post": "activation_fn", "resid_mid": "attn_residual", "ffn_inp": "attn_residual",
    "kq": "scores", "kqv": "context", "kqv_out": "context", "qcur": "q_proj", "kcur": "k_proj", "vcur": "v_proj",
    "attn_norm": "self_attn_layer_norm", "ffn_norm": "final_layer_norm", "inp_embd": "embed_tokens",
    "inp_pos": "position_ids", "l_out": "layers", "past_key_values": "k",
}  # fmt: skip
"""{part of a name in other programs: ours}, for suggestions only."""
DROPPED = {"biogpt", "model", "transformer", "decoder", "mlp", "ffn", "feed_forward", "weight", "bias"}
OUTPUTS = {"hidden_states", "hidden_state", "output", "resid_post", "l_out"}
"""Names of the output of a layer; here it has the name of the layer."""
OTHER_HOOKS = {
    r"(blocks\.[0-9]+\.)(hook_attn_in|hook_[qkv]_input|hook_in)": r"\1hook_resid_pre",
    r"(blocks\.[0-9*]+\.)hook_mlp_in": r"\1hook_resid_mid",
    r"(blocks\.[0-9*]+\.)hook_out": r"\1hook_resid_post",
    r"(blocks\.[0-9*]+\.)(attn|mlp)\.hook_out": r"\1hook_\2_out",
    r"(blocks\.[0-9*]+\.attn\.)([qkv])\.hook_out": r"\1hook_\2",
    r"blocks\.([0-9*]+)\.ln1\.hook_out": r"layers.\1.self_attn_layer_norm",
    r"blocks\.([0-9*]+)\.ln2\.hook_out": r"layers.\1.final_layer_norm",
    r"ln_final\.hook_out": "layer_norm",
    r"(embed|pos_embed)\.hook_out": r"hook_\1",
}
"""{hook that has the same array in other versions or with other options of TransformerLens: what to write}."""


def suggestion(missed: str, known: Iterable[str], *, patterns: bool = False) -> str:
    """Return "nearest: ...; the layers are 0 to 3" for a name that is not in ``known``, without what does not apply.

    Parameters
    ----------
    patterns : whether a pattern may be suggested.

    Examples
    --------
    >>> known = ["embeddings", "layers.0.self_attn.probs", "layers.0.fc1", "layers.1.fc1", "logits"]
    >>> suggestion("layers.7.fc1", known)
    'nearest: layers.1.fc1, layers.0.fc1; the layers are 0 to 1'
    >>> suggestion("layers.*.self_atn.*", known, patterns=True)
    'nearest: layers.*.self_attn.*, layers.0.self_attn.probs'
    """
    known = list(dict.fromkeys(known))[:MOST_NAMES]
    near = ", ".join(_similar(missed, known, patterns))
    return "; ".join(part for part in (near and f"nearest: {near}", _layers_text(missed, known)) if part)


def _similar(missed: str, known: list[str], patterns: bool) -> list[str]:
    for theirs, ours in OTHER_HOOKS.items():
        hook = re.fullmatch(theirs, missed)
        if hook and not _layers_text(missed, known):
            return [hook.expand(ours)]
    found: list[str] = []
    for guess in _guesses(missed, known):
        matching = wildcards(_without_braces(guess))
        names = [name for name in known if matching.fullmatch(name)]
        if names and guess != missed:
            found = [guess] if patterns or guess in known else names
            break
    layer = re.search(r"blocks\.([0-9*]{1,9})", missed)
    index = "0" if not layer else str(_last_layer(known)) if _layers_text(missed, known) else layer[1]
    hooks = [hook.replace("{l}", index) for hook, _ in HOOKS.values()] if "hook" in missed else []
    by_word = {name.replace("hook_", ""): name for name in (*known, *hooks)}  # all hooks are alike in hook_
    close = [by_word[word] for word in nearest(missed.replace("hook_", ""), by_word)]
    both = [*close, *found] if missed.startswith("blocks.") and "hook_" in missed else [*found, *close]
    return [name for name in dict.fromkeys(both) if name != missed][:3]


def _without_braces(pattern: str) -> list[str]:
    """Return the patterns of the first lists in braces; a range becomes a ``*``."""
    pending = [pattern]
    while (braces := BRACES.search(pending[0])) and len(pending) < MOST_NAMES // 100:
        options = ["*"] if RANGE.fullmatch(braces[1]) else braces[1].split(",")[:MOST_PARTS]
        pending = [one.replace(braces[0], option) for one in pending for option in options]
    return pending


def _guesses(missed: str, known: list[str]) -> Iterator[str]:
    """Yield the name as a pattern, with each part corrected, then with parts added; each perhaps a known one."""
    yield from _as_patterns(missed[:1000])
    text = LAYER_LAST.sub(r"layers.\2.\1", missed[:1000].strip())  # kq-0 of llama.cpp
    parts = [part for part in SEPARATOR.split(text) if part][:MOST_PARTS]
    templates = dict.fromkeys(map(template_of, known))
    vocabulary = dict.fromkeys(part for template in templates for part in template.split("."))
    if "c_proj" in parts:  # the name of two arrays in GPT-2
        parts[parts.index("c_proj")] = "fc2" if "mlp" in parts else "out_proj"
    if parts and parts[-1] in ("mlp", "ffn", "feed_forward"):
        parts[-1] = "fc2"
    if "output" in parts and {"self_attn", "attn", "attention"}.intersection(parts):
        parts[parts.index("output")] = "out_proj"
    if "attentions" in parts[:1]:
        parts = ["layers", *(parts[1:2] or "*"), "self_attn", "weights"]
    parts = [*(["layers"] if OUTPUTS.intersection(parts[:1]) else []), *(x for x in parts if x not in OUTPUTS)]
    fixed = [part for part in (_corrected(part, vocabulary) for part in parts) if part]
    path = ".".join(fixed)
    if not path:
        return
    yield path
    if (layers := _last_layer(known)) >= 0 and fixed[0] == "layers":
        inside = ".".join(["layers", str(layers), *fixed[2:]])
        attention = ".".join([*fixed[:2], "self_attn", *fixed[2:]])
        yield from (attention, inside, f"{path}.*", path.replace(".self_attn.", "."))
    else:
        yield from (f"layers.*.self_attn.{path}", f"layers.*.{path}", f"layers.*.{path}.*")


def _as_patterns(text: str) -> Iterator[str]:
    """Yield our pattern for a list with commas, and for a pattern of a shell, a slice or a regular expression."""
    if re.search(r"[,|]", text) and not re.search(r"[{}()\s]", text):
        yield f"{{{text.replace('|', ',')}}}"
    if re.search(r"[\\^$?()\[]|[0-9][:-][0-9]|\.:\.|\{\.\.[0-9]|[0-9]\.\.\}", text):
        plain = re.sub(r"\\\.", ".", text.removeprefix("^").removesuffix("$"))
        plain = re.sub(r"\.\*|\\d\+?|\?|(?<=\.):(?=\.)|\{[0-9]+\.\.\}|\{\.\.[0-9]+\}", "*", plain)
        plain = re.sub(r"\[?\b([0-9]{1,9})[:-]([0-9]{1,9})\b\]?", r"{\1..\2}", plain)
        plain = re.sub(r"\[([A-Za-z]{2,20})\]", lambda letters: f"{{{','.join(letters[1])}}}", plain)
        yield re.sub(r"\(([^()]*)\)", lambda words: f"{{{words[1].replace('|', ',')}}}", plain)


def _corrected(part: str, vocabulary: Iterable[str]) -> str:
    """Return a part of a name in our words; "" for one that our names do not have."""
    lower = part.casefold()
    if part in vocabulary or not re.search(r"[^\W\d]", part) or "*" in part or "{" in part:
        return part
    for word in (lower, *nearest(lower, [*vocabulary, *OTHER_WORDS, *DROPPED], 1)):
        if word in vocabulary:
            return word
        if word in OTHER_WORDS:
            return OTHER_WORDS[word]
        if word in DROPPED:
            return ""
    return part


def _last_layer(known: Iterable[str]) -> int:
    """Return the index of the last layer; -1 if there is none."""
    found = [LAYERS.search(name) for name in known]
    return max((int(match[1]) for match in found if match and match[1].isdecimal() and len(match[1]) < 9), default=-1)


def _layers_text(missed: str, known: list[str]) -> str:
    """Return which layers there are, if the name has a different one."""
    last, found = _last_layer(known), LAYERS.search(missed)
    numbers = [number.lstrip("0") or "0" for number in re.findall(r"[0-9]+", found[1])] if found else []
    outside = any(len(number) > 9 or int(number) > last for number in numbers)
    return f"the layers are 0 to {last}" if outside and last >= 0 else ""
