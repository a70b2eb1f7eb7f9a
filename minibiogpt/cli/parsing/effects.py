"""Warn about options that have no effect beside the others, in the words of the command line."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minibiogpt.generation import GenerationConfig

BOUNDS = (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens"))
OF_ARRAYS = (
    "map", "names_of", "names", "skip", "subset", "precision", "accept", "accept_layouts", "real_only", "last", "all",
    "html",
)  # fmt: skip


def warn_of_unused(options: argparse.Namespace) -> None:
    """Warn about options that were typed and that this command does not use beside the others."""
    given, command = options.given, options.command
    _warn_of_true(options)
    _warn_of_another_format(options)
    if command == "trace" and options.ids is not None:
        _warn(given & {"tokenizer"}, "with --ids", "leave it out")
    elif command == "record" and options.text is None:
        _warn(_in_order(given, ("tokenizer", "padding_side")), "without --text", "leave it out")
    elif command == "check" and Path(options.case).suffix == ".json":
        _warn(_in_order(given, OF_ARRAYS), "on the ids of a tokenizer", "leave it out")
    elif command == "inspect" and Path(options.file).is_dir():
        _warn(given & {"names"}, "on a kit", f"inspect one case: minibiogpt golden inspect {options.file}/cases/NAME")


def _warn_of_another_format(options: argparse.Namespace) -> None:
    """Warn about options of one format of quantized weights beside another, or beside none."""
    if options.command == "record":  # which refuses them
        return
    option = "--to" if options.command == "quantize" else "--quantization"
    kind = getattr(options, option.strip("-"), None)
    where = f"with {option} {kind}" if kind else f"without {option}"
    if kind != "int8-dynamic":
        _warn(options.given & {"outlier_threshold"}, where, f"write {option} int8-dynamic, or leave it out")
    if kind not in ("nf4", "fp4"):
        _warn(options.given & {"no_double_quant"}, where, "leave it out")


def _warn_of_true(options: argparse.Namespace) -> None:
    """Warn about `--sample True TEXT`, as other programs have it: here the command continues the text "True", too."""
    texts = [] if options.command == "record" else getattr(options, "text", None) or []
    flags = [name for name in options.given if getattr(options, name) is True]
    values = [text for text in texts if text.lower() in ("true", "false")]
    if flags and values and len(texts) > len(values):
        what = f"{values[0]!r} is read as a text, because options such as {_typed(sorted(flags)[:1])} have no value"
        warnings.warn(f"{what}; leave it out if it is not meant as one", stacklevel=2)


def effective(options: argparse.Namespace, overrides: dict[str, Any], config: GenerationConfig) -> dict[str, Any]:
    """Return the options of generation that have an effect, after warning about the others.

    Parameters
    ----------
    overrides : the options that were typed, by their names in GenerationConfig. config : the model's config with them.
    """
    unused = config.without_effect(overrides)
    sampling, beams = unused["do_sample=True"], unused["num_beams"]
    _warn(
        [*sampling, *(["seed"] if "seed" in options.given and not config.do_sample else [])],
        "without --sample",
        "add --sample",
    )
    _warn(beams, "without beam search", "add --num-beams 4")
    left = {name: x for name, x in overrides.items() if name not in (*sampling, *beams)}
    for counting_prompt, new in BOUNDS:
        if counting_prompt in overrides and new in overrides:
            _warn([counting_prompt], f"beside {_typed([new])}", "leave one of them out")
        elif counting_prompt in overrides and getattr(config, new) is not None:
            reason = "because generation_config.json sets a number of new tokens"
            _warn([counting_prompt], reason, f"use {_typed([new])}")
    return left


def _in_order(given: Collection[str], names: Iterable[str]) -> list[str]:
    return [name for name in names if name in given]


def _warn(names: Collection[str], where: str, remedy: str) -> None:
    if names:
        has, them = ("has", "it") if len(names) == 1 else ("have", "them")
        advice = remedy.replace("leave it out", f"leave {them} out")
        warnings.warn(f"{_typed(names)} {has} no effect {where}; {advice}", stacklevel=3)


def _typed(names: Iterable[str]) -> str:
    """Return options as they are typed.

    >>> _typed(["top_k"]), _typed(["top_k", "top_p", "seed"])
    ('--top-k', '--top-k, --top-p and --seed')
    """
    *first, last = [f"--{name.replace('_', '-')}" for name in names]
    return f"{', '.join(first)} and {last}" if first else last
