"""Examples of every command. Its --help and docs/commands.md show them, and a test runs them as they are typed."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable
from types import ModuleType

WIDTH = 79  # columns of the paragraphs of --help
EXAMPLES: dict[str, tuple[str, ...]] = {
    "generate": (
        'minibiogpt generate "Ibuprofen is best used for"',
        "minibiogpt generate --sample --seed 1 --top-p 0.9 Insulin",
        "minibiogpt generate --file abstracts.txt --num-beams 5 --json",
        "minibiogpt generate -- -omics",
    ),
    "tokenize": ('minibiogpt tokenize "A beta-blocker lowers the blood pressure."',),
    "score": (
        'minibiogpt score "Ibuprofen is best used for pain." --tokens',
        "minibiogpt score --file abstracts.txt --output scores.jsonl",
        "minibiogpt score --file abstracts.jsonl --jsonl --field abstract",
    ),
    "embed": (
        "minibiogpt embed Aspirin Ibuprofen --output vectors.npy",
        "minibiogpt embed --file abstracts.txt --pooling mean --output means.npy",
    ),
    "classify": (
        'minibiogpt classify --model classifier "Ibuprofen relieves pain."',
        "minibiogpt classify --model classifier --file abstracts.txt --json",
    ),
    "tag": (
        'minibiogpt tag --model tagger "Ibuprofen relieves pain." --tokens',
        "minibiogpt tag --model tagger --file abstracts.txt --output spans.jsonl",
    ),
    "info": ("minibiogpt info", "minibiogpt info --model classifier --dtype float64"),
    "trace": (
        'minibiogpt trace "Ibuprofen relieves pain." --names "layers.0.*"',
        "minibiogpt trace Insulin --explain layers.0.self_attn.probs",
        "minibiogpt trace --ids 2,54,34 --save arrays.safetensors",
    ),
    "explore": (
        'minibiogpt explore --text "Ibuprofen relieves pain." -o page.html',
        "minibiogpt explore --theme dark --output dark.html",
    ),
    "view": (
        'minibiogpt view "Ibuprofen relieves pain." --layer 1 --output page.html',
        'minibiogpt view "Ibuprofen relieves pain." --step self_attn.scores',
        'minibiogpt view --sampler "Ibuprofen is best used for" --theme dark',
    ),
    "golden record": (
        'minibiogpt golden record --text "Ibuprofen is" -o case.safetensors',
        "minibiogpt golden record --ids 2,54,34 --slim -o slim.safetensors",
        "minibiogpt golden record --ids 2,54 --quantization nf4 -o nf4.safetensors",
    ),
    "golden kit": (
        "minibiogpt golden kit kit",
        "minibiogpt golden kit small --hidden 64 --heads 4 --rows 1 --no-mask",
    ),
    "golden check": (
        "minibiogpt golden check case.safetensors theirs.npz --precision float32",
        "minibiogpt golden check case.safetensors theirs.npz --html report.html",
    ),
    "golden diagnose": ("minibiogpt golden diagnose kit theirs", "minibiogpt golden diagnose --list"),
    "golden map": ("minibiogpt golden map case.safetensors theirs.npz -o map.json",),
    "golden selftest": ("minibiogpt golden selftest",),
    "golden inspect": ('minibiogpt golden inspect case.safetensors --names "layers.0.*"',),
    "download": ("minibiogpt download microsoft/biogpt biogpt",),
    "convert": ("minibiogpt convert pickled converted",),
    "quantize": (
        "minibiogpt quantize demo demo-nf4 --to nf4",
        "minibiogpt quantize classifier classifier-int8 --to int8 --skip fc2",
    ),
}


def paragraphs_of(module: ModuleType) -> list[str]:
    """Return what a command does, which is how its module begins: one sentence, then more."""
    first, *more = [" ".join(part.split()) for part in (module.__doc__ or "").split("\n\n")]
    first = first.partition(": ")[2]
    return [first[:1].upper() + first[1:], *more]


def show_in_help(command: argparse.ArgumentParser, paragraphs: Iterable[str]) -> None:
    """Make these paragraphs and the command's examples a part of its help."""
    examples = "\n".join(f"  {line}" for line in EXAMPLES[command.prog.partition(" ")[2]])
    command.epilog = f"examples:\n{examples}"
    command.description = "\n\n".join(textwrap.fill(text, WIDTH) for text in paragraphs)
    command.formatter_class = argparse.RawDescriptionHelpFormatter
