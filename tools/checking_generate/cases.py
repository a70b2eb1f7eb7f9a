"""Random cases of generation: prompts of every kind, and options at their usual, border and invalid values."""

from __future__ import annotations

from random import Random
from typing import Any

from tools.checking_generate.both import MODELS, Case

FLAGS = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")


def make_case(seed: int, number: int) -> Case:
    """Return a case that depends on these two numbers only."""
    rng = Random(f"{seed} {number}")
    model = rng.randrange(len(MODELS))
    V, pad = MODELS[model]["vocab_size"], MODELS[model].get("pad_token_id", 1)
    inputs, past = _inputs(rng, model, V, pad)
    options = _lengths(rng, _positions(inputs)) | _search(rng) | _special_ids(rng, V, pad)
    options |= _processors(rng, V) | (_sampling(rng, V) if options.get("do_sample") or rng.random() < 0.05 else {})
    options |= _outputs(rng)
    if options.get("do_sample") and rng.random() < 0.9:  # the draws are the same by construction, so compare the scores
        options |= {"return_dict_in_generate": True, "output_scores": True}
    names = [name for name in options if rng.random() < 0.5] if rng.random() < 0.25 else []
    if "num_return_sequences" in names:  # valid only together with these
        names += [name for name in ("num_beams", "do_sample") if name in options and name not in names]
    own = ("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn")
    return Case(model, inputs, past, options, tuple(names), tuple(name for name in own if rng.random() < 0.1))


def _positions(inputs: dict[str, Any]) -> int:
    return len(inputs["input_ids"][0]) if "input_ids" in inputs else inputs["inputs_embeds"][2] if inputs else 1


def _inputs(rng: Random, model: int, V: int, pad: int | None) -> tuple[dict[str, Any], int]:
    """Return the inputs, and how many of their positions come from a cache."""
    B, T = rng.randint(1, 3), rng.randint(1, 7)
    kind = rng.choices(["ids", "embeds", "both", "nothing"], [16, 3, 2, 1])[0]
    if kind == "nothing":
        return {}, 0
    inputs: dict[str, Any] = {}
    pads = [rng.randint(0, T - 1) if rng.random() < 0.4 else 0 for _ in range(B)]
    mask = [[0] * p + [1] * (T - p) for p in pads]
    if kind in ("ids", "both"):
        real = [i for i in range(V) if i != pad]
        inputs["input_ids"] = [[pad or 0] * p + [rng.choice(real) for _ in range(T - p)] for p in pads]
    if kind in ("embeds", "both"):
        inputs["inputs_embeds"] = (rng.randrange(99), B, T)
    if rng.random() < 0.6:
        inputs["attention_mask"] = mask
    if rng.random() < 0.1:
        layers, heads = MODELS[model]["num_hidden_layers"], MODELS[model]["num_attention_heads"]
        inputs["head_mask"] = [[rng.choice([0.0, 0.5, 1.0]) for _ in range(heads)]] * layers
    past = rng.randint(1, T) if kind != "both" and rng.random() < 0.2 else 0
    return inputs, min(past, T - 1) if rng.random() < 0.9 else past


