"""The pages' random numbers in JavaScript against NumPy's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.node import run_js

IMPORTS = 'import { seedWords, UniformNumbers } from "./biogpt/generation/random.js";'
SEEDS = [0, 1, 42, 2**31, 2**32 - 1, 2**53 - 1, 2**64 + 3, 2**200 + 12345]


def test_numbers_are_numpys() -> None:
    body = """
      return input.map((seed) => {
        const numbers = new UniformNumbers(seed);
        return Array.from({ length: 1000 }, () => numbers.next());
      });
    """
    for seed, found in zip(SEEDS, run_js(body, [str(seed) for seed in SEEDS], imports=IMPORTS), strict=True):
        assert found == np.random.default_rng(seed).random(1000).tolist(), seed


def test_a_seed_may_be_a_number_or_a_big_integer() -> None:
    found = run_js("return [42, 42n, '42'].map((seed) => new UniformNumbers(seed).next());", imports=IMPORTS)
    assert found == [np.random.default_rng(42).random()] * 3


@pytest.mark.parametrize("seed", SEEDS)
def test_words_are_those_of_a_seed_sequence(seed: int) -> None:
    found = run_js("return seedWords(BigInt(input), 21);", str(seed), imports=IMPORTS)
    assert found == np.random.SeedSequence(seed).generate_state(21).tolist()


@pytest.mark.parametrize("seed", ["-1", 1.5])
def test_what_is_no_seed_is_an_error(seed: object) -> None:
    body = "try { new UniformNumbers(input); } catch (error) { return error.name; }"
    assert run_js(body, seed, imports=IMPORTS) == "RangeError"
