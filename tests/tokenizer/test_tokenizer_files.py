"""The tokenizer's files and from_pretrained's options against transformers; soft prompts and padded embeddings."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import transformers

from minibiogpt import BioGptTokenizer, CheckpointError, InputError
from minibiogpt.files.hub import DEMO
from minibiogpt.tokenizer import AddedToken
from minibiogpt.tokenizer import tokenizer as tokenizer_module
from tests.tokenizer.test_tokenizer import copied, folder, ours, reference


def written(place: Path, **files: Any) -> Path:
    """Write the demo's vocabulary and JSON files; a keyword is a file's name without its ending."""
    place.mkdir(exist_ok=True)
    for name, content in files.items():
        (copied(place) / f"{name}.json").write_text(json.dumps(content))
    return copied(place)


def token(content: str, **flags: Any) -> dict[str, Any]:
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, **flags}


DRUG = {"1874": token("[DRUG]", special=True), "1875": token("nir", special=False, lstrip=True)}
FILES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {
            "added_tokens": {"[DRUG]": 1874, "nir": 1875},
            "special_tokens_map": {"additional_special_tokens": ["[DRUG]"]},
        },
        {},
    ),
    ({"added_tokens": {"[DRUG]": 1874, "nir": 1880}}, {}),
    (
        {
            "special_tokens_map": {"sep_token": token("[SEP]", rstrip=True), "pad_token": "<s>"},
            "tokenizer_config": {"pad_token": "</s>", "sep_token": "<s>"},
        },
        {},
    ),
    (
        {
            "special_tokens_map": {"additional_special_tokens": ["[A]", token("[B]", lstrip=True), "[A]"]},
            "tokenizer_config": {"additional_special_tokens": ["[C]", "[A]"]},
        },
        {},
    ),
    ({"special_tokens_map": {"additional_special_tokens": ["[A]"]}}, {"additional_special_tokens": ["[DRUG]"]}),
    ({"special_tokens_map": {"pad_token": "</s>"}}, {"pad_token": "[PAD]"}),
    ({"special_tokens_map": {"pad_token": "</s>", "padding_side": "left"}}, {}),
    (
        {
            "tokenizer_config": {
                "cls_token": {**token("[CLS]", lstrip=True), "__type": "AddedToken"},
                "mask_token": None,
                "eos_token": None,
            }
        },
        {},
    ),
    (
        {"tokenizer_config": {"extra_special_tokens": {"drug_token": "[DRUG]"}, "additional_special_tokens": ["[A]"]}},
        {},
    ),
    ({"tokenizer_config": {"max_len": 77}}, {}),
    ({"tokenizer_config": {"max_len": 77, "model_max_length": 5}}, {}),
    (
        {
            "tokenizer_config": {
                "split_special_tokens": True,
                "truncation_side": "left",
                "model_input_names": ["input_ids"],
            }
        },
        {},
    ),
    (
        {
            "tokenizer_config": {"added_tokens_decoder": DRUG, "additional_special_tokens": ["[DRUG]"]},
            "added_tokens": {"[A]": 1999},
            "special_tokens_map": {"pad_token": "</s>"},
        },
        {},
    ),
    ({"tokenizer_config": {"added_tokens_decoder": {"1880": token("[A]", special=True)}, "pad_token": "[PAD]"}}, {}),
    ({"tokenizer_config": {"added_tokens_decoder": {"100": token("[A]", special=True)}}}, {}),
    ({"tokenizer_config": {"added_tokens_decoder": DRUG, "sep_token": "[DRUG]", "cls_token": "nir"}}, {}),
    ({"added_tokens": {"a</w>": 5}, "special_tokens_map": {"additional_special_tokens": ["a</w>"]}}, {}),
    ({"tokenizer": {"added_tokens": [token("[A]", id=1874, special=True)]}}, {}),
    (
        {
            "tokenizer": {"added_tokens": [token("[A]", id=1874, special=True)]},
            "tokenizer_config": {"added_tokens_decoder": {}},
        },
        {},
    ),
    (
        {
            "tokenizer_config": {
                "auto_map": {"AutoTokenizer": ["x", None]},
                "processor_class": "P",
                "name_or_path": "q",
                "errors": "replace",
                "special_tokens_map_file": "f",
            }
        },
        {},
    ),
    (
        {},
        {
            "padding_side": "left",
            "truncation_side": "left",
            "model_max_length": 9,
            "sep_token": "<s>",
            "clean_up_tokenization_spaces": True,
        },
    ),
    (
        {},
        {
            "use_fast": True,
            "trust_remote_code": True,
            "cache_dir": None,
            "token": None,
            "local_files_only": False,
            "revision": None,
        },
    ),
    ({}, {"added_tokens_decoder": {1874: transformers.AddedToken("[A]", rstrip=True)}}),
]
COMPARED = ["vocab_size", "padding_side", "truncation_side", "model_max_length", "clean_up_tokenization_spaces"]
COMPARED += ["split_special_tokens", "model_input_names", "special_tokens_map", "all_special_tokens", "all_special_ids"]
COMPARED += ["max_len_single_sentence", "max_len_sentences_pair", "name_or_path", "added_tokens_encoder", "is_fast"]
COMPARED += [f"{name}_token{end}" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask") for end in ("", "_id")]
COMPARED += ["additional_special_tokens", "additional_special_tokens_ids", "vocab_files_names", "pad_token_type_id"]


@pytest.mark.parametrize(("files", "options"), FILES)
def test_files_and_options_mean_what_they_mean_to_transformers(
    tmp_path: Path, files: dict[str, Any], options: dict[str, Any]
) -> None:
    place = str(written(tmp_path, **files))
    mine = BioGptTokenizer.from_pretrained(place, **options)
    other = transformers.BioGptTokenizer.from_pretrained(place, **options)
    for name in COMPARED:
        assert getattr(mine, name) == getattr(other, name), name
    assert len(mine) == len(other)
    for i, added in other.added_tokens_decoder.items():
        assert mine.added_tokens_decoder[i].as_dict() == added.__getstate__()
    for text in ["[DRUG] x  nir [A] [B]  a [SEP] </s> a</w> [C] pain [PAD] [CLS]", "nir-x a </s>", "aspirin."]:
        assert mine.encode(text) == other.encode(text)
        assert mine.decode(mine.encode(text)) == other.decode(other.encode(text))


def test_a_name_of_an_extra_special_token_is_an_attribute(tmp_path: Path) -> None:
    place = written(tmp_path, tokenizer_config={"extra_special_tokens": {"drug_token": "[DRUG]"}})
    mine, other = BioGptTokenizer.from_pretrained(place), transformers.BioGptTokenizer.from_pretrained(place)
    assert (mine.drug_token, mine.drug_token_id) == (other.drug_token, other.drug_token_id) == ("[DRUG]", 1874)
    mine.drug_token_id = 2
    assert mine.drug_token == "</s>"
    mine.save_pretrained(tmp_path / "again")
    assert BioGptTokenizer.from_pretrained(tmp_path / "again").drug_token == "</s>"


def test_the_list_of_extra_special_tokens_that_transformers_5_writes_is_read(tmp_path: Path) -> None:
    tok = BioGptTokenizer.from_pretrained(written(tmp_path, tokenizer_config={"extra_special_tokens": ["[DRUG]"]}))
    assert (tok.additional_special_tokens, tok.encode("[DRUG]")) == (["[DRUG]"], [2, 1874])


def test_a_null_for_a_token_that_every_call_needs_is_the_default(tmp_path: Path) -> None:
    """transformers has no pad_token then, and cannot pad."""
    names = ("pad_token", "sep_token", "padding_side", "model_max_length", "max_len", "soft_prompt")
    tok = BioGptTokenizer.from_pretrained(written(tmp_path, tokenizer_config=dict.fromkeys(names)))
    assert (tok.pad_token_id, tok.sep_token, tok.padding_side, tok.model_max_length) == (1, "</s>", "right", int(1e30))
    assert list(tok.soft_prompt_ids) == []


def test_an_unknown_piece_has_the_id_of_an_added_unk_token(tmp_path: Path) -> None:
    """transformers gives it None, and fails."""
    tok = BioGptTokenizer.from_pretrained(written(tmp_path, tokenizer_config={"unk_token": "[UNK]"}))
    assert tok.encode("☤") == [2, 1874]
    assert tok.convert_tokens_to_ids("no such piece") == tok.unk_token_id == 1874


def test_saved_files_have_the_names_and_contents_of_transformers(tmp_path: Path) -> None:
    mine, other = pickle.loads(pickle.dumps(ours("demo"))), transformers.BioGptTokenizer.from_pretrained(DEMO)
    for tok, kind in ((mine, AddedToken), (other, transformers.AddedToken)):
        tok.add_tokens([kind("nir", lstrip=True), kind("[D]", special=True)])
        tok.add_special_tokens({"pad_token": "[PAD]"})
    got = [Path(name) for name in mine.save_pretrained(tmp_path / "a", filename_prefix="x")]
    want = [Path(name) for name in other.save_pretrained(tmp_path / "b", filename_prefix="x")]
    assert [path.name for path in got] == [path.name for path in want]
    for one, two in zip(got, want, strict=True):
        if one.suffix == ".txt":
            assert [line.split()[:2] for line in one.read_text().splitlines()] == [
                line.split()[:2] for line in two.read_text().splitlines()
            ]
            continue
        ours_, theirs = json.loads(one.read_text()), json.loads(two.read_text())
        if "tokenizer_config" in one.name:
            assert {key: ours_[key] for key in theirs} == theirs
        else:
            assert ours_ == theirs
    assert [Path(name).name for name in ours("demo").save_pretrained(tmp_path / "c")] == [
        "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt",
    ]  # fmt: skip


def test_save_vocabulary_returns_the_paths_as_strings(tmp_path: Path) -> None:
    assert ours("demo").save_vocabulary(str(tmp_path), "x") == reference("demo").save_vocabulary(str(tmp_path), "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-merges.txt", "x-vocab.json"]
    tok = BioGptTokenizer(str(tmp_path / "x-vocab.json"), str(tmp_path / "x-merges.txt"))
    assert tok.encode("aspirin") == ours("demo").encode("aspirin")


@pytest.mark.parametrize(
    "options",
    [{}, {"unk_token": "</s>"}, {"bos_token": "[BOS]", "pad_token": "<s>"}, {"additional_special_tokens": ["[A]"]}],
)
def test_the_constructor_takes_transformers_arguments(options: dict[str, Any]) -> None:
    files = str(DEMO / "vocab.json"), str(DEMO / "merges.txt")
    named = dict(zip(("vocab_file", "merges_file"), files, strict=True))
    other = transformers.BioGptTokenizer(*files, **options)
    for tok in (
        BioGptTokenizer(*files, **options),
        BioGptTokenizer(**named, **options),
        BioGptTokenizer(DEMO / "vocab.json", DEMO / "merges.txt", **options),
        BioGptTokenizer(ours("demo").vocab, ours("demo").ranks, **options),
    ):
        assert (tok.special_tokens_map, len(tok)) == (other.special_tokens_map, len(other))
        assert tok.encode("[A] ☤ [BOS] pain") == other.encode("[A] ☤ [BOS] pain")
    positional = (*files, "<unk>", "<s>", "<pad>", "<s>", "</s>")
    assert (
        BioGptTokenizer(*positional).special_tokens_map == transformers.BioGptTokenizer(*positional).special_tokens_map
    )


@pytest.mark.parametrize(
    ("name", "rows", "soft", "padding"),
    [
        ("demo", 1874, 0, 0),
        ("demo", 1875, 1, 0),
        ("demo", 1874 + 9, 9, 0),
        ("demo", 1880, 0, 6),
        ("demo", 1920, 0, 46),
        ("base", 42384, 0, 0),
        ("base", 42384 + 9, 9, 0),
        ("base", 42384 + 1, 1, 0),
        ("base", 42432, 0, 48),
        ("large", 57717 + 9, 9, 0),
        ("large", 57717 + 1, 1, 0),
        ("large", 57728, 0, 11),
    ],
)
def test_embeddings_beyond_the_tokens_are_a_soft_prompt_or_padding(
    tmp_path: Path, name: str, rows: int, soft: int, padding: int
) -> None:
    for file in ("vocab.json", "merges.txt"):
        shutil.copyfile(folder(name) / file, tmp_path / file)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": rows}))
    tok = BioGptTokenizer.from_pretrained(tmp_path)
    size = len(tok)
    assert list(tok.soft_prompt_ids) == list(range(size, size + soft))
    if soft:
        assert tok.decode([2, rows - 1], skip_special_tokens=True) == f"learned{soft}"
    if padding:
        other = transformers.BioGptTokenizer.from_pretrained(tmp_path)
        for skip in (True, False):
            assert tok.decode([14, rows - 1], skip) == other.decode([14, rows - 1], skip)
        again = pickle.loads(pickle.dumps(tok))
        assert again.convert_ids_to_tokens(rows - 1) == tok.convert_ids_to_tokens(size) == "<unk>"
    with pytest.raises(InputError, match=f"must be an integer in the vocabulary, 0 to {size - 1}; found {rows}"):
        tok.decode([rows])


def test_a_tokenizer_can_be_used_with_the_embeddings_of_another_model() -> None:
    tok = pickle.loads(pickle.dumps(ours("demo")))
    for rows, soft in ((1883, 9), (1880, 0), (1874, 0)):
        tok.match_embeddings(rows)
        assert len(tok.soft_prompt_ids) == soft
        assert tok.convert_ids_to_tokens(rows - 1) == (
            "learned9</w>" if soft else "<unk>" if rows == 1880 else tok.pieces[1873]
        )
    with pytest.raises(InputError, match="the number of embeddings must be an integer, 1874 or more; found 1873"):
        tok.match_embeddings(1873)


def test_tokens_that_use_embeddings_are_not_a_soft_prompt(tmp_path: Path) -> None:
    place = written(tmp_path, added_tokens={"[DRUG]": 1874, "nir": 1875}, config={"vocab_size": 1876})
    assert list(BioGptTokenizer.from_pretrained(place).soft_prompt_ids) == []
    written(tmp_path, config={"vocab_size": 1876 + 9})
    tok = BioGptTokenizer.from_pretrained(place)
    assert list(tok.soft_prompt_ids) == list(range(1876, 1885))
    with pytest.raises(
        InputError, match="must not take the embedding of the model's soft prompt; found a soft prompt of 9 fr"
    ):
        tok.add_tokens(["new"])
    assert tok.add_tokens(["nir", "pain</w>"]) == 0, "these are in the vocabulary"
    with pytest.raises(InputError, match="1885 embeddings must suffice .*; found 1877 tokens and a soft prompt of 9"):
        BioGptTokenizer.from_pretrained(place, pad_token="[PAD]")
    free = BioGptTokenizer.from_pretrained(place, pad_token="[PAD]", soft_prompt=0)
    assert (free.pad_token_id, free.add_tokens("new"), len(free.soft_prompt_ids)) == (1876, 1, 0)


@pytest.mark.parametrize(("rows", "soft"), [(1880, 6), (1880, 2), (1883, 0), (1883, 9)])
def test_a_soft_prompt_that_the_file_names_counts_and_is_saved(tmp_path: Path, rows: int, soft: int) -> None:
    place = written(tmp_path, config={"vocab_size": rows}, tokenizer_config={"soft_prompt": soft})
    tok = BioGptTokenizer.from_pretrained(place)
    assert len(tok.soft_prompt_ids) == soft
    tok.save_pretrained(place)
    assert len(BioGptTokenizer.from_pretrained(place).soft_prompt_ids) == soft
    assert len(transformers.BioGptTokenizer.from_pretrained(place)) == 1874, "transformers ignores it"
    assert len(BioGptTokenizer.from_pretrained(place, soft_prompt=1).soft_prompt_ids) == 1


def test_added_tokens_without_embeddings_are_a_warning_because_the_model_may_be_resized_later(tmp_path: Path) -> None:
    place = written(tmp_path, added_tokens={"[DRUG]": 1874, "nir": 1875}, config={"vocab_size": 1874})
    with pytest.warns(
        UserWarning, match=r"ids from 1874 to 1875 have no embedding.*resize_token_embeddings\(len\(tokeniz"
    ):
        tok = BioGptTokenizer.from_pretrained(place)
    assert len(tok) == 1876


def test_another_tokenizer_class_is_a_warning(tmp_path: Path) -> None:
    place = written(tmp_path, tokenizer_config={"tokenizer_class": "GPT2Tokenizer"})
    with pytest.warns(UserWarning, match=r"tokenizer_config.json names the class 'GPT2Tokenizer'; BioGptTokenizer may"):
        BioGptTokenizer.from_pretrained(place)
    for name in ("BioGptTokenizer", "BioGptTokenizerFast", None):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            BioGptTokenizer.from_pretrained(written(tmp_path, tokenizer_config={"tokenizer_class": name}))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"added_tokens": []}, "added_tokens.json must hold a JSON object; found list"),
        ({"added_tokens": {"x": "one"}}, "id of an added token must be an integer, 0 to .*; found 'one' in"),
        ({"added_tokens": {"x": 1.5}}, "id of an added token must be an integer, 0 to .*; found 1.5 in"),
        ({"added_tokens": {"x": -1}}, "found -1 in"),
        ({"added_tokens": {"x": [1]}}, r"found \[1\] in"),
        ({"added_tokens": {"x": 1 << 40}}, "found 1099511627776 in"),
        ({"special_tokens_map": 3}, "special_tokens_map.json must hold a JSON object; found int"),
        ({"special_tokens_map": {"pad_token": 3}}, "pad_token must be a string or an AddedToken; found 3 in"),
        (
            {"special_tokens_map": {"additional_special_tokens": {"a": 1}}},
            "must be a list of strings or AddedTokens; found",
        ),
        (
            {"special_tokens_map": {"additional_special_tokens": [[]]}},
            "each of additional_special_tokens must be a string",
        ),
        (
            {"tokenizer_config": {"added_tokens_decoder": [1]}},
            "added_tokens_decoder must map ids to tokens; found list in",
        ),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"x": token("a")}}},
            "must be an integer, 0 to .*; found 'x' in",
        ),
        ({"tokenizer_config": {"added_tokens_decoder": {"9" * 99: token("a")}}}, "must be an integer, 0 to"),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"1": "a"}}},
            "must give each token with its options; found 'a' in",
        ),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"1": {"content": "a", "special": 1}}}},
            "special of the added token",
        ),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"1": {"text": "a"}}}},
            "the added token of id '1' must be a string",
        ),
        ({"tokenizer_config": {"soft_prompt": -1}}, "soft_prompt must be an integer, 0 to .*; found -1 in"),
        (
            {"tokenizer_config": {"soft_prompt": 9}, "config": {"vocab_size": 1880}},
            "found 1874 tokens and a soft prompt of 9 in",
        ),
        ({"tokenizer_config": {"truncation_side": "up"}}, "truncation_side must be 'left' or 'right'; found 'up' in"),
        ({"tokenizer_config": {"model_input_names": "input_ids"}}, "model_input_names must be a list of names with"),
        ({"tokenizer_config": {"extra_special_tokens": 3}}, "extra_special_tokens must be a dictionary .*; found 3 in"),
        ({"tokenizer_config": {"pad_token": ""}}, "pad_token must have a text; found an empty one in"),
        (
            {"tokenizer": {"added_tokens": [token("a")]}},
            "id of an added token must be an integer, 0 to .*; found None in",
        ),
    ],
)
def test_bad_files_are_one_clear_error(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    place = written(tmp_path, **files)
    with pytest.raises(CheckpointError, match=message):
        BioGptTokenizer.from_pretrained(place)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding_side": "up"}, "padding_side must be 'left' or 'right'; found 'up'; choose"),
        ({"pad_token": 3}, "pad_token must be a string or an AddedToken; found 3; pass"),
        ({"pad_token": None}, "pad_token must be a string or an AddedToken; found None; pass"),
        ({"paddingside": "left"}, "found paddingside; did you mean padding_side"),
        ({"gguf_file": "x"}, "found gguf_file; convert the model to safetensors"),
    ],
)
def test_bad_options_are_one_clear_error_that_does_not_blame_the_files(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        BioGptTokenizer.from_pretrained("demo", **options)
    assert type(error.value) is InputError


def test_bad_files_are_named_even_with_options(tmp_path: Path) -> None:
    place = written(tmp_path, tokenizer_config={"padding_side": "up"})
    with pytest.raises(CheckpointError, match="found 'up' in"):
        BioGptTokenizer.from_pretrained(place, pad_token="<s>")
    assert BioGptTokenizer.from_pretrained(place, padding_side="left").padding_side == "left"


def test_options_for_the_hub_have_no_effect_on_a_folder_and_are_refused_for_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"cache_dir": "/x", "token": "x", "local_files_only": True, "force_download": True}
    written(tmp_path / "in", tokenizer_config={"padding_side": "left"})
    for kind in (BioGptTokenizer, transformers.BioGptTokenizer):
        assert kind.from_pretrained(tmp_path, subfolder="in", **options).padding_side == "left"
    assert BioGptTokenizer.from_pretrained("demo", **options).padding_side == "left"
    seen = []
    monkeypatch.setattr(tokenizer_module, "find_model", lambda name, **found: seen.append(found) or tmp_path / "in")
    assert BioGptTokenizer.from_pretrained("me/mine", revision="main", token=None).name_or_path == "me/mine"
    assert BioGptTokenizer.from_pretrained("me/mine", revision=None).padding_side == "left"
    assert seen == [{"revision": "main"}, {}]
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name, value in {**options, "subfolder": "x"}.items():
        with pytest.raises(InputError, match=f"must be called without {name}; found {name} set to "):
            BioGptTokenizer.from_pretrained("me/mine", **{name: value})


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_a_folder_without_a_file_says_which(tmp_path: Path, missing: str) -> None:
    (copied(tmp_path) / missing).unlink()
    with pytest.raises(CheckpointError, match=f"a tokenizer needs {missing}; found no file .*{missing}; name a folder"):
        BioGptTokenizer.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"a tokenizer needs {missing}; found no file"):
        BioGptTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
