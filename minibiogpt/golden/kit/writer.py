"""Write the conformance kit: tiny checkpoints, a case for each probe, tokenizer cases, and a README."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import minibiogpt
from minibiogpt.checks import checked_integer
from minibiogpt.errors import InputError, listed, nearest, short_repr
from minibiogpt.files.json_text import json_text
from minibiogpt.files.reading import sha256
from minibiogpt.files.writing import atomic_folder
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.manifest import FORMAT, VERSION
from minibiogpt.golden.format.record import record
from minibiogpt.golden.format.rounding import SEEDS
from minibiogpt.golden.kit.models import CHECKPOINTS, make_model
from minibiogpt.golden.kit.probes import Probe, probes
from minibiogpt.golden.kit.readme import readme
from minibiogpt.golden.kit.tokens import MERGES, VOCAB, write_token_cases
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
    """Write a kit into a new folder, atomically, and return its manifest.

    Parameters
    ----------
    seed : of all weights and inputs. The same seed gives the same bytes of models and inputs. The values are computed
        in this machine's float64; the budgets cover the differences between machines.
    cases : names of some of the probes; all by default.
    runs : number of runs in each precision from which the budgets are measured.
    report : called with one line about each file written.

    Raises
    ------
    InputError
        If the folder exists and isn't empty, or there is no probe of a given name.
    """
    seed = checked_integer("seed", seed, 0, 2**31 - 1)
    chosen = _select(probes(seed), cases)
    names = [name for name in CHECKPOINTS if name == TOKENIZER_MODEL or any(p.model == name for p in chosen)]
    with atomic_folder(Path(folder)) as temporary:
        models = {f"models/{name}": _write_model(temporary, name, seed, report) for name in names}
        entries = [_write_case(temporary, probe, models[f"models/{probe.model}"], runs, report) for probe in chosen]
        tokenizer = BioGptTokenizer.from_pretrained(temporary / "models" / TOKENIZER_MODEL)
        count = write_token_cases(tokenizer, temporary / TOKENIZER)
        report(f"{TOKENIZER}: {count} texts")
        page = readme(chosen, models, seed)
        (temporary / "README.md").write_text(page, encoding="utf-8", newline="\n")
        manifest = {"format": FORMAT, "version": VERSION, "minibiogpt": minibiogpt.__version__, "seed": seed}
        manifest |= {"models": models, "cases": entries}
        model = f"models/{TOKENIZER_MODEL}"
        manifest["tokenizer"] = {"file": TOKENIZER, "model": model} | _digest(temporary / TOKENIZER)
        manifest["readme"] = {"file": "README.md"} | _digest(temporary / "README.md")
        text = json_text(manifest, indent=1) + "\n"
        (temporary / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
    return manifest


def _select(known: dict[str, Probe], cases: Iterable[str] | None) -> list[Probe]:
    names = list(known) if cases is None else list(dict.fromkeys(cases))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        near = nearest(unknown[0], known) if unknown else []
        found = f"{short_repr(unknown[0])}{f' (nearest: {listed(near)})' if near else ''}" if unknown else "none"
        raise InputError("a case must be one of the kit's", found, f"choose from {', '.join(known)}")
    return [known[name] for name in names]


def _write_model(folder: Path, name: str, seed: int, report: Callable[[str], None]) -> dict[str, str]:
    """Write weights, config and vocabulary of one checkpoint, and return {file: sha256}."""
    target = folder / "models" / name
    make_model(name, seed).save_pretrained(target)
    BioGptTokenizer(VOCAB, MERGES).save_vocabulary(target)
    counted = "".join(f"{a} {b} {1000 - 7 * n}\n" for n, (a, b) in enumerate(MERGES))  # 3 columns, like the real file
    (target / "merges.txt").write_text(counted, encoding="utf-8", newline="\n")
    report(f"models/{name}: {CHECKPOINTS[name].about}")
    return {path.name: sha256(path) for path in sorted(target.iterdir())}


def _write_case(
    folder: Path, probe: Probe, files: dict[str, str], runs: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Record one probe with the checkpoint as written to disk, and return its entry in the manifest."""
    model = CHECKPOINTS[probe.model].model_class.from_pretrained(folder / "models" / probe.model, dtype="float64")
    path = folder / "cases" / f"{probe.name}.safetensors"
    weights = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
    record(model, probe.calls, path, name=probe.name, about=probe.about, files=weights, names=probe.arrays, seeds=runs)
    arrays, size = len(Case.read(path).entries), path.stat().st_size
    report(f"cases/{path.name}: {arrays} arrays, {size / 1e6:.2f} MB")
    entry = {"name": probe.name, "file": f"cases/{path.name}"} | _digest(path)
    entry |= {"model": f"models/{probe.model}", "architecture": type(model).__name__}
    return entry | {"about": probe.about, "exposes": list(probe.exposes)}


def _digest(path: Path) -> dict[str, str]:
    return {"sha256": sha256(path)}
