"""The two classification heads against transformers 4.57: every array, every loss, pooling, files."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

import minibiogpt
from minibiogpt import (
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    CheckpointError,
    InputError,
    Trace,
)
from minibiogpt.heads.losses import binary_cross_entropy
from tests.budgets import LANE_A, lane_b
from tests.compare import assert_close, compare_traces
from tests.reference import build, in_order, save, torch_trace
from tests.support.configs import HEADS

B, T, CLASSES, PAD = 3, 7, 5, 1
SEQUENCE, TOKEN = HEADS
every_lane = pytest.mark.parametrize("dtype", ["float64", "float32"])
every_head = pytest.mark.parametrize("head", HEADS)


def budget(head: str, dtype: str) -> Any:
    return (lambda tensor: LANE_A) if dtype == "float64" else (lambda tensor: lane_b(head, tensor))


@cache
def built(head: str, dtype: str, changes: tuple[tuple[str, Any], ...]) -> Any:
    model = build(head=head, **HEADS[head] | dict(changes))
    return model.float() if dtype == "float32" else model


def reference(head: str, dtype: str, **changes: Any) -> Any:
    model = built(head, dtype, tuple(changes.items()))
    model.config.problem_type = changes.get("problem_type")  # transformers writes the type it inferred to the config
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {head: save(build(head=head, **HEADS[head]), tmp_path_factory.mktemp(head)) for head in HEADS}


def ours(folders: dict[str, Path], head: str, dtype: str, **changes: Any) -> Any:
    return getattr(minibiogpt, f"BioGptFor{head}").from_pretrained(folders[head], dtype=dtype, **changes)


def ids(side: str = "none") -> np.ndarray:
    """Rows of 7, 3 and 5 tokens, padded on one side with the pad id; or three full rows."""
    rows = np.random.default_rng(7).integers(3, 67, (B, T))
    for row, padding in enumerate((0, 4, 2) if side != "none" else (0, 0, 0)):
        rows[row, slice(0, padding) if side == "left" else slice(T - padding, None)] = PAD
    return rows


def call_inputs(side: str) -> dict[str, Any]:
    rows = ids(side)
    return {"input_ids": rows} | ({} if side == "none" else {"attention_mask": (rows != PAD).astype(np.int64)})


@every_lane
@every_head
@pytest.mark.parametrize("side", ["none", "right", "left"])
def test_every_array_is_transformers(folders: Any, head: str, side: str, dtype: str) -> None:
    trace = Trace()
    out = ours(folders, head, dtype)(**call_inputs(side), trace=trace)
    want, theirs = torch_trace(reference(head, dtype), **call_inputs(side))
    differing = {"logits", "loss"} if (side, head) == ("left", SEQUENCE) else set()  # transformers pools elsewhere
    want = {name: x for name, x in want.items() if name not in differing}
    drifts = compare_traces(trace, in_order(want, list(trace)), budget(head, dtype))
    assert set(trace) - set(drifts) == differing & set(trace)
    if differing:
        return
    assert_close("logits", out.logits, theirs.logits.numpy(), budget(head, dtype)("logits"))
    assert out.logits.shape == ((B, CLASSES) if head == SEQUENCE else (B, T, CLASSES))


@every_lane
@every_head
def test_a_left_padded_row_is_the_unpadded_one(folders: Any, head: str, dtype: str) -> None:
    """transformers pools a left-padded row at a wrong position, so the reference here is the row without padding."""
    padded, theirs = call_inputs("left"), reference(head, dtype)
    got = ours(folders, head, dtype)(**padded).logits
    for row in range(B):
        real = padded["attention_mask"][row] == 1
        with torch.no_grad():
            want = theirs(torch.tensor(padded["input_ids"][row : row + 1, real])).logits.numpy()
        one = got[row : row + 1] if head == SEQUENCE else got[row : row + 1, real]
        assert_close(f"row {row}", one, want, budget(head, dtype)("logits"))


def test_pads_within_a_text_do_not_move_the_pooling(folders: Any) -> None:
    rows = ids()
    rows[0, 2] = PAD
    model = ours(folders, SEQUENCE, "float64")
    trace = Trace()
    out = model(rows, trace=trace)
    assert np.array_equal(out.logits, trace["score"][:, -1])
    with torch.no_grad():
        theirs = reference(SEQUENCE, "float64")(torch.tensor(rows)).logits.numpy()
    assert_close("other rows", out.logits[1:], theirs[1:], LANE_A)
    assert_close("transformers counts", trace["score"][:1, -2], theirs[:1], LANE_A)
    with pytest.raises(InputError, match="each row must hold a real token; found a row of pads"):
        model([[5, 6], [PAD, PAD]])


def test_padding_that_only_the_mask_tells_is_not_pooled(folders: Any) -> None:
    """The pads have another id than the config's pad_token_id, so transformers treats them as text."""
    model, padded = ours(folders, SEQUENCE, "float64"), call_inputs("right")
    want = model(**padded).logits
    padded["input_ids"] = np.where(padded["attention_mask"] == 1, padded["input_ids"], 40)
    assert_close("logits", model(**padded).logits, want, LANE_A)
    past = model(ids()[:, :4]).past_key_values
    mask = np.ones((B, T), dtype=np.int64)
    mask[0, 6:] = 0
    cached = model(ids()[:, 4:], mask, past_key_values=past).logits
    assert_close("with a cache", cached, model(ids(), mask).logits, LANE_A)


