"""minibiogpt golden inspect: show the contents of a case or a kit."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minibiogpt.cli.options import add_json, add_names, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a case file, or the folder of a kit")
    add_names(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Print the header of a case and a line for each array, or a line for each case of a kit."""
    from minibiogpt.golden.format.case import Case
    from minibiogpt.golden.format.weights import in_words

    path = Path(options.file)
    if path.is_dir():
        _show_kit(path, options.json)
        return
    facts = _facts(Case.read(path), options.names)
    if options.json:
        print_json(facts)
        return
    entries, inputs = facts.pop("arrays"), facts.pop("inputs")
    config = facts.pop("config")
    facts |= {"quantization": in_words(facts["quantization"])} if "quantization" in facts else {}
    for name, value in facts.items():
        print(f"{name:14}{_formatted(value)}")
    sizes = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
    print(f"{'config':14}{', '.join(f'{key} {config.get(key)}' for key in (*sizes, 'hidden_act'))}")
    for array in inputs:
        print(f"{'input':14}{array['name']} {tuple(array['shape'])}")
    _print_arrays(entries)


def _facts(case: Any, names: list[str] | None) -> dict[str, Any]:
    from minibiogpt.trace.missing import check_all_matched
    from minibiogpt.trace.patterns import patterns_of

    kept = None if names is None else patterns_of(names)
    entries = [e for e in case.entries if kept is None or any([pattern.matches(e.name) for pattern in kept])]
    check_all_matched(kept or (), [entry.name for entry in case.entries], "a name must be one of the case's arrays")
    return {
        "case": case.name,
        "about": case.about,
        "kind": case.kind,
        "architecture": case.architecture,
        "model": case.model,
        "budget": case.budget,
        "config": case.config,
        "inputs": [{"name": name, "shape": list(case.tensors[name].shape)} for name in case.input_names],
        "arrays": [asdict(entry) for entry in entries],
    } | ({} if case.quantization is None else {"quantization": case.quantization})


def _print_arrays(entries: list[dict[str, Any]]) -> None:
    """Print name, shape, axes, largest magnitude and the budget in each precision."""
    width = max(len(entry["name"]) for entry in entries)
    precisions = list(entries[0]["budgets"])
    widths = {p: max(9, len(p)) for p in precisions}
    head = " ".join(f"{p:>{width_of}}" for p, width_of in widths.items())
    print(f"{'name':{width}}  {'shape':18} {'axes':9} {'largest':>9} {head}")
    for entry in entries:
        shape = str(tuple(entry["shape"]))
        budgets = " ".join(f"{'-' if b is None else f'{b:.1e}':>{widths[p]}}" for p, b in entry["budgets"].items())
        print(f"{entry['name']:{width}}  {shape:18} {entry['axes']:9} {entry['largest']:9.3g} {budgets}")


def _show_kit(folder: Path, as_json: bool) -> None:

    from minibiogpt.golden.format.manifest import read_manifest

    manifest = read_manifest(folder)
    cases = manifest["cases"]
    if as_json:
        print_json(manifest)
        return
    width = max((len(str(case.get("name"))) for case in cases), default=0)
    for case in cases:
        print(f"{case.get('name')!s:{width}}  {case.get('model')}  {case.get('about')}")
    print(f"{len(cases)} cases; to inspect one: minibiogpt golden inspect {folder}/cases/NAME.safetensors")


def _formatted(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "-"
    return str(value) or "-"
