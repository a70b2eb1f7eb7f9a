"""The target for outputs: foreign files, links, pipes and damaged states under the names of files that are written."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from random import Random
from typing import Any

from minibiogpt.cli import main
from minibiogpt.cli.batch.resume import ResumableFile
from minibiogpt.errors import InputError
from tools.fuzzing import checkpoints
from tools.fuzzing.commands import _check_stderr, _streams
from tools.fuzzing.mutate import KEPT, json_bytes, mutate_bytes, mutate_json, odd_value
from tools.fuzzing.supervise import Target

TEXTS = ["a drug", "is in pain", "pain", "drug in a"]
NAME = "out.npy"
HELPERS = (f"{NAME}.state", f"{NAME}.part", f"{NAME}.new", f"{NAME}.state.new", ".out.npy.minibiogpt-abcdefgh.part")
LINES = {
    "score": ["score", "--file", "in", "--chunk", "1", "--output"],
    "embed": ["embed", "--file", "in", "--chunk", "1", "--output"],
    "view": ["view", "a drug", "--output"],
    "explore": ["explore", "a drug", "--output"],
    "trace": ["trace", "a drug", "--save"],
}
KINDS = (
    "bytes",
    "json",
    "folder",
    "pipe",
    "device",
    "link",
    "dangling",
    "loop",
    "input",
    "hard input",
    "hole",
    "locked",
)


def make(rng: Random, folder: Path) -> dict[str, Any]:
    """Write a model, texts, perhaps an unfinished run, and foreign files; return the words of the command line."""
    (folder / "model").mkdir()
    checkpoints.write_seed(folder / "model")
    (folder / "in").write_text("\n".join(TEXTS))
    command = rng.choice(["score", "score", "embed", "embed", "view", "explore", "trace"])
    words = [*LINES[command], NAME, "--model", "model"]
    if command in ("score", "embed") and rng.random() < 0.5:
        paths = [str(folder / word) if word in ("in", "model", NAME) else word for word in words]
        _interrupt(paths, rng.randrange(1, len(TEXTS)))
    foreign = {}
    state = folder / HELPERS[0]
    if state.exists() and rng.random() < 0.7:
        state.write_bytes(_damaged(rng, state.read_bytes()))
    elif not state.exists():
        for name in dict.fromkeys(rng.choice([NAME, *HELPERS[:2] * 3, *HELPERS[2:]]) for _ in range(2)):
            foreign[name] = rng.choice(KINDS)
            _plant(rng, folder / name, foreign[name])
    words += ["--overwrite"] if command in ("score", "embed") and rng.random() < 0.5 else []
    return {"line": words, "foreign": foreign}


def _interrupt(words: list[str], chunks: int) -> None:
    """Run the command until ``chunks`` chunks are complete."""
    append = ResumableFile.append

    def stop(self: ResumableFile, data: bytes, records: int, digest: str, **sums: float) -> None:
        append(self, data, records, digest, **sums)
        if records == chunks:
            raise KeyboardInterrupt

    ResumableFile.append = stop  # type: ignore[method-assign]
    try:
        with _streams(None, "utf-8"):
            main(words)
    finally:
        ResumableFile.append = append  # type: ignore[method-assign]


def _damaged(rng: Random, data: bytes) -> bytes:
    content = json.loads(data)
    kind = rng.randrange(4)
    if kind == 0:
        return mutate_bytes(rng, data)
    if kind == 1:
        content["done"][rng.choice(list(content["done"]))] = odd_value(rng)
    else:
        content = mutate_json(rng, content)
    return json_bytes(rng, content) if kind < 3 else json.dumps(content, indent=1).encode("utf-8", "surrogatepass")


def _plant(rng: Random, path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
        (path / "mine").write_text("mine")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("device", "link", "dangling", "loop", "input"):
        target = {"device": "/dev/zero", "link": f"../{KEPT}/kept", "dangling": f"../{KEPT}/new", "loop": path.name}
        path.symlink_to(target.get(kind, "in"))
    elif kind == "hard input":
        os.link(path.parent / rng.choice(["in", "model/config.json"]), path)
    elif kind == "hole":
        path.touch()
        os.truncate(path, 8 << 30)
    else:
        path.write_bytes(json_bytes(rng, odd_value(rng)) if kind == "json" else b"mine" * rng.randrange(1, 99))
        path.chmod(0 if kind == "locked" else 0o600)


def run(folder: Path, case: dict[str, Any]) -> None:
    """Run the command: foreign files stay as they are, and a success leaves the whole output and nothing else."""
    kept = {name: _facts(folder / name) for name in case["foreign"] if name != NAME}
    with _streams(None, "utf-8") as errors:
        code = main(case["line"])
        stderr = errors.getvalue().decode("utf-8")
    assert code in (0, 2), f"exit code {code}"
    _check_stderr(stderr, code)
    for name, facts in kept.items():
        assert _facts(folder / name) == facts, f"{name}, which is foreign, was changed"
    if code == 2:
        raise InputError("an output must be writable", stderr[:200], "this one is not")
    left = [name for name in os.listdir(folder) if name.startswith(NAME) or ".minibiogpt-" in name]
    assert sorted(left) == sorted({NAME, *kept} & set(os.listdir(folder))), f"left behind: {left}"
    (folder / NAME).chmod(0o600)  # a locked output that was replaced is as private as it was
    data = (folder / NAME).read_bytes()
    if case["line"][0] == "score":
        assert [json.loads(line)["text"] for line in data.splitlines()] == TEXTS, data[:300]
    assert data, "an empty output"


def _facts(path: Path) -> tuple[Any, ...]:
    if not os.path.lexists(path):
        return ()
    facts = path.lstat()
    content = os.readlink(path) if stat.S_ISLNK(facts.st_mode) else None
    return facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns, content


def _outputs(case: dict[str, Any]) -> list[str]:
    return [NAME, *HELPERS[:2]]


TARGETS = (Target("output", 4, make, run, _outputs),)
