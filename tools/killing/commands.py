"""The commands that write, on small models, and the files that they read."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from minibiogpt import (
    BioGptConfig,
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    Trace,
)
from minibiogpt.golden.format.record import record
from tools.fuzzing.archives import TRANSFORMERS, seeds
from tools.fuzzing.checkpoints import SIZES, write_seed

IDS = [[2, 5, 9, 12]]
TEXTS = ["a drug is in pain.", "pain is in a drug", "tr an", "an is", "in", "drugs in pain, an is"]
MODEL = "../inputs/model"
OLD = b"an older result\n" * 40
# The API, as a program calls it.
SAVE_MODEL = f"""
from minibiogpt import BioGptForCausalLM
BioGptForCausalLM.from_pretrained("{MODEL}").save_pretrained("saved", max_shard_size="2KB")
"""
SAVE_TOKENIZER = f"""
from minibiogpt import BioGptTokenizer
BioGptTokenizer.from_pretrained("{MODEL}").save_pretrained("saved")
"""
SAVE_TRACE = f"""
from minibiogpt import BioGptModel, Trace
trace = Trace()
BioGptModel.from_pretrained("{MODEL}")({IDS}, trace=trace)
trace.save("saved.safetensors")
"""


@dataclass(frozen=True)
class Command:
    """A command line, or the code of a Python program, run in a folder beside ``inputs``.

    Attributes
    ----------
    output : the file or folder that it writes.
    old : what is there before, in the runs that replace it: {path: content}; a path that ends in / is an empty folder.
    replacing : the words to add in these runs.
    resumes : whether a stopped run may leave a part of the output, with FILE.state beside it.
    whole : whether a folder appears complete or not at all, instead of file by file.
    stdout : the file that standard output is redirected to, in the folder; the shell creates it, not the command.
    is_code : whether the only word is Python code.
    """

    name: str
    words: list[str]
    output: str
    old: dict[str, bytes] = field(default_factory=dict)
    replacing: list[str] = field(default_factory=list)
    resumes: bool = False
    whole: bool = False
    stdout: str | None = None
    is_code: bool = False

    def line(self, start: str) -> list[str]:
        return [*self.words, *(self.replacing if start == "old" else [])]

    @property
    def companions(self) -> list[str]:
        """The files that an unfinished run may leave beside the output."""
        return [f"{self.output}.state", f"{self.output}.part"] if self.resumes else []


def _batch(name: str, words: list[str], output: str, model: str, chunk: int = 1) -> Command:
    words = [*words, "--file", "../inputs/texts.txt", "--model", model, "--chunk", str(chunk), "--output", output]
    return Command(name, words, output, {output: OLD}, ["--overwrite"], resumes=True)


def _file(name: str, words: list[str], output: str, **more: bool) -> Command:
    return Command(name, words, output, {output: OLD}, **more)


def _folder(name: str, words: list[str], output: str) -> Command:
    return Command(name, words, output, {f"{output}/": b""}, whole=True)


def _printed(name: str, words: list[str], output: str) -> Command:
    return Command(name, words, output, stdout=output)


READ, CASE = ["--file", "../inputs/texts.txt", "--model", MODEL, "--chunk", "1"], "../inputs/case.safetensors"
ALL = (
    _batch("score", ["score", "--tokens"], "scores.jsonl", MODEL),
    _batch("classify", ["classify"], "classes.jsonl", "../inputs/classes", chunk=2),
    _batch("tag", ["tag"], "tags.jsonl", "../inputs/tags", chunk=3),
    _batch("embed-npy", ["embed"], "vectors.npy", MODEL),
    _batch("embed-safetensors", ["embed"], "vectors.safetensors", MODEL, chunk=2),
    _file("view", ["view", TEXTS[0], "--model", MODEL, "--output", "page.html"], "page.html"),
    _file("explore", ["explore", TEXTS[0], "--model", MODEL, "--output", "page.html"], "page.html"),
    _file("trace", ["trace", TEXTS[0], "--model", MODEL, "--save", "trace.safetensors"], "trace.safetensors"),
    _file(
        "record",
        ["golden", "record", "--model", MODEL, "--ids", "2,5", "--seeds", "2", "-o", "case.safetensors"],
        "case.safetensors",
    ),
    _folder("kit", ["golden", "kit", "kit", "--cases", "one_token"], "kit"),
    _file("check", ["golden", "check", CASE, "../inputs/theirs.safetensors", "--html", "report.html"], "report.html"),
    _file("check-junit", ["golden", "check", CASE, "../inputs/theirs.safetensors", "--junit", "r.xml"], "r.xml"),
    _file(
        "diagnose",
        ["golden", "diagnose", CASE, "../inputs/theirs.safetensors", "--model", MODEL, "--html", "report.html"],
        "report.html",
    ),
    _file("map", ["golden", "map", CASE, "../inputs/theirs.safetensors", "-o", "map.json"], "map.json"),
    _folder("convert", ["convert", "../inputs/pickled", "converted"], "converted"),
    _folder("quantize", ["quantize", MODEL, "quantized", "--to", "nf4"], "quantized"),
    dataclasses.replace(_file("save-model", [SAVE_MODEL], "saved", is_code=True), old={}),
    dataclasses.replace(_file("save-tokenizer", [SAVE_TOKENIZER], "saved", is_code=True), old={}),
    _file("save-trace", [SAVE_TRACE], "saved.safetensors", is_code=True),
    _printed("generate-stdout", ["generate", TEXTS[0], "--model", MODEL, "--json"], "generated.json"),
    _printed("score-stdout", ["score", *READ], "printed.jsonl"),
)


def commands() -> dict[str, Command]:
    """Return all commands by name, without ``convert`` if torch is not installed, which makes its input."""
    older = {"save-model": _older_model(), "save-tokenizer": {"saved/vocab.json": OLD, "saved/merges.txt": OLD}}
    known = {command.name: command for command in ALL}
    known |= {name: dataclasses.replace(known[name], old=old) for name, old in older.items()}
    if find_spec("torch") is None:
        del known["convert"]
    return known


def _older_model() -> dict[str, bytes]:
    """Return the files of a different model, in one file of weights."""
    with tempfile.TemporaryDirectory() as folder:
        BioGptForCausalLM.from_config(BioGptConfig(**SIZES), seed=2).save_pretrained(folder)
        return {f"saved/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}


def write_inputs(folder: Path, *, pickled: bool) -> None:
    """Write models with each head, texts, a pickled checkpoint, and a case with the arrays to check against it."""
    heads = {"classes": BioGptForSequenceClassification, "tags": BioGptForTokenClassification}
    for name in ("model", *(("pickled",) if pickled else ()), *heads):
        (folder / name).mkdir(parents=True)
        write_seed(folder / name)
    for name, kind in heads.items():
        kind.from_config(BioGptConfig(**SIZES, num_labels=3), seed=1).save_pretrained(folder / name)
    if pickled:
        (folder / "pickled" / "model.safetensors").unlink()
        (folder / "pickled" / TRANSFORMERS).write_bytes(seeds()[0][1])
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    model = BioGptForCausalLM.from_pretrained(folder / "model", dtype="float64")
    trace = Trace()
    model(input_ids=IDS, trace=trace)
    trace.save(folder / "theirs.safetensors")
    record(model, [{"input_ids": IDS}], folder / "case.safetensors", name="case", seeds=2)
