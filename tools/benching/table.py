"""The report as text: one line per row, and blocks for loading, growth, memory and the machine."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError
from tools.benching import products
from tools.benching.peers.registry import ATTENTIONS
from tools.benching.variants import NONE

WIDTH = 120
GAP = " "
ABREAST = 2  # peers in one table; more of them get further tables


def text(report: dict[str, Any]) -> str:
    """Format a report in lines of at most ``WIDTH`` characters, unless its numbers are unusually long."""
    tf32 = " with TF32" if report.get("tf32") else ""
    settings = (
        f"{report['dtype']}{quantization(report)}{tf32} on {report['backend']}{products.title(report['machine'])}"
    )
    title = f"{report['benchmark']}, {report['model']}, {settings}"
    blocks = [f"{title}: unfinished" if report.get("unfinished") else title]
    if report.get("answers"):
        lines = [f"  {answer_line(side, facts)}" for side, facts in report["answers"].items()]
        lines = [textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in lines]
        blocks.append("\n".join(["answers, compared before anything was timed", *lines]))
    if report.get("rows"):
        blocks.append(timed(report["rows"], report["peers"]))
    if sides := precisions(report):
        blocks.append(textwrap.fill(sides, WIDTH, break_on_hyphens=False))
    further = {
        "launches": launches, "results": loading, "growth": growth, "memory": memory, "device_memory": device_memory,
    }  # fmt: skip
    blocks += [block(report) for name, block in further.items() if name in report]
    if report.get("left_out"):
        blocks.append(f"left out, because they are measured on the CPU: {', '.join(report['left_out'])}")
    return "\n\n".join([*blocks, machine(report["machine"])])


def quantization(report: dict[str, Any]) -> str:
    """Return how the weights of "ours" are quantized, for a title; "" if they are not."""
    found = report.get("quantization", NONE)
    return "" if found == NONE else f", weights in {found}"


def precisions(report: dict[str, Any]) -> str:
    """Return what each side multiplies with; "" if no weights are quantized by a format that this project knows.

    Examples
    --------
    >>> precisions({"sides": {"ours": "float32", "ours-nf4": "weights nf4, products in float32"}})
    'ours: float32; ours-nf4: weights nf4, products in float32'
    """
    sides = report.get("sides", {})
    return "; ".join(f"{side}: {what}" for side, what in sides.items()) if "weights" in str(sides.values()) else ""


def timed(rows: Sequence[dict[str, Any]], peers: Sequence[str]) -> str:
    """Format one line per row: medians [min-max], ratios with their min-max within a round, and the limit."""
    lines: list[str] = []
    for start in range(0, len(peers), ABREAST):
        group = peers[start : start + ABREAST]
        found = [_abreast(rows, peers, group)]
        if max(map(len, found[0])) > WIDTH:  # long names
            found = [_abreast(rows, peers, [peer]) for peer in group]
        for block in found:
            lines += [*([""] if lines else []), *block]
    return "\n".join([*lines, *(note for row in rows for note in notes(row)), *missing(rows)])


def _abreast(rows: Sequence[dict[str, Any]], peers: Sequence[str], shown_here: Sequence[str]) -> list[str]:
    titles = ["milliseconds", "ours", *shown_here, *(f"ours/{peer}" for peer in shown_here), "limit", "/limit"]
    lines = [titles, *(_cells(row, peers, shown_here) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    shown = [GAP.join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(line)) for line in lines]
    return [line.rstrip() for line in shown]


def side_of(row: dict[str, Any], peer: str, peers: Sequence[str]) -> str | None:
    """Return the side that a peer is in a row; without attention, the first of transformers is its only side.

    Examples
    --------
    >>> row = {"milliseconds": {"ours": {}, "transformers": {}}}
    >>> [side_of(row, peer, ["openvino", "sdpa", "eager"]) for peer in ("openvino", "sdpa", "eager")]
    [None, 'transformers', None]
    """
    times = row["milliseconds"]
    if peer in times:
        return peer
    first = next((one for one in peers if one in ATTENTIONS), None)
    return "transformers" if peer == first and "transformers" in times else None


def _cells(row: dict[str, Any], peers: Sequence[str], shown_here: Sequence[str]) -> list[str]:
    times, ratios = row["milliseconds"], row["ratios"]
    names = [side_of(row, peer, peers) for peer in shown_here]
    absent = ["-" if peer in row.get("missing", {}) else "" for peer in shown_here]
    cells = [row["case"], spread_of(times["ours"])]
    cells += [spread_of(times[name]) if name else mark for name, mark in zip(names, absent, strict=True)]
    cells += [ratio_of(ratios[name]) if name in ratios else mark for name, mark in zip(names, absent, strict=True)]
    if row["limit_milliseconds"] is None:
        return [*cells, "", ""]
    return [*cells, number(row["limit_milliseconds"]), f"{row['over_limit']:.2f}"]


def number(value: float) -> str:
    """Format with three significant digits, or all digits before the decimal point.

    Examples
    --------
    >>> number(0.01234), number(1.5), number(9.996), number(12345.6)
    ('0.0123', '1.50', '10.0', '12346')
    """
    for least, form in ((99.95, ".0f"), (9.995, ".1f"), (0.9995, ".2f"), (0.09995, ".3f")):
        if abs(value) >= least:
            return f"{value:{form}}"
    return f"{value:.4f}"


def spread_of(values: dict[str, float]) -> str:
    return f"{number(values['median'])} [{number(values['least'])}-{number(values['largest'])}]"


def ratio_of(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} {values['least']:.2f}-{values['largest']:.2f}"


def notes(row: dict[str, Any]) -> list[str]:
    """Return the notes below the table: different results, rates, further sides, parts."""
    found = [
        f"{row['case']}: {side} gave a different result than ours; with random weights near ties can cause this"
        f"{equal(row.get('equal_ids', {}).get(side))}"
        for side, same in row["same"].items()
        if not same
    ]
    times = row["milliseconds"]
    if row["things"]:
        rates = [f"{side} {row['things'] / values['median'] * 1000:,.0f}" for side, values in times.items()]
        found.append(f"{row['case']}, per second: {', '.join(rates)}")
    found += [f"{row['case']}: {s} took {spread_of(v)} ms" for s, v in times.items() if s not in _paired(row)]
    for side, parts in row.get("parts", {}).items():
        found.append(f"{row['case']}, {side}: {', '.join(f'{name} {number(x)} ms' for name, x in parts.items())}")
    return [f"  {note}" for note in found]


def missing(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return one note for each reason that something is not measured.

    Examples
    --------
    >>> missing([{"case": "beam 5x32, step", "missing": {"openvino": "has no beam search"}}])
    ['  - (beam 5x32, step): openvino has no beam search']
    """
    cases: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for peer, reason in row.get("missing", {}).items():
            cases.setdefault((peer, reason), []).append(row["case"])
    peers: dict[tuple[str, str], list[str]] = {}
    for (peer, reason), found in cases.items():
        peers.setdefault(("; ".join(found), reason), []).append(peer)
    return [f"  - ({found}): {', '.join(names)} {reason}" for (found, reason), names in peers.items()]


