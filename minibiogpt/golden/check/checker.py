"""Check a candidate against a case: pair the names, judge each tensor, collect the result."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from minibiogpt.errors import InputError, listed, short_repr
from minibiogpt.files.safetensors import read_header
from minibiogpt.golden.candidate.reader import WHOLE, open_candidate
from minibiogpt.golden.candidate.tensor import Tensor
from minibiogpt.golden.check.calls import names_of_traces
from minibiogpt.golden.check.compare import SUMS
from minibiogpt.golden.check.judge import Judge, row_of
from minibiogpt.golden.check.layouts import check_letters
from minibiogpt.golden.check.outputs import split_layers, unsplit_reason
from minibiogpt.golden.check.pairing import Mapped, Pair, check_map_name, pair
from minibiogpt.golden.check.result import AGREES, Options, Result, Row
from minibiogpt.golden.format.case import FORMAT, Case, Entry
from minibiogpt.golden.format.manifest import read_manifest
from minibiogpt.trace.missing import check_all_matched
from minibiogpt.trace.patterns import patterns_of

ENDINGS = (*WHOLE, "")  # of a candidate's file name in a kit; a folder has none
MAX_MASK = 1 << 20  # elements of an unpaired mask that is checked to be all ones


def check(case: Case, theirs: Path, options: Options | None = None) -> Result:
    """Compare a candidate with a case.

    Raises
    ------
    InputError
        If the candidate cannot be read or is the case itself, or if --names or the map has an unknown name.
    """
    options = options or Options()
    if theirs.exists() and theirs.samefile(case.path):
        must = "the candidate must be a different file from the reference"
        raise InputError(must, f"{theirs} twice", "pass the file that your implementation wrote")
    ignored: dict[str, str] = {}
    with open_candidate(theirs, partial(_expected, case, options), ignored) as tensors:
        return _compare(case, theirs, split_layers(tensors, case.config), options, ignored)


def _expected(case: Case, options: Options, name: str) -> tuple[tuple[int, ...], bool] | None:
    """Return the shape of the case's array that a file with this name holds, and whether it has integers."""
    ours = next((known for known, entry in (options.mapped or {}).items() if entry.name == name), None)
    ours = ours or pair([name], [*(e.name for e in case.entries), *case.input_names])[0].reference_name
    if ours is None or ours not in case.tensors:
        return None
    entries = {entry.name: entry for entry in case.entries}
    shape = entries[ours].shape if ours in entries else case.tensors[ours].shape
    return shape, case.tensors[ours].dtype == "I64"


def _compare(
    case: Case, theirs: Path, tensors: Mapping[str, Tensor], options: Options, ignored: Mapping[str, str]
) -> Result:
    entries, known = _selected(case, options), list(_names_of(case))
    pairs = pair(tensors, known, _map_in(tensors, options))
    pairs = [
        replace(p, reason=unsplit_reason(p.candidate, case.config) or p.reason) if p.reference_name is None else p
        for p in pairs
    ]
    _check_axes(case, options)
    weights = [name for name in tensors if name.endswith((".weight", ".bias"))]
    if 2 * len(weights) > len(tensors) and all(p.reference_name is None for p in pairs):
        remedy = "run your implementation on the inputs of the case, and save the arrays that it computes"
        raise InputError(f"the candidate {theirs} must hold arrays of a run", f"weights: {listed(weights, 2)}", remedy)
    by_name: dict[str, list[Pair]] = {}
    for p in pairs:
        if p.reference_name is not None:
            by_name.setdefault(p.reference_name, []).append(p)
    judge = Judge(case, options)
    inputs = [judge.input(name, tensors[p.candidate]) for name in case.input_names for p in by_name.get(name, [])]
    no_arrays = {p.reference_name: (p.candidate, ignored[p.candidate]) for p in pair(ignored, known)}
    rows: list[Row] = []
    for entry in entries:
        found = [judge.array(entry, p, tensors[p.candidate]) for p in by_name.get(entry.name, [])]
        rows += found or [_missing(entry, options, no_arrays)]
    unpaired = [p for p in pairs if p.reference_name is None]
    no_op_masks = dict.fromkeys(p.candidate for p in unpaired if _is_no_op_mask(tensors[p.candidate]))
    inputs += [Row(name, name, AGREES, notes=["all ones, the same as no mask"]) for name in no_op_masks]
    left = [p for p in unpaired if p.candidate not in no_op_masks]
    of_calls = names_of_traces(case) if any(p.meant for p in left) else set()
    absent = [p for p in left if p.meant in of_calls]
    left = [p for p in left if p.meant not in of_calls]
    return Result(case, theirs, options, inputs, rows, left, absent, dict(ignored))


