"""Streaming: the text written token by token is, in total, the decoded row."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minibiogpt.generation import TextStreamer
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
