"""minibiogpt golden check: compare the arrays of another implementation with a case or a kit."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minibiogpt.cli.golden.comparing import add_comparison, comparison_of
from minibiogpt.cli.options import add_json, print_json
from minibiogpt.cli.outputs import check_output, inputs_of
from minibiogpt.errors import InputError, listed

MAP_THEM = "map the names with --map (minibiogpt golden map proposes a map), or rename the arrays"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_comparison(parser, "a case file, the folder of a kit, or the tokenizer.json of a kit")
    parser.add_argument("--all", action="store_true", help="print a line for every array, including those that agree")
    parser.add_argument("--html", metavar="FILE", help="also write an HTML page with a plot")
    parser.add_argument("--junit", metavar="FILE", help="also write JUnit XML, for continuous integration")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Compare, print, and return the exit code: 0 agrees, 1 differs or incomplete, 2 nothing could be compared."""
    from minibiogpt.golden.check.checker import check, check_order, read_case

    path, theirs = Path(options.case), Path(options.theirs)
    for file, option in ((options.html, "--html"), (options.junit, "--junit")):
        check_page_path(file, option, (path, theirs))
        check_output(file, option, inputs_of(options, model=False))
    if options.html and options.junit and os.path.realpath(options.html) == os.path.realpath(options.junit):
        raise InputError("--html and --junit must name two files", options.junit, "choose another name")
    if path.suffix == ".json":
        return _check_tokens(path, theirs, options)
    check_order(path, theirs)
    check_options = comparison_of(options)
    if path.is_dir():
        return _check_kit(path, theirs, check_options, options)
    result = check(read_case(path), theirs, check_options)
    if result.compared:  # a page of nothing would look like a result
        _write_page(options.html, result)
    _write_junit(options.junit, [(result.case.name, result)], check_options.subset)
    return _show(result, options)


def _show(result: Any, options: argparse.Namespace) -> int:
    from minibiogpt.golden.report.json_report import as_json
    from minibiogpt.golden.report.text import lines_of

    if options.json:
        print_json(as_json(result))
    else:
        print("\n".join(lines_of(result, options.all)))
    if not result.compared:
        raise nothing_compared(result)
    return result.code


def nothing_compared(result: Any) -> InputError:
    """Return the error of a check that compared nothing, with the first reason."""
    from minibiogpt.golden.report.advice import next_command

    reasons = [f"{array.candidate}: {array.reason}" for array in result.unpaired]
    reasons += [f"{row.candidate}: {'; '.join(row.notes)}" for row in result.rows if row.candidate is not None]
    found = f"none of {len(result.rows)}" + (f" ({reasons[0]})" if reasons else "")
    command = next_command(result)
    remedy = f"run {command}" if " check " in command else MAP_THEM
    return InputError("at least one array must be compared", found, remedy)


def _write_page(file: str | None, result: Any) -> None:
    if file is not None:
        from minibiogpt.golden.report.page import write_page

        write_page(Path(file), result)


def _write_junit(file: str | None, results: Any, subset: bool) -> None:
    if file is not None:
        from minibiogpt.golden.report.junit import suites_of, write_junit

        write_junit(Path(file), suites_of(results, subset))


def check_page_path(file: str | None, option: str, inputs: Sequence[Path]) -> None:
    """Check that the report would not overwrite a file that is compared."""
    page = None if file is None else Path(os.path.realpath(file))  # unlike resolve, accepts a loop of symbolic links
    for path in inputs:
        if page is not None and page.is_relative_to(os.path.realpath(path)):
            must = f"the {'page' if option == '--html' else 'report'} must not overwrite a file that is compared"
            raise InputError(must, f"{option} {file}", "choose another name")


def _check_kit(path: Path, theirs: Path, check_options: Any, options: argparse.Namespace) -> int:
    """Print a line for each case, then the details of the one that fails earliest in the order of execution."""
    from minibiogpt.golden.check.checker import check_kit, unmatched_files
    from minibiogpt.golden.report.kit_text import earliest, errors_of, kit_code, kit_lines, results_of
    from minibiogpt.golden.report.text import plain

    results = check_kit(path, theirs, check_options)
    errors, tried = errors_of(results), results_of(results)
    compared = [result for result in tried if result.compared]
    if compared:
        _write_page(options.html, earliest(compared) or compared[0])
    _write_junit(options.junit, results, check_options.subset)
    code = kit_code(results, check_options.subset)
    if options.json:
        cases = [_case_json(name, result) for name, result in results]
        print_json({"kit": str(path), "candidate": str(theirs), "exit_code": code, "cases": cases})
    else:
        *lines, last = kit_lines(results, path, theirs, check_options, options.all)
        unused = unmatched_files(theirs, [name for name, _ in results])
        print("\n".join([*lines, *([f"ignored: {listed(map(plain, unused), 20)}"] if unused else []), last]))
    if errors:
        raise errors[0]
    if code == 2:
        if tried:
            raise nothing_compared(tried[0])
        must = "at least one case must have a candidate"
        names = ", ".join(name for name, _ in results[:3])
        remedy = f"name the files after the cases: {names}, with an ending such as .safetensors, .npz or .pt"
        raise InputError(must, f"none in {theirs}", remedy)
    return code


def _case_json(name: str, result: Any) -> dict[str, Any]:
    """Return the JSON of one case of a kit: its result, or null; and why it was not checked, or null."""
    from minibiogpt.golden.report.json_report import as_json

    error = str(result) if isinstance(result, InputError) else None
    return {"case": name, "result": None if result is None or error else as_json(result), "error": error}


def _check_tokens(path: Path, theirs: Path, options: argparse.Namespace) -> int:
    """Compare the ids of a tokenizer with the tokenizer.json of a kit."""
    from minibiogpt.golden.format.manifest import read_manifest
    from minibiogpt.golden.kit.tokens import check_tokens

    if (path.parent / "manifest.json").exists():
        read_manifest(path.parent)  # raises if a file of the kit was changed
    report = check_tokens(path, theirs)
    if options.junit:
        from minibiogpt.golden.report.junit import token_suites, write_junit

        write_junit(Path(options.junit), token_suites(report))
    if options.json:
        print_json(asdict(report) | {"exit_code": report.code})
    else:
        print("\n".join(report.lines()))
    return report.code
