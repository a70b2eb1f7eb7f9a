"""Report the result of a kit as text: a line for each case, what fails together, and the earliest difference."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from minibiogpt.catalog.names import LAYER, STEP, template_of
from minibiogpt.catalog.steps import IDS, steps
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, listed
from minibiogpt.files.reading import read_json
from minibiogpt.golden.check.result import Options, Result, Row
from minibiogpt.golden.report.advice import SELFTEST, check_command, diagnose_command, next_command
from minibiogpt.golden.report.text import findings, plain, sentence, table

KitResults = list[tuple[str, Result | InputError | None]]
Place = tuple[int, int, int, int, int]
MAX_CASES, MAX_MISTAKES = 8, 8  # named for each first difference
# {arrays: words of the mistakes that can first show there}; a mistake may show later if arrays are missing
ABOUT = {
    "position_ids embed_positions": "(?<!all )positions|position_ids|position (?:offset|table|-1)",
    "embed_tokens": r"embed|scaled|\bids?\b",
    "embeddings": "(?<!all )positions|position_ids|position (?:offset|table|-1)|embed|scaled",
    "self_attn_layer_norm final_layer_norm layer_norm": r"\bnorms?\b|\beps\b|variance",
    "q_proj k_proj v_proj": "_proj",
    "q k v": "column|head d|key|exchanged",
    "scores": r"sqrt\(Dh\)",
    "scores_masked probs": "mask|hidden|see|causal|softmax|uniform|future|past",
    "weights": "head mask",
    "activation_fn": "GELU",
    "score logits": "logits|pooled|head tied|classifier",
    "loss": "loss|label|-100|entropy|error|square|sigmoid",
}


def results_of(results: KitResults) -> list[Result]:
    """Return the results of the cases whose candidates could be checked."""
    return [result for _, result in results if isinstance(result, Result)]


def errors_of(results: KitResults) -> list[InputError]:
    """Return the errors of the cases whose candidates could not be checked."""
    return [result for _, result in results if isinstance(result, InputError)]


def kit_code(results: KitResults, subset: bool) -> int:
    """Return the exit code of a kit.

    0: all cases agree. 1: a case differs, or has no candidate (unless ``subset``). 2: a candidate could not be
    checked, or nothing was compared.
    """
    found = results_of(results)
    if errors_of(results) or not any(result.compared for result in found):
        return 2
    return int(any(result.code for result in found) or (len(found) < len(results) and not subset))


def kit_lines(results: KitResults, kit: object, theirs: object, options: Options, every: bool = False) -> list[str]:
    """Return a line for each case, the groups of those that fail, the details of the earliest, and the verdict."""
    width = max(len(name) for name, _ in results)
    lines = [f"{_mark(result)}  {plain(name):{width}}  {_words(result)}" for name, result in results]
    found, unread = results_of(results), len(errors_of(results))
    failing = earliest(found)
    if failing is not None:
        exposes = exposed(kit)
        mistakes = exposes.get(failing.case.name, [])
        lines += groups(found, exposes)
        lines += ["", f"{plain(failing.case.name)}: {plain(failing.case.about)}"]
        lines += [f"it exposes: {plain('; '.join(mistakes))}"] if mistakes else []
        lines += [*table(failing, every), *findings(failing)]
    tools = [] if failing else dict.fromkeys(result.names_of for result in found if result.names_of)
    lines += [f"names read as those of {tool} (--names-of {tool})" for tool in tools]
    good = sum(result.code == 0 for result in found)
    none = sum(result is None for _, result in results)
    cannot = f"{unread} that could not be checked, " if unread else ""
    counts = f"{len(found)} cases compared, {good} agree, {cannot}{none} without a candidate, {len(results)} in all"
    if kit_code(results, options.subset) == 0:
        return [*lines, counts, f"agrees: {good} of {len(results)} cases; next: {SELFTEST}"]
    if failing is not None:
        command = next_command(failing)
        if " golden diagnose " in command:
            command = diagnose_command(kit, theirs, options)
        return [*lines, counts, f"{plain(failing.case.name)} {sentence(failing)}; next: {command}"]
    if unread:
        again = check_command(kit, theirs, options)
        return [*lines, counts, f"incomplete: {unread} of {len(results)} cases could not be checked; next: {again}"]
    again = check_command(kit, theirs, replace(options, subset=True))
    return [*lines, counts, f"incomplete: {none} of {len(results)} cases have no candidate; next: {again}"]


def earliest(found: list[Result]) -> Result | None:
    """Return the failing result whose first difference comes earliest in the order of execution, or None.

    Different inputs come before all, and a case in which nothing differs, but something is missing, after all. Equal
    places are in the order of the kit.
    """
    return min((result for result in found if result.code), key=_place, default=None)


def _place(result: Result) -> Place:
    """Return the place of the first difference, or of what failed instead."""
    if result.wrong_inputs or result.first_difference is None:
        return (0 if result.wrong_inputs else 2 if result.compared else 3, 0, 0, 0, 0)
    return _place_of(result, result.first_difference)


def _place_of(result: Result, row: Row) -> Place:
    """Return the place of an array: 1 for an array, then the call, part of the model, layer, and step there."""
    call, layer, order = STEP.match(row.name), LAYER.search(row.name), _order(result.case.architecture)
    after = len(order) + result.rows.index(row)  # an array that the catalogue doesn't have
    at = order.get(template_of(row.name), after)
    part = 1 if layer else 0 if at < order["layers.{l}"] else 2
    return (1, int(call[1]) if call else 0, part, int(layer[1]) if layer else 0, at)


@cache
def _order(architecture: str) -> dict[str, int]:
    """Return {template: its index} of a model's arrays in the order of execution."""
    try:
        one_layer = steps(BioGptConfig(num_hidden_layers=1), architecture, IDS | {"labels": "int64"})
    except InputError:  # an architecture that the catalogue doesn't have
        return _order("BioGptModel")
    return {step.template: i for i, step in enumerate(one_layer)}


