"""Cases in a worker process: one that hangs, dies or grows is a finding, and the next worker goes on behind it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NoReturn, TextIO

from minibiogpt.errors import InputError
from tools.fuzzing.guard import Limits, Strayed, prepare_worker, snapshot, watched
from tools.fuzzing.mutate import KEPT

BATCH = 400  # cases a worker runs before a fresh one takes over, so that what leaks stays small
KINDS = ("exception", "wrong", "hang", "memory", "crash", "partial", "stray")


@dataclass(frozen=True)
class Target:
    """A door of the package.

    Attributes
    ----------
    share : of a hundred cases.
    make : writes the case's files into an empty folder and returns what else there is to it (JSON), the same for the
        same random numbers.
    run : hands it to the package; raises what the package raises, and AssertionError for a wrong result.
    outputs : the paths, below the case's folder or beside it, that a run which succeeds may have made or changed.
    confined : whether nothing beside the case's folder may even be read.
    """

    name: str
    share: int
    make: Callable[[Random, Path], Any]
    run: Callable[[Path, Any], None]
    outputs: Callable[[Any], Sequence[str]] = lambda case: ()
    confined: bool = True


@dataclass(frozen=True)
class Finding:
    """What must not be: of which kind, in which case, and the traceback or the last words."""

    target: str
    seed: int
    case: int
    kind: str
    detail: str

    def replay(self) -> str:
        return f"python tools/fuzz.py --target {self.target} --seed {self.seed} --case {self.case}"


@dataclass
class Tally:
    """What became of a target's cases."""

    target: str
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return self.accepted + self.refused + len(self.findings)


def run_target(target: Target, seed: int, numbers: Sequence[int], limits: Limits = Limits()) -> Tally:  # noqa: B008
    """Run the cases of these numbers, a batch in each worker; a worker that dies does so of the case it was at."""
    tally, start = Tally(target.name), time.monotonic()
    waiting = list(numbers)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
        make_case(target, seed, numbers[0], Path(root))  # what all cases have in common is made here, once
        while waiting:
            batch = waiting[:BATCH]
            reports, death = _in_worker(target, seed, batch, limits, Path(root))
            for number, (outcome, detail) in zip(batch, reports, strict=False):
                _count(tally, seed, number, outcome, detail)
            if death and len(reports) < len(batch):
                _count(tally, seed, batch[len(reports)], *death)
            waiting = waiting[len(reports) + bool(death) :]
    tally.seconds = time.monotonic() - start
    return tally


def _count(tally: Tally, seed: int, number: int, outcome: str, detail: str) -> None:
    if outcome in KINDS:
        tally.findings.append(Finding(tally.target, seed, number, outcome, detail))
    else:
        setattr(tally, outcome, getattr(tally, outcome) + 1)


def make_case(target: Target, seed: int, number: int, root: Path) -> tuple[Path, Any]:
    """The case of this number in an empty ROOT: the folder with its files, and what else there is to it."""
    for path, (mode, *_) in snapshot(root).items():
        if stat.S_ISDIR(mode):
            os.chmod(path, stat.S_IRWXU)
    for path in root.iterdir():
        shutil.rmtree(path)
    (root / KEPT).mkdir()
    (root / KEPT / "kept").write_text("nobody has any business here\n")
    inside = root / "inside"
    inside.mkdir()
    return inside, target.make(Random(f"{target.name} {seed} {number}"), inside)