def test_embeddings_are_pooled_at_the_last_position(folders: Any) -> None:
    embeds = np.random.default_rng(3).normal(size=(B, T, 21))
    got = ours(folders, SEQUENCE, "float64")(inputs_embeds=embeds).logits
    with torch.no_grad():
        want = reference(SEQUENCE, "float64")(inputs_embeds=torch.tensor(embeds)).logits.numpy()
    assert_close("logits", got, want, LANE_A)


RNG = np.random.default_rng(5)
LOSSES: dict[str, tuple[dict[str, Any], np.ndarray, Any]] = {
    "single": ({}, np.array([4, 0, 2]), F.cross_entropy),
    "single, int32": ({}, np.array([4, 0, 2], dtype=np.int32), F.cross_entropy),
    "single, a column": ({}, np.array([[4], [0], [2]]), F.cross_entropy),
    "single, one ignored": ({}, np.array([4, -100, 2]), F.cross_entropy),
    "several": ({}, RNG.integers(0, 2, (B, CLASSES)).astype(np.float64), F.binary_cross_entropy_with_logits),
    "several, by the config": (
        {"problem_type": "multi_label_classification"},
        RNG.random((B, CLASSES)),
        F.binary_cross_entropy_with_logits,
    ),
    "regression": ({"num_labels": 1}, RNG.normal(size=B), F.mse_loss),
    "regression, a column": ({"num_labels": 1}, RNG.normal(size=(B, 1)), F.mse_loss),
    "regression of five": ({"problem_type": "regression"}, RNG.normal(size=(B, CLASSES)), F.mse_loss),
}


@every_lane
@pytest.mark.parametrize("case", LOSSES)
def test_the_loss_of_a_sequence_is_transformers(tmp_path: Path, case: str, dtype: str) -> None:
    changes, labels, function = LOSSES[case]
    changes = {"id2label": None} | changes if "num_labels" in changes else changes
    theirs = reference(SEQUENCE, dtype, **changes)
    folder = save(build(head=SEQUENCE, **HEADS[SEQUENCE] | changes), tmp_path)
    if labels.dtype == np.float64:
        labels = labels.astype(dtype)
    out = BioGptForSequenceClassification.from_pretrained(folder, dtype=dtype)(**call_inputs("right"), labels=labels)
    tensors = {name: torch.tensor(x) for name, x in call_inputs("right").items()}
    with torch.no_grad():
        want = theirs(**tensors, labels=torch.tensor(labels.astype(np.int64) if labels.dtype == np.int32 else labels))
        flat = torch.tensor(labels.reshape(-1).astype(np.int64) if function is F.cross_entropy else labels)
        exact = function(want.logits, flat.reshape(want.logits.shape) if function is F.mse_loss else flat)
    assert_close("loss", out.loss, exact.numpy(), budget(SEQUENCE, dtype)("loss"))
    assert_close("transformers' own", np.float32(out.loss), want.loss.float().numpy(), lane_b(SEQUENCE, "loss"))


def test_the_choice_of_the_loss_follows_the_labels_and_changes_no_config(folders: Any) -> None:
    model = ours(folders, SEQUENCE, "float64")
    ones = np.ones((B, CLASSES))
    several = model(ids(), labels=ones).loss
    assert_close("several", several, binary_cross_entropy(model(ids()).logits, ones), LANE_A)
    assert model.config.problem_type is None
    assert model(ids(), labels=[4, 0, 2]).loss != several
    for dtype in ("bool", "int8", "uint8", "float32"):  # all but int64 and int32 mean multiple labels in transformers
        assert abs(model(ids(), labels=ones.astype(dtype)).loss - several) < 1e-12


