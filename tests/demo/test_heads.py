"""The demo's README describes two heads: one attends to the previous token, one to the token to be copied."""

from __future__ import annotations

import re

import numpy as np

from minibiogpt import BioGptForCausalLM, Trace
from tests.support.paths import ROOT

README = (ROOT / "minibiogpt/demo/README.md").read_text(encoding="utf-8")
M = 24  # random pieces


def test_the_heads_do_what_the_page_says() -> None:
    rng, trace = np.random.default_rng(1), Trace("layers.*.self_attn.probs")
    model = BioGptForCausalLM.from_pretrained("demo")
    pieces = rng.integers(4, model.config.vocab_size, (8, M))
    model(np.concatenate([np.full((8, 1), 2), pieces, pieces], axis=1), trace=trace)
    probs = np.stack(list(trace.values())).mean(axis=1)  # layers, H, T, S
    repeated = np.arange(M + 1, 2 * M + 1)
    claims = re.findall(r"head (\d)\.(\d)\s+gives (0\.\d\d)", README)
    assert len(claims) == 2
    for (layer, head, weight), distance in zip(claims, (1, M - 1), strict=True):
        weights = probs[:, :, repeated, repeated - distance].mean(axis=-1)
        assert divmod(int(weights.argmax()), 4) == (int(layer), int(head))
        assert f"{weights.max():.2f}" == weight
