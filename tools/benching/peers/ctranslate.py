"""The CTranslate2 worker: python -m tools.benching.peers.ctranslate FOLDER --threads N --converted FOLDER

The model is described to CTranslate2 as a GPT-2: a pre-norm decoder with learned positions. The embeddings are scaled
by CTranslate2 itself, so the head can share their table. Tokens are named by their ids.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import LanguageModelSpec, TransformerDecoderModelSpec
from ctranslate2.specs.common_spec import Activation, LayerNormSpec, LinearSpec
from safetensors.numpy import load_file

from tools.benching.answer import Outcome, StepClock
from tools.benching.peers.serving import arguments, made, serve_jobs

POSITION_OFFSET = 2  # unused rows at the start of the table of positions
UNKNOWN = "unknown"  # CTranslate2 needs such a token; no text contains it
HEAD = "output_projection.weight"


def spec_of(config: dict[str, Any], weights: dict[str, np.ndarray]) -> LanguageModelSpec:
    """Return the model as CTranslate2 describes it."""
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    spec = TransformerDecoderModelSpec.from_config(layers, heads, pre_norm=True, activation=Activation.GELU)
    decoder = spec.decoder
    decoder.scale_embeddings = config.get("scale_embedding", True)
    decoder.embeddings.weight = decoder.projection.weight = weights["embed_tokens.weight"]
    decoder.position_encodings.encodings = weights["embed_positions.weight"][POSITION_OFFSET:]
    _norm(decoder.layer_norm, weights, "layer_norm")
    for i, layer in enumerate(decoder.layer):
        before, attention = f"layers.{i}.", layer.self_attention
        _norm(attention.layer_norm, weights, f"{before}self_attn_layer_norm")
        parts = [f"{before}self_attn.{name}_proj" for name in "qkv"]
        for kind in ("weight", "bias"):
            setattr(attention.linear[0], kind, np.concatenate([weights[f"{part}.{kind}"] for part in parts]))
        _linear(attention.linear[1], weights, f"{before}self_attn.out_proj")
        _norm(layer.ffn.layer_norm, weights, f"{before}final_layer_norm")
        _linear(layer.ffn.linear_0, weights, f"{before}fc1")
        _linear(layer.ffn.linear_1, weights, f"{before}fc2")
    spec.register_vocabulary([*map(str, range(config["vocab_size"] - 1)), UNKNOWN])
    spec.config.unk_token = UNKNOWN
    spec.config.bos_token = spec.config.eos_token = str(config["eos_token_id"])
    spec.config.layer_norm_epsilon = 1e-5
    return spec


def _norm(spec: LayerNormSpec, weights: dict[str, np.ndarray], name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


def _linear(spec: LinearSpec, weights: dict[str, np.ndarray], name: str) -> None:
    spec.weight, spec.bias = weights[f"{name}.weight"], weights[f"{name}.bias"]


def convert(folder: Path, to: Path) -> None:
    """Write a model folder in CTranslate2's format, in float32; other precisions are made when it is loaded."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stored = load_file(folder / "model.safetensors")
    weights = {name.removeprefix("biogpt."): array.astype(np.float32) for name, array in stored.items()}
    spec = spec_of(config, weights)
    spec.validate()
    spec.optimize()
    spec.save(str(to))


class CTranslate:
    """The jobs, on one model that is loaded on first use."""

    def __init__(self, folder: Path, threads: int, converted: Path, precision: str) -> None:
        self.folder, self.threads, self.converted, self.precision = folder, threads, converted, precision

    @functools.cached_property
    def model(self) -> Any:
        return ctranslate2.Generator(
            str(self._converted()), device="cpu", compute_type=self.precision, inter_threads=1,
            intra_threads=self.threads,
        )  # fmt: skip

    def _converted(self) -> Path:
        return made(self.converted / f"ctranslate2-{ctranslate2.__version__}", lambda to: convert(self.folder, to))

    @functools.cached_property
    def _last(self) -> int:
        """The id whose name is ``UNKNOWN``."""
        return json.loads((self.folder / "config.json").read_text(encoding="utf-8"))["vocab_size"] - 1

    def _names(self, rows: list[list[int]]) -> list[list[str]]:
        return [[UNKNOWN if i == self._last else str(i) for i in row] for row in rows]

    def convert(self) -> Outcome:
        """Convert the model, unless that is done."""
        return {}, str(self._converted())

    def load(self) -> Outcome:
        return {}, self.model is not None

    def check(self, ids: list[list[int]], path: str) -> Outcome:
        """Save the logits of all positions as a NumPy file."""
        np.save(path, np.array(self.model.forward_batch(ids)))
        return {}, None

    def prefill(self, ids: list[list[int]]) -> Outcome:
        """Logits of all positions; the result is the argmax at each position."""
        model, clock = self.model, StepClock()
        clock.start()
        logits = model.forward_batch(ids)
        seconds = clock.now() - clock.begun
        return {"whole": seconds}, np.array(logits).argmax(axis=-1).tolist()

    def generate(self, ids: list[list[int]], new: int, beams: int = 1) -> Outcome:
        """Greedy generation with a timestamp for every step, or beam search.

        CTranslate2 reports no steps of a beam search: their time is that of the call without that of a call for one
        token.
        """
        model, prompts = self.model, self._names(ids)
        if beams > 1:
            one = min(self._call(model, prompts, 1, beams)[0] for _ in range(2))
            whole, found = self._call(model, prompts, new, beams)
            step = (whole - one) / (new - 1) if whole > one else whole / new  # the latter if one is noise only
            return {"first": one, "step": step, "whole": whole}, found
        clock, seen = StepClock(), -1

        def note(result: Any) -> bool:  # called for every row of a step
            nonlocal seen
            if result.step > seen:
                seen = result.step
                clock.note()
            return False

        clock.start()
        _, found = self._call(model, prompts, new, 1, callback=note)
        return clock.times(clock.now(), new), found

    def _call(
        self, model: Any, prompts: list[list[str]], new: int, beams: int, **options: Any
    ) -> tuple[float, list[list[int]]]:
        clock = StepClock()
        clock.start()
        results = model.generate_batch(
            prompts, max_length=new, min_length=new, beam_size=beams, include_prompt_in_result=False,
            length_penalty=1, **options,
        )  # fmt: skip
        return clock.now() - clock.begun, [result.sequences_ids[0] for result in results]


def main() -> None:
    serve_jobs(CTranslate(**vars(arguments().parse_args())))


if __name__ == "__main__":
    main()
