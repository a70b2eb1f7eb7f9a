"""Ids in the options of generate, and what a caller's functions return, may be arrays, rows (1, n) and tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import GenerationConfig, InputError
from minibiogpt.generation.stopping import as_array
from tests.support.demo import ours, reference, their_ids, tokenizer

PROMPT = "Ibuprofen is best used for"
WORDS = ["pain", "the treatment"]
FORMS: list[Callable[[list[int]], Any]] = [
    np.array,
    lambda ids: np.array([ids]),
    torch.tensor,
    lambda ids: torch.tensor([ids]),
    lambda ids: [np.int64(i) for i in ids],
    lambda ids: [torch.tensor(i) for i in ids],
]


def ids_of(text: str) -> list[int]:
    return tokenizer().encode(text, add_special_tokens=False)


def generated(**options: Any) -> np.ndarray:
    enc = tokenizer()(PROMPT)
    return ours()(**enc) if not options else ours().generate(**enc, max_new_tokens=8, do_sample=False, **options)


def expected(**options: Any) -> np.ndarray:
    return their_ids("float32", tokenizer()(PROMPT), max_new_tokens=8, **options)


@pytest.mark.parametrize("form", FORMS)
def test_ids_in_options_may_be_of_any_kind(form: Any) -> None:
    words = [ids_of(word) for word in WORDS]
    suppressed = words[0] + words[1]
    for name, plain, given in [
        ("bad_words_ids", words, [form(word) for word in words]),
        ("suppress_tokens", suppressed, form(suppressed)),
        ("begin_suppress_tokens", suppressed, form(suppressed)),
        ("eos_token_id", [2, *words[0]], form([2, *words[0]])),
        ("forced_eos_token_id", [2], form([2])),
        ("sequence_bias", [[word, -10.0] for word in words], [[form(word), np.float32(-10)] for word in words]),
    ]:
        assert generated(**{name: given}).tolist() == expected(**{name: plain}).tolist(), name
        config = GenerationConfig(**{name: given})
        assert getattr(config, name) == plain, "plain numbers, which JSON can hold"
        setattr(config, name, given)
        assert getattr(config, name) == plain
    bias = {tuple(form(word)): -10.0 for word in words if np.ndim(form(word)) == 1}
    if bias and not isinstance(next(iter(bias))[0], torch.Tensor | np.ndarray):
        assert generated(sequence_bias=bias).tolist() == expected(sequence_bias=bias).tolist()


def test_the_lines_of_the_documentation_of_transformers_run() -> None:
    tok, other = tokenizer(), transformers.BioGptTokenizer.from_pretrained(reference("float32").name_or_path)
    bad = [tok(word, add_special_tokens=False).input_ids for word in WORDS]
    assert [word.ndim for word in bad] == [2, 2]
    want = expected(bad_words_ids=[other(word, add_special_tokens=False).input_ids for word in WORDS])
    assert generated(bad_words_ids=bad).tolist() == want.tolist()
    dot = tok(".", add_special_tokens=False).input_ids
    assert generated(eos_token_id=dot).tolist() == expected(eos_token_id=dot[0].tolist()).tolist()
    want = expected(suppress_tokens=other(".").input_ids, pad_token_id=1)
    assert generated(suppress_tokens=tok(".").input_ids, pad_token_id=np.array([[1]])).tolist() == want.tolist()


@pytest.mark.parametrize("wrong", [np.array([[2, 7], [3, 4]]), [[2, 7]], torch.tensor([2.5]), np.array([[-1]])])
def test_other_arrays_are_no_ids(wrong: Any) -> None:
    with pytest.raises(InputError, match="suppress_tokens must be a list of ids"):
        generated(suppress_tokens=wrong)
    with pytest.raises(InputError, match="eos_token_id must be an id or a list of ids"):
        GenerationConfig(eos_token_id=wrong)


@pytest.mark.parametrize("form", [*FORMS, iter])
def test_a_prefix_function_may_return_ids_of_any_kind(form: Any) -> None:
    allowed = ids_of("pain and inflammation.")
    got = generated(prefix_allowed_tokens_fn=lambda row, ids: form(allowed))
    want = expected(prefix_allowed_tokens_fn=lambda row, ids: allowed)
    assert got.tolist() == want.tolist()


@pytest.mark.parametrize("wrong", [None, "ab", [[1, 2]], 2.5, [10**9], torch.tensor([[1, 2], [3, 4]])])
def test_a_prefix_function_that_returns_no_ids_is_one_error(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"prefix_allowed_tokens_fn must return one or more ids in \[0, 1874\)"):
        generated(prefix_allowed_tokens_fn=lambda row, ids: wrong)


RETURNED = [np.asarray, lambda x: np.asarray(x).tolist(), lambda x: torch.tensor(np.asarray(x))]


@pytest.mark.parametrize("form", RETURNED)
def test_functions_may_return_lists_and_tensors(form: Any) -> None:
    def process(ids: Any, logits: Any) -> Any:
        return form(np.where(np.arange(logits.shape[-1]) == ids[0, -1], -np.inf, logits))

    plain = generated(logits_processor=[lambda ids, logits: np.asarray(process(ids, logits), dtype=logits.dtype)])
    assert generated(logits_processor=[process]).tolist() == plain.tolist()
    out = generated(logits_processor=[process], output_scores=True, return_dict_in_generate=True)
    assert {scores.dtype for scores in out.scores} == {np.dtype("float32")}
    long = tokenizer()(PROMPT)["input_ids"].shape[1] + 3
    for value in ([True], True):
        stopped = generated(
            stopping_criteria=[lambda ids, scores, value=value: form(value) if ids.shape[1] >= long else form([False])]
        )
        assert stopped.shape[1] == long


@pytest.mark.parametrize("wrong", [None, "yes", [[True], [False, True]], object(), [True, False]])
def test_a_function_that_returns_anything_else_is_one_error(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"a stopping criterion must return \(1,\) booleans, one for each row; found"):
        generated(stopping_criteria=[lambda ids, scores: wrong])
    with pytest.raises(InputError, match="a logits processor must return the logits of every token"):
        generated(logits_processor=[lambda ids, logits: wrong])


def test_what_holds_no_numbers_is_left_alone() -> None:
    assert as_array([["a"]], np.zeros(1)) == [["a"]]


def test_classes_derived_from_those_of_transformers_are_functions_of_arrays() -> None:
    class NoRepeat(transformers.LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            scores[:, input_ids[0, -1]] = -float("inf")
            return scores

    class AtMost(transformers.StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return input_ids.shape[1] >= 12

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = expected(logits_processor=transformers.LogitsProcessorList([NoRepeat()]))
    got = generated(logits_processor=transformers.LogitsProcessorList([NoRepeat()]))
    assert got.tolist() == want.tolist()
    criteria = transformers.StoppingCriteriaList([AtMost()])
    assert generated(stopping_criteria=criteria).shape[1] == 12
    assert generated(stopping_criteria=AtMost()).shape[1] == 12


def test_a_derived_class_that_runs_the_code_of_transformers_is_refused() -> None:
    class Warper(transformers.TopKLogitsWarper):
        pass

    with pytest.raises(InputError, match="found transformers' Warper, which needs PyTorch tensors"):
        generated(logits_processor=[Warper(3)])


ARRAYS = [np.array([[1, 2]]), torch.tensor([[1, 2]]), np.array([1.0, 1.0]), np.ones((3, 500), dtype=np.int64)]


@pytest.mark.parametrize("value", ARRAYS)
@pytest.mark.parametrize(
    "name",
    ["negative_prompt_ids", "negative_prompt_attention_mask", "force_words_ids", "guidance_scale", "penalty_alpha"],
)
def test_an_array_for_an_option_that_does_not_exist_is_one_error(name: str, value: Any) -> None:
    for call in (lambda: generated(**{name: value}), lambda: GenerationConfig(**{name: value})):
        with pytest.raises(InputError, match=f"must support the option; found {name}=") as error:
            call()
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="must support the option; found cache_implementation="):
        generated(cache_implementation=value)
