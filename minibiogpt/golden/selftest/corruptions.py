"""Candidates in every form that is right, and files, names, dtypes and commands that are not."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.format.manifest import FORMAT, VERSION
from minibiogpt.golden.selftest.fixtures import Absent, Arrays, Attempt, Bench, Trial, arrays_of, trial

GOOD: list[Trial] = []
FILES: list[Trial] = []


def narrowed(arrays: Arrays, dtype: str = "float32") -> Arrays:
    """In a narrower dtype; hidden scores hold its lowest finite number."""
    lowest = float(np.finfo(dtype).min)
    floats = {name: np.where(x == LOWEST, lowest, x).astype(dtype) for name, x in arrays.items() if x.dtype.kind == "f"}
    return {**arrays, **floats}


def _good(b: Bench, arrays: Arrays, *options: str) -> Attempt:
    return Attempt([str(b.path), b.written(arrays), *options], ["agrees"], 0)


def _some(b: Bench, arrays: Arrays) -> Attempt:
    """Some of the arrays by other names."""
    if not arrays:
        raise Absent
    return _good(b, arrays, "--subset")


def _hooks(b: Bench) -> Attempt:
    """TransformerLens' names and layouts, of what it has."""
    found = {}
    for name, x in b.arrays.items():
        parts = name.split(".")
        if parts[0] == "layers" and len(parts) == 4 and parts[3] in "qkv":
            found[f"blocks.{parts[1]}.attn.hook_{parts[3]}"] = x.swapaxes(1, 2)
        elif parts[0] == "layers" and parts[-1] == "context":
            found[f"blocks.{parts[1]}.attn.hook_z"] = x.reshape(*x.shape[:2], b.heads, -1)
        elif parts[0] == "layers" and len(parts) == 2:
            found[f"blocks.{parts[1]}.hook_resid_post"] = x
    return _some(b, found)


def _npz(b: Bench, arrays: Arrays) -> str:
    path = b.new(".npz")
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def _folder(b: Bench, arrays: Arrays) -> Path:
    folder = b.new("")
    for name, x in arrays.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, x)
    return folder


def _marked(b: Bench, value: float) -> Attempt:
    masked = {name: x for name, x in b.arrays.items() if name.endswith(".scores_masked")}
    return _good(b, b.arrays | {name: np.where(x == LOWEST, value, x) for name, x in masked.items()})


GOOD += [
    Trial("float64", lambda b: _good(b, b.arrays)),
    Trial("float32", lambda b: _good(b, narrowed(b.arrays))),
    Trial("float32 numbers in float64", lambda b: _good(b, _wide(narrowed(b.arrays)), "--precision", "float32")),
    Trial("npz", lambda b: Attempt([str(b.path), _npz(b, b.arrays)], ["agrees"], 0)),
    Trial("a folder of npy", lambda b: Attempt([str(b.path), str(_folder(b, b.arrays))], ["agrees"], 0)),
    Trial("biogpt. in front", lambda b: _some(b, {f"biogpt.{n}": x for n, x in _inner(b).items()})),
    Trial("TransformerLens' names and layouts", _hooks),
    Trial("npy in other orders, of memory and of bytes", lambda b: _turned(b)),
    Trial("flattened", lambda b: _good(b, {name: x.reshape(-1) for name, x in b.arrays.items()})),
    Trial("a map with axes", lambda b: _declared(b)),
    Trial("other numbers at padding, with --real-only", lambda b: _padding(b, "--real-only")),
    Trial("hidden scores as -inf", lambda b: _marked(b, -np.inf)),
    Trial("hidden scores as -1e9", lambda b: _marked(b, -1e9)),
    Trial("-0 for 0", lambda b: _good(b, {n: np.where(x == 0, -x, x) for n, x in b.arrays.items()})),
    Trial("inputs too", lambda b: _good(b, b.arrays | b.inputs)),
    Trial("a subset", lambda b: _good(b, dict(list(b.arrays.items())[::3]), "--subset")),
    Trial("steps with a cache", lambda b: Attempt([str(b.steps), b.written(arrays_of(b.steps))], ["agrees"], 0)),
    Trial("a slim case", lambda b: Attempt([str(b.slim), b.written(_main(b))], ["agrees"], 0)),
]


def _turned(b: Bench) -> Attempt:
    turned = {name: np.asfortranarray(x).astype(x.dtype.newbyteorder(">")) for name, x in b.arrays.items()}
    return Attempt([str(b.path), str(_folder(b, turned))], ["agrees"], 0)


