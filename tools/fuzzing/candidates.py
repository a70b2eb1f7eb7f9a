"""The target for golden check and golden diagnose: candidates in every format, corrupted, or with changed values."""

from __future__ import annotations

import io
import json
import pickle
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import save

from minibiogpt import BioGptForCausalLM
from minibiogpt.catalog.tools import TOOLS
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.propose import proposed_map
from minibiogpt.golden.check.result import AGREES, Options
from minibiogpt.golden.diagnosis.diagnose import diagnose
from minibiogpt.golden.diagnosis.page import page as diagnosis_page
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.record import record
from minibiogpt.golden.report.advice import verdict
from minibiogpt.golden.report.json_report import as_json
from minibiogpt.golden.report.page import page
from minibiogpt.golden.report.text import lines_of
from tools.fuzzing.archives import CALLS
from tools.fuzzing.checkpoints import write_seed
from tools.fuzzing.mutate import json_bytes, mutate_bytes, mutate_json, odd_file
from tools.fuzzing.supervise import Target

NAMES = ["", "logits", "step.²/logits", f"step.{'9' * 5000}/logits", "step.-1/logits", "step.01/logits", "a\\b", "../x"]
NAMES += [
    f"hidden_states[{'9' * 5000}]",
    "attentions",
    "past_key_values",
    "logits.npy",
    "x" * 200,
    "biogpt.layers.0[0]",
]
FORMATS = ("safetensors", "npz", "npy", "pkl", "json", "folder", "raw")
OPTIONS = {"precision": (None, None, "float32", "bfloat16"), "subset": (False, True), "accept_layouts": (False, True),
           "real_only": (False, True), "last": (None, None, 1, 3), "names_of": (None, None, *TOOLS),
           "skip": (None, None, ["layers.*"], ["blocks.0.hook_*"])}  # fmt: skip


@cache
def seed_files() -> dict[str, bytes]:
    """Return {path: content} of a small model and a case of it, recorded once."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        write_seed(folder / "model")
        model = BioGptForCausalLM.from_pretrained(folder / "model", dtype="float64")
        record(model, [{"input_ids": [[2, 4, 5]]}], folder / "case.safetensors", name="case", seeds=2)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make(rng: Random, folder: Path) -> dict[str, Any]:
    """Write the case and a candidate; return whether some value was changed, and the options."""
    (folder / "model").mkdir()
    for name, data in seed_files().items():
        (folder / name).write_bytes(data)
    case = Case.read(folder / "case.safetensors")
    arrays = {entry.name: np.array(case.array(entry.name)) for entry in case.entries}
    kind, form = rng.choice(["same", "changed", "odd", "odd", "corrupted", "corrupted"]), rng.choice(FORMATS)
    changed = ""
    if kind == "changed":
        changed = rng.choice([name for name, x in arrays.items() if x.dtype.kind == "f" and "masked" not in name])
        arrays[changed].flat[rng.randrange(arrays[changed].size)] += rng.choice([1e3, -1e3, np.nan, np.inf])
    elif kind == "odd":
        arrays = _odd_arrays(rng, arrays)
    path = folder / _write(rng, folder, form, arrays, corrupt=kind == "corrupted")
    if kind == "corrupted" and rng.random() < 0.05 and path.is_file():
        odd_file(rng, path)
    options = {name: rng.choice(values) for name, values in OPTIONS.items()}
    return {"path": path.name, "changed": changed, "options": options}


def _odd_arrays(rng: Random, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename, reshape, stack, cut, convert or remove some arrays."""
    for _ in range(rng.choice([1, 2, 5])):
        name = rng.choice(sorted(arrays))
        x, edit = arrays[name], rng.randrange(7)
        if edit == 0 and len(arrays) > 1:
            del arrays[name]
        elif edit == 1:
            arrays[rng.choice(NAMES)] = x
        elif edit == 2:
            arrays[name] = x.astype(rng.choice(["f2", "f4", ">f8", "i1", "i8", "?"])) if np.isfinite(x).all() else x
        elif edit == 3:
            arrays[name] = x.reshape(-1) if rng.random() < 0.5 else np.moveaxis(x, 0, -1) if x.ndim else x
        elif edit == 4 and x.ndim > 1:
            arrays[name] = x[:, -1:] if rng.random() < 0.5 else x[:, -1]
        elif edit == 5:
            outputs = {"hidden_states": (3, 4), "attentions": (2, 5), "past_key_values": (2, 2, 6)}
            output = rng.choice(sorted(outputs))
            arrays[output] = np.zeros([rng.choice([*outputs[output], 0, 1]) for _ in range(rng.choice([3, 4, 5, 6]))])
        else:
            arrays[name] = np.empty((0, *x.shape))
    return arrays