@every_lane
@pytest.mark.parametrize("side", ["none", "right", "left"])
def test_the_loss_of_tokens_leaves_padding_out(folders: Any, side: str, dtype: str) -> None:
    labels = np.random.default_rng(2).integers(0, CLASSES, (B, T))
    labels[0, 1] = -100
    out = ours(folders, TOKEN, dtype)(**call_inputs(side), labels=labels)
    with torch.no_grad():
        tensors = {name: torch.tensor(x) for name, x in call_inputs(side).items()}
        theirs = reference(TOKEN, dtype)(**tensors, labels=torch.tensor(labels))
        kept = torch.tensor(np.where(ids(side) == PAD, -100, labels)).flatten()
        exact = F.cross_entropy(theirs.logits.flatten(0, 1), kept)
    assert_close("loss", out.loss, exact.numpy(), budget(TOKEN, dtype)("loss"))
    assert_close("transformers' own", np.float32(out.loss), theirs.loss.float().numpy(), lane_b(TOKEN, "loss"))
    nothing = ours(folders, TOKEN, dtype)(ids(), labels=np.full((B, T), -100))
    assert np.isnan(nothing.loss)
    assert isinstance(out.loss, np.ndarray), "results are arrays of the model's backend"
    assert out.loss.shape == ()


def test_behind_a_cache_the_loss_of_tokens_leaves_out_padding_among_the_new_ones(folders: Any) -> None:
    model, rows, labels = ours(folders, TOKEN, "float64"), ids(), ids() % CLASSES
    mask = np.ones((B, T), dtype=np.int64)
    mask[1, :2] = mask[2, 5:] = 0  # padding in the cache, and among the new tokens
    past = model.biogpt(rows[:, :3], mask[:, :3]).past_key_values
    got = model(rows[:, 3:], mask, past_key_values=past, labels=labels[:, 3:]).loss
    want = model(rows, mask, labels=np.where(np.arange(T) < 3, -100, labels)).loss
    assert_close("loss", got, want, LANE_A)


def test_tuples_have_transformers_order(folders: Any) -> None:
    options: dict[str, Any] = {"output_attentions": True, "output_hidden_states": True, "return_dict": False}
    for head, labels, count in ((SEQUENCE, np.array([1, 2, 3]), 5), (TOKEN, ids() % CLASSES, 4)):
        got = ours(folders, head, "float64")(ids(), labels=labels, **options)
        with torch.no_grad():
            want = reference(head, "float64")(torch.tensor(ids()), labels=torch.tensor(labels), **options)
        assert len(got) == len(want) == count
        assert_close("logits", got[1], want[1].numpy(), LANE_A)
        assert_close("hidden_states", got[-2][1], want[-2][1].numpy(), LANE_A)
        assert_close("attentions", got[-1][1], want[-1][1].numpy(), LANE_A)
        by_config = ours(folders, head, "float64", return_dict=False)(ids(), use_cache=False)
        assert isinstance(by_config, tuple)
        assert_close("logits", by_config[0], got[1], LANE_A)