def _declared(b: Bench) -> Attempt:
    name = b.find("B T F")
    arrays = {other: x for other, x in b.arrays.items() if other != name} | {"theirs": b.arrays[name].T}
    options = b.mapped({name: {"name": "theirs", "axes": "F T B"}})
    return Attempt([str(b.path), b.written(arrays), *options], ["agrees"], 0)


def _padding(b: Bench, *options: str) -> Attempt:
    """Of our own case, the first position of the first row is padding."""
    own, name = b.folder / "main.safetensors", "layers.1.fc2"
    arrays = arrays_of(own)
    arrays[name][0, 0] += 1.0
    words = ["agrees", "--real-only"] if options else [f"first difference at {name}"]
    return Attempt([str(own), b.written(arrays), *options], words, 0 if options else 1)


FILES.append(Trial("other numbers at padding", _padding))


def _wide(arrays: Arrays) -> Arrays:
    floats = {name: x.astype("float64") for name, x in arrays.items() if x.dtype.kind == "f"}
    return {**arrays, **floats}


def _inner(b: Bench) -> Arrays:
    """What transformers' base model has under its own name."""
    return {name: x for name, x in b.arrays.items() if name.startswith("layers.")}


def _main(b: Bench) -> Arrays:
    return arrays_of(b.folder / "main.safetensors")


def _file(b: Bench, content: bytes, *words: str, ending: str = ".safetensors") -> Attempt:
    path = b.new(ending)
    path.write_bytes(content)
    return Attempt([str(b.path), str(path)], [path.name, *words], 2)


def _cut(b: Bench, whole: str, part: float, *words: str) -> Attempt:
    content = Path(whole).read_bytes()
    return _file(b, content[: int(part * len(content))], *words, ending=Path(whole).suffix)


FILES += [
    Trial("no such file", lambda b: Attempt([str(b.path), str(b.folder / "none")], ["found no"], 2)),
    Trial("an empty file", lambda b: _file(b, b"", "whole safetensors")),
    Trial("a file that is no safetensors", lambda b: _file(b, b"\x80\x04 pickled", "whole safetensors")),
    Trial("a text", lambda b: _file(b, b"layers.0 1.0 2.0\n" * 9, "whole safetensors")),
    Trial("a safetensors file cut short", lambda b: _cut(b, b.written(b.arrays), 0.9, "whole safetensors")),
    Trial("an npz cut short", lambda b: _cut(b, _npz(b, b.arrays), 0.9, "whole npz")),
    Trial("an empty folder", lambda b: Attempt([str(b.path), str(_made(b.new("")))], ["must hold npy files"], 2)),
    Trial("the case itself", lambda b: Attempt([str(b.path), str(b.path)], ["another file than the reference"], 2)),
    Trial("a case that is a text", lambda b: Attempt([str(_text(b)), b.written({})], ["whole safetensors"], 2)),
    Trial(
        "a candidate as the case", lambda b: Attempt([b.written(_main(b)), str(b.path)], ["must be a golden case"], 2)
    ),
    Trial("nothing in the candidate", lambda b: Attempt([str(b.path), b.written({})], ["at least one array"], 2)),
    Trial("inputs only", lambda b: Attempt([str(b.path), b.written(b.inputs)], ["at least one array"], 2)),
    Trial("--names that nothing is called by", lambda b: _named(b, "layer.*")),
]


def _named(b: Bench, pattern: str) -> Attempt:
    return Attempt([str(b.path), b.written(b.arrays), "--names", pattern], ["--names must name", pattern], 2)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _text(b: Bench) -> Path:
    path = b.new(".safetensors")
    path.write_text("golden values")
    return path


@trial("an npy cut short in a folder", FILES)
def _(b: Bench) -> Attempt:
    folder, name = _folder(b, b.arrays), b.find("B T F")
    path = folder / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-8])
    return Attempt([str(b.path), str(folder)], [name, "whole array"], 2)


@trial("an npz of which a byte was changed", FILES)
def _(b: Bench) -> Attempt:
    path, name = Path(_npz(b, b.arrays)), b.find("B T F")
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(f"{name}.npy").header_offset + 30 + len(name) + 200
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    return Attempt([str(b.path), str(path)], [name, "CRC"], 2)


@trial("an npz with a pickle", FILES)
def _(b: Bench) -> Attempt:
    odd = {"about": np.array({"a": 1}, dtype=object)}
    return Attempt([str(b.path), _npz(b, {**b.arrays, **odd})], ["'about'", "a pickle"], 2)


for _dtype, _word in (("complex128", "<c16"), ("<U4", "<U4")):

    def _odd(b: Bench, dtype: str = _dtype, word: str = _word) -> Attempt:
        name = b.find("B T F")
        return Attempt([str(b.path), _npz(b, b.arrays | {name: b.arrays[name].astype(dtype)})], [name, word], 2)

    FILES.append(Trial(f"an array of dtype {_dtype}", _odd))


