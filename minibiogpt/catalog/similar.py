"""What a caller may have meant by an unknown name: corrected part by part, then the closest names, and the layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from minibiogpt.catalog.descriptions import HOOKS
from minibiogpt.catalog.names import template_of, wildcards
from minibiogpt.errors import nearest

MOST_PARTS, MOST_NAMES = 12, 20_000
SEPARATOR = re.compile(r"(?<!\.)\.(?!\.)|[/\[\]\s]+|__")
LAYERS = re.compile(r"layers\.(\{[^{}]*\}|[^.]*)")
BRACES = re.compile(r"\{([^{}]*)\}")
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
    "lm_head": "logits", "logit": "logits",
}  # fmt: skip
"""{part of a name in other programs: ours}, for suggestions only."""
DROPPED = {"biogpt", "model", "transformer", "decoder", "mlp", "ffn", "feed_forward", "weight", "bias"}


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
    found = []
    for guess in _guesses(missed, known):
        matching = wildcards(_without_braces(guess))
        names = [name for name in known if matching.fullmatch(name)]
        if names and guess != missed:
            found = [guess] if patterns or guess in known else names
            break
    layer = re.search(r"blocks\.([0-9*]{1,9})", missed)
    hooks = [hook.replace("{l}", layer[1] if layer else "0") for hook, _ in HOOKS.values()] if "hook" in missed else []
    return [name for name in dict.fromkeys([*found, *nearest(missed, [*hooks, *known])]) if name != missed][:3]


def _without_braces(pattern: str) -> list[str]:
    """Return the patterns of the first lists in braces; a range becomes a ``*``."""
    pending = [pattern]
    while (braces := BRACES.search(pending[0])) and len(pending) < MOST_NAMES // 100:
        options = ["*"] if RANGE.fullmatch(braces[1]) else braces[1].split(",")[:MOST_PARTS]
        pending = [one.replace(braces[0], option) for one in pending for option in options]
    return pending


def _guesses(missed: str, known: list[str]) -> Iterator[str]:
    """Yield the name with each part corrected, then with parts added, each name or pattern perhaps a known one."""
    parts = [part for part in SEPARATOR.split(missed[:1000].strip()) if part][:MOST_PARTS]
    templates = dict.fromkeys(map(template_of, known))
    vocabulary = dict.fromkeys(part for template in templates for part in template.split("."))
    if "c_proj" in parts:  # the name of two arrays in GPT-2
        parts[parts.index("c_proj")] = "fc2" if "mlp" in parts else "out_proj"
    fixed = [part for part in (_corrected(part, vocabulary) for part in parts) if part]
    path = ".".join(fixed)
    if not path:
        return
    yield path
    if (layers := _last_layer(known)) >= 0 and fixed[0] == "layers":
        inside = ".".join(["layers", str(layers), *fixed[2:]])
        yield from (inside, f"{path}.*", ".".join([*fixed[:2], "self_attn", *fixed[2:]]))
    else:
        yield from (f"layers.*.self_attn.{path}", f"layers.*.{path}")


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
