"""tools/dump_torch.py: its arrays equal our trace for all heads, caches and masks; it runs as a standalone command."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import minibiogpt
from minibiogpt import BioGptTokenizer, Trace
from minibiogpt.files.hub import find_model
from tests.budgets import LANE_A
from tests.compare import compare_traces
from tests.reference import build, save
from tests.support.configs import CONFIGS, HEADS
from tools import dump_torch

B, T = 2, 7
RNG = np.random.default_rng(3)
IDS = RNG.integers(3, 67, (B, T))
LEFT = np.ones((B, T), dtype=np.int64)
LEFT[0, :3] = 0
RIGHT = LEFT[:, ::-1].copy()
CAUSAL, SEQUENCE, TOKEN = "CausalLM", "SequenceClassification", "TokenClassification"
CONFIG_OF = {CAUSAL: CONFIGS["gelu"], **HEADS}
LM_LABELS = np.where(RNG.random((B, T)) < 0.3, -100, IDS)
# {case: (head, inputs of each call)}
CASES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "plain": (CAUSAL, [{"input_ids": IDS}]),
    "lists": (CAUSAL, [{"input_ids": IDS.tolist(), "attention_mask": LEFT.tolist()}]),
    "left padding, loss": (CAUSAL, [{"input_ids": IDS, "attention_mask": LEFT, "labels": LM_LABELS}]),
    "right padding": (CAUSAL, [{"input_ids": IDS, "attention_mask": RIGHT}]),
    "one head mask for all layers": (CAUSAL, [{"input_ids": IDS, "head_mask": RNG.random(3)}]),
    "a head mask a layer": (CAUSAL, [{"input_ids": IDS, "head_mask": RNG.random((2, 3)), "attention_mask": LEFT}]),
    "positions": (CAUSAL, [{"input_ids": IDS, "position_ids": RNG.integers(0, 29, (B, T))}]),
    "positions of one row": (CAUSAL, [{"input_ids": IDS, "position_ids": RNG.integers(0, 29, (1, T))}]),
    "embeddings": (CAUSAL, [{"inputs_embeds": RNG.normal(size=(B, T, 21))}]),
    "steps": (
        CAUSAL,
        [{"input_ids": IDS[:, a:b], "attention_mask": LEFT[:, :b]} for a, b in ((0, 4), (4, 5), (5, 7))],
    ),
    "eleven steps": (CAUSAL, [{"input_ids": IDS[:, n % T : n % T + 1]} for n in range(11)]),
    "classes": (SEQUENCE, [{"input_ids": IDS, "labels": np.array([4, 0])}]),
    "several labels": (SEQUENCE, [{"input_ids": IDS, "labels": RNG.integers(0, 2, (B, 5)).astype(np.float64)}]),
    "classes, right padding": (SEQUENCE, [{"input_ids": np.where(RIGHT, IDS, 1), "attention_mask": RIGHT}]),
    "classes of embeddings": (SEQUENCE, [{"inputs_embeds": RNG.normal(size=(B, T, 21))}]),
    "tokens": (TOKEN, [{"input_ids": IDS, "attention_mask": LEFT, "labels": IDS % 5}]),
}
every_case = pytest.mark.parametrize("case", CASES)


@cache
def reference(head: str) -> Any:
    return build(head=head, **CONFIG_OF[head])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {head: save(reference(head), tmp_path_factory.mktemp(head)) for head in CONFIG_OF}


def ours(folder: Path, head: str, calls: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    model = getattr(minibiogpt, f"BioGptFor{head}").from_pretrained(folder, dtype="float64")
    past, arrays = None, {}
    for n, inputs in enumerate(calls):
        trace = Trace()
        past = getattr(model(**inputs, past_key_values=past, trace=trace), "past_key_values", None)
        arrays |= {f"step.{n}/{name}" if len(calls) > 1 else name: x for name, x in trace.items()}
    return arrays


def recorded(model: Any, calls: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return dump_torch.record_steps(model, calls) if len(calls) > 1 else dump_torch.record(model, **calls[0])


def assert_ours(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert list(got) == list(want), "different names, or a different order"
    compare_traces(want, got, lambda tensor: LANE_A)


@every_case
def test_what_is_recorded_is_our_trace(folders: Any, case: str) -> None:
    head, calls = CASES[case]
    got = {name: x.numpy() for name, x in recorded(reference(head), calls).items()}
    assert_ours(got, ours(folders[head], head, calls))


def test_the_base_model_alone_is_recorded(folders: Any) -> None:
    got = dump_torch.record(reference(CAUSAL).biogpt, input_ids=IDS)
    whole = dump_torch.record(reference(CAUSAL), input_ids=IDS)
    assert list(got) == list(whole)[:-1]
    assert all(torch.equal(x, whole[name]) for name, x in got.items())


@pytest.mark.parametrize("case", ["left padding, loss", "several labels", "a head mask a layer", "embeddings"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_array_has_the_models_dtype(case: str, dtype: str) -> None:
    head, calls = CASES[case]
    model = build(head=head, **CONFIG_OF[head]).to(getattr(torch, dtype))
    got = recorded(model, calls)
    assert {name for name, x in got.items() if str(x.dtype) != f"torch.{dtype}"} == {"position_ids"}
    assert all(torch.isfinite(x).all() for x in got.values())


def test_the_model_is_left_as_it_was() -> None:
    model = build(head=SEQUENCE, **HEADS[SEQUENCE])
    model.set_attn_implementation("sdpa")
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    dump_torch.record(model, **CASES["classes"][1][0])
    assert model.config._attn_implementation == "sdpa"
    assert model.config.problem_type is None, (
        "transformers sets it when it sees labels; the next labels may need another one"
    )
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == hooks
    dump_torch.record(model, **CASES["several labels"][1][0])


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match="must be in evaluation mode: call model.eval"):
        dump_torch.record(build(**CONFIGS["gelu"]).train(), input_ids=IDS)


def test_attention_that_is_not_what_is_recorded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    original = dump_torch.modeling.eager_attention_forward

    def other(*args: Any, **options: Any) -> Any:
        output, weights = original(*args, **options)
        return output, weights * 0.5

    monkeypatch.setattr(dump_torch.modeling, "eager_attention_forward", other)
    with pytest.raises(RuntimeError, match="these attention steps are not those of the installed transformers"):
        dump_torch.record(build(**CONFIGS["gelu"]), input_ids=IDS)


def test_what_transformers_reads_wrongly_is_noted_and_dumped_as_it_is(folders: Any, tmp_path: Path) -> None:
    rows = np.where(LEFT, IDS, 1)
    inputs = {"input_ids": rows, "attention_mask": LEFT}
    (note,) = dump_torch.notes(reference(SEQUENCE), inputs)
    assert note.startswith(f"{dump_torch.VERSION} reads row 0 at token 3; its last real token is 6")
    got, want = dump_torch.record(reference(SEQUENCE), **inputs), ours(folders[SEQUENCE], SEQUENCE, [inputs])
    before = {name: x.numpy() for name, x in got.items() if name != "logits"}
    assert_ours(before, {name: x for name, x in want.items() if name != "logits"})
    assert torch.equal(got["logits"][0], got["score"][0, 3])
    assert np.array_equal(want["logits"][0], want["score"][0, 6])
    assert dump_torch.notes(reference(SEQUENCE), {"input_ids": IDS}) == []
    assert dump_torch.notes(reference(CAUSAL), inputs) == []
    found = dump_torch.dump(reference(SEQUENCE), dump_torch.Case(None, {"step.0/": inputs}), tmp_path / "out")
    with safe_open(tmp_path / "out", "np") as file:
        assert json.loads(file.metadata()["notes"]) == found == [f"step.0/{note}"]


HOLES = np.array([[1, 1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]])


def test_positions_from_the_mask_are_those_of_the_reference() -> None:
    assert dump_torch.with_positions({"input_ids": IDS, "attention_mask": HOLES})["position_ids"].tolist() == [
        [0, 1, -1, 2, 3, 4, 5],
        [0, 1, 2, 3, 4, -1, -1],
    ]
    given = {"input_ids": IDS, "attention_mask": HOLES, "position_ids": IDS}
    assert dump_torch.with_positions(given) == given
    assert dump_torch.with_positions({"input_ids": IDS}) == {"input_ids": IDS}


@pytest.mark.parametrize("case", ["left padding, loss", "right padding", "steps", "tokens", "embeddings", "positions"])
def test_passing_the_positions_of_the_reference_changes_nothing_in_4_57(case: str) -> None:
    head, calls = CASES[case]
    whole = dump_torch.Case(None, {f"step.{n}/" if len(calls) > 1 else "": call for n, call in enumerate(calls)})
    got, found = dump_torch.record_with_notes(reference(head), whole, positions=True)
    want, _ = dump_torch.record_with_notes(reference(head), whole, positions=False)
    assert found == []
    assert list(got) == list(want)
    assert all(torch.equal(x, want[name]) for name, x in got.items())


def test_what_transformers_5_does_otherwise_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_torch, "MAJOR", 5)
    counts = f"{dump_torch.VERSION} counts padding in the positions of rows"
    remedy = "; --positions-from-mask passes those of the reference"
    both = np.concatenate([LEFT, HOLES])
    ids = np.concatenate([IDS, IDS])
    notes = dump_torch.notes
    assert notes(reference(CAUSAL), {"input_ids": ids, "attention_mask": both}) == [f"{counts} 0, 2, 3{remedy}"]
    assert notes(reference(CAUSAL), {"input_ids": IDS, "attention_mask": RIGHT}) == [
        f"{counts} 0, at padding only{remedy}"
    ]
    for quiet in ({}, {"attention_mask": np.ones_like(IDS)}, {"attention_mask": LEFT, "position_ids": IDS}):
        assert notes(reference(CAUSAL), {"input_ids": IDS, **quiet}) == []
    later = {"input_ids": IDS[:, 5:], "attention_mask": LEFT}  # positions of the new tokens only
    assert notes(reference(CAUSAL), later) == [f"{counts} 0{remedy}"]
    monkeypatch.setattr(dump_torch, "RIGHTMOST", True)
    pads = np.where(LEFT, IDS, 1)
    assert notes(reference(SEQUENCE), {"input_ids": pads}) == []
    masked = notes(reference(SEQUENCE), {"input_ids": IDS, "attention_mask": RIGHT})
    assert masked[1:] == [f"{dump_torch.VERSION} reads row 0 at token 6; its last real token is 3: "
                          "logits and loss are not the reference's"]  # fmt: skip


# The command.


def case_file(path: Path, case: str) -> Path:
    head, calls = CASES[case]
    steps = {f"step.{n}/": inputs for n, inputs in enumerate(calls)} if len(calls) > 1 else {"": calls[0]}
    tensors = {f"{step}inputs/{name}": np.array(x) for step, inputs in steps.items() for name, x in inputs.items()}
    names = json.dumps(list(tensors))
    about = {"format": "minibiogpt-golden", "version": "1", "architecture": f"BioGptFor{head}", "inputs": names}
    save_file(tensors | {"logits": np.zeros(3)}, path, metadata=about)
    return path


def command(*arguments: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that can import nothing of this project except this one file."""
    script = [sys.executable, "-P", str(Path(dump_torch.__file__).resolve()), *map(str, arguments)]
    environment = {"PATH": "/usr/bin", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(script, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def test_the_command_alone_writes_what_is_recorded(folders: Any, tmp_path: Path) -> None:
    path = case_file(tmp_path / "case.safetensors", "steps")
    done = command("--model", folders[CAUSAL], "--case", path, "-o", "theirs.safetensors", "--dtype", "float64",
                   cwd=tmp_path)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    got = load_file(tmp_path / "theirs.safetensors")
    want = ours(folders[CAUSAL], CAUSAL, CASES["steps"][1])
    compare_traces(got, want, lambda tensor: LANE_A)
    assert {name for name in got if name not in want} == set(load_file(path)) - {"logits"}
    assert done.stdout.splitlines() == [f"theirs.safetensors: {len(got)} arrays"]
    assert sorted(x.name for x in tmp_path.iterdir()) == ["case.safetensors", "theirs.safetensors"]


@pytest.mark.parametrize("case", ["eleven steps", "classes", "several labels", "tokens", "embeddings"])
def test_a_case_file_gives_the_head_and_the_inputs(folders: Any, case: str, tmp_path: Path) -> None:
    head, calls = CASES[case]
    path, out = case_file(tmp_path / "case.safetensors", case), tmp_path / "new" / "theirs.safetensors"
    arguments = ["--model", str(folders[head]), "--case", str(path), "-o", str(out), "--dtype", "float64"]
    assert dump_torch.main(arguments) == 0
    got, want = load_file(out), ours(folders[head], head, calls)
    compare_traces(got, want, lambda tensor: LANE_A)
    assert all(x.dtype == np.int64 for name, x in got.items() if "inputs/" in name)
    with safe_open(out, "np") as file:
        assert file.metadata()["architecture"] == f"BioGptFor{head}"


def kit_of(folder: Path, folders: dict[str, Path], *cases: str) -> Path:
    """Write a kit with the named cases, called case0, case1, ..."""
    (folder / "cases").mkdir(parents=True)
    entries = []
    for i, case in enumerate(cases):
        case_file(folder / f"cases/case{i}.safetensors", case)
        model = str(folders[CASES[case][0]])
        entries.append({"name": f"case{i}", "file": f"cases/case{i}.safetensors", "model": model})
    (folder / "manifest.json").write_text(json.dumps({"cases": entries}))
    return folder


def test_a_kit_is_dumped_case_by_case(folders: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_of(tmp_path / "kit", folders, "plain", "tokens", "steps")
    assert dump_torch.main(["--kit", str(kit), "-o", str(tmp_path / "theirs"), "--dtype", "bfloat16"]) == 0
    assert sorted(x.name for x in (tmp_path / "theirs").iterdir()) == [f"case{i}.safetensors" for i in range(3)]
    with safe_open(tmp_path / "theirs" / "case1.safetensors", "pt") as file:
        assert file.get_tensor("layers.1").dtype == torch.bfloat16
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_case_that_cannot_be_run_does_not_end_the_dump(
    folders: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kit, out = (
        kit_of(tmp_path / "kit", folders, "one head mask for all layers", "plain", "embeddings"),
        tmp_path / "out",
    )
    known = {name: x for name, x in dump_torch.ARGUMENTS.items() if name != "head_mask"}
    monkeypatch.setattr(dump_torch, "ARGUMENTS", known)  # as in transformers 5

    def broken(model: Any, embeds: Any = None) -> None:
        raise IndexError("no row 7\nin the table")

    monkeypatch.setattr(dump_torch, "prepared", lambda model, inputs, own=dump_torch.prepared:
                        broken(model) if "inputs_embeds" in inputs else own(model, inputs))  # fmt: skip
    (out / "case0.safetensors").mkdir(parents=True)
    assert dump_torch.main(["--kit", str(kit), "-o", str(out)]) == 1
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == f"{out / 'case0.safetensors'}: not written; it is of an earlier run"
    assert lines[1] == f"  cannot run: {dump_torch.VERSION} has no head_mask; use 4.57"
    assert lines[2].startswith(f"{out / 'case1.safetensors'}: ")
    assert lines[3] == f"{out / 'case2.safetensors'}: not written"
    assert lines[4].startswith("  cannot run: IndexError: no row 7 (test_dump_torch.py, line ")
    want = f"dump_torch: error: 2 cases could not be run by {dump_torch.VERSION}: case0, case2\n"
    assert printed.err == want
    one = ["--model", str(folders[CAUSAL]), "--case", str(kit / "cases/case0.safetensors"), "-o", str(tmp_path / "x")]
    assert dump_torch.main(one) == 1
    assert "has no head_mask" in capsys.readouterr().err


def test_positions_of_the_reference_are_an_option(folders: Any, tmp_path: Path) -> None:
    kit = kit_of(tmp_path / "kit", folders, "steps", "right padding")
    for words in ([], ["--positions-from-mask"]):
        assert dump_torch.main(["--kit", str(kit), "-o", str(tmp_path / f"out{len(words)}"), *words]) == 0
    for name in ("case0.safetensors", "case1.safetensors"):
        without, given = (load_file(tmp_path / folder / name) for folder in ("out0", "out1"))
        assert "inputs/position_ids" not in given, "the positions were passed, but are no input of the case"
        assert list(given) == list(without)
        assert all(np.array_equal(x, without[key]) for key, x in given.items())


@pytest.mark.parametrize("device", ["cuda:99", "no such device", "mps"])
def test_a_device_that_is_not_here_is_one_line(
    folders: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    kit = kit_of(tmp_path / "kit", folders, "plain")
    for what in (["--kit", str(kit)], ["--model", str(folders[CAUSAL]), "--ids", "2 5"]):
        assert dump_torch.main([*what, "-o", str(tmp_path / "out"), "--device", device]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"dump_torch: error: --device {device} can't hold float32 here: ")
    assert not (tmp_path / "out").exists()


def test_ids_and_texts_are_taken_too(folders: Any, tmp_path: Path) -> None:
    out = tmp_path / "theirs.safetensors"
    for typed, want in (("2 5 9", [[2, 5, 9]]), ("[[2, 5], [7, 1]]", [[2, 5], [7, 1]])):
        dump_torch.main(["--model", str(folders[CAUSAL]), "--ids", typed, "-o", str(out)])
        assert load_file(out)["inputs/input_ids"].tolist() == want
        assert load_file(out)["logits"].dtype == np.float32
    demo, texts = find_model("demo"), ["Ibuprofen is best", "Aspirin"]
    dump_torch.main(["--model", str(demo), *(x for text in texts for x in ("--text", text)), "-o", str(out)])
    want = BioGptTokenizer.from_pretrained("demo")(texts, padding=True)
    assert np.array_equal(load_file(out)["inputs/attention_mask"], want["attention_mask"])
    assert np.array_equal(load_file(out)["inputs/input_ids"], want["input_ids"])


def test_what_cannot_be_read_is_one_line(folders: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "theirs.safetensors"
    save_file({"logits": np.zeros(3)}, tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no tensors")
    for case in ("none.safetensors", "text", "missing"):
        assert dump_torch.main(["--model", str(folders[CAUSAL]), "--case", str(tmp_path / case), "-o", str(out)]) == 2
        assert capsys.readouterr().err.startswith("dump_torch: error: ")
    assert dump_torch.main(["--model", str(tmp_path), "--ids", "2 5", "-o", str(out)]) == 2
    for wrong in (["--ids", "2 5"], ["--kit", ".", "--model", "."]):
        with pytest.raises(SystemExit):
            dump_torch.main([*wrong, "-o", str(out)])
    assert not out.exists()
