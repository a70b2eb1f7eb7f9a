"""text-generation: the texts of transformers' pipeline, the limits, the batches and the seeds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minibiogpt
from minibiogpt import BioGptForCausalLM, BioGptTokenizer, GenerationConfig, InputError, pipeline, set_seed
from minibiogpt.files.hub import DEMO
from tests.support.demo import PROMPTS, ours, tokenizer
from tests.support.pipelines import theirs

CALLS: list[dict[str, Any]] = [
    {"max_new_tokens": 8},
    {"max_new_tokens": 8, "return_full_text": False},
    {"max_new_tokens": 8, "return_full_text": True},
    {"max_new_tokens": 5, "return_tensors": True},
    {"max_new_tokens": 5, "return_text": True},
    {"max_new_tokens": 8, "clean_up_tokenization_spaces": False},
    {"max_new_tokens": 8, "skip_special_tokens": False},
    {"max_new_tokens": 8, "add_special_tokens": False},
    {"max_new_tokens": 8, "prefix": "As a drug, "},
    {"max_new_tokens": 8, "stop_sequence": "."},
    {"max_new_tokens": 8, "num_beams": 3},
    {"max_new_tokens": 8, "num_beams": 4, "num_return_sequences": 3},
    {"max_new_tokens": 8, "num_beams": 4, "num_return_sequences": 3, "return_tensors": True},
    {"max_new_tokens": 9, "min_new_tokens": 7},
    {"max_new_tokens": 9, "min_length": 12},
    {"max_new_tokens": 9, "min_length": 12, "prefix": "As a drug, "},
    {"max_new_tokens": 9, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
    {"max_new_tokens": 4, "truncation": True, "max_length": 4},
    {"max_new_tokens": 6, "tokenizer_encode_kwargs": {"truncation": True, "max_length": 3}},
    {"max_new_tokens": 252, "handle_long_generation": "hole"},
]


@pytest.fixture(scope="module")
def generator() -> Any:
    return pipeline("text-generation", model=ours("float32"), tokenizer=tokenizer())


@pytest.mark.parametrize("options", CALLS, ids=repr)
def test_the_texts_are_those_of_transformers(generator: Any, options: dict[str, Any]) -> None:
    prompts = [*PROMPTS[:7], 'A (mild) "quoted" text\'s', " Both", "a </s> b", "zzz \u03b1"]
    if "clean_up_tokenization_spaces" in options:
        prompts.append("It is n't .")
    want = theirs("text-generation", "demo")(prompts, do_sample=False, **options)
    assert generator(prompts, do_sample=False, **options) == want
    assert generator(text_inputs=prompts[2], do_sample=False, **options) == want[2]
    assert generator(tuple(prompts[:2]), do_sample=False, batch_size=2, **options) == want[:2]


def test_an_empty_text_starts_as_in_transformers(generator: Any) -> None:
    for options in ({}, {"add_special_tokens": False}, {"add_special_tokens": False, "return_tensors": True}):
        call: dict[str, Any] = {"do_sample": False, "max_new_tokens": 6, **options}
        assert generator(["", " ", "a"], **call) == theirs("text-generation", "demo")(["", " ", "a"], **call)


def test_a_length_that_counts_the_prompt_is_that_of_generate(generator: Any) -> None:
    """transformers' pipeline has 256 new tokens here; its generate, and its documentation, have max_length."""
    reference = transformers.BioGptForCausalLM.from_pretrained(DEMO).eval()
    tok = transformers.BioGptTokenizer.from_pretrained(DEMO)
    for options in ({"max_length": 14}, {"max_length": 19, "min_length": 18}, {"max_length": 15, "num_beams": 3}):
        prompts, want = PROMPTS[:6], []
        for prompt in prompts:
            with torch.no_grad():
                ids = reference.generate(**tok(prompt, return_tensors="pt"), do_sample=False, **options)
            want.append([{"generated_token_ids": ids[0].tolist()}])
        assert generator(prompts, do_sample=False, return_tensors=True, **options) == want
        one_by_one = [generator(p, do_sample=False, return_tensors=True, **options) for p in prompts]
        assert one_by_one == want, "the padding of a batch does not count"
    ids = generator("Both", do_sample=False, max_length=5, prefix="As a drug, ", return_tensors=True)
    prefix = len(tok("As a drug, ", add_special_tokens=False)["input_ids"])
    assert len(ids[0]["generated_token_ids"]) == 5 + prefix, "as in transformers, the prefix does not count"


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that never generates an end token, with the demo's tokenizer."""
    folder = tmp_path_factory.mktemp("endless")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder)
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.BioGptConfig(vocab_size=1874, max_position_embeddings=300, initializer_range=0.3, **sizes)
    model = transformers.BioGptForCausalLM(config)
    model.generation_config.suppress_tokens = [2]
    model.save_pretrained(folder)
    return folder


