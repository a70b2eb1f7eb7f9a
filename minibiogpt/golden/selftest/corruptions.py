"""Correct candidates in every supported form, and invalid files, names, dtypes and commands."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from minibiogpt.files.json_text import json_text
from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.format.manifest import FORMAT, VERSION
from minibiogpt.golden.selftest.fixtures import (
    Arrays,
    CheckRun,
    NoSuchArray,
    Trial,
    Workspace,
    arrays_of,
    folder_of,
    npz_of,
    trial,
)

GOOD: list[Trial] = []
FILES: list[Trial] = []


def narrowed(arrays: Arrays, dtype: str = "float32") -> Arrays:
    """Return the arrays in a narrower dtype, with its lowest finite number for masked scores."""
    lowest = float(np.finfo(dtype).min)
    floats = {name: np.where(x == LOWEST, lowest, x).astype(dtype) for name, x in arrays.items() if x.dtype.kind == "f"}
    return {**arrays, **floats}


def _good(w: Workspace, arrays: Arrays, *options: str) -> CheckRun:
    return CheckRun([str(w.path), w.write_candidate(arrays), *options], ["agrees"], 0)


def _some(w: Workspace, arrays: Arrays) -> CheckRun:
    """Return a run with some of the arrays, under different names."""
    if not arrays:
        raise NoSuchArray
    return _good(w, arrays, "--subset")


def _hooks(w: Workspace) -> CheckRun:
    """Return a run with the arrays that TransformerLens has, in its names and layouts."""
    found = {}
    for name, x in w.arrays.items():
        parts = name.split(".")
        if parts[0] == "layers" and len(parts) == 4 and parts[3] in "qkv":
            found[f"blocks.{parts[1]}.attn.hook_{parts[3]}"] = x.swapaxes(1, 2)
        elif parts[0] == "layers" and parts[-1] == "context":
            found[f"blocks.{parts[1]}.attn.hook_z"] = x.reshape(*x.shape[:2], w.heads, -1)
        elif parts[0] == "layers" and len(parts) == 2:
            found[f"blocks.{parts[1]}.hook_resid_post"] = x
    return _some(w, found)


def _marked(w: Workspace, value: float) -> CheckRun:
    masked = {name: x for name, x in w.arrays.items() if name.endswith(".scores_masked")}
    return _good(w, w.arrays | {name: np.where(x == LOWEST, value, x) for name, x in masked.items()})


GOOD += [
    Trial("float64", lambda w: _good(w, w.arrays)),
    Trial("float32", lambda w: _good(w, narrowed(w.arrays))),
    Trial("float32 values in float64", lambda w: _good(w, _wide(narrowed(w.arrays)), "--precision", "float32")),
    Trial("npz", lambda w: CheckRun([str(w.path), npz_of(w, w.arrays)], ["agrees"], 0)),
    Trial("a folder of npy", lambda w: CheckRun([str(w.path), str(folder_of(w, w.arrays))], ["agrees"], 0)),
    Trial("names prefixed with biogpt.", lambda w: _some(w, {f"biogpt.{n}": x for n, x in _inner(w).items()})),
    Trial("TransformerLens' names and layouts", _hooks),
    Trial("npy in Fortran order, big-endian", lambda w: _fortran(w)),
    Trial("flattened", lambda w: _good(w, {name: x.reshape(-1) for name, x in w.arrays.items()})),
    Trial("a map with axes", lambda w: _declared(w)),
    Trial("different values at padding, with --real-only", lambda w: _padding(w, "--real-only")),
    Trial("masked scores as -inf", lambda w: _marked(w, -np.inf)),
    Trial("masked scores as -1e9", lambda w: _marked(w, -1e9)),
    Trial("-0 instead of 0", lambda w: _good(w, {n: np.where(x == 0, -x, x) for n, x in w.arrays.items()})),
    Trial("arrays and inputs", lambda w: _good(w, w.arrays | w.inputs)),
    Trial("a subset", lambda w: _good(w, dict(list(w.arrays.items())[::3]), "--subset")),
    Trial(
        "steps with a cache", lambda w: CheckRun([str(w.steps), w.write_candidate(arrays_of(w.steps))], ["agrees"], 0)
    ),
    Trial("a slim case", lambda w: CheckRun([str(w.slim), w.write_candidate(_main(w))], ["agrees"], 0)),
]


def _fortran(w: Workspace) -> CheckRun:
    arrays = {name: np.asfortranarray(x).astype(x.dtype.newbyteorder(">")) for name, x in w.arrays.items()}
    return CheckRun([str(w.path), str(folder_of(w, arrays))], ["agrees"], 0)


def _declared(w: Workspace) -> CheckRun:
    name = w.find("B T F")
    arrays = {other: x for other, x in w.arrays.items() if other != name} | {"theirs": w.arrays[name].T}
    options = w.map_options({name: {"name": "theirs", "axes": "F T B"}})
    return CheckRun([str(w.path), w.write_candidate(arrays), *options], ["agrees"], 0)


def _padding(w: Workspace, *options: str) -> CheckRun:
    """Change a value of the small case at padding, the first position of the first row."""
    main, name = w.folder / "main.safetensors", "layers.1.fc2"
    arrays = arrays_of(main)
    arrays[name][0, 0] += 1.0
    expected = ["agrees", "--real-only"] if options else [f"first difference at {name}"]
    return CheckRun([str(main), w.write_candidate(arrays), *options], expected, 0 if options else 1)


FILES.append(Trial("different values at padding", _padding))


def _wide(arrays: Arrays) -> Arrays:
    floats = {name: x.astype("float64") for name, x in arrays.items() if x.dtype.kind == "f"}
    return {**arrays, **floats}


def _inner(w: Workspace) -> Arrays:
    """Return the arrays of the layers, which transformers' models prefix with biogpt."""
    return {name: x for name, x in w.arrays.items() if name.startswith("layers.")}


