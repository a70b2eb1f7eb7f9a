"""A candidate against a case: the names paired, each tensor judged, and all of it as one result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from minibiogpt.errors import InputError, short_repr
from minibiogpt.golden.check.candidate import Tensor, opened
from minibiogpt.golden.check.compare import SUMS
from minibiogpt.golden.check.judge import Judge, row_of
from minibiogpt.golden.check.layouts import check_letters
from minibiogpt.golden.check.pairing import Pair, pair
from minibiogpt.golden.check.result import AGREES, Options, Result, Row
from minibiogpt.golden.format.case import Case, Entry
from minibiogpt.golden.format.manifest import read_manifest
from minibiogpt.trace.patterns import check_all_matched, patterns_of

ENDINGS = (".safetensors", ".npz", "")  # of the candidate of a case in a kit; a folder has none
MOST_MASK = 1 << 20  # elements of a mask that the case does without


def check(case: Case, theirs: Path, options: Options | None = None) -> Result:
    """Compare a candidate with a case.

    Raises
    ------
    InputError
        If the candidate cannot be read, is the case itself, or a name or a map names what is not there.
    """
    options = options or Options()
    if theirs.exists() and theirs.samefile(case.path):
        must = "the candidate must be another file than the reference"
        raise InputError(must, f"{theirs} twice", "name the file that your implementation wrote")
    with opened(theirs) as tensors:
        return _checked(case, theirs, tensors, options)


def _checked(case: Case, theirs: Path, tensors: Mapping[str, Tensor], options: Options) -> Result:
    entries = _chosen(case, options)
    pairs = pair(tensors, [*(e.name for e in case.entries), *case.input_names], options.mapped)
    _check_axes(case, options)
    by_name: dict[str, list[Pair]] = {}
    for one in pairs:
        if one.ours is not None:
            by_name.setdefault(one.ours, []).append(one)
    judge = Judge(case, options)
    inputs = [judge.input(name, tensors[p.candidate]) for name in case.input_names for p in by_name.get(name, [])]
    rows: list[Row] = []
    for entry in entries:
        found = [judge.array(entry, one, tensors[one.candidate]) for one in by_name.get(entry.name, [])]
        rows += found or [row_of(entry, None, None, "missing from the candidate")]
    unpaired = [one for one in pairs if one.ours is None]
    ones = [one for one in unpaired if _means_nothing(tensors[one.candidate])]
    inputs += [Row(p.candidate, p.candidate, AGREES, notes=["all ones, as without it"]) for p in ones]
    return Result(case, theirs, options, inputs, rows, [one for one in unpaired if one not in ones])


def _chosen(case: Case, options: Options) -> list[Entry]:
    """The entries to compare: all, or those whose names match."""
    patterns = patterns_of(options.names) if options.names else None
    entries = [e for e in case.entries if patterns is None or any([p.matches(e.name) for p in patterns])]
    check_all_matched(patterns or (), [e.name for e in case.entries], "--names must name an array of the case")
    return entries


def _check_axes(case: Case, options: Options) -> None:
    """Each axis of the case must have a letter and a size, and a map's axes must be those of the case."""
    for entry in case.entries:
        letters, size = entry.axes.split(), math.prod(entry.shape)
        whole = len(set(letters)) == len(letters) == len(entry.shape) and all(n >= 0 for n in entry.shape)
        fewer = entry.samples is None or entry.samples <= size
        if (
            not whole
            or not fewer
            or any(len(sums) != len(SUMS) for sums in (entry.sums or {}).values() if sums is not None)
        ):
            found = f"{short_repr(entry.name)} of {short_repr(entry.shape)}, axes {short_repr(entry.axes)}"
            must = f"{case.path} must give each axis a letter and a size, and budgets of four sums"
            raise InputError(must, found, "make the case again")
    for name, told in (options.mapped or {}).items():
        entry_of = {entry.name: entry for entry in case.entries}
        if told.axes is not None and name in entry_of:
            check_letters(told.axes, entry_of[name], case.config)


def _means_nothing(tensor: Tensor) -> bool:
    """A mask of ones that the case does without."""
    name = tensor.name.rpartition("/")[2]
    if name not in ("attention_mask", "head_mask") or math.prod(tensor.shape) > MOST_MASK:
        return False
    return bool((tensor.numbers(tensor.raw()) == 1).all())


def existing_case(path: Path) -> Case:
    """A case that may not be there.

    Raises
    ------
    InputError
        If it is not there, or is no case.
    """
    if not path.exists():
        remedy = "check the path, or make a case: minibiogpt golden record"
        raise InputError("CASE must be a case file or the folder of a kit", f"no {path}", remedy)
    return Case.read(path)


def check_kit(folder: Path, theirs: Path, options: Options) -> list[tuple[str, Result | None]]:
    """Each case of a kit with its candidate in the folder ``theirs``, or None where there is none.

    The candidate of the case NAME is ``NAME.safetensors``, ``NAME.npz``, or the folder ``NAME`` of npy.

    Raises
    ------
    InputError
        If the kit is none or was changed, or ``theirs`` is no folder or has two candidates for one case.
    """
    if not theirs.is_dir():
        found = str(theirs) if theirs.exists() else f"no {theirs}"
        raise InputError("the candidates of a kit must be a folder", found, "name a folder with one for each case")
    cases = {case["name"]: Case.read(folder / case["file"]) for case in read_manifest(folder)["cases"]}
    chosen = _with_names(cases, options)
    return [(name, _case_of_kit(cases[name], name, theirs, own)) for name, own in chosen.items()]


def _with_names(cases: Mapping[str, Case], options: Options) -> dict[str, Options]:
    """The cases that have an array of these names, each with those of the names that it has."""
    if not options.names:
        return dict.fromkeys(cases, options)
    patterns, found = patterns_of(options.names), {}
    for name, case in cases.items():
        own = [p.text for p in patterns if any([p.matches(entry.name) for entry in case.entries])]
        if own:
            found[name] = replace(options, names=own)
    every = {entry.name: None for case in cases.values() for entry in case.entries}
    check_all_matched(patterns, every, "--names must name an array of a case")
    return found


def strays(theirs: Path, names: Sequence[str]) -> list[str]:
    """What lies in the folder of candidates and is no case's: a name mistyped, perhaps."""
    known = {f"{name}{ending}" for name in names for ending in ENDINGS}
    return sorted(path.name for path in theirs.iterdir() if path.name not in known)


def _case_of_kit(case: Case, name: str, theirs: Path, options: Options) -> Result | None:
    there = [theirs / f"{name}{ending}" for ending in ENDINGS if (theirs / f"{name}{ending}").exists()]
    if len(there) > 1:
        found = " and ".join(one.name for one in there)
        raise InputError(f"the case {name} must have one candidate in {theirs}", found, "remove all but one")
    return check(case, there[0], options) if there else None