def count(generator: Any, text: str = "Insulin", **options: Any) -> int:
    """Return the number of new tokens."""
    ids = generator(text, do_sample=False, return_tensors=True, **options)[0]["generated_token_ids"]
    return len(ids) - len(generator.tokenizer.encode(text))


@pytest.mark.filterwarnings("ignore:unsupported generation options")
def test_the_number_of_new_tokens(endless: Path) -> None:
    mine = pipeline("text-generation", model=str(endless))
    text = "Ibuprofen is"
    their = transformers.pipeline("text-generation", model=str(endless), device=-1)
    want = their(text, do_sample=False, return_tensors=True)
    assert mine(text, do_sample=False, return_tensors=True) == want
    assert count(mine) == 256
    assert count(mine, max_length=40) == 40 - len(mine.tokenizer.encode("Insulin"))
    assert count(mine, max_length=40, max_new_tokens=7) == 7, "as in generate"
    assert count(mine, generation_config=GenerationConfig(max_new_tokens=4)) == 4
    assert count(mine, generation_config=GenerationConfig()) == 20, "the default of generate"
    long = "pain " * 200
    n = len(mine.tokenizer.encode(long))
    assert count(mine, long) == 300 - n + 1, "as many as fit"
    with pytest.raises(InputError, match=f"the text and its new tokens must fit into N = 300 .* found {n} and 256"):
        mine(long, max_new_tokens=256)
    with pytest.raises(InputError, match="text 1 of the list must have at most N = 300 tokens; found 401; shorten it"):
        mine(["a", "pain " * 400])
    assert count(mine, "pain " * 400, truncation=True) < 0, "cut to the 256 of the tokenizer"
    with pytest.raises(InputError, match=r"max_length includes the prompt and must exceed it \(text 1 of the list\)"):
        mine(["a", "pain " * 40], max_length=20)
    n = len(mine.tokenizer.encode(text))
    model = BioGptForCausalLM.from_pretrained(endless)
    model.generation_config = model.generation_config.updated({"min_new_tokens": 9})
    model.generation_config.suppress_tokens = None
    stubborn = pipeline("text-generation", model=model, eos_token_id=list(range(1800)))
    assert count(stubborn, max_new_tokens=5) == 5, "the model's own minimum gives way"
    for saved, expected in (({"max_length": 30}, 30), ({"max_length": 20}, 256 + n), ({"max_new_tokens": 5}, 256 + n)):
        model = BioGptForCausalLM.from_pretrained(endless)
        model.generation_config = model.generation_config.updated(saved)
        reference = transformers.BioGptForCausalLM.from_pretrained(endless)
        reference.generation_config.update(**saved)
        tok = BioGptTokenizer.from_pretrained(endless)
        got = pipeline("text-generation", model=model, tokenizer=tok)(text, do_sample=False, return_tensors=True)
        their = transformers.pipeline("text-generation", model=reference, tokenizer=their.tokenizer, device=-1)
        assert got == their(text, do_sample=False, return_tensors=True)
        assert len(got[0]["generated_token_ids"]) == expected


