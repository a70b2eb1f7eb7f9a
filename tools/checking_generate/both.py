"""One case of generation, run in minibiogpt and in transformers.

Random numbers: minibiogpt draws, and transformers is given the same draws. Rounding: transformers converts logits to
float32, which would hide small differences and make near ties differ. Here its generation code sees a ``torch`` whose
float32 is float64, and whose ``topk`` takes the first of equal values, as minibiogpt does (PyTorch leaves their order
undefined). Everything else is transformers' own code.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
import transformers
from transformers.cache_utils import DynamicCache
from transformers.generation import logits_process
from transformers.generation import utils as their_code

from minibiogpt import BioGptConfig, BioGptForCausalLM, KVCache
from minibiogpt.generation.random_draws import RandomDraws

transformers.logging.set_verbosity_error()
MODELS: tuple[dict[str, Any], ...] = (
    {"vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 17},
    {"vocab_size": 41, "hidden_size": 15, "num_hidden_layers": 2, "num_attention_heads": 3, "hidden_act": "relu"},
    {"vocab_size": 11, "hidden_size": 14, "num_hidden_layers": 2, "num_attention_heads": 1, "scale_embedding": False},
    {"vocab_size": 67, "hidden_size": 20, "num_hidden_layers": 3, "num_attention_heads": 5, "pad_token_id": 0},
    {"vocab_size": 31, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "eos_token_id": [2, 7, 9]},
    {"vocab_size": 29, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4, "pad_token_id": None,
     "tie_word_embeddings": False},
)  # fmt: skip
N = 24  # positions, so few that some cases reach the end


@dataclass(frozen=True)
class Case:
    """One call of generate: which of MODELS, the inputs as plain lists, and the options.

    Attributes
    ----------
    inputs : input_ids, attention_mask, inputs_embeds (the seed of its values, rows, positions), head_mask.
    past : how many first positions come from a cache.
    in_config : the names of the options that are passed in a GenerationConfig.
    functions : the names of the functions that are passed too; see ``functions_of``.
    """

    model: int = 0
    inputs: dict[str, Any] = field(default_factory=dict)
    past: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    in_config: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()

    def sizes(self) -> dict[str, Any]:
        return {"max_position_embeddings": N, "intermediate_size": 19} | MODELS[self.model]


@cache
def models(index: int) -> tuple[BioGptForCausalLM, Any]:
    """Return the model of both implementations, in float64, with the same random weights."""
    sizes = Case(index).sizes()
    theirs = transformers.BioGptForCausalLM(transformers.BioGptConfig(**sizes, attn_implementation="eager"))
    theirs = theirs.double().eval()
    generator = torch.Generator().manual_seed(index)
    with torch.no_grad():
        for name, x in theirs.named_parameters():
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            x.copy_(1 + 0.2 * noise if name.endswith("layer_norm.weight") else 0.5 * noise)
    weights = {name.removeprefix("biogpt."): x.numpy() for name, x in theirs.state_dict().items()}
    return BioGptForCausalLM(BioGptConfig(**sizes), weights), theirs


def embeds_of(case: Case) -> np.ndarray | None:
    """Return the inputs_embeds of a case, (B, P, D), from their seed."""
    if "inputs_embeds" not in case.inputs:
        return None
    seed, rows, positions = case.inputs["inputs_embeds"]
    return np.random.default_rng(seed).normal(size=(rows, positions, case.sizes()["hidden_size"]))


def ours(case: Case) -> tuple[Any, list[np.ndarray]]:
    """Return minibiogpt's output, or its error, and the tokens (or candidates) it drew in each step."""
    model, draws = models(case.model)[0], []
    inputs = case.inputs | ({"inputs_embeds": embeds_of(case)} if "inputs_embeds" in case.inputs else {})
    options, config = _split(case)
    methods = {name: getattr(RandomDraws, name) for name in ("sample", "sample_without_replacement")}

    def recording(name: str) -> Any:
        def draw(self: RandomDraws, *args: Any) -> np.ndarray:
            draws.append(methods[name](self, *args))
            return draws[-1]

        return draw

    try:
        for name in methods:
            setattr(RandomDraws, name, recording(name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            past = {"past_key_values": _past(case)} if case.past else {}
            functions = functions_of(case, np)
            out = model.generate(**inputs, **past, **functions, generation_config=config or None, **options)
    except Exception as error:
        return error, draws
    finally:
        for name, method in methods.items():
            setattr(RandomDraws, name, method)
    return out, draws


def theirs(case: Case, draws: list[np.ndarray]) -> Any:
    """Return transformers' output, or its error, with these draws."""
    model = models(case.model)[1]
    embeds = embeds_of(case)  # first, because transformers takes the number of rows from the first tensor
    inputs = {} if embeds is None else {"inputs_embeds": torch.tensor(embeds)}
    inputs |= {name: torch.tensor(np.asarray(x)) for name, x in case.inputs.items() if name != "inputs_embeds"}
    options, config = _split(case)
    remaining = iter(draws)
    rows_each = max(options.get("num_beams") or 1, options.get("num_return_sequences") or 1)
    rows_each = max(rows_each, config.get("num_beams") or 1, config.get("num_return_sequences") or 1)
    try:
        with warnings.catch_warnings(), torch.no_grad(), _in_float64(remaining):
            warnings.simplefilter("ignore")
            if config:
                options["generation_config"] = transformers.GenerationConfig(**copy.deepcopy(config))
            if case.past:
                pairs = [[torch.tensor(np.repeat(x, rows_each, axis=0)) for x in pair] for pair in _past(case)]
                options["past_key_values"] = DynamicCache.from_legacy_cache(tuple(map(tuple, pairs)))
            return model.generate(**inputs, **functions_of(case, torch), **copy.deepcopy(options))
    except Exception as error:
        return error


def functions_of(case: Case, xp: Any) -> dict[str, Any]:
    """Return a logits processor, a stopping criterion and a constraint, which are the same for both array modules."""
    V = case.sizes()["vocab_size"]

    def process(ids: Any, scores: Any) -> Any:
        return scores + xp.sin(xp.arange(V) * 1.7) * (1 + ids.shape[-1] % 3)

    def stop(ids: Any, scores: Any) -> Any:
        return ids[:, -1] % 5 == 0

    def prefix(row: int, ids: Any) -> list[int]:
        last = int(ids[-1]) if len(ids) else 0
        return [(last * 3 + row + i) % V for i in range(5)]

    every = {"logits_processor": [process], "stopping_criteria": [stop], "prefix_allowed_tokens_fn": prefix}
    return {name: every[name] for name in case.functions}


def _split(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the call, and those of its GenerationConfig."""
    config = {name: case.options[name] for name in case.in_config}
    return {name: x for name, x in case.options.items() if name not in config}, config


def _past(case: Case) -> KVCache:
    """Return the cache of the first ``case.past`` positions of the prompt."""
    model, mask = models(case.model)[0], case.inputs.get("attention_mask")
    mask = None if mask is None else np.asarray(mask)[:, : case.past]
    if "inputs_embeds" in case.inputs:
        return model(attention_mask=mask, inputs_embeds=embeds_of(case)[:, : case.past]).past_key_values
    ids = np.asarray(case.inputs["input_ids"])[:, : case.past]
    return model(ids, mask).past_key_values


@contextmanager
def _in_float64(draws: Iterator[np.ndarray]) -> Iterator[None]:
    """Let transformers' generation code compute in float64, with these draws and with ``topk`` in a defined order."""

    def multinomial(probs: torch.Tensor, num_samples: int) -> torch.Tensor:
        drawn = next(draws, None)  # there are none left where minibiogpt refused the case
        if drawn is None:
            return topk(probs, num_samples)[1]
        return torch.tensor(drawn).reshape(probs.shape[0], num_samples)

    def topk(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        values, indices = torch.sort(x, dim=-1, descending=True, stable=True)
        if k > x.shape[-1]:
            raise RuntimeError("selected index k out of range")
        return values[..., :k], indices[..., :k]

    class Torch:
        float32 = float = torch.float64

        def __getattr__(self, name: str) -> Any:
            return {"multinomial": multinomial, "topk": topk}.get(name) or getattr(torch, name)

    lifted = Torch()
    default = torch.get_default_dtype()
    try:
        their_code.torch = logits_process.torch = lifted
        torch.set_default_dtype(torch.float64)
        yield
    finally:
        their_code.torch = logits_process.torch = torch
        torch.set_default_dtype(default)
