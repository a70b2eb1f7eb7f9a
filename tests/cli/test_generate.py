"""`minibiogpt generate` from the command line: beams, logits processors and soft prompts."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, InputError
from minibiogpt.cli import main
from minibiogpt.files.hub import find_model
from minibiogpt.generation import GenerationConfig
from tests.support.demo import PROMPTS, ours, tokenizer

TEXT = "Ibuprofen is best used for"


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["generate", *words]) == code
    printed = capsys.readouterr()
    return printed.err if code else printed.out


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--num-beams 3 --num-return-sequences 2", {"num_beams": 3, "num_return_sequences": 2}),
        (
            "--num-beams 4 --early-stopping never --length-penalty 0",
            {"num_beams": 4, "early_stopping": "never", "length_penalty": 0.0},
        ),
        ("--num-beams 4 --early-stopping true", {"num_beams": 4, "early_stopping": True}),
        ("--num-beams 3 --scoring fairseq --min-length 12", {"num_beams": 3, "scoring": "fairseq", "min_length": 12}),
        (
            "--repetition-penalty 1.5 --no-repeat-ngram-size 2 --min-new-tokens 9",
            {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_new_tokens": 9},
        ),
        (
            "--sample --seed 3 --top-k 0 --min-p 0.05 --typical-p 0.9",
            {"do_sample": True, "seed": 3, "top_k": 0, "min_p": 0.05, "typical_p": 0.9},
        ),
        (
            "--sample --num-return-sequences 3 --temperature 2",
            {"do_sample": True, "num_return_sequences": 3, "temperature": 2.0},
        ),
    ],
)
def test_options_are_those_of_generate(words: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    printed = run(capsys, TEXT, "Metformin acts by", *words.split())
    prompt = tokenizer()([TEXT, "Metformin acts by"], padding=True, padding_side="left")
    want = tokenizer().batch_decode(ours().generate(**prompt, **options), skip_special_tokens=True)
    assert printed.splitlines() == want
    records = json.loads(run(capsys, TEXT, "Metformin acts by", *words.split(), "--json"))
    assert [record["text"] for record in records] == want
    per_prompt = len(want) // 2
    assert [record["prompt"] for record in records] == [TEXT] * per_prompt + ["Metformin acts by"] * per_prompt


def test_options_that_change_no_text_reach_the_model_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    generate = BioGptForCausalLM.generate

    def recorded(self: BioGptForCausalLM, **options: Any) -> Any:
        calls.append(options)
        return generate(self, **options)

    monkeypatch.setattr(BioGptForCausalLM, "generate", recorded)
    assert run(capsys, TEXT) == run(capsys, TEXT, "--no-cache")
    assert "use_cache" not in calls[0], "the model's own setting applies"
    assert calls[1]["use_cache"] is False
    for word, value in (("true", True), ("false", False), ("never", "never")):
        run(capsys, TEXT, "--num-beams", "2", "--early-stopping", word)
        assert calls[-1]["early_stopping"] == value


def test_special_tokens_in_a_text_are_text_when_requested(capsys: pytest.CaptureFixture[str]) -> None:
    (special,) = json.loads(run(capsys, "pain</s>", "--json", "--max-new-tokens", "1"))
    (plain,) = json.loads(run(capsys, "pain</s>", "--json", "--max-new-tokens", "1", "--no-special"))
    assert special["prompt_ids"] == tokenizer().encode("pain</s>")
    assert plain["prompt_ids"] == tokenizer()("pain</s>", parse_special=False)["input_ids"][0].tolist()
    assert plain["prompt_ids"] != special["prompt_ids"]


def test_stop_texts_and_bad_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, TEXT, "--stop", "pain and") == f"{TEXT} pain and\n"
    assert "pain" not in run(capsys, TEXT, "--bad-word", "pain", "--bad-word", "nothing")
    assert "inflammation" in run(capsys, TEXT, "--stop", "never written")


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with nine embeddings beyond its vocabulary, like the models fine-tuned for relation extraction."""
    folder = tmp_path_factory.mktemp("prompted") / "model"
    shutil.copytree(find_model("demo"), folder)
    model = BioGptForCausalLM.from_pretrained("demo")
    config = model.config.changed(vocab_size=model.config.vocab_size + 9)
    weights = {name.removeprefix("biogpt."): x for name, x in model.named_parameters()}
    extra = np.random.default_rng(0).normal(0, 0.1, (9, config.hidden_size)).astype(np.float32)
    likely = int(model.generate(tokenizer()(TEXT)["input_ids"], max_new_tokens=1)[0, -1])
    extra[4] = 30 * weights["embed_tokens.weight"][likely]  # more probable than that piece wherever it would come
    weights["embed_tokens.weight"] = np.concatenate([weights["embed_tokens.weight"], extra])
    BioGptForCausalLM(config, weights).save_pretrained(folder)
    return folder


