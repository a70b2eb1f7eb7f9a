"""What follows from a check: its verdict in a word, and the command to run next."""

from __future__ import annotations

import shlex
from dataclasses import replace

from minibiogpt.golden.check.evidence.conventions import found_in
from minibiogpt.golden.check.result import AGREES, DIFFERS, Options, Result
from minibiogpt.golden.format.case import EIGHT_BITS, WEIGHTS
from minibiogpt.golden.format.manifest import cases_beside
from minibiogpt.golden.format.weights import in_words

SELFTEST = "minibiogpt golden selftest"
PRODUCTS = ("q_proj", "k_proj", "v_proj", "scores", "context", "out_proj", "fc1", "fc2", "score", "logits")


def verdict(result: Result) -> str:
    """Return "agrees", "differs", "incomplete" or "nothing compared"."""
    if not result.compared:
        return "nothing compared"
    if result.rows_in(DIFFERS) or result.wrong_inputs:
        return "differs"
    return "incomplete" if result.incomplete else "agrees"


def weights_lines(result: Result) -> list[str]:
    """Return how the case's weights are quantized, and whether the candidate's dequantized ones are right."""
    if result.case.quantization is None:
        return []
    lines = [f"weights of the case: {in_words(result.case.quantization)}"]
    rows = [row for row in result.rows if row.name.startswith(WEIGHTS) and row.candidate is not None]
    states = {row.state for row in rows}
    if DIFFERS in states:
        lines.append("dequantized weights differ: fix this first, it may explain all other differences")
    elif states == {AGREES} and result.first_difference is not None:
        lines.append(f"the dequantized rows of {len(rows)} weights agree: what differs is the arithmetic")
    return lines


def hints(result: Result) -> list[str]:
    """Return likely causes of the first difference that lie in the computer's arithmetic and not in the port."""
    first = result.first_difference
    found = None if first is None else first.measured
    if first is None or found is None:
        return []
    in_softmax = first.name.endswith("probs") and not found.inf  # NaN of a row that sees nothing
    if "float16" in (first.dtype, first.precision) and found.nan + found.inf and not in_softmax:
        return [
            "float16 has no number beyond 65504: a sum, a square or a product before this became infinite; compute it "
            "in float32"
        ]
    if (
        first.precision != "float32"
        or first.held is not None
        or first.on_grid
        or first.name.rpartition(".")[2] not in PRODUCTS
    ):
        return []
    differing = result.rows_in(DIFFERS)
    if all(row.explained_by(EIGHT_BITS) for row in differing):
        return [
            "every error is within the int8-dynamic budget, and the first is in a matrix product: if your port rounds "
            "the inputs of products to 8 bits, check with --precision int8-dynamic"
        ]
    coarse = next((p for p in ("float16", "bfloat16") if all(row.explained_by(p) for row in differing)), None)
    if coarse is None:
        return []
    return [
        f"every error is within the {coarse} budget, and the first is in a matrix product: if your device multiplies "
        "float32 matrices in TF32 or bfloat16, turn this off and check again (PyTorch: "
        'torch.set_float32_matmul_precision("highest"), JAX: jax_default_matmul_precision="highest")'
    ]


def options_in_words(options: Options) -> str:
    """Return the options as they are typed, with a space before each.

    Examples
    --------
    >>> options_in_words(Options(precision="float32", names=["layers.*"], last=1))
    " --precision float32 --last 1 --names 'layers.*'"
    """
    words = [] if options.map_file is None else ["--map", options.map_file]
    words += [] if options.precision is None else ["--precision", options.precision]
    words += [word for one in options.precisions for word in ("--precision", "=".join(one))]
    words += ["--accept", ",".join(options.accept)] if options.accept else []
    words += [] if options.last is None else ["--last", str(options.last)]
    flags = {
        "--subset": options.subset,
        "--accept-layouts": options.accept_layouts,
        "--real-only": options.real_only,
    }
    words += [flag for flag, given in flags.items() if given]
    words += [] if options.names_of is None else ["--names-of", options.names_of]
    words += [word for pattern in options.names or () for word in ("--names", pattern)]
    words += [word for pattern in options.skip or () for word in ("--skip", pattern)]
    return "".join(f" {shlex.quote(word)}" for word in words)


def check_command(reference: object, theirs: object, options: Options) -> str:
    """Return the command that runs a check with these options."""
    paths = f"{shlex.quote(str(reference))} {shlex.quote(str(theirs))}"
    return f"minibiogpt golden check {paths}{options_in_words(options)}"


def diagnose_command(reference: object, theirs: object, options: Options) -> str:
    """Return the command that says why, with these options."""
    return check_command(reference, theirs, options).replace(" golden check ", " golden diagnose ", 1)


def _has_other_layouts(result: Result) -> bool:
    """Whether the axes of some arrays are in another order, and of none that has the right shape: that is a mistake."""
    states = [row.state for row in result.rows if any(note.startswith("agrees when") for note in row.notes)]
    return bool(states) and DIFFERS not in states


def _not_accepted(result: Result) -> list[str]:
    """Return the conventions that arrays are in and that are neither accepted nor proved to be harmless."""
    return [one.convention for one in found_in([*result.inputs, *result.rows]) if not (one.because or one.differs)]


def next_command(result: Result) -> str:
    """Return the command to run next: the same check with one option more, where that helps."""
    options = result.options
    inspect = f"minibiogpt golden inspect {shlex.quote(str(result.case.path))}"
    notes = [note for row in result.rows if row.state != AGREES for note in row.notes]
    if verdict(result) == "agrees":
        return SELFTEST
    if result.wrong_inputs:
        return inspect
    partial = [int(note.rpartition("--last ")[2]) for note in notes if "add --last " in note]
    better = None
    at_first = result.coarser_at_first
    if coarser := result.coarser_precision or (at_first and at_first[0]):
        better = replace(options, precision=coarser)
    elif _has_other_layouts(result) and not options.accept_layouts:
        better = replace(options, accept_layouts=True)
    elif partial and not options.last:
        better = replace(options, last=partial[0])
    elif (conventions := _not_accepted(result)) and not result.rows_in(DIFFERS):
        better = replace(options, accept=tuple(dict.fromkeys([*options.accept, *conventions])))
    elif result.padding_only:
        better = replace(options, real_only=True)
    if better is not None:  # what is missing stays missing
        better = replace(better, subset=options.subset or bool(result.missing))
        return check_command(result.case.path, result.theirs, better)
    if result.first_difference is not None:
        in_kit = cases_beside(result.case.path)
        return diagnose_command(result.case.path, result.theirs, options) + ("" if in_kit else " --model FOLDER")
    only_missing = not result.unpaired and all(row.candidate is None for row in result.rows if row.state != AGREES)
    if result.compared and (only_missing or result.unpaired) and not options.subset:
        return check_command(result.case.path, result.theirs, replace(options, subset=True))
    return inspect
