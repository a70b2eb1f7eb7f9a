"""text-classification: the results of transformers' pipeline, in its forms, and long texts in windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt import InputError, pipeline
from minibiogpt.heads.labelling import class_scores
from minibiogpt.model.ops import softmax
from tests.support.pipelines import TEXTS, assert_same, folder, theirs

PAIR = {"text": "Ibuprofen treats pain", "text_pair": "Is it a drug?"}
TASK = "text-classification"


def mine(kind: str, **options: Any) -> Any:
    return pipeline(TASK, model=str(folder(kind)), **options)


@pytest.fixture(scope="module")
def classifier() -> Any:
    return mine("single")


@pytest.mark.filterwarnings("ignore:.*return_all_scores")
@pytest.mark.parametrize(
    "options",
    [
        {}, {"top_k": None}, {"top_k": 1}, {"top_k": 2}, {"top_k": 9}, {"return_all_scores": True},
        {"return_all_scores": False}, {"function_to_apply": "none"}, {"function_to_apply": "sigmoid"},
        {"function_to_apply": "softmax", "top_k": None}, {"truncation": True, "max_length": 3}, {"padding": True},
        {"padding": "max_length", "max_length": 200, "truncation": True}, {"add_special_tokens": True},
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("kind", ["single", "several", "one", "number"])
def test_the_results_are_those_of_transformers(kind: str, options: dict[str, Any]) -> None:
    their, our = theirs(TASK, kind), mine(kind)
    for inputs in (TEXTS[0], TEXTS, [TEXTS[1]], PAIR, [PAIR], [PAIR, TEXTS[0]], [[["a", "b"]]], "", []):
        assert_same(our(inputs, **options), their(inputs, **options))
    assert_same(list(our((text for text in TEXTS), **options)), list(their((text for text in TEXTS), **options)))


@pytest.mark.filterwarnings("ignore:.*return_all_scores")
@pytest.mark.parametrize(
    "options", [{"top_k": None}, {"top_k": 1}, {"top_k": 2}, {"return_all_scores": True}], ids=repr
)
def test_options_of_the_pipeline_are_those_of_each_call(options: dict[str, Any]) -> None:
    their, our = theirs(TASK, "single", **options), mine("single", **options)
    for inputs in ("a", ["a"], PAIR):
        assert_same(our(inputs), their(inputs))
        assert_same(our(inputs, top_k=2), their(inputs, top_k=2))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*TEXTS, "pain " * 60]), min_size=1, max_size=7), st.integers(1, 4))
def test_batches_change_nothing(texts: list[str], size: int) -> None:
    our = mine("single") if not CACHE else CACHE[0]
    CACHE[:] = [our]
    want = [our(text, top_k=None) for text in texts]
    for options in ({}, {"batch_size": size}):
        assert_same(our(texts, top_k=None, **options), want, 1e-6)


CACHE: list[Any] = []


def test_long_texts_are_classified_in_windows(classifier: Any) -> None:
    long = " ".join(TEXTS[:3] * 15)
    ids = classifier.tokenizer.encode(long)
    assert len(ids) > 256
    p = class_scores(classifier.model, [ids], softmax)[0]
    assert_same(classifier(long), [{"label": ["no", "yes", "maybe"][p.argmax()], "score": float(p.max())}])
    q = class_scores(classifier.model, [ids], softmax, window=40, stride=30, combine="max")[0]
    (found,) = classifier([long], window=40, stride=10, combine="max")
    assert found == {"label": ["no", "yes", "maybe"][q.argmax()], "score": q.max()}, "windows overlap by 10 tokens"
    logits = class_scores(classifier.model, [ids], np.asarray)[0]
    assert classifier(long, function_to_apply="none")[0]["score"] == logits.max()
    assert_same(classifier(long, truncation=True), theirs(TASK, "single")(long, truncation=True))
    assert_same(classifier([long, "a"], window=40)[1:], classifier(["a"]))


def test_classes_of_equal_score_are_in_the_order_of_their_ids(classifier: Any) -> None:
    """Python's sort, which transformers calls with reverse=True, keeps that order too."""
    scores = np.array([0.25, 0.5, 0.25])
    found = classifier._result(scores, "sorted", None)
    assert found == sorted(classifier._result(scores, "by class", None), key=lambda one: one["score"], reverse=True)
    assert [one["label"] for one in found] == ["yes", "no", "maybe"]


def test_a_max_length_alone_truncates_as_in_transformers_and_says_so(classifier: Any) -> None:
    with pytest.warns(UserWarning, match="text 1 of the list has 9 tokens and is truncated to max_length 4"):
        found = classifier(["a", "a b c d e f g h"], max_length=4)
    assert_same(found, theirs(TASK, "single")(["a", "a b c d e f g h"], max_length=4))
    assert classifier(["a", "a b"], max_length=4) == classifier(["a", "a b"]), "nothing is cut, so nothing is said"


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (["a", 5], {}, "text 1 of the list must be a string; found 5"),
        ([["a", "b"]], {}, "must be a string or a dict; found ['a', 'b']; pass a pair of texts as {\"text\""),
        ({"text": "a", "foo": "b"}, {}, "the text, a dict, must have the strings 'text' and 'text_pair'"),
        ([{"text_pair": "a"}], {}, "text 0 of the list, a dict, must have the strings"),
        ("a", {"function_to_apply": "foo"}, "function_to_apply must be one of softmax, sigmoid, none; found 'foo'"),
        ("a", {"top_k": "x"}, "top_k must be an integer, 1 or more; found 'x'"),
        ("a", {"top_k": 0}, "top_k must be an integer, 1 or more; found 0"),
        ("a", {"topk": 1}, "must be called with known arguments; found topk; did you mean top_k?"),
        ("a", {"combine": "sum"}, "combine must be one of mean, last, max; found 'sum'"),
        ("a", {"window": 1}, "window must be an integer, 2 to 256; found 1"),
        ("a", {"window": 8, "stride": 8}, "stride must be an integer, 1 to 7; found 8"),
        ("a", {"padding": 7}, "padding must be"),
        ("", {"add_special_tokens": False}, "the text must have a token"),
        (None, {}, "the text must be a string; found None"),
    ],
)
def test_what_cannot_be_done_is_said(classifier: Any, inputs: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        classifier(inputs, **options)
    assert message in str(error.value)
