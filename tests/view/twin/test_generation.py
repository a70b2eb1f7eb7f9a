"""Generation in JavaScript against minibiogpt's generate: the rules on stored logits, and ids of the demo model."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from minibiogpt.files.hub import DEMO
from minibiogpt.generation.config import GenerationConfig
from minibiogpt.generation.processor_list import logits_processors
from minibiogpt.generation.random_draws import RandomDraws
from minibiogpt.model.ops import softmax
from tests.budgets import LANE_A
from tests.support import demo
from tests.support.node import run_js

IMPORTS = """
import { readFileSync } from "node:fs";
import { decodingSteps, drawToken, generate } from "./biogpt/generation/generation.js";
import { BioGpt } from "./biogpt/model.js";
import { readSafetensors } from "./biogpt/safetensors.js";
"""
# A model that ignores its input: the logits of call n are input.logits[n].
STORED = """
const Kind = input.dtype === "float32" ? Float32Array : Float64Array;
const stored = (rows) => {
  let calls = 0;
  const forward = ({ ids, cache }) => {
    const length = (cache?.length ?? 0) + ids[0].length, T = ids[0].length, V = rows[0].length;
    const numbers = new Kind(T * V);
    numbers.set(rows[calls++], (T - 1) * V);
    return { logits: { shape: [1, T, V], dtype: input.dtype, numbers }, cache: { length } };
  };
  return { config: { eos_token_id: 2 }, forward };
};
"""
MODEL = """
const model = new BioGpt(JSON.parse(readFileSync(input.folder + "/config.json", "utf8")),
  readSafetensors(new Uint8Array(readFileSync(input.folder + "/model.safetensors"))).tensors, { dtype: input.dtype });