def answer_line(side: str, facts: dict[str, Any]) -> str:
    """Return how far the logits of a peer are from ours.

    Examples
    --------
    >>> answer_line("sdpa", {"right": True, "largest": 1e-5, "of": 5.0, "relative": 2e-6, "equal": 1.0})
    'sdpa: logits within 1e-05 of ours, whose largest is 5; relative difference 2e-06; 100.0 % of argmax equal'

    The facts name the side that a peer was compared with, if it is not "ours".
    """
    if not facts["right"]:
        return f"{side}: not measured, because it {facts['reason']}"
    reference = facts.get("reference", "ours")
    largest = f"{side}: logits within {facts['largest']:.2g} of {reference}, whose largest is {facts['of']:.3g}"
    return f"{largest}; relative difference {facts['relative']:.1g}; {100 * facts['equal']:.1f} % of argmax equal"


def equal(fraction: float | None) -> str:
    """Return the end of a note, if ids were compared."""
    return "" if fraction is None else f"; {100 * fraction:.1f} % of the ids are equal"


def _paired(row: dict[str, Any]) -> set[str]:
    return {"ours", *row["ratios"]}


def launches(report: dict[str, Any]) -> str:
    """Format the launch limit of Python and the driver: one launch, and a one-token forward pass in launches."""
    facts = report["launches"]
    lines = ["launch limit: tiny kernels queued one after another from Python, and one-token forward passes"]
    lines.append(f"after {facts['tokens']} tokens queued the same way (outside generate; ours without the CUDA graph)")
    for side, found in facts["sides"].items():
        launch, step = found["launch_seconds"], found["step_seconds"]
        forward = f"a pass takes {number(1000 * step)} ms, as long as {step / launch:,.0f} launches"
        lines.append(f"  {side:14}{number(1e6 * launch)} us a launch; {forward}")
    return "\n".join(lines)


