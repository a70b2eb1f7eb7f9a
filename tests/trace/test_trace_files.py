"""Traces as files and as text: a saved trace is read back exactly, and other files are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from minibiogpt import InputError, Trace
from minibiogpt.files import arrays as writing
from minibiogpt.trace import mean_and_largest
from tests.support.small import ids, left_mask, model, same, traced


def full() -> Trace:
    return traced(model(dtype="float32"), ids(), left_mask(), labels=ids())


def test_a_saved_trace_is_read_back_whole(tmp_path: Path) -> None:
    trace = full()
    extra = {"half": "float16", "long": "int64", "int": "int32", "short": "int16", "tiny": "int8", "byte": "uint8"}
    trace |= {name: np.arange(3).astype(dtype) for name, dtype in extra.items()}
    trace |= {"double": np.array(1 / 3), "bool": np.array([[True], [False]]), "none": np.zeros((0, 3))}
    trace['last, whatever is in it: {"} é'] = trace["layers.0.self_attn.q"].transpose(0, 2, 1, 3)
    trace.save(tmp_path / "new" / "trace.safetensors")
    back = Trace.load(str(tmp_path / "new" / "trace.safetensors"))
    same(back, trace)
    assert all(back[name].shape == x.shape for name, x in trace.items())
    assert back.letters == trace.letters
    assert back["loss"].shape == ()
    assert all(x.flags.owndata and x.flags.aligned for x in back.values()), "no array refers to the file"
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["trace.safetensors"]
    back["loss"][...] = 7
    same(Trace.load(tmp_path / "new" / "trace.safetensors"), trace)
    same(Trace.load(tmp_path / "new" / "trace.safetensors").select("*.fc1"), trace.select("*.fc1"))


def test_an_empty_trace_is_saved_too(tmp_path: Path) -> None:
    Trace().save(tmp_path / "empty")
    assert not Trace.load(tmp_path / "empty")


@pytest.mark.parametrize("dtype", ["complex64", "U3", "float64"])
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, dtype: str) -> None:
    trace = Trace()
    trace["x"] = np.ones(2).astype(dtype)
    if dtype == "float64":
        trace.save(tmp_path / "trace")
        return
    with pytest.raises(InputError, match="must be floats, integers or booleans; found x of "):
        trace.save(tmp_path / "trace")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(path: Path, tensors: Any, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise error

    full().save(tmp_path / "trace")
    before = (tmp_path / "trace").read_bytes()
    monkeypatch.setattr(writing, "write_tensors", half)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        Trace().save(tmp_path / "trace")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("trace", before)]


GOOD = {"format": "minibiogpt-trace", "version": "1", "names": '["x"]', "letters": "{}"}
FOREIGN: dict[str, dict[str, str] | None] = {
    "no metadata": None,
    "another format": GOOD | {"format": "pt"},
    "another version": GOOD | {"version": "2"},
    "no letters": {key: text for key, text in GOOD.items() if key != "letters"},
    "letters that are a list": GOOD | {"letters": "[1]"},
    "letters that are strings": GOOD | {"letters": '{"B": "two"}'},
    "infinite letters": GOOD | {"letters": '{"B": Infinity}'},
    "deep letters": GOOD | {"letters": "[" * 100_000},
    "names that are not JSON": GOOD | {"names": "x"},
    "another name": GOOD | {"names": '["y"]'},
    "a name twice": GOOD | {"names": '["x", "x"]'},
    "a name too few": GOOD | {"names": "[]"},
    "names that are numbers": GOOD | {"names": "[1]"},
    "names that are mixed": GOOD | {"names": '["x", 1]'},
    "names that are nothing": GOOD | {"names": "null"},
}


@pytest.mark.parametrize("metadata", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_refused(tmp_path: Path, metadata: Any) -> None:
    save_file({"x": np.ones(2)}, tmp_path / "file", metadata=metadata)
    with pytest.raises(
        InputError, match="file must be a trace written by Trace.save; found a different safetensors file"
    ):
        Trace.load(tmp_path / "file")
    for dtype in ("uint32", "float64"):
        save_file({"x": np.ones(2, dtype)}, tmp_path / "file", metadata=GOOD)
        assert (Trace.load(tmp_path / "file")["x"] == np.ones(2, dtype)).all()


def test_a_file_that_is_absent_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file of a trace must exist; found no .*none; write one"):
        Trace.load(tmp_path / "none")
    with pytest.raises(InputError, match="found .*a folder"):
        Trace.load(tmp_path)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traces") / "trace"
    traced(model(), [[5]], names=["logits", "layers.0"]).save(path)
    return path


@pytest.mark.filterwarnings("ignore:id2label and label2id disagree")  # a corrupted config may cause this warning
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4), st.booleans())
def test_a_corrupted_file_is_refused_or_read_as_a_trace(small_file: Path, at: int, put: bytes, cut: bool) -> None:
    whole = small_file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    at %= header
    corrupted = small_file.with_name("corrupted")
    corrupted.write_bytes(whole[:at] if cut else whole[:at] + put + whole[at + len(put) :])
    try:
        read = Trace.load(corrupted)
    except InputError as error:
        message = str(error)
    else:
        message = f"names {list(read)}"
        assert not cut
        assert message == "names ['layers.0', 'logits']"
    assert "\n" not in message


def test_the_summary_is_what_one_computes_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    trace, lowest = Trace(), np.finfo(np.float32).min
    trace["plain"] = np.array([[1.0, -3.0], [0.5, 0.5]])
    trace["layers.0.self_attn.scores_masked"] = np.array([2, lowest, 4, lowest], dtype="float32")
    trace["step.0/logits"] = np.array([1.0, -np.inf, 2.0])
    trace["position_ids"] = np.array([-1, 0, 1, 2])
    trace["hidden"] = np.array([lowest], dtype="float32")
    trace["loss"] = np.array(0.25)
    trace["broken"] = np.array([1.0, np.nan])
    trace["bool"] = np.array([True, False])
    trace.summary()
    assert capsys.readouterr().out.splitlines() == [
        "name                              shape              dtype           mean     largest",
        "plain                             (2, 2)             float64        -0.25           3",
        "layers.0.self_attn.scores_masked  (4,)               float32            3           4",
        "step.0/logits                     (3,)               float64          1.5           2",
        "position_ids                      (4,)               int64            0.5           2",
        "hidden                            (1,)               float32            0           0",
        "loss                              ()                 float64         0.25        0.25",
        "broken                            (2,)               float64          nan         nan",
        "bool                              (2,)               bool             0.5           1",
    ]
    Trace().summary()
    assert capsys.readouterr().out.split() == ["name", "shape", "dtype", "mean", "largest"]


def test_the_mean_is_taken_in_float64_and_of_any_number() -> None:
    assert mean_and_largest(np.full(3, 60_000, dtype="float16")) == (60_000.0, 60_000.0)
    assert mean_and_largest(np.array([np.inf, 1.0])) == (np.inf, np.inf)
    assert mean_and_largest(np.full(2, 1.7e308))[1] == 1.7e308
    assert mean_and_largest(np.array([3, -4])) == (-0.5, 4.0)
    assert mean_and_largest(np.array([-128, 127], dtype="int8")) == (-0.5, 128.0)
    assert mean_and_largest(np.array([1e8, 1, -1e8, 3], dtype="float32")) == (1.0, 1e8)


def test_the_repr_of_a_trace() -> None:
    assert repr(Trace()) == "<Trace of 0 arrays, 0.0 MB>"
    trace = Trace()
    trace["a"], trace["b"] = np.zeros(100_000), np.zeros(50_000)
    assert repr(trace) == "<Trace of 2 arrays, 1.2 MB, a ... b>"


def test_a_trace_has_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    code = "import sys; from minibiogpt import *; trace = Trace()"
    code += "; BioGptModel.from_pretrained('demo')([[2, 5]], trace=trace)"
    for n in range(3):
        line = [sys.executable, "-c", f"{code}; trace.save(sys.argv[1])", str(tmp_path / f"{n}.safetensors")]
        subprocess.run(line, check=True, env=os.environ | {"PYTHONHASHSEED": str(n)})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