def keep(finding: Finding, target: Target, folder: Path) -> Path:
    """Save a finding's files, what else there is to it, and how to run it again; returns where."""
    place = folder / f"{finding.target}-{finding.seed}-{finding.case}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "files").mkdir(exist_ok=True)
    _, case = make_case(target, finding.seed, finding.case, place / "files")
    facts = {"kind": finding.kind, "replay": finding.replay(), "detail": finding.detail, "case": case}
    (place / "finding.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return place


def _in_worker(
    target: Target, seed: int, batch: Sequence[int], limits: Limits, root: Path
) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    """The (outcome, detail) of each case that came to an end, and of the one the worker died of, or None."""
    work, log = root / "work", root / "log"
    work.mkdir(exist_ok=True)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the child uses none of them
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _work(target, seed, batch, limits, work, writing, log)
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8") as pipe:
            reports = [tuple(json.loads(line)) for line in pipe if line.endswith("\n")]
        _, status = os.waitpid(pid, 0)
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return reports, None if len(reports) == len(batch) else _cause_of_death(status, log)


def _cause_of_death(status: int, log: Path) -> tuple[str, str]:
    last_words = log.read_text(encoding="utf-8", errors="replace")
    if len(last_words) > 4000:  # where it hangs stands first, what it raised last
        last_words = f"{last_words[:2000]}\n...\n{last_words[-2000:]}"
    if not os.WIFSIGNALED(status):
        return "crash", f"exit code {os.waitstatus_to_exitcode(status)}\n{last_words}"
    by = signal.Signals(os.WTERMSIG(status))
    if by in (signal.SIGPROF, signal.SIGALRM):
        return "hang", last_words
    out_of_memory = by == signal.SIGKILL or "memory allocation" in last_words
    return ("memory" if out_of_memory else "crash"), f"{by.name}\n{last_words}"


def _work(
    target: Target, seed: int, batch: Sequence[int], limits: Limits, work: Path, writing: int, log: Path
) -> NoReturn:
    """In the child: run the batch, a line of JSON on the pipe for each case, and never return."""
    code = 1
    words = _redirect(log)
    try:
        prepare_worker(limits, words)
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            for number in batch:
                words.truncate(0)
                pipe.write(json.dumps(_attempt(target, seed, number, limits, work)) + "\n")
                pipe.flush()
        code = 0
    except BaseException:
        traceback.print_exc(file=words)
        words.flush()
    finally:
        os._exit(code)


def _redirect(log: Path) -> TextIO:
    """Last words go to the log, which is handed back, and what is printed goes nowhere."""
    words = log.open("a", encoding="utf-8")
    os.dup2(words.fileno(), 2)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    sys.stdout = sys.stderr = words
    return words


def _attempt(target: Target, seed: int, number: int, limits: Limits, work: Path) -> tuple[str, str]:
    inside, case = make_case(target, seed, number, work)
    before = snapshot(work)
    outcome, detail = _outcome(target, inside, case, limits)
    changed = {path for path, _ in (snapshot(work).items() ^ before.items())}
    files = [path for path in sorted(changed) if path in before or not os.path.isdir(path)]
    if outcome == "refused" and files:
        return "partial", f"these changed: {files[:9]}, and yet it was refused: {detail}"
    allowed = [os.path.abspath(inside / path) for path in target.outputs(case)]
    made_for = [path for path in sorted(changed) if any(_below(output, path) for output in allowed)]  # folders above
    strays = [path for path in sorted(changed) if path not in made_for and not any(_below(path, o) for o in allowed)]
    if outcome == "accepted" and strays:
        return "stray", f"these changed: {strays[:9]}"
    return outcome, detail


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}{os.sep}")


def _outcome(target: Target, inside: Path, case: Any, limits: Limits) -> tuple[str, str]:
    hidden = inside.parent / KEPT if target.confined else None
    roof = inside if target.confined else inside.parent
    try:
        with warnings.catch_warnings(), watched(limits, inside, roof, hidden):
            warnings.simplefilter("ignore", UserWarning)  # ours
            warnings.simplefilter("error", RuntimeWarning)  # NumPy's
            target.run(inside, case)
    except InputError as error:
        return "refused", str(error)[:300]
    except AssertionError:
        return "wrong", traceback.format_exc()[-3000:]
    except Strayed as error:
        return "stray", f"{error}\n{traceback.format_exc()[-3000:]}"
    except MemoryError:
        return "memory", traceback.format_exc()[-3000:]
    except BaseException:
        return "exception", traceback.format_exc()[-3000:]
    return "accepted", ""
