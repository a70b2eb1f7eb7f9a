"""token-classification: transformers' labels, its aggregation of words and entities, and the places in the text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline

from minibiogpt import InputError, pipeline
from minibiogpt.heads.labelling import token_probabilities
from minibiogpt.heads.words import analyse_words
from minibiogpt.pipelines.aggregation import STRATEGIES, Token, aggregated
from minibiogpt.tokenizer import Piece
from tests.support.pipelines import LABELS, TEXTS, assert_same, folder, theirs

TASK = "token-classification"
MANY = [*TEXTS, "BRCA1 cures Ibuprofen", "a </s> b", "COVID-19 isn't a (mild) gene", "</s>", "pain "]


@pytest.fixture(scope="module")
def tagger() -> Any:
    return pipeline("ner", model=str(folder("tags")))


def without_places(result: Any) -> Any:
    """Replace the places by None, which transformers' slow tokenizer has."""
    if isinstance(result, list):
        return [without_places(one) for one in result]
    return result | {"start": None, "end": None}


@pytest.mark.filterwarnings("ignore:.*grouped_entities")
@pytest.mark.parametrize(
    "options",
    [
        {}, {"ignore_labels": []}, {"ignore_labels": ["O", "B-DRUG"]}, {"aggregation_strategy": "none"},
        {"aggregation_strategy": "simple"}, {"aggregation_strategy": "simple", "ignore_labels": ["DRUG"]},
        {"grouped_entities": True}, {"grouped_entities": False},
    ],
    ids=repr,
)  # fmt: skip
def test_the_results_are_those_of_transformers(tagger: Any, options: dict[str, Any]) -> None:
    their = theirs("ner", "tags")
    for inputs in (TEXTS[0], MANY, [TEXTS[1]], ""):
        assert_same(without_places(tagger(inputs, **options)), their(inputs, **options))
    assert tagger([]) == []


@pytest.mark.filterwarnings("ignore:.*is truncated to max_length")
def test_max_length_counts_the_token_in_front(tagger: Any) -> None:
    for limit in range(1, 6):
        for options in ({}, {"truncation": True}):
            kept = tagger("pain pain pain", max_length=limit, ignore_labels=[], **options)
            assert [one["index"] for one in kept] == list(range(1, min(limit, 4)))
        whole = tagger("pain pain pain", max_length=limit, ignore_labels=[], truncation="do_not_truncate")
        assert [one["index"] for one in whole] == [1, 2, 3]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_places_and_words(tagger: Any, strategy: str) -> None:
    for text in ["Ibuprofen  cures\tBRCA1-like (rare) COVID-19.", "pain\u0436gene BRCA1", *MANY]:
        if "'" in text:
            continue  # Moses writes &apos;, which may become several pieces
        for one in tagger(text, aggregation_strategy=strategy, ignore_labels=[]):
            place = text[one["start"] : one["end"]]
            assert place.strip() == place != ""
            if strategy == "none":
                assert one["word"].removesuffix("</w>").replace("@-@", "-") == place
            else:
                assert one["word"].replace(" ", "") == "".join(place.split())
    for strategy in ("first", "average", "max"):
        (word,) = tagger("pain\u0436gene", aggregation_strategy=strategy, ignore_labels=[])
        assert (word["start"], word["end"]) == (0, 9), "an unknown character does not end a word"


def their_pipeline(id2label: dict[int, str]) -> Any:
    """Return transformers' pipeline with a stand-in for a fast tokenizer: its pieces and words are those of a test."""
    pipe = TokenClassificationPipeline.__new__(TokenClassificationPipeline)
    inner = SimpleNamespace(model=SimpleNamespace(continuing_subword_prefix="##"))
    pipe.tokenizer = SimpleNamespace(  # type: ignore[assignment]
        _tokenizer=inner,
        unk_token_id=-1,
        convert_ids_to_tokens=lambda i: PIECES[i],
        convert_tokens_to_string=lambda tokens: " ".join(tokens).replace(" ##", "").removeprefix("##"),
    )
    pipe.model = SimpleNamespace(config=SimpleNamespace(id2label=id2label))  # type: ignore[assignment]
    pipe.framework = "pt"
    return pipe