def _main(w: Workspace) -> Arrays:
    return arrays_of(w.folder / "main.safetensors")


def _file(w: Workspace, content: bytes, *expected: str, ending: str = ".safetensors") -> CheckRun:
    path = w.new_path(ending)
    path.write_bytes(content)
    return CheckRun([str(w.path), str(path)], [path.name, *expected], 2)


def _truncated(w: Workspace, path: str, fraction: float, *expected: str) -> CheckRun:
    content = Path(path).read_bytes()
    return _file(w, content[: int(fraction * len(content))], *expected, ending=Path(path).suffix)


FILES += [
    Trial("no such file", lambda w: CheckRun([str(w.path), str(w.folder / "none")], ["found no"], 2)),
    Trial("an empty file", lambda w: _file(w, b"", "found an empty file")),
    Trial("a pickle", lambda w: _file(w, b"\x80\x04 pickled", "found a broken pickle")),
    Trial("a text file", lambda w: _file(w, b"layers.0 1.0 2.0\n" * 9, "found a text")),
    Trial(
        "a truncated safetensors file",
        lambda w: _truncated(w, w.write_candidate(w.arrays), 0.9, "complete safetensors"),
    ),
    Trial("a truncated npz", lambda w: _truncated(w, npz_of(w, w.arrays), 0.9, "complete npz")),
    Trial("an empty folder", lambda w: CheckRun([str(w.path), str(_made(w.new_path("")))], ["must contain npy"], 2)),
    Trial(
        "the case itself", lambda w: CheckRun([str(w.path), str(w.path)], ["a different file from the reference"], 2)
    ),
    Trial(
        "a text file as the case",
        lambda w: CheckRun([str(_text(w)), w.write_candidate({})], ["complete safetensors"], 2),
    ),
    Trial(
        "a candidate as the case",
        lambda w: CheckRun([w.write_candidate(_main(w)), str(w.path)], ["the reference comes first: CASE THEIRS"], 2),
    ),
    Trial(
        "an empty candidate",
        lambda w: CheckRun([str(w.path), w.write_candidate({})], ["at least one array"], 2),
    ),
    Trial("inputs only", lambda w: CheckRun([str(w.path), w.write_candidate(w.inputs)], ["at least one array"], 2)),
    Trial("--names that match nothing", lambda w: _named(w, "layer.*")),
]


def _named(w: Workspace, pattern: str) -> CheckRun:
    return CheckRun([str(w.path), w.write_candidate(w.arrays), "--names", pattern], ["--names must name", pattern], 2)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _text(w: Workspace) -> Path:
    path = w.new_path(".safetensors")
    path.write_text("golden values")
    return path


@trial("a truncated npy in a folder", FILES)
def _(w: Workspace) -> CheckRun:
    folder, name = folder_of(w, w.arrays), w.find("B T F")
    path = folder / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-8])
    return CheckRun([str(w.path), str(folder)], [name, "complete array"], 2)


@trial("an npz with a changed byte", FILES)
def _(w: Workspace) -> CheckRun:
    path, name = Path(npz_of(w, w.arrays)), w.find("B T F")
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(f"{name}.npy").header_offset + 30 + len(name) + 200
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    return CheckRun([str(w.path), str(path)], [name, "CRC"], 2)


@trial("an npz with a pickle", FILES)
def _(w: Workspace) -> CheckRun:
    pickled = {"about": np.array({"a": 1}, dtype=object)}
    return CheckRun([str(w.path), npz_of(w, {**w.arrays, **pickled})], ["'about'", "a pickle"], 2)


for _dtype, _word in (("complex128", "<c16"), ("<U4", "<U4")):

    def _odd(w: Workspace, dtype: str = _dtype, word: str = _word) -> CheckRun:
        name = w.find("B T F")
        return CheckRun([str(w.path), npz_of(w, w.arrays | {name: w.arrays[name].astype(dtype)})], [name, word], 2)

    FILES.append(Trial(f"an array of dtype {_dtype}", _odd))


