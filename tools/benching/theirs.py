"""The transformers worker: python -m tools.benching.theirs FOLDER --threads N --dtype D [--quantization Q]"""

from __future__ import annotations

import argparse
import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tools.benching.answer import Outcome, StepClock, best, digests, no_wait, serve


class Theirs:
    """The jobs, on one model whose attention implementation is set before each job."""

    device = "cpu"
    wait: Callable[[], None] = staticmethod(no_wait)

    def __init__(self, folder: str, dtype: str, threads: int, quantization: str | None = None) -> None:
        self.folder, self.dtype, self.threads = folder, getattr(torch, dtype), threads
        self.chosen = quantized(quantization, dtype)
        torch.set_num_threads(threads)

    @functools.cached_property
    def _loaded(self) -> Any:
        transformers.logging.set_verbosity_error()
        model = transformers.BioGptForCausalLM.from_pretrained(self.folder, dtype=self.dtype, **self.chosen).eval()
        return model if self.chosen else model.to(self.device)  # bitsandbytes has placed it, and 8 bits can't move

    def model(self, attention: str) -> Any:
        """Return the model with this attention implementation.

        Raises
        ------
        RuntimeError
            If a layer still uses another one.
        """
        model = self._loaded
        model.set_attn_implementation(attention)
        found = {layer.self_attn.config._attn_implementation for layer in model.biogpt.layers}
        if found != {attention} or model.biogpt.config._attn_implementation != attention:
            raise RuntimeError(f"the attention must be {attention}; found {sorted(found)}")
        return model

    def check(self, ids: list[list[int]], path: str, attention: str) -> Outcome:
        np.save(path, self.model(attention)(torch.tensor(ids), use_cache=False).logits.float().numpy())
        return {}, None

    def prefill(self, ids: list[list[int]], attention: str) -> Outcome:
        model, inputs, clock = self.model(attention), torch.tensor(ids, device=self.device), StepClock(self.wait)
        clock.start()
        logits = model(inputs, use_cache=False).logits
        seconds = clock.now() - clock.begun
        return {"whole": seconds}, logits.argmax(dim=-1).tolist()

    def generate(self, ids: list[list[int]], new: int, attention: str, beams: int = 1) -> Outcome:
        model, inputs, clock = self.model(attention), torch.tensor(ids, device=self.device), StepClock(self.wait)

        def note(so_far: Any, scores: Any, **options: Any) -> Any:
            clock.note()
            return torch.zeros(so_far.shape[0], dtype=torch.bool, device=so_far.device)

        clock.start()
        found = model.generate(
            inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=new, min_new_tokens=new, num_beams=beams,
            do_sample=False, early_stopping=False, length_penalty=1.0,
            stopping_criteria=transformers.StoppingCriteriaList([note]),
        )  # fmt: skip
        return clock.times(clock.now(), new), found[:, len(ids[0]) :].tolist()

    def score(self, rows: list[list[int]], batches: list[list[int]], attention: str) -> Outcome:
        """ln p of each row: the same batches, right-padded, log_softmax and gather.

        Without an attention mask, like ours: the causal mask already hides right padding, and a mask costs time.
        """
        model, totals, clock = self.model(attention), torch.zeros(len(rows), dtype=torch.float64), StepClock(self.wait)
        clock.start()
        for batch in batches:
            ids = torch.ones((len(batch), max(len(rows[i]) for i in batch)), dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for b, i in enumerate(batch):
                ids[b, : len(rows[i])] = torch.tensor(rows[i])
                mask[b, : len(rows[i])] = 1
            ids, mask = ids.to(self.device), mask.to(self.device)
            log_p = model(ids, use_cache=False).logits[:, :-1].float().log_softmax(dim=-1)
            token_log_p = log_p.gather(2, ids[:, 1:, None])[:, :, 0] * mask[:, 1:]
            totals[batch] = token_log_p.double().sum(dim=1).cpu()
        seconds = clock.now() - clock.begun
        return {"whole": seconds}, totals.tolist()

    def tokenize(self, texts: list[str], vocab: str) -> Outcome:
        files = {f"{name}_file": str(Path(vocab) / file) for name, file in FILES.items()}
        tokenizer = transformers.BioGptTokenizer(**files)
        tokenizer("a")  # creates its MosesTokenizer; ours is created with the tokenizer
        start = time.perf_counter()
        rows = tokenizer(texts)["input_ids"]
        return {"whole": time.perf_counter() - start}, digests(rows)

    def moses(self, texts: list[str], vocab: str) -> Outcome:
        """sacremoses alone, called as transformers calls it: a lower bound for transformers."""
        import sacremoses

        tokenizer = sacremoses.MosesTokenizer(lang="en")
        start = time.perf_counter()
        for text in texts:
            tokenizer.tokenize(text, aggressive_dash_splits=True, return_str=False, escape=True)
        return {"whole": time.perf_counter() - start}, None

    def bandwidth(self, size: int, tries: int) -> Outcome:
        x = torch.ones(size // 4, dtype=torch.float32)
        matrix, ones = x[: size // 4096 * 1024].reshape(-1, 1024), torch.ones(1024)
        methods = {"sum": lambda: x.sum(), "mv": lambda: torch.mv(matrix, ones), "dot": lambda: torch.dot(x, x)}
        return {}, 4 * x.numel() / min(best(method, tries) for method in methods.values())

    def gemm(self, m: int, k: int, n: int, tries: int) -> Outcome:
        """Operations per second in bfloat16, which is fast where there is AMX, or float32; float16 takes minutes."""
        dtype = torch.bfloat16 if self.dtype == torch.bfloat16 else torch.float32
        a, b = torch.ones((m, k), dtype=dtype), torch.ones((k, n), dtype=dtype)
        return {}, 2 * m * k * n / best(lambda: a @ b, tries)


def quantized(form: str | None, dtype: str) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` for weights that bitsandbytes quantizes on the CPU: "nf4" or "int8".

    nf4 has double quantization. int8 leaves outliers in floats, with transformers' own threshold.
    """
    if form is None:
        return {}
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of each conversion to float16
    four = {"bnb_4bit_quant_type": form, "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": dtype}
    settings = {"load_in_8bit": True} if form == "int8" else {"load_in_4bit": True} | four
    return {"quantization_config": transformers.BitsAndBytesConfig(**settings), "device_map": "cpu"}


FILES = {"vocab": "vocab.json", "merges": "merges.txt"}
JOBS = ("check", "prefill", "generate", "score", "tokenize", "moses", "bandwidth", "gemm")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    for name, kind in (("--dtype", str), ("--threads", int)):
        parser.add_argument(name, type=kind, required=True)
    parser.add_argument("--quantization", help="what bitsandbytes does with the weights")
    return parser


def main() -> None:
    theirs = Theirs(**vars(arguments().parse_args()))
    with torch.inference_mode():
        serve({name: getattr(theirs, name) for name in JOBS})


if __name__ == "__main__":
    main()
