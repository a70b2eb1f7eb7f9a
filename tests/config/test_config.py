"""BioGptConfig: transformers' fields and defaults; unknown keys are kept; the error for an invalid value names it."""

import json
from pathlib import Path

import pytest

from minibiogpt import BioGptConfig, CheckpointError, InputError


def test_fields_and_defaults_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    theirs, ours = transformers.BioGptConfig().to_dict(), BioGptConfig().to_dict()
    named = transformers.BioGptConfig.__init__.__code__.co_varnames[1:18]
    assert {name: ours[name] for name in named} == {name: theirs[name] for name in named}
    shared = (set(ours) & set(theirs)) - {"extra"}
    assert len(shared) >= 21
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_unknown_keys_are_kept_and_transformers_reads_what_we_write(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = BioGptConfig.from_dict(
        {"hidden_size": 32, "num_attention_heads": 4, "is_decoder": False, "note": [1, "µ"]}
    )
    assert config.extra == {"is_decoder": False, "note": [1, "µ"]}
    config.save_pretrained(tmp_path)
    assert BioGptConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
    theirs = transformers.BioGptConfig.from_pretrained(tmp_path)
    assert (theirs.hidden_size, theirs.note) == (32, [1, "µ"])
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"], "no temporary file is left"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 0),
        ("vocab_size", -3),
        ("num_hidden_layers", 0),
        ("num_attention_heads", 2.5),
        ("num_attention_heads", True),
        ("intermediate_size", "many"),
        ("max_position_embeddings", None),
        ("hidden_act", "swish"),
        ("hidden_act", None),
        ("scale_embedding", 2),
        ("tie_word_embeddings", "yes"),
        ("hidden_dropout_prob", 1.5),
        ("layer_norm_eps", float("nan")),
        ("pad_token_id", 42384),
        ("eos_token_id", [2, -1]),
        ("bos_token_id", "x"),
        pytest.param("layer_norm_eps", 10**400, id="layer_norm_eps-10**400"),
        pytest.param("initializer_range", -(10**400), id="initializer_range--10**400"),
        ("hidden_dropout_prob", [[]]),
        ("num_hidden_layers", 10_001),
    ],
)
def test_what_cannot_be_is_refused_naming_the_field(field: str, value: object) -> None:
    remedy = "a model that was trained with another activation" if field == "hidden_act" else f"correct {field}"
    with pytest.raises(InputError, match=f"{field} must.*; found {field} .*; {remedy}"):
        BioGptConfig(**{field: value})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"num_labels": -1}, "num_labels must be an integer, 1 to 200,000; found num_labels -1"),
        ({"num_labels": True}, "num_labels must be an integer"),
        ({"num_labels": 200_001}, "num_labels must be an integer"),
        ({"id2label": ["no", "yes"]}, "id2label must map 0, 1, 2 ... to names"),
        ({"id2label": {"0": ["no"]}}, "id2label must map"),
        ({"id2label": {False: "no", True: "yes"}}, "id2label must map"),
        ({"id2label": {"²": "no"}}, "id2label must map"),
        ({"id2label": {"0": "no", "2": "yes"}}, r"id2label must name the classes 0 to 1; found the keys \[0, 2\]"),
        ({"label2id": ["no", "yes"]}, "label2id must map names to integers; found list"),
        ({"problem_type": "ranking"}, "problem_type must be null or regression, single_label"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BioGptConfig(**labels)  # type: ignore[arg-type]


def test_names_are_listed_by_their_class() -> None:
    config = BioGptConfig.from_dict({"id2label": {"1": "yes", "0": "no"}, "label2id": {"yes": 1, "no": 0}})
    assert list(config.id2label.items()) == [(0, "no"), (1, "yes")]
    assert (config.num_labels, config.label2id) == (2, {"no": 0, "yes": 1})


def test_a_change_of_the_labels_leaves_no_old_name() -> None:
    config = BioGptConfig(id2label={0: "no", 1: "yes"}, problem_type="regression")
    other = config.changed(id2label={0: "a", 1: "b"})
    assert (other.label2id, other.problem_type) == ({"a": 0, "b": 1}, "regression")
    assert config.changed(id2label={0: "a", 1: "b", 2: "c"}).num_labels == 3
    assert config.changed(num_labels=3).label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    assert config.changed(num_labels=2, vocab_size=50).label2id == {"no": 0, "yes": 1}, (
        "the same number of labels keeps their names"
    )
    again = BioGptConfig.from_dict(config.to_dict())
    assert (again.id2label, again.problem_type) == ({0: "no", 1: "yes"}, "regression"), "as many labels as the default"


def test_heads_must_divide_the_hidden_size() -> None:
    with pytest.raises(InputError, match="hidden_size must be divisible by num_attention_heads; found hidden_size 10"):
        BioGptConfig(hidden_size=10, num_attention_heads=3)


@pytest.mark.parametrize(
    "sizes",
    [
        {"vocab_size": 10**8},
        {"max_position_embeddings": 10**9},
        {"hidden_size": 1 << 20},
        {"intermediate_size": 10**7},
        {"hidden_size": 2**62, "num_attention_heads": 2**62},
        {"num_hidden_layers": 10_000},
    ],
)
def test_sizes_that_no_memory_holds_are_refused_before_any_is_asked_for(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="the model must have at most 100,000,000,000 weights; found vocab_size"):
        BioGptConfig(**sizes)


def test_a_message_shows_the_beginning_of_what_is_long_or_deep() -> None:
    deep: list = []
    for _ in range(900):
        deep = [deep]
    for value in ("A" * 99_999, 10**5000, deep, [1] * 99_999, {"a": "b" * 99_999}):
        with pytest.raises(InputError, match="layerdrop must be a probability") as caught:
            BioGptConfig(layerdrop=value)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 500


def test_keys_that_are_no_unicode_text_are_written_back(tmp_path: Path) -> None:
    config = BioGptConfig.from_dict({"\ud800": "\udc00", "note": "µ"})
    config.save_pretrained(tmp_path)
    assert BioGptConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config.json; found no file .*config.json"):
        BioGptConfig.from_pretrained(tmp_path)
    file = tmp_path / "config.json"
    for content, message in [
        (b'{"hidden_size": ', "must hold JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b"[1]", "must be a JSON object; found list in"),
        (json.dumps({"model_type": "gpt2"}).encode(), "model_type must be 'biogpt'"),
        (json.dumps({"hidden_size": 0}).encode(), "hidden_size 0 in .*config.json"),
    ]:
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            BioGptConfig.from_pretrained(tmp_path)