def test_old_options_of_the_task_in_config_json(endless: Path, tmp_path: Path) -> None:
    shutil.copytree(endless, tmp_path / "m")
    config = json.loads((endless / "config.json").read_text())
    config["task_specific_params"] = {
        "text-generation": {"do_sample": False, "max_length": 15, "prefix": "As a drug, "}
    }
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    old = pipeline("text-generation", model=str(tmp_path / "m"))
    plain = pipeline("text-generation", model=str(endless))
    assert old("Insulin") == plain("Insulin", do_sample=False, max_length=15, prefix="As a drug, ")
    assert old("Insulin", max_length=8, prefix="") == plain("Insulin", do_sample=False, max_length=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([*PROMPTS, ""]), min_size=1, max_size=6),
    st.integers(1, 4),
    st.sampled_from([{"max_new_tokens": 5}, {"max_length": 21}, {"max_new_tokens": 4, "num_beams": 2}]),
)
def test_batches_change_nothing(texts: list[str], size: int, options: dict[str, Any]) -> None:
    generator = _float64()
    alone = [generator(text, do_sample=False, return_tensors=True, **options) for text in texts]
    assert generator(texts, do_sample=False, return_tensors=True, **options) == alone
    assert generator(texts, do_sample=False, return_tensors=True, batch_size=size, **options) == alone
    stream = generator((text for text in texts), do_sample=False, return_tensors=True, batch_size=size, **options)
    assert list(stream) == alone


def _float64() -> Any:
    tok = BioGptTokenizer.from_pretrained("demo")
    tok.padding_side = "right"  # no matter: prompts are padded on the left
    return pipeline("text-generation", model=ours("float64"), tokenizer=tok)


def test_seeds(generator: Any) -> None:
    call: dict[str, Any] = {"max_new_tokens": 9, "temperature": 3.0, "top_k": 0}
    text = "Ibuprofen is"
    set_seed(42)
    first, second = generator(text, **call), generator(text, **call)
    assert first != second, "each call draws anew"
    set_seed(42)
    assert [generator(text, **call), generator(text, **call)] == [first, second]
    set_seed(43)
    assert generator(text, **call) != first
    assert len({one["generated_text"] for one in generator(text, num_return_sequences=5, **call)}) > 1
    one, other = generator([text, text], seed=7, **call)
    assert one != other, "each text of a list has its own seed"
    assert generator(text, seed=7, **call) == one
    assert generator(text, seed=8, **call) == other
    assert list(generator(iter([text, text]), seed=7, **call)) == [one, other]
    many = generator([text] * (generator.chunk + 1), seed=7, **call | {"max_new_tokens": 4})
    assert many[-1] == generator(text, seed=7 + generator.chunk, **call | {"max_new_tokens": 4}) != many[0]
    ids = ours("float32").generate([tokenizer().encode(text)], seed=7, do_sample=True, **call)
    assert generator(text, seed=7, return_tensors=True, **call)[0]["generated_token_ids"] == ids[0].tolist()
    set_seed(42)
    made = pipeline("text-generation", model=ours("float32"), tokenizer=tokenizer())
    assert made([], **call) == []
    made("a", do_sample=False)
    assert made(text, **call) == first, "only a call that samples takes a seed"
    with pytest.raises(InputError, match="seed must be an integer, 0 or more; found -1"):
        set_seed(-1)
    assert minibiogpt.set_seed is set_seed