def _write(rng: Random, folder: Path, form: str, arrays: dict[str, np.ndarray], corrupt: bool) -> str:
    """Write the arrays in a format, and return the name of the file or folder."""
    if form in ("folder", "raw"):
        (folder / "theirs").mkdir()
        for i, (name, x) in enumerate(arrays.items()):
            file = name if len(name) < 100 and not name.startswith((".", "/")) and name else f"odd{i}"
            path = folder / "theirs" / f"{file}{'.npy' if form == 'folder' else rng.choice(['.bin', '.f64'])}"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = _npy(x) if form == "folder" else x.tobytes()
            path.write_bytes(mutate_bytes(rng, data, head=100) if corrupt and rng.random() < 0.3 else data)
        return "theirs"
    if form == "json":
        value: Any = {name: x.tolist() for name, x in arrays.items()}
        (folder / "theirs.json").write_bytes(json_bytes(rng, mutate_json(rng, value) if corrupt else value))
        return "theirs.json"
    data = _encoded(form, arrays)
    if corrupt:
        data = rng.choice(CALLS) if form == "pkl" and rng.random() < 0.2 else mutate_bytes(rng, data, head=2000)
    name = rng.choice(["theirs", f"theirs.{form}", "logits.bin"]) if corrupt else f"theirs.{form}"
    (folder / name).write_bytes(data)
    return name


def _encoded(form: str, arrays: dict[str, np.ndarray]) -> bytes:
    if form == "safetensors":
        return save({name: np.array(x, x.dtype.newbyteorder("="), order="C") for name, x in arrays.items()})
    if form == "pkl":
        return pickle.dumps(arrays, protocol=len(arrays) % 6)
    if form == "npy":
        return _npy(arrays[sorted(arrays)[-1]])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _npy(x: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue()


def run(folder: Path, case: dict[str, Any]) -> None:
    """Check the candidate: a changed array must not agree, and every report must be printable and finite.

    Then diagnose it: the report must be so too, and must not say "agrees" where the check finds a difference.
    """
    result = check(Case.read(folder / "case.safetensors"), folder / case["path"], Options(**case["options"]))
    assert result.code in (0, 1, 2)
    assert (result.code == 2) == (result.compared == 0)
    json.dumps(as_json(result), allow_nan=False)
    assert all(line.isprintable() for line in lines_of(result, every=True))
    assert page(result).startswith("<!doctype html>")
    found = diagnose(folder / "case.safetensors", folder / case["path"], model=folder / "model", options=result.options)
    json.dumps(found.as_json(), allow_nan=False)
    assert all(line.isprintable() for line in [*found.table(), *found.lines()])
    assert diagnosis_page(found).startswith("<!doctype html>")
    assert found.code >= result.code
    agrees = found.verdict == "agrees"
    assert agrees or found.code
    assert not agrees or verdict(result) in ("agrees", "incomplete"), f"the check says {verdict(result)}"
    proposal = proposed_map(folder / "case.safetensors", folder / case["path"], case["options"]["names_of"])
    json.dumps(proposal.entries, allow_nan=False)
    if case["changed"] and case["options"]["last"] is None:
        rows = [row for row in result.rows if row.name == case["changed"]]
        assert all(row.state != AGREES for row in rows), f"{case['changed']} was changed and agrees"


TARGETS = (Target("candidate", 10, make, run),)