PIECES: dict[int, str] = {}
NAMES = [*LABELS.values(), "CELL", "I-CELL", "E-DRUG", "non-small"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), max_size=7),
    st.sampled_from(STRATEGIES[1:]),
    st.permutations(NAMES),
    st.integers(0, 2**32 - 1),
)
def test_aggregation_is_that_of_transformers(
    words: list[list[int]], strategy: str, names: list[str], seed: int
) -> None:
    """``words`` has the number of letters of each piece of each word."""
    rng = np.random.default_rng(seed)
    id2label = dict(enumerate(names[:4]))
    tokens: list[Token] = []
    text = ""
    PIECES.clear()
    for number, word in enumerate(words):
        text += " " * bool(number)
        for i, size in enumerate(word):
            start, text = len(text), text + "x" * size
            PIECES[len(PIECES)] = "##" * bool(i) + "x" * size
            p = rng.dirichlet(np.ones(4) / 3).astype("float64")
            tokens.append(Token(Piece("x" * size, 0, (start, len(text))), number, p))
    pipe = their_pipeline(id2label)
    kind = AggregationStrategy(strategy)
    scores = np.stack([token.p for token in tokens]) if tokens else np.zeros((0, 4))
    offsets = [token.piece.span for token in tokens]
    before = pipe.gather_pre_entities(
        text, np.arange(len(tokens)), scores, offsets, np.zeros(len(tokens), dtype=int), kind
    )
    want = pipe.aggregate(before, kind)
    got = aggregated(tokens, id2label, strategy, lambda pieces: text[pieces[0].span[0] : pieces[-1].span[1]])
    assert_same(got, [one | {"score": float(one["score"])} for one in want], 1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*MANY, "pain gene " * 40]), min_size=1, max_size=6), st.integers(1, 4))
def test_batches_change_nothing(texts: list[str], size: int) -> None:
    CACHE[:] = CACHE or [pipeline(TASK, model=str(folder("tags")), ignore_labels=[])]
    want = [CACHE[0](text) for text in texts]
    assert_same(CACHE[0](texts), want, 1e-5)
    assert_same(list(CACHE[0](iter(texts), batch_size=size)), want, 1e-5)


CACHE: list[Any] = []


def test_long_texts_are_labeled_in_windows(tagger: Any) -> None:
    long = " ".join(TEXTS[:3] * 15)
    row = tagger.tokenizer.encode(long)
    for options, sizes in (({}, {}), ({"window": 30, "stride": 10}, {"window": 30, "stride": 20})):
        p = token_probabilities(tagger.model, [row], **sizes)[0]
        found = tagger(long, ignore_labels=[], **options)
        assert [one["entity"] for one in found] == [LABELS[i] for i in p[1:].argmax(axis=-1)]
        assert [one["index"] for one in found] == list(range(1, len(row)))
        assert "".join(long[one["start"] : one["end"]] for one in found) == long.replace(" ", "")
    cut = tagger(long, ignore_labels=[], truncation=True)
    assert_same(without_places(cut), theirs("ner", "tags")(long, ignore_labels=[]))
    with pytest.warns(UserWarning, match="the text has 9 tokens and is truncated to max_length 4"):
        assert len(tagger("a b c d e f g h", ignore_labels=[], max_length=4)) == 3


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_texts_that_are_split_into_words(tagger: Any, strategy: str) -> None:
    words = ["COVID-19", "(mild)", "Ibuprofen", " ", "BRCA1"]
    options: dict[str, Any] = {"aggregation_strategy": strategy, "ignore_labels": [], "is_split_into_words": True}
    (found,) = tagger(words, **options)
    assert_same(tagger([words, ["a"]], **options)[0], found)  # a single text is a list of one, as in transformers
    assert tagger([words, []], **options)[1] == []
    text = " ".join(words)
    pieces = analyse_words(tagger.tokenizer, words)
    if strategy == "none":
        assert [(one["start"], one["end"]) for one in found] == [piece.span for piece in pieces]
    else:
        for one in found:
            assert one["word"].replace(" ", "") == text[one["start"] : one["end"]].replace(" ", "")
    if strategy in ("first", "average", "max"):
        starts = {text.index(word) for word in words if word.strip()}
        assert {one["start"] for one in found} <= starts, "each word has one label"
    (other,) = tagger(words, delimiter="//", **options)
    assert_same([one["score"] for one in other], [one["score"] for one in found])
    last = other[-1]
    assert "//".join(words)[last["start"] : last["end"]].endswith(text[found[-1]["start"] : found[-1]["end"]][-5:])


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (5, {}, "the text must be a string; found 5"),
        (["a", None], {}, "text 1 of the list must be a string; found None"),
        ([["a"]], {}, "join its words, or pass is_split_into_words=True"),
        ("a", {"is_split_into_words": True}, "the text must be a list of words"),
        ([["a"], "b"], {"is_split_into_words": True}, "text 1 of the list must be a list of words; found 'b'"),
        ("a", {"aggregation_strategy": "f"}, "aggregation_strategy must be one of none, simple, first, average, max"),
        ("a", {"agregation_strategy": "max"}, "did you mean aggregation_strategy?"),
        ("a", {"offset_mapping": []}, "the tokenizer knows the offsets"),
        ("a", {"ignore_labels": "O"}, "ignore_labels must be a list of labels"),
        ("a", {"stride": 256}, "stride must be an integer, 1 to 255; found 256"),
        ("a", {"delimiter": 1}, "delimiter must be a string"),
    ],
)
def test_what_cannot_be_done_is_said(tagger: Any, inputs: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        tagger(inputs, **options)
    assert message in str(error.value)
