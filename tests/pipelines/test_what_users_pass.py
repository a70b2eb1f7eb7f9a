"""Inputs and arguments as users of transformers pass them: arrays and columns of texts, misspelt and old options."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, InputError, pipeline
from minibiogpt.pipelines import factory
from minibiogpt.pipelines.base import ATTRIBUTES
from tests.support.pipelines import TEXTS, assert_same, folder, theirs

TEXT = TEXTS[0]
KINDS = {
    "text-generation": "demo",
    "feature-extraction": "demo",
    "text-classification": "single",
    "token-classification": "tags",
}


class Column:
    """A column of a table, as pandas has it: iterable, with a length, items by label, and tolist."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def tolist(self) -> list[str]:
        return list(self.texts)

    def __iter__(self) -> Any:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)


class Dataset:
    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> str:
        return TEXTS[i]


@pytest.mark.parametrize("task", KINDS)
def test_an_array_or_a_column_is_a_list_of_texts(task: str) -> None:
    run = pipeline(task, model=str(folder(KINDS[task])))
    options = {"max_new_tokens": 3, "do_sample": False} if task == "text-generation" else {}
    texts = TEXTS[:2]
    want = run(texts, **options)
    for form in (np.array(texts), np.array(texts, dtype=object), Column(texts)):
        got = run(form, **options)
        assert isinstance(got, list)
        assert_same(got, want, tolerance=0)
    assert_same(run(np.array(TEXT), **options), run(TEXT, **options), tolerance=0)
    found = run(Dataset(), **options)
    assert not isinstance(found, list)
    assert len(list(found)) == 2
    with pytest.raises(InputError, match="text 1 of the list must be a string"):
        run(np.array([TEXT, None], dtype=object), **options)


def test_an_array_of_words_is_a_text_that_is_split() -> None:
    run = pipeline("token-classification", model=str(folder("tags")))
    words = TEXT.split()
    assert run(np.array(words), is_split_into_words=True) == run(words, is_split_into_words=True)


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("text-generation", {"modle": "demo"}, "found modle; did you mean model?"),
        ("text-generation", {"model": "demo", "dtyp": "float64"}, "found dtyp; did you mean dtype?"),
        ("text-generation", {"model": "demo", "batchsize": 2}, "found batchsize; did you mean batch_size?"),
        ("text-generation", {"model": "demo", "max_new_token": 2}, "found max_new_token; did you mean max_new_tokens?"),
        ("text-generation", {"model": "demo", "divice": 0}, "found divice; did you mean device?"),
        ("feature-extraction", {"tokeniser": "demo"}, "found tokeniser; did you mean tokenizer?"),
        ("ner", {"model": "x", "aggregation_stratgy": "max"}, "did you mean aggregation_strategy?"),
        ("sentiment-analysis", {"model": "x", "topk": 2}, "found topk; did you mean top_k?"),
        (None, {"model": "demo", "tokenizr": "demo"}, "found tokenizr; did you mean tokenizer?"),
    ],
)
def test_a_misspelt_argument_is_found_before_anything_is_loaded(
    task: Any, arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "find_source", None)  # nothing is read, and warnings are errors
    with pytest.raises(InputError) as error:
        pipeline(task, **arguments)
    assert str(error.value) == f"pipeline must be called with known arguments; {message}" or message in str(error.value)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            "text-generation",
            {"generate_kwargs": {"max_new_tokens": 3}},
            "pass the options themselves, such as max_new_t",
        ),
        ("feature-extraction", {"max_length": 5}, r"found max_length; write tokenize_kwargs=\{'max_length': \.\.\.\}"),
        (
            "feature-extraction",
            {"add_special_tokens": False},
            r"write tokenize_kwargs=\{'add_special_tokens': \.\.\.\}",
        ),
        ("text-generation", {"random_state": 3}, "found random_state; write seed="),
        ("text-generation", {"num_beam_groups": 2}, "group beam search does not exist here"),
        ("text-generation", {"src_lang": "en"}, "BioGPT has one language, English"),
    ],
)
def test_other_arguments_say_what_to_write(task: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipeline(task, model="demo", **options)
    with pytest.raises(InputError, match=message):
        pipeline(task, model="demo")(TEXT, **options)


def test_the_advice_for_feature_extraction_is_true() -> None:
    run, other = pipeline("feature-extraction", "demo"), theirs("feature-extraction", "demo")
    options = {"tokenize_kwargs": {"max_length": 4, "truncation": True}}
    assert_same(run(TEXT, **options), other(TEXT, **options))


def test_a_revision_of_a_folder_changes_nothing_as_in_transformers(tmp_path: Path) -> None:
    BioGptForCausalLM.from_pretrained("demo").save_pretrained(tmp_path)
    made = pipeline("text-generation", model="demo", revision="main")
    made.save_pretrained(tmp_path)
    assert pipeline("text-generation", model=tmp_path, revision="main", tokenizer=tmp_path).task == "text-generation"


@pytest.mark.parametrize(
    ("task", "kind", "option"),
    [
        ("text-classification", "single", {"return_all_scores": True}),
        ("token-classification", "tags", {"grouped_entities": True}),
        ("text-generation", "demo", {"stop_sequence": "pain and", "max_new_tokens": 2}),
    ],
)
def test_an_old_option_of_a_pipeline_is_one_warning(task: str, kind: str, option: dict[str, Any]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = pipeline(task, model=str(folder(kind)), **option)
        made(TEXT)
        made([TEXT, TEXT])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"old option|tokens of stop_sequence"):
        pipeline(task, model=str(folder(kind)))(TEXT, **option)


def test_a_pipeline_is_saved_to_a_folder() -> None:
    with pytest.raises(InputError, match="folder must be the path of a folder; found None; pass a path such as"):
        pipeline("text-generation", "demo").save_pretrained(None)


@pytest.mark.parametrize("task", ["text-generation", "feature-extraction"])
def test_every_public_attribute_of_transformers_exists_or_says_what_to_write(task: str) -> None:
    made, other = pipeline(task, "demo"), theirs(task, "demo")
    public = [name for name in dir(other) if not name.startswith("_")]
    assert [name for name in public if not hasattr(made, name) and name not in ATTRIBUTES] == []
    with pytest.raises(AttributeError, match=r"no attribute 'torch_dtype'; write \.dtype"):
        _ = made.torch_dtype