"""
RULES: list[dict[str, Any]] = [
    {},
    {"repetition_penalty": 1.3}, {"repetition_penalty": 0.7},
    {"no_repeat_ngram_size": 1}, {"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 3},
    {"min_new_tokens": 2}, {"min_new_tokens": 0}, {"temperature": 0.7}, {"temperature": 3.0}, {"temperature": None},
    {"top_k": 1}, {"top_k": 3}, {"top_k": 0}, {"top_k": None}, {"top_k": 1000},
    {"top_p": 0.01}, {"top_p": 0.3}, {"top_p": 0.75}, {"top_p": 0.9}, {"top_p": 0.999}, {"top_p": 1.0},
    {"min_p": 0.1}, {"min_p": 0.5}, {"min_p": 1.0}, {"min_p": 0.0},
    {"typical_p": 0.1}, {"typical_p": 0.6}, {"typical_p": 0.95}, {"typical_p": 1.0},
    {"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "min_new_tokens": 9, "temperature": 0.8, "top_k": 12,
     "top_p": 0.9, "min_p": 0.02, "typical_p": 0.9},
]  # fmt: skip
PROMPT = [2, 5, 3, 5, 2, 4, 5, 3]


def camel(name: str) -> str:
    return re.sub("_(.)", lambda found: found[1].upper(), name)


def options_in_js(options: dict[str, Any]) -> dict[str, Any]:
    return {camel(name): value for name, value in options.items()}


def all_logits(dtype: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    random = rng.normal(size=60) * 3
    found = {
        "random": random,
        "ties": np.log([0.25, 0.125, 0.25, 0.125, 0.125, 0.0625, 0.0625]),
        "equal": np.zeros(10),
        "forbidden": np.where(np.arange(60) % 3 == 1, -np.inf, random),
        "sharp": random * 20,
        "rounded": rng.integers(-3, 3, 50).astype(float),
        "large": rng.normal(size=1874),
    }
    return {name: x.astype(dtype) for name, x in found.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", all_logits("float64"))
def test_each_rule_is_that_of_generate(name: str, dtype: str) -> None:
    logits = all_logits(dtype)[name]
    cases = [
        {"doSample": True, "topK": 0, **options_in_js(options), "maxNewTokens": 1, "seed": str(i)}
        for i, options in enumerate(RULES)
    ]
    body = (
        STORED
        + """
      return input.cases.map((options) => {
        const [step] = decodingSteps(stored(input.logits), input.prompt, options);
        return step;
      });
    """
    )
    data = {"dtype": dtype, "logits": logits[None], "prompt": PROMPT, "cases": cases}
    for seed, (options, found) in enumerate(zip(RULES, run_js(body, data, imports=IMPORTS), strict=True)):
        config = GenerationConfig(**{"do_sample": True, "top_k": 0, "eos_token_id": 2, **options})
        chain = logits_processors(config, len(PROMPT), 20)
        assert [stage["rule"] for stage in found["stages"]] == [type(process).__name__ for process in chain]
        x = logits[None]
        for process, stage in zip(chain, found["stages"], strict=True):
            assert np.array_equal(np.array(stage["before"], dtype), x[0]), options
            after = process(np.array([PROMPT]), x)
            assert np.array_equal(np.array(stage["after"], dtype), after[0]), (options, stage["rule"])
            assert stage["removed"] == np.flatnonzero((after[0] == -np.inf) & (x[0] > -np.inf)).tolist()
            x = after
        want = softmax(x.astype("float64"))[0]
        assert abs(np.array(found["probs"]) - want).max() <= LANE_A * want.max()
        assert found["uniform"] == np.random.default_rng(seed).random()
        assert found["token"] == RandomDraws(seed).sample(x)[0], options
        assert (found["ids"], found["cacheLength"], found["step"]) == (PROMPT, len(PROMPT), 0)


def test_greedy_steps_end_at_an_end_token() -> None:
    rows = np.zeros((5, 6))
    rows[range(5), [4, 3, 2, 1, 1]] = 1
    rows[1, 5] = 1  # a tie: the first is taken
    body = (
        STORED
        + """
      const ids = [[7, 7], [[7, 7]]].map((prompt) => generate(stored(input.logits), prompt, { maxNewTokens: 5 }));
      return { ids, steps: [...decodingSteps(stored(input.logits), [7, 7], { ...input.options, maxNewTokens: 5 })] };
    """
    )
    found = run_js(body, {"dtype": "float64", "logits": rows, "options": {}}, imports=IMPORTS)
    assert found["ids"] == [[7, 7, 4, 3, 2]] * 2
    assert [step["token"] for step in found["steps"]] == [4, 3, 2]
    assert [step["ended"] for step in found["steps"]] == [False, False, True]
    assert [step["ids"] for step in found["steps"]] == [[7, 7], [7, 7, 4], [7, 7, 4, 3]]
    assert [step["cacheLength"] for step in found["steps"]] == [2, 3, 4]
    assert [step["uniform"] for step in found["steps"]] == [None] * 3
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"eosTokenId": None}, [4, 3, 2, 1, 1]),
        ({"eosTokenId": [3, 9]}, [4, 3]),
        ({"minNewTokens": 2}, [4, 3, 2]),
        ({"minNewTokens": 3}, [4, 3, 0, 1, 1]),  # without the end token all others are equal, and the first is taken
    ]
    for options, want in cases:
        found = run_js(body, {"dtype": "float64", "logits": rows, "options": options}, imports=IMPORTS)
        assert [step["token"] for step in found["steps"]] == want


def test_a_draw_is_the_first_token_beyond_a_uniform_number() -> None:
    body = "return input.map((u) => drawToken([0.25, 0, 0.5, 0.25, 0], u));"
    assert run_js(body, [0, 0.24, 0.25, 0.74, 0.76, 0.999999], imports=IMPORTS) == [0, 0, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 5}, "an option must be one of maxNewTokens.*; found top_k"),
        ({"maxNewTokens": 0}, "maxNewTokens must be an integer, 1 or more; found 0"),
        ({"maxNewTokens": 250}, "fit into N = 256 positions; found 8 and 250; request at most 249 new tokens"),
        ({"temperature": 0, "doSample": True}, "temperature must be a number in .* found 0; leave out doSample"),
        ({"topP": 1.5}, r"topP must be a number in \[0, 1\]; found 1.5"),
        ({"typicalP": 0}, r"typicalP must be a number in \(0, 1\]; found 0"),
        ({"doSample": True, "seed": -1}, "seed must be null or an integer, 0 or more; found -1"),
    ],
)
def test_wrong_options_are_errors(options: dict[str, Any], message: str) -> None:
    body = """
      const model = { config: { max_position_embeddings: 256 } };
      try { generate(model, input.prompt, input.options); } catch (error) { return error.message; }
    """
    found = run_js(body, {"options": options, "prompt": PROMPT}, imports=IMPORTS)
    assert re.search(message, found), found


ON_THE_DEMO: list[dict[str, Any]] = [
    {},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 12},
    {"do_sample": True, "seed": 0},
    {"do_sample": True, "seed": 1, "temperature": 1.7, "top_k": 0},
    {"do_sample": True, "seed": 2, "temperature": 0.7, "top_k": 20, "top_p": 0.9},
    {"do_sample": True, "seed": 3, "temperature": 1.5, "top_k": None, "min_p": 0.02, "min_new_tokens": 20},
    {"do_sample": True, "seed": 4, "temperature": 2.0, "typical_p": 0.9, "no_repeat_ngram_size": 2},
    {"do_sample": False, "temperature": 0, "max_new_tokens": 5},
    {"do_sample": True, "seed": 2**40, "temperature": 3.0, "top_k": 200, "repetition_penalty": 1.2},
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_demo_generates_the_same_ids(dtype: str) -> None:
    prompts = [demo.tokenizer().encode(text) for text in demo.PROMPTS[dtype == "float32" :: 2]]
    body = MODEL + "return input.cases.map((options) => input.prompts.map((ids) => generate(model, ids, options)));"
    cases = [{"maxNewTokens": 24, **options_in_js(options)} for options in ON_THE_DEMO]
    data = {"folder": str(DEMO), "dtype": dtype, "prompts": prompts, "cases": cases}
    found = run_js(body, data, imports=IMPORTS, timeout=300)
    model = demo.ours(dtype)
    texts = set()
    for options, rows in zip(ON_THE_DEMO, found, strict=True):
        for ids, got in zip(prompts, rows, strict=True):
            want = model.generate([ids], **{"max_new_tokens": 24, **options})[0].tolist()
            assert got == want, (options, demo.tokenizer().decode(ids))
            texts.add(tuple(got))
    assert len(texts) > 6 * len(prompts)  # the options make a difference
