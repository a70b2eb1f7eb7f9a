"""The conformance kit: tiny checkpoints, a case for each probe, tokenizer cases, and a page that explains them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import minibiogpt
from minibiogpt.checks import checked_integer
from minibiogpt.errors import InputError
from minibiogpt.files.reading import sha256
from minibiogpt.files.writing import atomic_folder
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.manifest import FORMAT, VERSION
from minibiogpt.golden.format.record import record
from minibiogpt.golden.format.rounding import SEEDS
from minibiogpt.golden.kit.models import CHECKPOINTS, make
from minibiogpt.golden.kit.probes import Probe, probes
from minibiogpt.golden.kit.readme import readme
from minibiogpt.golden.kit.tokens import MERGES, VOCAB, write_tokens
from minibiogpt.tokenizer import BioGptTokenizer

TOKENIZER, TOKENIZER_MODEL = "tokenizer.json", "base"


def write_kit(
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    cases: Iterable[str] | None = None,
    runs: int = SEEDS,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write a kit into a new folder, which is whole or absent; returns its manifest.

    Parameters
    ----------
    seed : of all weights and inputs. The same seed gives the same bytes of models and inputs; the values are those of
        this machine's float64, and the budgets say how far that can matter.
    cases : the names of some of the probes; all by default.
    runs : in each precision, from which the budgets are measured.
    report : is told each file that is made.

    Raises
    ------
    InputError
        If the folder is there and not empty, or no probe has such a name.
    """
    seed = checked_integer("seed", seed, 0, 2**31 - 1)
    chosen = _chosen(probes(seed), cases)
    names = [name for name in CHECKPOINTS if name == TOKENIZER_MODEL or any(p.model == name for p in chosen)]
    with atomic_folder(Path(folder)) as beside:
        models = {f"models/{name}": _write_model(beside, name, seed, report) for name in names}
        listed = [_write_case(beside, probe, models[f"models/{probe.model}"], runs, report) for probe in chosen]
        tokenizer = BioGptTokenizer.from_pretrained(beside / "models" / TOKENIZER_MODEL)
        count = write_tokens(tokenizer, beside / TOKENIZER)
        report(f"{TOKENIZER}: {count} texts")
        page = readme(chosen, models, seed)
        (beside / "README.md").write_text(page, encoding="utf-8", newline="\n")
        manifest = {"format": FORMAT, "version": VERSION, "minibiogpt": minibiogpt.__version__, "seed": seed}
        manifest |= {"models": models, "cases": listed}
        manifest["tokenizer"] = {"file": TOKENIZER, "model": f"models/{TOKENIZER_MODEL}"} | _digest(beside / TOKENIZER)
        manifest["readme"] = {"file": "README.md"} | _digest(beside / "README.md")
        text = json.dumps(manifest, indent=1) + "\n"
        (beside / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
    return manifest


def _chosen(made: dict[str, Probe], cases: Iterable[str] | None) -> list[Probe]:
    wanted = list(made) if cases is None else list(dict.fromkeys(cases))
    unknown = [name for name in wanted if name not in made]
    if unknown or not wanted:
        found = repr(unknown[0])[:80] if unknown else "none"
        raise InputError("a case must be one of the kit's", found, f"choose from {', '.join(made)}")
    return [made[name] for name in wanted]


def _write_model(folder: Path, name: str, seed: int, report: Callable[[str], None]) -> dict[str, str]:
    """Weights, config and vocabulary of one checkpoint; {file: sha256}."""
    target = folder / "models" / name
    make(name, seed).save_pretrained(target)
    BioGptTokenizer(VOCAB, MERGES).save_vocabulary(target)
    counted = "".join(f"{a} {b} {1000 - 7 * n}\n" for n, (a, b) in enumerate(MERGES))  # as the real one: 3 columns
    (target / "merges.txt").write_text(counted, encoding="utf-8", newline="\n")
    report(f"models/{name}: {CHECKPOINTS[name].about}")
    return {path.name: sha256(path) for path in sorted(target.iterdir())}


def _write_case(
    folder: Path, probe: Probe, files: dict[str, str], runs: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Record one probe with the checkpoint as it was written; what the manifest says of it."""
    model = CHECKPOINTS[probe.model].kind.from_pretrained(folder / "models" / probe.model, dtype="float64")
    path = folder / "cases" / f"{probe.name}.safetensors"
    weights = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
    record(model, probe.calls, path, name=probe.name, about=probe.about, files=weights, names=probe.arrays, seeds=runs)
    arrays, size = len(Case.read(path).entries), path.stat().st_size
    report(f"cases/{path.name}: {arrays} arrays, {size / 1e6:.2f} MB")
    said = {"name": probe.name, "file": f"cases/{path.name}"} | _digest(path)
    said |= {"model": f"models/{probe.model}", "architecture": type(model).__name__}
    return said | {"about": probe.about, "exposes": list(probe.exposes)}


def _digest(path: Path) -> dict[str, str]:
    return {"sha256": sha256(path)}
