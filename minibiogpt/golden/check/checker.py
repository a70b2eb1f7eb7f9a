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
from minibiogpt.golden.check.calls import expected, names_of, names_of_traces
from minibiogpt.golden.check.compare import SUMS
from minibiogpt.golden.check.evidence.conclusions import conclude, differs_only_at_padding
from minibiogpt.golden.check.evidence.conventions import take_after_norm
from minibiogpt.golden.check.evidence.numbers import check_precisions, precisions_for
from minibiogpt.golden.check.judge import Judge, row_of
from minibiogpt.golden.check.layouts import check_letters
from minibiogpt.golden.check.mapping import (
    Mapped,
    check_keys,
    check_map_name,
    check_theirs,
    chosen,
    filled,
    with_axes_of,
)
from minibiogpt.golden.check.outputs import split_layers, unsplit_reason
from minibiogpt.golden.check.pairing import Pair, guess_tool, pair
from minibiogpt.golden.check.result import AGREES, Options, Result, Row
from minibiogpt.golden.format.case import FORMAT, Case, Entry
from minibiogpt.golden.format.manifest import read_manifest
from minibiogpt.trace.missing import check_all_matched
from minibiogpt.trace.patterns import patterns_of

ENDINGS = (*WHOLE, "")  # of a candidate's file name in a kit; a folder has none
LEFT = "--skip must leave an array to compare"
MAX_MASK = 1 << 20  # elements of an unpaired mask that is checked to be all ones


def check(case: Case, theirs: Path, options: Options | None = None) -> Result:
    """Compare a candidate with a case.

    Raises
    ------
    InputError
        If the candidate cannot be read or is the case itself, or if --names, --skip or the map has an unknown name.
    """
    options = options or Options()
    if theirs.exists() and theirs.samefile(case.path):
        must = "the candidate must be a different file from the reference"
        raise InputError(must, f"{theirs} twice", "pass the file that your implementation wrote")
    ignored: dict[str, str] = {}
    entries = filled(options.mapped or {}, names_of(case))
    entries = with_axes_of(entries, {entry.name: entry.axes for entry in case.entries})
    if not options.map_of_kit:
        check_keys(options.mapped or {}, entries, names_of(case))
    mapped = {name: ours for ours, (_, entry) in reversed(entries.items()) for name in reversed(entry.names)}
    with open_candidate(theirs, partial(expected, case, mapped, options.names_of), ignored) as tensors:
        split = split_layers(tensors, case.config)
        found = chosen(entries, split)
        used = frozenset(key for key, _ in found.values())
        if not options.map_of_kit and not (options.subset and used):
            check_theirs(entries, used, "the candidate", split)
        result = _compare(case, theirs, split, options, ignored, entries)
        result.map_keys = used
        return result