def loading(report: dict[str, Any]) -> str:
    """Format both libraries side by side, with the ratio ours / theirs: below 1 is less memory, or faster."""
    ours, theirs = report["results"].values()
    lines = [f"load, weights {shown('file_bytes', report['file_bytes'])}, minimum of all rounds"]
    lines.append(f"{'':18}" + "".join(f"{title:>16}" for title in (*report["results"], "ratio")))
    for name, mine in ours.items():
        label = name.replace("_bytes", "").replace("_", " ")
        row = f"{shown(name, mine):>16}{shown(name, theirs[name]):>16}{mine / theirs[name]:16.2f}"
        lines.append(f"{label:18}{row}")
    return "\n".join(lines)


def shown(name: str, value: float) -> str:
    return f"{value / 1e9:,.3f} GB" if name.endswith("bytes") else f"{value:.3f} s"


def growth(report: dict[str, Any]) -> str:
    """Format each point: the measured time, the fitted time a + b operations, and the difference."""
    lines = ["growth: seconds = a + b operations, by least squares; milliseconds measured (fitted, difference)"]
    for name, found in report["growth"].items():
        lines.append(f"{name}, at " + ", ".join(map(str, found["tokens"])) + " tokens")
        for side, facts in found["sides"].items():
            points = zip(facts["seconds"], facts["fitted_seconds"], facts["percent"], strict=True)
            shown_points = [f"{number(1000 * s)} ({number(1000 * f)}, {p:+.0f}%)" for s, f, p in points]
            rate = "below 0" if facts["gflops"] is None else f"{number(facts['gflops'])} GFLOP/s"
            lines.append(
                f"  {side:6} a {number(1000 * facts['fixed_seconds'])} ms, b {rate}: {'  '.join(shown_points)}"
            )
    return "\n".join(lines)


def memory(report: dict[str, Any]) -> str:
    """Format the peaks, their ratio to the memory needed, and resident memory while 2,000 tokens are generated."""
    facts = report["memory"]
    needed = f"needed for weights, cache and activations of one layer: {mega(facts['needed_bytes'])}"
    wide = max(16, *(len(side) + 1 for side in facts["sides"]))
    lines = [f"memory, MB; {needed}", f"  {'peak after':{wide}}{'import':>9}{'load':>9}{facts['tokens']:>7} t"]
    lines[-1] += f"{facts['positions']:>7} t{'(peak - import) / needed':>26}{'held after load':>17}{'at the end':>12}"
    for side, found in facts["sides"].items():
        if "missing" in found:
            lines.append(f"  {side:{wide}} not measured: {found['missing']}")
            continue
        peaks = "".join(f"{mega(value):>9}" for value in found["peak_bytes"].values())
        after, end = held(found)
        lines.append(f"  {side:{wide}}{peaks}{found['over_needed']:26.2f}{after:>17}{end:>12}")
    cache = f"each adds {mega(facts['cache_bytes'])} of cache"
    lines.append(f"resident after every {facts['every']} new tokens of one generation by a small model, MB; {cache}")
    for side, found in facts["sides"].items():
        if not found.get("resident_bytes"):  # other engines are not asked for it
            continue
        lines += textwrap.wrap(
            f"  {side}: " + " ".join(map(mega, found["resident_bytes"])), WIDTH, subsequent_indent="    "
        )
    return "\n".join(lines)


