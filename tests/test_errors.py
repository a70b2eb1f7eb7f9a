"""The texts in errors: no value makes them fail, long, or several lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minibiogpt import (
    BioGptConfig,
    BioGptForCausalLM,
    BioGptTokenizer,
    GenerationConfig,
    InputError,
)
from minibiogpt.errors import MAX_NAME, listed, shared_start, short_repr, text_of

HUGE = 10**5000  # Python refuses to print it


class Fails:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


class FailsEverywhere:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attribute")


class Long:
    def __repr__(self) -> str:
        return "x\n" * 10**6


NOT_A_LIST = type("list", (), {})()  # reprlib chooses by the name of a class
DEEP: list = []
for _ in range(10_000):
    DEEP = [DEEP]


VALUES: dict[str, Any] = {
    "huge": HUGE, "in a list": [HUGE], "in a dict": {HUGE: -HUGE}, "fails": Fails(), "fails in a list": [Fails()],
    "fails everywhere": FailsEverywhere(), "long": Long(), "no list": NOT_A_LIST, "deep": DEEP, "bytes": b"x" * 10**6,
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
def test_any_value_is_one_short_line(kind: str) -> None:
    for text in (short_repr(VALUES[kind]), listed([VALUES[kind]])):
        assert text.isprintable()
        assert 0 < len(text) < 400


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (np.float32(0.1), "0.1"), (np.int64(-7), "-7"), (np.float64("inf"), "inf"), (-0.0, "-0.0"), (1e400, "inf"),
        ([10**5000, "a"], "[an integer with thousands of digits, 'a']"), (10**90, str(10**90)), (True, "True"),
    ],
)  # fmt: skip
def test_numbers_read_as_people_write_them(value: Any, want: str) -> None:
    assert short_repr(value) == want


def test_names_in_a_list_are_one_line() -> None:
    assert listed(["a\nb", "é", HUGE]) == "a\\nb, é, an integer with thousands of digits"
    assert text_of(HUGE) == "an integer with thousands of digits"


def test_the_shared_start_of_long_names_is_short() -> None:
    assert len(shared_start(["a." * 10**6] * 9)[0]) <= 2 * MAX_NAME


MODEL, TOK = BioGptForCausalLM.from_pretrained("demo"), BioGptTokenizer.from_pretrained("demo")
OPTIONS = (
    "max_new_tokens", "max_length", "min_length", "min_new_tokens", "num_beams", "num_return_sequences", "top_k",
    "seed", "eos_token_id", "bad_words_ids", "suppress_tokens", "temperature", "repetition_penalty",
)  # fmt: skip
CALLS: dict[str, Any] = {
    **{name: lambda x, name=name: MODEL.generate([[2, 5]], **{name: x}) for name in OPTIONS},
    "heads": lambda x: BioGptConfig(num_attention_heads=x),
    "vocab_size": lambda x: BioGptConfig(vocab_size=x),
    "a name of a class": lambda x: BioGptConfig(id2label={0: x}),
    "a class": lambda x: BioGptConfig(id2label={x: "a"}),
    "extra": lambda x: GenerationConfig(extra=x),
    "decode": TOK.decode,
    "prepare_for_model": TOK.prepare_for_model,
    "stride": lambda x: TOK("a", stride=x),
    "tokenizer's max_length": lambda x: TOK("a", max_length=x, truncation=True),
    "merges": lambda x: BioGptTokenizer({"a": 1}, [x]),
    "position_ids": lambda x: MODEL([[2, 5]], position_ids=x),
    "dtype": lambda x: BioGptForCausalLM.from_pretrained("demo", dtype=x),
    "device": lambda x: BioGptForCausalLM.from_pretrained("demo", device=x),
    "adapter": lambda x: BioGptForCausalLM.from_pretrained("demo", adapter=x),
}


@pytest.mark.filterwarnings("ignore:without do_sample")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("value", [HUGE, -HUGE, (HUGE,), ((HUGE,),), "9" * 5000, Fails(), float("nan")], ids=range(7))
def test_no_argument_breaks_the_message_of_its_own_error(call: str, value: Any) -> None:
    error: Exception | None = None
    try:
        CALLS[call](value)
    except InputError as found:
        error = found
    if error is None:
        assert (call, type(value)) not in {(name, Fails) for name in CALLS}, "a value of no known kind was accepted"
    else:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000


def test_lists_within_lists_are_refused() -> None:
    for call in (TOK.decode, TOK.batch_decode, TOK.prepare_for_model, lambda ids: TOK.pad({"input_ids": ids})):
        with pytest.raises(InputError, match="lists must be nested at most a few levels deep"):
            call(DEEP)