def test_a_soft_prompt_follows_the_text(prompted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tok, first = BioGptTokenizer.from_pretrained(prompted), len(tokenizer())
    assert list(tok.soft_prompt_ids) == list(range(first, first + 9))
    (record,) = json.loads(
        run(capsys, TEXT, "--model", str(prompted), "--soft-prompt", "9", "--keep-soft-prompt", "--json")
    )
    assert record["prompt_ids"] == tok.encode(TEXT) + list(tok.soft_prompt_ids)
    assert record["text"].startswith(f"{TEXT} learned1 learned2 learned3 learned4 learned5 learned6")
    model = BioGptForCausalLM.from_pretrained(prompted)
    want = model.generate([record["prompt_ids"]])[0, len(record["prompt_ids"]) :]
    assert record["new_ids"] == want.tolist()
    two = json.loads(run(capsys, TEXT, "Insulin", "--model", str(prompted), "--soft-prompt", "2", "--json"))
    assert [one["prompt_ids"][-2:] for one in two] == [[first, first + 1]] * 2
    error = run(capsys, TEXT, "--model", str(prompted), "--soft-prompt", "10", code=2)
    assert "--soft-prompt must be at most the number of embeddings beyond the vocabulary, 9; found 10" in error
    assert "found 1;" in run(capsys, TEXT, "--soft-prompt", "1", code=2)


def test_learned_tokens_that_come_out_are_shown(prompted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (TEXT, "--model", str(prompted), "--max-new-tokens", "3")
    assert "learned5" in run(capsys, *words, "--keep-soft-prompt")
    assert run(capsys, *words, "--keep-soft-prompt", "--stream") == run(capsys, *words, "--keep-soft-prompt")
    tok = BioGptTokenizer.from_pretrained(prompted)
    assert tok.encode("learned5") == tokenizer().encode("learned5"), "no text encodes to the learned tokens"
    assert tok.decode([*tok.encode("pain"), 1882]) == tok.decode(tok.encode("pain")) + " learned9"
    assert pickle.loads(pickle.dumps(tok)).soft_prompt_ids == tok.soft_prompt_ids
    with pytest.raises(InputError, match="an id must be an integer in the vocabulary"):
        tok.decode([1883])


def test_soft_prompt_tokens_are_no_words_of_the_answer(prompted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tok = tokenizer()
    for count, shown in (("9", "learned1"), ("0", "learned5")):  # of the prompt, and generated
        words = (TEXT, "--model", str(prompted), "--max-new-tokens", "3", "--soft-prompt", count)
        (kept,) = json.loads(run(capsys, *words, "--keep-soft-prompt", "--json"))
        (record,) = json.loads(run(capsys, *words, "--json"))
        assert shown in kept["text"], "the case is too easy"
        assert (record["prompt_ids"], record["new_ids"]) == (kept["prompt_ids"], kept["new_ids"])
        for name, ids in (("text", record["prompt_ids"] + record["new_ids"]), ("continuation", record["new_ids"])):
            assert record[name] == tok.decode([i for i in ids if i < len(tok)], skip_special_tokens=True)
        assert run(capsys, *words) == run(capsys, *words, "--stream") == record["text"] + "\n"


def test_what_is_not_given_follows_the_models_own_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(find_model("demo"), tmp_path / "model")
    GenerationConfig(max_new_tokens=2, eos_token_id=2, pad_token_id=1).save_pretrained(tmp_path / "model")
    words = [TEXT, "--model", str(tmp_path / "model"), "--json"]
    assert len(json.loads(run(capsys, *words))[0]["new_ids"]) == 2
    assert len(json.loads(run(capsys, *words, "--max-new-tokens", "3"))[0]["new_ids"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-beams", "0"], "--num-beams must be an integer, 1 or more; found 0"),
        (
            ["--num-beams", "2", "--stream"],
            "--stream needs one text, one result and no beam search; found 1 rows, --num-beams 2",
        ),
        (["--num-return-sequences", "2"], "--num-return-sequences must be 1 in greedy decoding"),
        (["--scoring", "fairseq"], "--scoring fairseq needs beam search"),
        (["--stop", ""], "--stop must have a text"),
        (["--bad-word", ""], "--bad-word must have a text"),
        (["--soft-prompt", "-1"], "--soft-prompt must be at most"),
    ],
)
def test_nonsense_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = run(capsys, TEXT, *words, code=2)
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("own", [{"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}])
def test_on_a_terminal_a_model_whose_own_options_give_no_stream_writes_at_once(
    own: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal gets a single text word by word, but beam search has no words before it ends."""
    shutil.copytree(find_model("demo"), tmp_path / "model")
    options = own | {"eos_token_id": 2, "pad_token_id": 1, "return_dict_in_generate": True}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(options))
    piped = run(capsys, TEXT, "--model", str(tmp_path / "model"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(capsys, TEXT, "--model", str(tmp_path / "model")) == piped
    assert piped.count(TEXT) == own.get("num_return_sequences", 1)


def test_an_error_is_no_longer_than_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    long = run(capsys, "--file", "a/" * 5000, code=2)
    assert len(long) < 2100
    assert long.endswith("; check the path\n"), "what to do is at the end, which is not cut"


def test_many_texts_go_in_batches_and_a_file_line_by_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    texts = PROMPTS[:7]
    (tmp_path / "texts").write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    at_once = run(capsys, *texts)
    assert run(capsys, "--file", str(tmp_path / "texts"), "--batch-size", "3") == at_once
    assert run(capsys, "--file", str(tmp_path / "texts"), "--batch-size", "1") == at_once
    several = run(capsys, *texts, "--num-beams", "3", "--num-return-sequences", "2")
    in_twos = run(capsys, *texts, "--num-beams", "3", "--num-return-sequences", "2", "--batch-size", "2")
    assert in_twos == several
    drawn = run(capsys, *["Patients with"] * 4, "--sample", "--batch-size", "2", "--temperature", "2")
    assert len(set(drawn.splitlines())) > 2, "each batch draws differently"
    assert "leave one out" in run(capsys, TEXT, "--file", str(tmp_path / "texts"), code=2)
    assert "no file" in run(capsys, "--file", str(tmp_path / "absent"), code=2)
    (tmp_path / "texts").write_text("")
    assert "texts must contain a text; found no text; write one" in run(
        capsys, "--file", str(tmp_path / "texts"), code=2
    )
    assert "--batch-size must be an integer, 1 or more" in run(capsys, TEXT, "--batch-size", "0", code=2)
