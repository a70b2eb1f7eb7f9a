"""Quantized, the demo predicts the sentences that were held out of its training almost as well as in float32."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM
from minibiogpt.quantization import FORMATS, FourBits
from tests.budgets import PERPLEXITY_RISE
from tools.quantization_table import held_out, perplexity_of


@cache
def float_perplexity() -> float:
    return perplexity_of(BioGptForCausalLM.from_pretrained("demo"))


def rise_of(model: BioGptForCausalLM) -> float:
    """Return by which part of itself the perplexity of float32 changes."""
    return perplexity_of(model) / float_perplexity() - 1


def test_every_format_has_a_bound() -> None:
    assert set(PERPLEXITY_RISE) == set(FORMATS)
    assert len(held_out()) == 304


@pytest.mark.parametrize("kind", FORMATS)
def test_the_perplexity_stays_within_its_bound(kind: str) -> None:
    assert abs(rise_of(BioGptForCausalLM.from_pretrained("demo", quantization=kind))) <= PERPLEXITY_RISE[kind]


def test_scales_in_float32_and_outliers_in_float_stay_within_the_same_bounds() -> None:
    four = BioGptForCausalLM.from_pretrained("demo", quantization="nf4", double_quant=False)
    dynamic = BioGptForCausalLM.from_pretrained("demo", quantization="int8-dynamic", outlier_threshold=6.0)
    assert abs(rise_of(four)) <= PERPLEXITY_RISE["nf4"]
    assert abs(rise_of(dynamic)) <= PERPLEXITY_RISE["int8-dynamic"]


@pytest.mark.parametrize("mistake", ["halves of bytes", "scales of the next blocks"])
def test_a_mistake_in_one_matrix_of_four_bits_exceeds_the_bound(mistake: str) -> None:
    model = BioGptForCausalLM.from_pretrained("demo", quantization="nf4", double_quant=False)
    weight = model.biogpt.layers[0].self_attn.q_proj.weight
    assert isinstance(weight, FourBits)
    if mistake == "halves of bytes":
        weight.packed[...] = weight.packed << 4 | weight.packed >> 4
    else:
        weight.scales[...] = np.roll(weight.scales, 1)
    assert rise_of(model) > 2 * PERPLEXITY_RISE["nf4"]


def test_codes_of_int8_in_the_rows_of_others_exceed_the_bound() -> None:
    """Scales of other rows in one matrix would not: rows of a trained matrix have similar scales."""
    model = BioGptForCausalLM.from_pretrained("demo", quantization="int8")
    codes = model.biogpt.layers[1].fc2.weight.codes
    codes[...] = np.roll(codes, 1, axis=0)
    assert rise_of(model) > 2 * PERPLEXITY_RISE["int8"]