def _lengths(rng: Random, T: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if rng.random() < 0.7:
        options["max_new_tokens"] = rng.choice([1, 2, 3, 5, 8, 8, 10])
    if rng.random() < (0.1 if options else 0.6):
        options["max_length"] = T + rng.randint(-1, 10) or 1
    if rng.random() < 0.3:
        options["min_length"] = rng.choice([0, T, T + 2, T + 4])
    if rng.random() < 0.2:
        options["min_new_tokens"] = rng.choice([0, 1, 3, None])
    return options


def _search(rng: Random) -> dict[str, Any]:
    options: dict[str, Any] = {}
    beams = rng.choice([1, 1, 2, 3, 4])
    if beams > 1 or rng.random() < 0.2:
        options["num_beams"] = beams
    if rng.random() < 0.45:
        options["do_sample"] = rng.random() < 0.9
    if rng.random() < 0.35:
        options["num_return_sequences"] = rng.randint(1, beams if beams > 1 else 3)
    if beams > 1 and rng.random() < 0.6:
        options["length_penalty"] = rng.choice([0.0, 1.0, 2.0, 0.5, -1.0])
    if beams > 1 and rng.random() < 0.6:
        options["early_stopping"] = rng.choice([True, False, "never"])
    if rng.random() < 0.25:
        options["use_cache"] = rng.random() < 0.3
    if rng.random() < 0.05:
        options |= rng.choice(_WRONG_SEARCH)
    return options


_WRONG_SEARCH: list[dict[str, Any]] = [
    {"num_beams": 0}, {"num_return_sequences": 5}, {"early_stopping": "soon"}, {"max_new_tokens": 0},
    {"num_return_sequences": None}, {"max_new_tokens": -3}, {"low_memory": True, "num_beams": 2},
    {"num_beam_groups": 2, "num_beams": 4}, {"penalty_alpha": 0.6, "do_sample": False, "num_beams": 1},
    {"position": 3}, {"token_type_ids": [[0]]}, {"num_beams": -1},
]  # fmt: skip


def _special_ids(rng: Random, V: int, pad: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if rng.random() < 0.6:
        many = rng.sample(range(V), rng.choice([2, 3, V // 4]))
        options["eos_token_id"] = rng.choice([None, rng.randrange(V), many, many])
    if rng.random() < 0.2:
        options["pad_token_id"] = rng.choice([0, 1, 3, pad])
    return options


def _processors(rng: Random, V: int) -> dict[str, Any]:
    def ids(most: int) -> list[int]:
        return rng.sample(range(V), rng.randint(1, most))

    choices: dict[str, Any] = {
        "repetition_penalty": lambda: rng.choice([1.0, 1.3, 2.0, 0.7, None]),
        "no_repeat_ngram_size": lambda: rng.choice([0, 1, 2, 3, None]),
        "bad_words_ids": lambda: [ids(2) for _ in range(rng.randint(1, 3))],
        "sequence_bias": lambda: {tuple(ids(3)): rng.choice([-2.5, 3.0, 1.0]) for _ in range(rng.randint(1, 3))},
        "suppress_tokens": lambda: ids(4),
        "begin_suppress_tokens": lambda: ids(4),
        "forced_bos_token_id": lambda: rng.randrange(V),
        "forced_eos_token_id": lambda: rng.choice([rng.randrange(V), ids(2)]),
        "exponential_decay_length_penalty": lambda: (rng.randint(0, 4), rng.choice([1.5, 1.0, 0.8])),
        "renormalize_logits": lambda: True,
        "remove_invalid_values": lambda: True,
    }
    return {name: make() for name, make in choices.items() if rng.random() < 0.13}


def _sampling(rng: Random, V: int) -> dict[str, Any]:
    choices: dict[str, list[Any]] = {
        "temperature": [0.3, 0.7, 1.0, 2.5, None, 0.0, -1.0],
        "top_k": [0, 1, 2, 5, 50, V + 3, None, -1],
        "top_p": [0.0, 0.3, 0.6, 0.9, 1.0, None, -0.2, 1.5],
        "min_p": [0.0, 0.05, 0.3, 1.0, None, 1.5],
        "typical_p": [0.2, 0.6, 0.95, 1.0, None, 0.0],
        "epsilon_cutoff": [0.0, 0.01, 0.1, None, -0.1, 1.5],
        "eta_cutoff": [0.0, 0.01, 0.1, None, -0.1, 1.5],
    }
    usual = rng.random() < 0.85
    values = {name: [x for x in xs if not usual or x is None or 0 <= x != 1.5] for name, xs in choices.items()}
    if usual:
        values["temperature"].remove(0.0)
        values["typical_p"].remove(0.0)
    return {name: rng.choice(xs) for name, xs in values.items() if rng.random() < 0.3}


def _outputs(rng: Random) -> dict[str, Any]:
    options: dict[str, Any] = {"return_dict_in_generate": rng.random() < 0.85} if rng.random() < 0.9 else {}
    return options | {name: rng.random() < 0.8 for name in FLAGS if rng.random() < 0.5}