def _compare(
    case: Case,
    theirs: Path,
    tensors: Mapping[str, Tensor],
    options: Options,
    ignored: Mapping[str, str],
    in_map: Mapping[str, tuple[str, Mapped]],
) -> Result:
    entries, known = _selected(case, options), list(names_of(case))
    if not entries:
        raise InputError(LEFT, "every one skipped", "skip fewer arrays")
    mapped = {ours: entry for ours, (_, entry) in chosen(in_map, tensors).items()}
    guessed = None if options.names_of else guess_tool(tensors, known, mapped)
    tool = options.names_of or guessed
    pairs = pair(tensors, known, mapped, tool)
    pairs = [
        replace(p, reason=unsplit_reason(p.candidate, case.config) or p.reason) if p.reference_name is None else p
        for p in pairs
    ]
    _check_axes(case, in_map)
    weights = [name for name in tensors if name.endswith((".weight", ".bias"))]
    if 2 * len(weights) > len(tensors) and all(p.reference_name is None for p in pairs):
        remedy = "run your implementation on the inputs of the case, and save the arrays that it computes"
        raise InputError(f"the candidate {theirs} must hold arrays of a run", f"weights: {listed(weights, 2)}", remedy)
    by_name: dict[str, list[Pair]] = {}
    for p in pairs:
        if p.reference_name is not None:
            by_name.setdefault(p.reference_name, []).append(p)
    judge = Judge(case, options)
    after_norm = take_after_norm(case, by_name, lambda entry, p: judge.array(entry, p, tensors[p.candidate]))
    inputs = [judge.input(name, tensors[p.candidate]) for name in case.input_names for p in by_name.get(name, [])]
    no_arrays = {p.reference_name: (p.candidate, ignored[p.candidate]) for p in pair(ignored, known, names_of=tool)}
    real_only = Judge(case, replace(options, real_only=True))

    def without_padding(row: Row) -> Row:
        p = next(p for p in by_name[row.name] if p.candidate == row.candidate)
        return real_only.array(case.entry(row.name), p, tensors[p.candidate])

    rows: list[Row] = []
    for entry in entries:
        found = [judge.array(entry, p, tensors[p.candidate]) for p in by_name.get(entry.name, [])]
        rows += found or [after_norm.get(entry.name) or _missing(entry, in_map, no_arrays)]
    conclude(case, rows, options.accept)
    padding_only = not options.real_only and differs_only_at_padding(case, rows, without_padding)
    unpaired = [p for p in pairs if p.reference_name is None]
    no_op_masks = dict.fromkeys(p.candidate for p in unpaired if _is_no_op_mask(tensors[p.candidate]))
    inputs += [Row(name, name, AGREES, notes=["all ones, the same as no mask"]) for name in no_op_masks]
    left = [p for p in unpaired if p.candidate not in no_op_masks]
    of_calls = names_of_traces(case) if options.mapped or any(p.meant for p in left) else set()
    in_calls = {name: x for x, (_, one) in filled(options.mapped or {}, of_calls).items() for name in one.names}
    left = [replace(p, meant=p.meant or in_calls.get(p.candidate, "")) for p in left]
    absent, left = ([p for p in left if (p.meant in of_calls) == is_absent] for is_absent in (True, False))
    return Result(
        case, theirs, options, inputs, rows, left, absent, dict(ignored), guessed or "", padding_only=padding_only
    )


def _missing(
    entry: Entry, in_map: Mapping[str, tuple[str, Mapped]], no_arrays: Mapping[str | None, tuple[str, str]]
) -> Row:
    """Return the row of an array without a candidate, or with something else under its name."""
    row = row_of(entry, None, None)
    if entry.name in no_arrays:
        row.candidate, what = no_arrays[entry.name]
        row.notes = [f"expected an array, found {what}"]
        return row
    names = in_map[entry.name][1].names if entry.name in in_map else ()
    row.notes = ["missing from the candidate" + (f", where the map calls it {' or '.join(names)}" if names else "")]
    return row


def _selected(case: Case, options: Options) -> list[Entry]:
    """Return the entries to compare: all, or those that --names matches, without those that --skip matches."""
    patterns = patterns_of(options.names) if options.names else None
    entries = [e for e in case.entries if patterns is None or any([p.matches(e.name) for p in patterns])]
    check_all_matched(patterns or (), [e.name for e in case.entries], "--names must name an array of the case")
    skipping = patterns_of(options.skip) if options.skip else []
    skipped = [e.name for e in case.entries if any([p.matches(e.name) for p in skipping])]
    check_all_matched(skipping, [e.name for e in case.entries], "--skip must name an array of the case")
    check_precisions(options, [e.name for e in case.entries], "the case")
    return [e for e in entries if e.name not in skipped]


def _check_axes(case: Case, in_map: Mapping[str, tuple[str, Mapped]]) -> None:
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
    entry_of = {entry.name: entry for entry in case.entries}
    for name, (_, mapped) in in_map.items():
        if mapped.axes is not None and name in entry_of:
            check_letters(mapped.axes, entry_of[name], case.config)


def _is_no_op_mask(tensor: Tensor) -> bool:
    """Whether the tensor is a mask of ones, which has the same effect as no mask."""
    name = tensor.name.rpartition("/")[2]
    if name not in ("attention_mask", "head_mask") or math.prod(tensor.shape) > MAX_MASK:
        return False
    return bool((tensor.decode(tensor.raw()) == 1).all())


def check_order(path: Path, theirs: Path, command: str = "check") -> None:
    """Check that CASE and THEIRS of a ``golden`` command are not swapped.

    Raises
    ------
    InputError
        If THEIRS is a case or a kit, and CASE is neither.
    """
    if path.exists() and _is_reference(theirs) and not _is_reference(path):
        what = "the folder of a kit" if theirs.is_dir() else "a case file"
        remedy = f"swap them: minibiogpt golden {command} {shlex.quote(str(theirs))} {shlex.quote(str(path))}"
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
    found = candidates_of(folder, theirs, options)
    results = [(name, _check_case(case, path, how)) for name, case, path, how in found]
    _check_map_of_kit(options, [result for _, result in results if result is not None])
    return results