def exposed(kit: object) -> dict[str, list[str]]:
    """Return {case: the mistakes that it exposes} of a kit; empty if the kit doesn't say."""
    try:
        cases = read_json(Path(str(kit)) / "manifest.json", "a kit must have a manifest.json")["cases"]
        return {str(case["name"]): [str(one) for one in case.get("exposes", ())] for case in cases}
    except (InputError, KeyError, TypeError, AttributeError):
        return {}


def groups(found: list[Result], exposes: Mapping[str, list[str]]) -> list[str]:
    """Return two lines for each first difference, the earliest first: its cases, and what they expose.

    A case that lacks the array of an earlier group, and shows a difference only after it, is in that group. A mistake
    that a case exposes which agrees completely isn't made, so it is left out. Only those about the array are named, if
    there are any, those that most cases of the group expose first. There are no lines if a single case fails.
    """
    failing = sorted((result for result in found if result.code), key=_place)
    if len(failing) < 2:
        return []
    ruled_out = {mistake for one in found if _is_whole(one) for mistake in exposes.get(one.case.name, ())}
    lines = ["", "what fails, by first difference, the earliest first:"]
    for members in _grouped(failing):
        what = _group(members[0])
        same = [result for result in members if _group(result) == what]
        names = [plain(result.case.name) for result in same]
        names += [f"{plain(one.case.name)} (at {plain(_group(one))})" for one in members if one not in same]
        cases = f"{len(names)} cases: " if len(names) > 1 else ""
        lines.append(f"  {plain(what)}: {cases}{listed(names, MAX_CASES)}")
        mistakes = [one for result in same for one in exposes.get(result.case.name, ()) if one not in ruled_out]
        ordered = [mistake for mistake, _ in Counter(map(plain, mistakes)).most_common()]
        named = (list(filter(_about(what).search, ordered)) or ordered)[:MAX_MISTAKES]
        if named and members[0].first_difference is not None:
            more = f"; and {len(ordered) - len(named)} more" if len(ordered) > len(named) else ""
            lines.append(f"    exposed there: {'; '.join(named)}{more}")
    return lines


def _grouped(failing: list[Result]) -> list[list[Result]]:
    """Group results that are sorted by place; each joins the first group whose place is after its last good array."""
    found: list[list[Result]] = []
    for result in failing:
        place, start = _place(result), _place(result)
        if place[0] == 1:
            start = _place_of(result, result.last_good) if result.last_good else (1, -1, 0, 0, 0)
        group = next((one for one in found if start < _place(one[0]) or place == _place(one[0])), None)
        if group is None:
            found.append([result])
        else:
            group.append(result)
    return found


def _is_whole(result: Result) -> bool:
    """Whether all arrays of the case agree, everywhere."""
    options = result.options
    return result.code == 0 and not (result.missing or options.names or options.last or options.real_only)


def _group(result: Result) -> str:
    """Return what the results of a group have in common: the array of the first difference, or why there is none."""
    first = result.first_difference
    if result.wrong_inputs:
        return "different inputs"
    if first is None:
        return "nothing differs, but arrays are missing" if result.compared else "nothing compared"
    return first.name.removeprefix("step.0/")


def _about(name: str) -> re.Pattern[str]:
    """Return the expression for the mistakes that are about an array; for others, one that nothing matches."""
    last = name.rpartition("/")[2].rpartition(".")[2]
    return re.compile(next((words for names, words in ABOUT.items() if last in names.split()), "(?!)"))


def _mark(result: Result | InputError | None) -> str:
    if not isinstance(result, Result) or not result.compared:
        return "? "
    return "ok" if result.code == 0 else "X "


def _words(result: Result | InputError | None) -> str:
    if isinstance(result, InputError):
        return plain(f"not checked: {result}")
    return "not comparable: no candidate" if result is None else sentence(result)