def held(found: dict[str, Any]) -> list[str]:
    """Return what is resident after the load and at the end, or "-" where it was not measured."""
    return [mega(found["held_bytes"][name]) if found.get("held_bytes") else "-" for name in ("load", "generate")]


def device_memory(report: dict[str, Any]) -> str:
    """Format the memory that the pool of each library has reserved on the device, and its growth."""
    facts = report["device_memory"]
    minimum = f"weights {mega(facts['weights_bytes'])}, cache of all {facts['positions']} positions"
    bound = f"1.2 times both: {mega(facts['bound_bytes'])}"
    lines = [f"device memory, MB, reserved by each library's pool; {minimum} {mega(facts['cache_bytes'])}; {bound}"]
    stages = f"{'load':>10}{facts['tokens']:>8} t{facts['new']:>6} new"
    lines.append(f"  {'after':12}{stages}{'/ (weights + cache)':>22}")
    for side, found in facts["sides"].items():
        reserved = "".join(f"{mega(value):>10}" for value in found["reserved_bytes"].values())
        lines.append(f"  {side:12}{reserved}{found['over_weights_and_cache']:22.2f}")
    lines.append(f"reserved after every {facts['every']} of these new tokens, MB")
    for side, found in facts["sides"].items():
        each = f"  {side}: " + " ".join(map(mega, found["samples_bytes"]))
        lines += textwrap.wrap(each, WIDTH, subsequent_indent="    ")
    return "\n".join(lines)


def mega(value: float) -> str:
    return f"{value / 1e6:.1f}"


def machine(facts: dict[str, Any]) -> str:
    separate = ("rates", "bandwidth", "operations", "device", "engines")
    plain = {name: value for name, value in facts.items() if name not in separate} | facts.get("engines", {})
    words = _device(facts.get("device", {}))
    words += [f"{name if name.isupper() else name.replace('_', ' ')} {value}" for name, value in plain.items()]
    if "bandwidth" in facts:
        words += [f"reads {facts['bandwidth'] / 1e9:.1f} GB/s", f"multiplies {facts['operations'] / 1e9:.0f} GFLOP/s"]
    return "\n".join(textwrap.wrap(", ".join(words), WIDTH))


def _device(facts: dict[str, Any]) -> list[str]:
    sizes = {"memory": lambda value: f"{value / 1e9:.1f} GB"}
    return [f"{name.replace('_', ' ')} {sizes.get(name, str)(value)}" for name, value in facts.items()]


def main(arguments: Sequence[str]) -> int:
    """Print again what was measured: from files of --results, or reports of --json.

    With --markdown as Markdown. With --ours=SIDE, such as --ours=ours-nf4, that side takes the place of ours.
    """
    from tools.benching import assembly, markdown  # here, because markdown.py uses this module

    as_markdown, files = "--markdown" in arguments, [name for name in arguments if not name.startswith("--")]
    seen = [name.removeprefix("--ours=") for name in arguments if name.startswith("--ours=")]
    try:
        reports = [assembly.stored(Path(name)) for name in files]
        for side in seen:
            reports = [assembly.seen_from(report, side) for report in reports]
    except InputError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(markdown.text(report) if as_markdown else text(report) for report in reports))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