def candidates_of(
    folder: Path, theirs: Path, options: Options
) -> Iterator[tuple[str, Case, Path | InputError | None, Options]]:
    """Yield the name of each case, the case, its candidate's path (None if absent, an error if many), and options.

    Raises
    ------
    InputError
        As ``check_kit``.
    """
    cases = cases_of_kit(folder, theirs)
    for name, how in _options_by_case(cases, options).items():
        path: Path | InputError | None
        try:
            path = candidate_of(theirs, name)
        except InputError as error:
            path = error
        yield name, cases[name], path, how


def cases_of_kit(folder: Path, theirs: Path) -> dict[str, Case]:
    """Return {name: case} of a kit, whose candidates must be in the folder ``theirs``."""
    if not theirs.is_dir():
        found = str(theirs) if theirs.exists() else f"no {theirs}"
        remedy = f"pass a folder with one file per case, or check one case: {folder / 'cases' / 'NAME.safetensors'}"
        raise InputError("the candidates of a kit must be a folder", found, remedy)
    return {case["name"]: Case.read(folder / case["file"]) for case in read_manifest(folder)["cases"]}


def _options_by_case(cases: Mapping[str, Case], options: Options) -> dict[str, Options]:
    """Return {case: options} of the cases of which arrays are compared, each with the --names and --skip for it."""
    every = {name: None for case in cases.values() for name in names_of(case)}
    used = {key for key, _ in filled(options.mapped or {}, every).values()}
    for ours in options.mapped or ():
        if ours not in used:
            check_map_name("a case of the kit", ours, every)
    patterns, found = patterns_of(options.names) if options.names else None, {}
    skipping = patterns_of(options.skip) if options.skip else []
    for name, case in cases.items():
        arrays = [entry.name for entry in case.entries]
        names = None if patterns is None else [p.text for p in patterns if any([p.matches(array) for array in arrays])]
        skip = [p.text for p in skipping if any([p.matches(array) for array in arrays])]
        how = replace(options, names=names, skip=skip or None, map_of_kit=True)
        how = replace(how, precisions=precisions_for(options, arrays))
        if names is None or names:
            found[name] = how
    arrays = list({entry.name: None for case in cases.values() for entry in case.entries})
    check_all_matched(patterns or (), arrays, "--names must name an array of a case")
    check_all_matched(skipping, arrays, "--skip must name an array of a case")
    check_precisions(options, arrays)
    left = {name: how for name, how in found.items() if _selected(cases[name], how)}
    if not left:
        raise InputError(LEFT, "every one skipped", "skip fewer arrays")
    return left


def _check_map_of_kit(options: Options, results: Sequence[Result | InputError]) -> None:
    """Check that each name of the map is in one candidate at least; with --subset, that one of all names is."""
    compared = [result for result in results if isinstance(result, Result)]
    used = frozenset[str]().union(*(result.map_keys for result in compared))
    if not options.mapped or len(compared) < len(results) or not compared or (options.subset and used):
        return
    entries = filled(options.mapped, [name for result in compared for name in names_of(result.case)])
    unpaired = [one.candidate for result in compared for one in result.unpaired]
    check_theirs(entries, used, "a candidate of the kit", unpaired)


def unmatched_files(theirs: Path, names: Sequence[str]) -> list[str]:
    """Return the files in the folder of candidates that belong to no case, such as mistyped names."""
    known = {f"{name}{ending}" for name in names for ending in ENDINGS}
    return sorted(path.name for path in theirs.iterdir() if path.name not in known)


def candidate_of(theirs: Path, name: str) -> Path | None:
    """Return the candidate of one case in the folder of a kit's candidates; None if there is none."""
    paths = [theirs / f"{name}{ending}" for ending in ENDINGS if (theirs / f"{name}{ending}").exists()]
    if len(paths) > 1:
        found = " and ".join(path.name for path in paths)
        raise InputError(f"the case {name} must have one candidate in {theirs}", found, "remove all but one")
    return paths[0] if paths else None


def _check_case(case: Case, path: Path | InputError | None, options: Options) -> Result | InputError | None:
    """Return the result of one case of a kit. What is wrong with its candidate doesn't end the check of the others."""
    try:
        return check(case, path, options) if isinstance(path, Path) else path
    except InputError as error:
        return error