@trial("an array missing", FILES)
def _(w: Workspace) -> CheckRun:
    name = w.find("B T F")
    return w.check_with({name: None}, name, "missing from the candidate", "incomplete")


@trial("an extra array", FILES)
def _(w: Workspace) -> CheckRun:
    extra = dict.fromkeys(("extra", "layers.999"), np.zeros(3))
    return w.check_with(dict(extra), "array of the case: extra", "array of the case: layers.999", "incomplete")


@trial("an array with a misspelled name", FILES)
def _(w: Workspace) -> CheckRun:
    name = w.find("B T F")
    return w.check_with({name: None, f"{name}0": w.arrays[name]}, "the closest names are", name)


@trial("an array with an ambiguous name", FILES)
def _(w: Workspace) -> CheckRun:
    arrays = {"blocks.0.ln1.hook_normalized": np.zeros(3)}
    return w.check_with(dict(arrays), "blocks.0.ln1.hook_normalized", "gain and bias", "incomplete")


@trial("unknown names", FILES)
def _(w: Workspace) -> CheckRun:
    renamed = {f"tensor_{i}": x for i, x in enumerate(w.arrays.values())}
    return CheckRun([str(w.path), w.write_candidate(renamed), "--subset"], ["at least one array", "--map"], 2)


@trial("one array under two names, the second wrong", FILES)
def _(w: Workspace) -> CheckRun:
    name, other = w.find("B T F"), f"biogpt.{w.find('B T F')}"
    return w.check_with({other: w.arrays[name] + 1.0}, f"first difference at {name}", f"calls it {other}")


def _with_map(w: Workspace, content: object, *expected: str, exit_code: int = 2) -> CheckRun:
    return CheckRun([str(w.path), w.write_candidate(w.arrays), *w.map_options(content)], list(expected), exit_code)


FILES += [
    Trial("a map to an unknown name", lambda w: _with_map(w, {next(iter(w.arrays)): "x"}, "candidate", "'x'")),
    Trial("a map from an unknown name", lambda w: _with_map(w, {"x": next(iter(w.arrays))}, "the case", "'x'")),
    Trial("a map that is a list", lambda w: _with_map(w, ["x"], "must hold JSON")),
    Trial("a map to the wrong array", lambda w: _wrong_map(w)),
    Trial("a map with axes of a different array", lambda w: _with_map(w, _axes(w), "in some order")),
]


def _wrong_map(w: Workspace) -> CheckRun:
    first, last = w.find("B T D"), w.find("B T D", last=True)
    return _with_map(w, {last: first, first: last}, f"first difference at {first}", exit_code=1)


def _axes(w: Workspace) -> object:
    name = w.find("B T F")
    return {name: {"name": name, "axes": "B T V"}}


@trial("integers as floats", FILES)
def _(w: Workspace) -> CheckRun:
    name = w.find("B T")
    return w.check_changed(name, lambda x: x.astype("float64"), name, "expected integers")


@trial("floats as integers", FILES)
def _(w: Workspace) -> CheckRun:
    name = w.find("B T F")
    return w.check_changed(name, lambda x: x.astype("int64"), name, "expected floats")


@trial("float32 values in a float64 file", FILES)
def _(w: Workspace) -> CheckRun:
    return w.check_with(dict(_wide(narrowed(w.arrays))), "first difference at", "--precision float32")


@trial("float16 values in a float32 file", FILES)
def _(w: Workspace) -> CheckRun:
    name = w.find("B T F")
    arrays = narrowed(w.arrays)
    arrays[name] = arrays[name].astype("float16").astype("float32")
    return CheckRun([str(w.path), w.write_candidate(arrays)], [f"first difference at {name}"])


@trial("beyond bfloat16's budget, in bfloat16", FILES)
def _(w: Workspace) -> CheckRun:
    name = w.find("B T F")
    budget = w.entries[name].budgets["bfloat16"]
    if budget is None:
        raise NoSuchArray
    arrays = {**w.arrays, name: w.arrays[name] + 1.5 * budget}
    return CheckRun(
        [str(w.path), w.write_candidate(arrays), "--precision", "bfloat16"], [f"first difference at {name}"]
    )


@trial("a changed kit", FILES)
def _(w: Workspace) -> CheckRun:
    kit, theirs = _made(w.new_path("")), _made(w.new_path(""))
    (kit / "case.safetensors").write_bytes(w.path.read_bytes())
    case = {"name": "case", "file": "case.safetensors", "sha256": "0" * 64}
    about = {"format": FORMAT, "version": VERSION, "cases": [case], "models": {}, "tokenizer": case, "readme": case}
    (kit / "manifest.json").write_text(json_text(about))
    return CheckRun([str(kit), str(theirs)], ["changed since the kit was made"], 2)