BAD_LABELS: dict[str, tuple[str, Any, str]] = {
    "too many": (SEQUENCE, [1, 2, 3, 4], r"labels must have the shape \(3,\); found shape \(4,\)"),
    "class 5": (SEQUENCE, [1, 2, 5], r"labels must lie in \[-100, 5\); found 5"),
    "class -1": (SEQUENCE, [1, 2, -1], r"labels must be -100 or in \[0, 5\)"),
    "several of another shape": (SEQUENCE, np.ones((3, 4)), r"shape of the logits, \(3, 5\); found shape \(3, 4\)"),
    "names": (SEQUENCE, ["a", "b", "c"], "labels must be numbers"),
    "ragged": (TOKEN, [[1, 2], [3]], "rows of unequal length"),
    "one float each": (SEQUENCE, np.ones(3), r"multi label classification must have .*; found shape \(3,\)"),
    "transposed": (TOKEN, np.ones((T, B), dtype=int), r"shape of the tokens, \(3, 7\); found shape \(7, 3\)"),
    "floats": (TOKEN, np.ones((B, T)), "labels must be integers"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_unusable_labels_are_refused(folders: Any, case: str) -> None:
    head, labels, message = BAD_LABELS[case]
    with pytest.raises(InputError, match=message):
        ours(folders, head, "float32")(ids(), labels=labels)


@every_head
def test_saved_here_it_loads_in_transformers_and_back_in_shards(folders: Any, head: str, tmp_path: Path) -> None:
    model = ours(folders, head, "float32")
    model.save_pretrained(tmp_path / "ours")
    theirs, report = getattr(transformers, f"BioGptFor{head}").from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values())
    assert theirs.config.id2label == model.config.id2label == {i: f"class {i}" for i in range(CLASSES)}
    assert theirs.config.label2id == model.config.label2id
    with torch.no_grad():
        want = theirs.eval()(**{name: torch.tensor(x) for name, x in call_inputs("right").items()}).logits.numpy()
    assert_close("logits", model(**call_inputs("right")).logits, want, lane_b(head, "logits"))
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("model-*.safetensors"))) > 1
    again = type(model).from_pretrained(tmp_path / "theirs")
    assert np.array_equal(again(**call_inputs("right")).logits, model(**call_inputs("right")).logits)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (BioGptForSequenceClassification, ["score.weight"]),
        (BioGptForTokenClassification, ["classifier.weight", "classifier.bias"]),
    ],
)
def test_a_new_head_is_named_and_drawn(kind: Any, names: list[str], tmp_path: Path) -> None:
    message = f"has no {', '.join(names)}: initialized from N\\(0, 0.02\\) with seed 0; train the head before use"
    with pytest.warns(UserWarning, match=message):
        first = kind.from_pretrained("demo", num_labels=200, problem_type="regression")
    assert (first.config.num_labels, first.config.label2id["LABEL_199"]) == (200, 199)
    head = dict(first.named_parameters())
    assert head[names[0]].shape == (200, 128)
    assert abs(head[names[0]].std() - 0.02) < 0.0004  # 25,600 draws: four standard errors are 0.00035
    if len(names) == 2:
        assert not head[names[1]].any()
    with pytest.warns(UserWarning, match=r"initialized from N\(0, 0.5\) with seed 1"):
        second = dict(kind.from_pretrained("demo", num_labels=200, seed=1, initializer_range=0.5).named_parameters())
    assert np.abs(head[names[0]] - second[names[0]] / 25).max() > 0.01, "another seed, other weights"
    assert abs(second[names[0]].std() - 0.5) < 0.01
    base = dict(BioGptForCausalLM.from_pretrained("demo").named_parameters())
    assert all(np.array_equal(head[name], x) for name, x in base.items())
    first.save_pretrained(tmp_path)
    assert np.array_equal(dict(kind.from_pretrained(tmp_path).named_parameters())[names[0]], head[names[0]])
    with pytest.raises(CheckpointError, match=f"must hold the requested head, {', '.join(names)}"):
        kind.from_pretrained("demo", seed=None)


def test_a_head_of_other_classes_is_misshapen_not_new(folders: Any) -> None:
    with pytest.raises(CheckpointError, match=r"score.weight \(5, 21\), not \(4, 21\)"):
        ours(folders, SEQUENCE, "float32", num_labels=4)
    with pytest.raises(
        InputError, match="must be called with known arguments; found num_label; did you mean num_labels"
    ):
        ours(folders, SEQUENCE, "float32", num_label=4)
    with pytest.warns(UserWarning, match=r"ignored 1 unexpected: score.weight"):
        BioGptForCausalLM.from_pretrained(folders[SEQUENCE])


def test_half_a_head_is_not_made_whole(folders: Any, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folders[TOKEN] / "model.safetensors")
    del tensors["classifier.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folders[TOKEN] / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="1 missing: classifier.bias"):
        BioGptForTokenClassification.from_pretrained(tmp_path)


def test_labels_that_disagree_are_read(folders: Any, tmp_path: Path) -> None:
    for path in folders[SEQUENCE].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong, message in (
        ({"label2id": {"class 0": 1, "else": 7}}, "id2label and label2id disagree: id2label is used"),
        ({"num_labels": 2}, "num_labels is 2, but id2label has 5 names, which are used"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | wrong))
        with pytest.warns(UserWarning, match=message):
            model = BioGptForSequenceClassification.from_pretrained(tmp_path)
        assert model.config.label2id == {f"class {i}": i for i in range(5)}
        assert np.array_equal(model(ids()).logits, ours(folders, SEQUENCE, "float32")(ids()).logits)