@trial("an array missing", FILES)
def _(b: Bench) -> Attempt:
    name = b.find("B T F")
    return b.attempt({name: None}, name, "missing from the candidate", "incomplete")


@trial("an array more", FILES)
def _(b: Bench) -> Attempt:
    return b.attempt({"extra": np.zeros(3)}, "stands for no array of the case: extra", "incomplete")


@trial("an array by a name of its own", FILES)
def _(b: Bench) -> Attempt:
    name = b.find("B T F")
    return b.attempt({name: None, f"{name}0": b.arrays[name]}, "nearest are", name)


@trial("an array by a name that may mean another one", FILES)
def _(b: Bench) -> Attempt:
    found = {"blocks.0.ln1.hook_normalized": np.zeros(3)}
    return b.attempt(dict(found), "blocks.0.ln1.hook_normalized", "gain and bias", "incomplete")


@trial("names that nobody knows", FILES)
def _(b: Bench) -> Attempt:
    renamed = {f"tensor_{i}": x for i, x in enumerate(b.arrays.values())}
    return Attempt([str(b.path), b.written(renamed), "--subset"], ["at least one array", "--map"], 2)


@trial("one array by two names, the second wrong", FILES)
def _(b: Bench) -> Attempt:
    name = b.find("B T F")
    return b.attempt({f"biogpt.{name}": b.arrays[name] + 1.0}, f"first difference at {name}", f"calls it biogpt.{name}")


def _with_map(b: Bench, content: object, *words: str, code: int = 2) -> Attempt:
    return Attempt([str(b.path), b.written(b.arrays), *b.mapped(content)], list(words), code)


FILES += [
    Trial("a map to a name that is not there", lambda b: _with_map(b, {next(iter(b.arrays)): "x"}, "candidate", "'x'")),
    Trial("a map of a name that is not ours", lambda b: _with_map(b, {"x": next(iter(b.arrays))}, "the case", "'x'")),
    Trial("a map that is a list", lambda b: _with_map(b, ["x"], "must hold JSON")),
    Trial("a map to the wrong array", lambda b: _wrong_map(b)),
    Trial("a map with axes of another array", lambda b: _with_map(b, _axes(b), "in some order")),
]


def _wrong_map(b: Bench) -> Attempt:
    first, last = b.find("B T D"), b.find("B T D", last=True)
    return _with_map(b, {last: first, first: last}, f"first difference at {first}", code=1)


def _axes(b: Bench) -> object:
    name = b.find("B T F")
    return {name: {"name": name, "axes": "B T V"}}


@trial("integers as floats", FILES)
def _(b: Bench) -> Attempt:
    name = b.find("B T")
    return b.changed(name, lambda x: x.astype("float64"), name, "integers are expected")


@trial("floats as integers", FILES)
def _(b: Bench) -> Attempt:
    name = b.find("B T F")
    return b.changed(name, lambda x: x.astype("int64"), name, "floats are expected")


@trial("float32 numbers in a float64 file", FILES)
def _(b: Bench) -> Attempt:
    return b.attempt(dict(_wide(narrowed(b.arrays))), "first difference at", "--precision float32")


@trial("float16 numbers in a float32 file", FILES)
def _(b: Bench) -> Attempt:
    name = b.find("B T F")
    arrays = narrowed(b.arrays)
    arrays[name] = arrays[name].astype("float16").astype("float32")
    return Attempt([str(b.path), b.written(arrays)], [f"first difference at {name}"])


@trial("beyond bfloat16's budget, in bfloat16", FILES)
def _(b: Bench) -> Attempt:
    name = b.find("B T F")
    budget = b.entries[name].budgets["bfloat16"]
    if budget is None:
        raise Absent
    arrays = {**b.arrays, name: b.arrays[name] + 1.5 * budget}
    return Attempt([str(b.path), b.written(arrays), "--precision", "bfloat16"], [f"first difference at {name}"])


@trial("a kit that was changed", FILES)
def _(b: Bench) -> Attempt:
    kit, theirs = _made(b.new("")), _made(b.new(""))
    (kit / "case.safetensors").write_bytes(b.path.read_bytes())
    case = {"name": "case", "file": "case.safetensors", "sha256": "0" * 64}
    about = {"format": FORMAT, "version": VERSION, "cases": [case], "models": {}, "tokenizer": case, "readme": case}
    (kit / "manifest.json").write_text(json.dumps(about))
    return Attempt([str(kit), str(theirs)], ["changed since the kit was made"], 2)