def test_sampling_and_its_temperature_are_the_default(generator: Any) -> None:
    text = "COVID-19 is"
    assert generator(text, seed=3) == generator(text, seed=3, do_sample=True, temperature=0.7, max_new_tokens=100)
    hot = [generator(text, seed=seed, temperature=4.0, top_k=0, max_new_tokens=9) for seed in range(3)]
    assert hot[0] != hot[1] or hot[1] != hot[2]
    assert generator(text, do_sample=None, seed=3) == generator(text, seed=3)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ([{"role": "user", "content": "a"}], {}, "BioGPT has no chat template; found chat messages; pass the content"),
        ([[{"role": "user", "content": "a"}]], {}, "BioGPT has no chat template"),
        (["a", 5], {}, "text 1 of the list must be a string; found 5; decode bytes"),
        (["a", None], {}, "text 1 of the list must be a string; found None"),
        (b"a", {}, "the text must be a string; found b'a'"),
        (5, {}, "the text must be a string; found 5"),
        ("a", {"return_ful_text": True}, "did you mean return_full_text?"),
        ("a", {"num_beam": 2}, "num_beam"),
        ("a", {"return_full_text": True, "return_tensors": True}, "return_full_text and return_tensors"),
        ("a", {"return_text": True, "return_tensors": True}, "return_text and return_tensors"),
        ("a", {"handle_long_generation": "cut"}, "handle_long_generation must be None or 'hole'; found 'cut'"),
        ("a", {"return_dict_in_generate": True}, "call model.generate"),
        ("a", {"tokenizer_encode_kwargs": {"foo": 1}}, "tokenizer_encode_kwargs must be called with known arguments"),
        ("a", {"tokenizer_encode_kwargs": 1}, "tokenizer_encode_kwargs must be a dict; found 1"),
        ("a", {"return_type": 1}, "found return_type; use return_full_text or return_tensors"),
        ("a", {"continue_final_message": True}, "BioGPT has no chat template"),
        ("a", {"stop_sequence": ""}, "stop_sequence must have a token; found ''"),
        ("a", {"stop_sequence": 5}, "must be one string; found int"),
        ("a", {"attention_mask": 1}, "the pipeline pads"),
        ("a", {"batch_size": 0}, "batch_size must be an integer, 1 or more; found 0"),
        ("a", {"max_length": 0}, "max_length must be an integer, 1 or more"),
        ("a", {"generation_config": {"top_k": 1}}, "generation_config must be a GenerationConfig; found dict"),
        ("a", {"seed": "x"}, "seed must be an integer, 0 or more; found 'x'"),
        ("a", {"min_new_tokens": 9, "max_new_tokens": 5}, "min_new_tokens must be at most the 5 new tokens"),
        ("a", {"prefix": 5}, "prefix must be a string"),
        ("a", {"temperature": -1}, "temperature must be"),
        ("pain " * 300, {"handle_long_generation": "hole"}, "must know the number of new tokens"),
        ("a", {"handle_long_generation": "hole", "max_new_tokens": 256}, "must leave a token of the text"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_done_is_said(generator: Any, text: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        generator(text, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_stop_sequence_of_several_tokens_warns() -> None:
    text = "Ibuprofen is best used for"
    for stop in ("pain and", "and pain"):
        generator = pipeline("text-generation", "demo")  # each warns once
        with pytest.warns(UserWarning, match=r"each of the 2 tokens of stop_sequence ends the text"):
            found = generator(text, stop_sequence=stop, do_sample=False)
        assert found == theirs("text-generation", "demo")(text, stop_sequence=stop, do_sample=False)
        assert found[0]["generated_text"].endswith("used for pain")
    assert generator(text, stop_strings=["pain and"], do_sample=False)[0]["generated_text"].endswith("pain and")


def test_an_error_in_an_iterator_names_its_index(generator: Any) -> None:
    found = generator(iter(["a", "a", 7]), do_sample=False, max_new_tokens=1)
    assert len([next(found), next(found)]) == 2
    with pytest.raises(InputError, match="text 2 of the list must be a string; found 7"):
        next(found)


def test_a_list_is_checked_before_anything_is_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    made = pipeline("text-generation", "demo")
    monkeypatch.setattr(type(made.model), "generate", lambda *args, **options: pytest.fail("too early"))
    with pytest.raises(InputError, match="text 40 of the list must have at most N = 256 tokens; found 301"):
        made(["a"] * 40 + ["pain " * 300])


def test_options_that_are_off_are_accepted(generator: Any) -> None:
    want = generator("Insulin", do_sample=False)
    options = {"return_dict_in_generate": False, "output_scores": False, "binary_output": False, "return_type": None}
    assert generator("Insulin", do_sample=False, processor=None, **options) == want


def test_a_pad_that_is_generated_stays(endless: Path) -> None:
    """Only a row that a stop string ended is followed by padding."""
    made = pipeline("text-generation", model=str(endless), do_sample=False, return_tensors=True, max_new_tokens=4)
    pads = {"sequence_bias": [[[1], 1e3]]}
    for texts in (["Insulin"], ["Insulin", "A lack of vitamin C"]):
        for text, (one,) in zip(texts, made(texts, **pads), strict=True):
            assert one["generated_token_ids"] == [*made.tokenizer.encode(text), 1, 1, 1, 1]
    dot = made.tokenizer.encode("Aspirin.", add_special_tokens=False)[-1]
    stop = {"stop_strings": ["."], "sequence_bias": [[[dot], 1e3]]}
    (one,), (other,) = made(["Insulin", "pain is"], **stop)
    assert one["generated_token_ids"] == [*made.tokenizer.encode("Insulin"), dot]
    assert other["generated_token_ids"] == [*made.tokenizer.encode("pain is"), dot]