def _map_in(tensors: Mapping[str, Tensor], options: Options) -> Mapping[str, Mapped] | None:
    """Return the map; with --subset, without the arrays that the candidate lacks, unless it lacks all of them."""
    mapped = {ours: entry for ours, entry in (options.mapped or {}).items() if entry.name in tensors}
    return mapped if options.subset and mapped else options.mapped


def _missing(entry: Entry, options: Options, no_arrays: Mapping[str | None, tuple[str, str]]) -> Row:
    """Return the row of an array without a candidate, or with something else under its name."""
    row = row_of(entry, None, None)
    if entry.name in no_arrays:
        row.candidate, what = no_arrays[entry.name]
        row.notes = [f"expected an array, found {what}"]
        return row
    mapped = (options.mapped or {}).get(entry.name)
    row.notes = ["missing from the candidate" + (f", where the map calls it {mapped.name}" if mapped else "")]
    return row


def _selected(case: Case, options: Options) -> list[Entry]:
    """Return the entries to compare: all, or those that --names matches."""
    patterns = patterns_of(options.names) if options.names else None
    entries = [e for e in case.entries if patterns is None or any([p.matches(e.name) for p in patterns])]
    check_all_matched(patterns or (), [e.name for e in case.entries], "--names must name an array of the case")
    return entries


def _check_axes(case: Case, options: Options) -> None:
    """Check that each axis of the case has a letter and a size, and that the map's axes are those of the case."""
    for entry in case.entries:
        letters, size = entry.axes.split(), math.prod(entry.shape)
        has_axes = len(set(letters)) == len(letters) == len(entry.shape) and all(n >= 0 for n in entry.shape)
        samples_fit = entry.samples is None or entry.samples <= size
        if (
            not has_axes
            or not samples_fit
            or any(len(sums) != len(SUMS) for sums in (entry.sums or {}).values() if sums is not None)
        ):
            found = f"{short_repr(entry.name)} of {short_repr(entry.shape)}, axes {short_repr(entry.axes)}"
            must = f"{case.path} must have one letter and one size per axis, and four sum budgets"
            raise InputError(must, found, "record the case again")
    for name, mapped in (options.mapped or {}).items():
        entry_of = {entry.name: entry for entry in case.entries}
        if mapped.axes is not None and name in entry_of:
            check_letters(mapped.axes, entry_of[name], case.config)


def _is_no_op_mask(tensor: Tensor) -> bool:
    """Whether the tensor is a mask of ones, which has the same effect as no mask."""
    name = tensor.name.rpartition("/")[2]
    if name not in ("attention_mask", "head_mask") or math.prod(tensor.shape) > MAX_MASK:
        return False
    return bool((tensor.decode(tensor.raw()) == 1).all())


def check_order(path: Path, theirs: Path) -> None:
    """Check that CASE and THEIRS are not swapped.

    Raises
    ------
    InputError
        If THEIRS is a case or a kit, and CASE is neither.
    """
    if path.exists() and _is_reference(theirs) and not _is_reference(path):
        what = "the folder of a kit" if theirs.is_dir() else "a case file"
        remedy = f"swap them: minibiogpt golden check {shlex.quote(str(theirs))} {shlex.quote(str(path))}"
        raise InputError("the reference comes first: CASE THEIRS", f"{theirs}, {what}, in the second place", remedy)


def _is_reference(path: Path) -> bool:
    try:
        if path.is_dir():
            return (path / "manifest.json").is_file() and (path / "cases").is_dir()
        return path.is_file() and read_header(path)[0].get("format") == FORMAT
    except (InputError, OSError, ValueError):
        return False


def read_case(path: Path) -> Case:
    """Read the case at the path given as CASE on the command line.

    Raises
    ------
    InputError
        If there is no such file, or it isn't a case.
    """
    if not path.exists():
        remedy = "check the path, or make a case: minibiogpt golden record"
        raise InputError("CASE must be a case file or the folder of a kit", f"no {path}", remedy)
    return Case.read(path)


