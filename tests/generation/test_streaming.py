"""Streaming: the text written token by token is, in total, the decoded row."""

from __future__ import annotations

import copy
import io
from queue import Empty
from threading import Thread
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minibiogpt import InputError
from minibiogpt.generation import TextIteratorStreamer, TextStreamer
from tests.support.demo import PROMPTS, ours, tokenizer

NEW = 64


def test_streamed_text_is_the_decoded_text() -> None:
    rng, tok = np.random.default_rng(0), tokenizer()
    rows = [ours().generate(tok(p)["input_ids"], max_new_tokens=NEW)[0].tolist() for p in PROMPTS]
    rows += [rng.integers(0, len(tok), 40).tolist() for _ in range(300)]
    for row in rows:
        out = io.StringIO()
        streamer = TextStreamer(tok, stream=out, skip_special_tokens=True)
        for ids in (row[:3], *([i] for i in row[3:])):
            streamer.put(ids)
        before_end = out.getvalue()
        streamer.end()
        text = tok.decode(row, skip_special_tokens=True)
        assert out.getvalue() == text + "\n"
        assert before_end or " " not in text, "nothing was streamed"  # a word is written when the next one starts


def test_streaming_from_generate_skips_the_prompt_when_asked_to() -> None:
    out, ids = io.StringIO(), tokenizer()("Metformin acts by")["input_ids"]
    got = ours().generate(
        ids, streamer=TextStreamer(tokenizer(), skip_prompt=True, stream=out, skip_special_tokens=True)
    )
    assert out.getvalue() == tokenizer().decode(got[0, ids.shape[1] :], skip_special_tokens=True) + "\n"


DASHES = ["@", "-@</w>", "@-@</w>", "@</w>", "-", "-</w>", ".</w>", ",</w>", '"</w>', "'</w>", "(</w>", ")</w>", "</s>"]


@settings(max_examples=400)
@given(st.lists(st.one_of(st.sampled_from(DASHES), st.integers(0, 1873)), max_size=12))
@example([".</w>", "@", "-@</w>", "98</w>"])  # "98." becomes "98 .-98": the dash joins the full stop to what follows
@example([")</w>", "@", "</s>", "-@</w>", "98</w>"])
def test_streamed_text_is_the_decoded_text_where_dashes_join_words(row: list[str | int]) -> None:
    tok, out = tokenizer(), io.StringIO()
    ids = [tok.vocab[piece] if isinstance(piece, str) else piece for piece in ["98</w>", *row]]
    streamer = TextStreamer(tok, stream=out, skip_special_tokens=True)
    for i in ids:
        streamer.put([i])
    streamer.end()
    assert out.getvalue() == tok.decode(ids, skip_special_tokens=True) + "\n"


MARKS = ["&apos;</w>", "&apos;s</w>", "?</w>", "n", "'", "<s>", "<pad>", *DASHES]


@settings(max_examples=150)
@given(st.lists(st.one_of(st.sampled_from(MARKS), st.integers(0, 1873)), max_size=10), st.booleans(), st.booleans())
@example(["98</w>", "&apos;</w>", "98</w>"], False, True)  # "98 ' 98" becomes "98'98"
def test_options_of_decode_are_those_of_the_stream(row: list[str | int], skip: bool, clean: bool) -> None:
    tok, out = tokenizer(), io.StringIO()
    ids = [tok.vocab.get(piece, 5) if isinstance(piece, str) else piece for piece in row]
    options = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean}
    streamer = TextStreamer(tok, stream=out, **options)
    streamer.put(np.array([[]], dtype=np.int64))
    for i in ids:
        streamer.put(np.array([i]))
    streamer.end()
    assert out.getvalue() == tok.decode(ids, **options) + "\n"


def test_a_tokenizer_that_cleans_up_by_itself_streams_what_it_decodes() -> None:
    """The third word joins the first two: "pain n" and "'t" become "painn't"."""
    tok, out = copy.deepcopy(tokenizer()), io.StringIO()
    tok.clean_up_tokenization_spaces = True
    ids = [tok.vocab[piece] for piece in ("pain</w>", "n</w>", "'", "t</w>")]
    streamer = TextStreamer(tok, stream=out)
    for i in ids:
        streamer.put([i])
    streamer.end()
    assert out.getvalue() == tok.decode(ids) + "\n" == "painn't\n"


def test_a_stream_is_transformers_stream(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = transformers.BioGptTokenizer.from_pretrained("minibiogpt/demo")
    ids = tokenizer()("Metformin acts by")["input_ids"]
    for options in ({}, {"skip_prompt": True}, {"skip_special_tokens": True}):
        ours().generate(ids, streamer=transformers.TextStreamer(theirs, **options))
        want = capsys.readouterr().out
        ours().generate(ids, streamer=TextStreamer(tokenizer(), **options))
        assert capsys.readouterr().out == want


def test_a_stream_is_an_iterator_in_another_thread() -> None:
    enc = tokenizer()(["Metformin acts by"])
    streamer = TextIteratorStreamer(tokenizer(), skip_prompt=True, timeout=60, skip_special_tokens=True)
    for _ in range(2):
        thread = Thread(target=ours().generate, kwargs=dict(enc, streamer=streamer, max_new_tokens=9))
        thread.start()
        pieces = list(streamer)
        thread.join()
        new = ours().generate(**enc, max_new_tokens=9)[0, enc["input_ids"].shape[1] :]
        assert "".join(pieces) == tokenizer().decode(new, skip_special_tokens=True)
        assert len(pieces) > 3
    with pytest.raises(Empty):
        next(TextIteratorStreamer(tokenizer(), timeout=0.001))


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"logits_processor": [lambda ids, logits: None]}])
def test_a_stream_ends_after_an_error(wrong: dict[str, Any]) -> None:
    streamer = TextIteratorStreamer(tokenizer(), timeout=60)
    with pytest.raises(InputError):
        ours().generate([[2, 92, 26]], streamer=streamer, **wrong)
    list(streamer)
    out = io.StringIO()
    with pytest.raises(InputError):
        ours().generate([[2, 92, 26]], streamer=TextStreamer(tokenizer(), stream=out), max_new_tokens=0)
    assert out.getvalue() == "", "nothing was streamed"


def test_a_subclass_receives_finished_text_and_a_stream_one_row() -> None:
    class Collecting(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            pieces.append((text, stream_end))

    pieces: list[tuple[str, bool]] = []
    ours().generate([[2, 92, 26]], streamer=Collecting(tokenizer()), max_new_tokens=5)
    assert [end for _, end in pieces] == [False] * (len(pieces) - 1) + [True]
    whole = ours().generate([[2, 92, 26]], max_new_tokens=5)[0]
    assert "".join(text for text, _ in pieces) == tokenizer().decode(whole)
    with pytest.raises(InputError, match="a TextStreamer must receive one row; found 2 rows"):
        TextStreamer(tokenizer()).put(np.zeros((2, 3), dtype=np.int64))
