"""Write the conformance kit: tiny checkpoints, a case for each probe, tokenizer cases, and a README."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
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
from minibiogpt.golden.kit.given import Vocabulary, models_with_weights, with_weights
from minibiogpt.golden.kit.limits import NO_LIMITS, Limits
from minibiogpt.golden.kit.models import CHECKPOINTS, make_model
from minibiogpt.golden.kit.probes import Probe, left_out, probes
from minibiogpt.golden.kit.readme import readme
from minibiogpt.golden.kit.tokens import write_token_cases
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.tokenizer import BioGptTokenizer

TOKENIZER, TOKENIZER_MODEL = "tokenizer.json", "base"


def write_kit(
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    cases: Iterable[str] | None = None,
    runs: int = SEEDS,
    report: Callable[[str], None] = lambda line: None,
    limits: Limits = NO_LIMITS,
    vocabulary: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Write a kit into a new folder, atomically, and return its manifest.

    Parameters
    ----------
    seed : of all weights and inputs. The same seed gives the same bytes of models and inputs. The values are computed
        in this machine's float64; the budgets cover the differences between machines.
    cases : names of some of the probes; all by default.
    runs : number of runs in each precision from which the budgets are measured.
    report : called with one line about each file written.
    limits : of a port: sizes, and what it cannot do. They change the models, and leave out cases.
    vocabulary : a folder with vocab.json and merges.txt, used in place of the kit's own.
    weights : a folder with ``NAME/model.safetensors`` for some of the kit's models, such as ``base``: tensors with the
        kit's names and shapes, used in place of its own. Cases of the other models are left out.

    Raises
    ------
    InputError
        If the folder exists and isn't empty, or there is no probe of a given name within the limits, or the vocabulary
        or the weights cannot be used.
    """
    seed = checked_integer("seed", seed, 0, 2**31 - 1)
    words = Vocabulary.of(None if vocabulary is None else Path(vocabulary))
    if words.folder is not None:
        limits = replace(limits, vocabulary=max(words.pieces, limits.vocabulary or 0))
    own = None if weights is None else models_with_weights(Path(weights))
    out = left_out(limits)
    if own is not None:
        out |= {name: f"no weights of {p.model}" for name, p in probes(seed, limits).items() if p.model not in own}
    chosen = _select(probes(seed, limits), cases, out)
    names = [name for name in CHECKPOINTS if name == TOKENIZER_MODEL or any(p.model == name for p in chosen)]
    with atomic_folder(Path(folder)) as temporary:
        models = {}
        for name in names:
            model = make_model(name, seed, limits.sizes)
            model = with_weights(model, own[name]) if own is not None and name in own else model
            models[f"models/{name}"] = _write_model(temporary, name, model, words, report)
        entries = [_write_case(temporary, probe, models[f"models/{probe.model}"], runs, report) for probe in chosen]
        tokenizer = BioGptTokenizer.from_pretrained(temporary / "models" / TOKENIZER_MODEL)
        count = write_token_cases(tokenizer, temporary / TOKENIZER)
        report(f"{TOKENIZER}: {count} texts")
        missing = {name: why for name, why in out.items() if cases is None}
        page = readme(chosen, models, seed, limits, left_out=missing, own_weights=own is not None, pieces=words.pieces)
        (temporary / "README.md").write_text(page, encoding="utf-8", newline="\n")
        manifest = {"format": FORMAT, "version": VERSION, "minibiogpt": minibiogpt.__version__, "seed": seed}
        manifest |= {"models": models, "cases": entries}
        if limits != NO_LIMITS or own is not None:
            manifest["limits"] = limits.given
            manifest["left_out"] = missing
        of_tokenizer = {"file": TOKENIZER, "model": f"models/{TOKENIZER_MODEL}"}
        manifest["tokenizer"] = of_tokenizer | _digest(temporary / TOKENIZER)
        manifest["readme"] = {"file": "README.md"} | _digest(temporary / "README.md")
        text = json_text(manifest, indent=1) + "\n"
        (temporary / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
    return manifest


def _select(known: dict[str, Probe], cases: Iterable[str] | None, out: Mapping[str, str]) -> list[Probe]:
    possible = {name: probe for name, probe in known.items() if name not in out}
    names = list(possible) if cases is None else list(dict.fromkeys(cases))
    unknown = [name for name in names if name not in possible]
    if unknown and unknown[0] in out:
        must = "a case must be within the limits, and its model must have weights"
        raise InputError(must, f"{unknown[0]}: {out[unknown[0]]}", "leave it out, or change the limits")
    if unknown or not names:
        near = nearest(unknown[0], possible) if unknown else []
        found = f"{short_repr(unknown[0])}{f' (nearest: {listed(near)})' if near else ''}" if unknown else "none"
        raise InputError("a case must be one of the kit's", found, f"choose from {', '.join(possible)}")
    return [possible[name] for name in names]


def _write_model(
    folder: Path, name: str, model: Pretrained, vocabulary: Vocabulary, report: Callable[[str], None]
) -> dict[str, str]:
    """Write weights, config and vocabulary of one checkpoint, and return {file: sha256}."""
    target = folder / "models" / name
    model.save_pretrained(target)
    vocabulary.write(target)
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