def check_kit(folder: Path, theirs: Path, options: Options) -> list[tuple[str, Result | InputError | None]]:
    """Check every case of a kit against its candidate in the folder ``theirs``.

    The candidate of the case NAME is NAME with one of ENDINGS, such as ``NAME.npz``, or the folder ``NAME`` of npy or
    raw files.

    Returns
    -------
    (name, result) for each case; the result is None if there is no candidate, and an error if it cannot be checked.

    Raises
    ------
    InputError
        If the kit is invalid or was changed, ``theirs`` isn't a folder, or --names or the map has an unknown name.
    """
    if not theirs.is_dir():
        found = str(theirs) if theirs.exists() else f"no {theirs}"
        remedy = f"pass a folder with one file per case, or check one case: {folder / 'cases' / 'NAME.safetensors'}"
        raise InputError("the candidates of a kit must be a folder", found, remedy)
    cases = {case["name"]: Case.read(folder / case["file"]) for case in read_manifest(folder)["cases"]}
    case_options = _options_by_case(cases, options)
    return [(name, _check_case(cases[name], name, theirs, how)) for name, how in case_options.items()]


def candidates_of(folder: Path, theirs: Path, options: Options) -> Iterator[tuple[str, Case, Path | None, Options]]:
    """Yield the name of each case of a kit, the case, the path of its candidate or None, and its options.

    Raises
    ------
    InputError
        As ``check_kit``, and if a case has several candidates.
    """
    if not theirs.is_dir():
        found = str(theirs) if theirs.exists() else f"no {theirs}"
        remedy = f"pass a folder with one file per case, or one case: {folder / 'cases' / 'NAME.safetensors'}"
        raise InputError("the candidates of a kit must be a folder", found, remedy)
    cases = {case["name"]: Case.read(folder / case["file"]) for case in read_manifest(folder)["cases"]}
    for name, how in _options_by_case(cases, options).items():
        paths = [theirs / f"{name}{ending}" for ending in ENDINGS if (theirs / f"{name}{ending}").exists()]
        if len(paths) > 1:
            found = " and ".join(path.name for path in paths)
            raise InputError(f"the case {name} must have one candidate in {theirs}", found, "remove all but one")
        yield name, cases[name], paths[0] if paths else None, how


def _options_by_case(cases: Mapping[str, Case], options: Options) -> dict[str, Options]:
    """Return {case: options} of the cases that --names matches, each with the --names and the map that are for it."""
    every = {name: None for case in cases.values() for name in _names_of(case)}
    for ours in options.mapped or ():
        check_map_name("a case of the kit", ours, every)
    patterns, found = patterns_of(options.names) if options.names else None, {}
    for name, case in cases.items():
        known = _names_of(case)
        mapped = {ours: entry for ours, entry in (options.mapped or {}).items() if ours in known}
        how = replace(options, mapped=mapped or None)
        if patterns is None:
            found[name] = how
        elif matching := [p.text for p in patterns if any([p.matches(entry.name) for entry in case.entries])]:
            found[name] = replace(how, names=matching)
    arrays = {entry.name: None for case in cases.values() for entry in case.entries}
    check_all_matched(patterns or (), arrays, "--names must name an array of a case")
    return found


def _names_of(case: Case) -> dict[str, None]:
    return dict.fromkeys([*(entry.name for entry in case.entries), *case.input_names])


def unmatched_files(theirs: Path, names: Sequence[str]) -> list[str]:
    """Return the files in the folder of candidates that belong to no case, such as mistyped names."""
    known = {f"{name}{ending}" for name in names for ending in ENDINGS}
    return sorted(path.name for path in theirs.iterdir() if path.name not in known)


def _check_case(case: Case, name: str, theirs: Path, options: Options) -> Result | InputError | None:
    """Return the result of one case of a kit. What is wrong with its candidate doesn't end the check of the others."""
    paths = [theirs / f"{name}{ending}" for ending in ENDINGS if (theirs / f"{name}{ending}").exists()]
    if len(paths) > 1:
        found = " and ".join(path.name for path in paths)
        return InputError(f"the case {name} must have one candidate in {theirs}", found, "remove all but one")
    try:
        return check(case, paths[0], options) if paths else None
    except InputError as error:
        return error
