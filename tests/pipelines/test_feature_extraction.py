"""feature-extraction: the states of transformers' pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, InputError, pipeline
from minibiogpt.files.hub import DEMO
from minibiogpt.heads.labelling import hidden_states
from tests.support.pipelines import TEXTS, assert_same, theirs

TASK = "feature-extraction"


@pytest.fixture(scope="module")
def extractor() -> Any:
    return pipeline(TASK, model="demo")


@pytest.mark.parametrize(
    "options",
    [{}, {"truncation": True}, {"tokenize_kwargs": {"max_length": 3, "truncation": True}}, {"return_tensors": False}],
    ids=repr,
)
def test_the_states_are_those_of_transformers(extractor: Any, options: dict[str, Any]) -> None:
    their = theirs(TASK, "demo")
    for inputs in (TEXTS[0], TEXTS, [TEXTS[1]], "", []):
        want = their(inputs, **{k: dict(v) if isinstance(v, dict) else v for k, v in options.items()})
        assert_same(extractor(inputs, **options), want)
        assert_same(extractor(inputs, batch_size=2, **options), want)
    array = extractor(TEXTS[0], return_tensors=True)
    want = their(TEXTS[0], return_tensors=True).numpy()
    assert array.shape == want.shape == (1, len(extractor.tokenizer.encode(TEXTS[0])), 128)
    assert str(array.dtype) == "float32"
    assert np.abs(array - want).max() < 1e-4


def test_a_long_text_has_a_state_for_each_token(extractor: Any) -> None:
    long = "pain " * 300
    ids = extractor.tokenizer.encode(long)
    states = extractor(long, return_tensors=True)[0]
    assert states.shape == (301, 128)
    first = extractor.model([ids[:256]]).last_hidden_state[0]
    second = extractor.model([ids[128:]]).last_hidden_state[0]
    assert np.abs(states - np.concatenate([first, second[128:]])).max() < 1e-5
    other = extractor(long, window=20, stride=5, return_tensors=True)[0]
    assert np.abs(other[:20] - first[:20]).max() < 1e-5
    want = extractor.model([ids[15:35]]).last_hidden_state[0, 5:]
    assert np.abs(other[20:35] - want).max() < 1e-5, "windows overlap by 5 tokens"


def test_windows_of_an_odd_size_overlap_by_default_as_those_of_the_commands(extractor: Any) -> None:
    ids = [extractor.tokenizer.encode("pain " * 20)]
    want = hidden_states(extractor.model, ids, window=7)[0]
    assert np.array_equal(extractor("pain " * 20, window=7, return_tensors=True)[0], want)


def test_truncation_alone_is_to_the_length_of_the_tokenizer_if_that_is_less_than_the_models() -> None:
    tok = BioGptTokenizer.from_pretrained("demo", model_max_length=5)
    other = transformers.BioGptTokenizer.from_pretrained(DEMO, model_max_length=5)
    their = transformers.pipeline(TASK, model=str(DEMO), tokenizer=other, device=-1)
    want = their(TEXTS[0], truncation=True)
    assert len(want[0]) == 5
    assert_same(pipeline(TASK, model="demo", tokenizer=tok)(TEXTS[0], truncation=True), want)


def test_a_model_with_a_head_gives_the_same_states(extractor: Any) -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    other = pipeline(TASK, model=BioGptForCausalLM.from_pretrained("demo"), tokenizer=tok)
    assert other("Insulin") == extractor("Insulin")


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (5, {}, "the text must be a string; found 5"),
        ([["a"]], {}, "text 0 of the list must be a string"),
        ("a", {"foo": 1}, "must be called with known arguments; found foo"),
        ("a", {"truncation": True, "tokenize_kwargs": {"truncation": True}}, "truncation must be given once"),
        ("a", {"tokenize_kwargs": {"foo": 1}}, "tokenize_kwargs must be called with known arguments; found foo"),
        ("a", {"tokenize_kwargs": {"padding": "max_length"}}, "padding cannot be 'max_length'"),
    ],
)
def test_what_cannot_be_done_is_said(extractor: Any, inputs: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        extractor(inputs, **options)
    assert message in str(error.value)
