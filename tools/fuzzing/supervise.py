"""Run cases in worker processes: a case that hangs, crashes or runs out of memory is a finding, and the run goes on."""

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

BATCH = 400  # cases per worker process, so that leaks stay small
KINDS = ("exception", "wrong", "hang", "memory", "crash", "partial", "stray")


@dataclass(frozen=True)
class Target:
    """An entry point of the package.

    Attributes
    ----------
    share : cases of this target, in proportion to the shares of the others.
    make : writes the files of a case into an empty folder and returns its other data (JSON); deterministic given the
        random generator.
    run : passes the case to the package; raises the errors of the package, and AssertionError for a wrong result.
    outputs : paths, relative to the folder of the case, that a successful run may create or change.
    confined : whether reading outside the folder of the case is forbidden too.
    """

    name: str
    share: int
    make: Callable[[Random, Path], Any]
    run: Callable[[Path, Any], None]
    outputs: Callable[[Any], Sequence[str]] = lambda case: ()
    confined: bool = True


@dataclass(frozen=True)
class Finding:
    """A failed case: its kind of failure, and the traceback or the last output."""

    target: str
    seed: int
    case: int
    kind: str
    detail: str

    def replay(self) -> str:
        return f"python tools/fuzz.py --target {self.target} --seed {self.seed} --case {self.case}"


@dataclass
class Tally:
    """The outcomes of the cases of one target."""

    target: str
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return self.accepted + self.refused + len(self.findings)


def run_target(target: Target, seed: int, numbers: Sequence[int], limits: Limits = Limits()) -> Tally:  # noqa: B008
    """Run the cases with these numbers in batches, one worker each; if a worker dies, its current case is a finding."""
    tally, start = Tally(target.name), time.monotonic()
    waiting = list(numbers)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
        make_case(target, seed, numbers[0], Path(root))  # fills the caches shared by all cases, once
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
    """Empty ``root`` and make the case in it; return the folder with its files, and its other data."""
    for path, (mode, *_) in snapshot(root).items():
        if stat.S_ISDIR(mode):
            os.chmod(path, stat.S_IRWXU)
    for path in root.iterdir():
        shutil.rmtree(path)
    (root / KEPT).mkdir()
    (root / KEPT / "kept").write_text("must not be read or changed\n")
    inside = root / "inside"
    inside.mkdir()
    return inside, target.make(Random(f"{target.name} {seed} {number}"), inside)


def keep(finding: Finding, target: Target, folder: Path) -> Path:
    """Save the files and data of a finding, and the command to reproduce it; return the folder."""
    saved = folder / f"{finding.target}-{finding.seed}-{finding.case}"
    saved.mkdir(parents=True, exist_ok=True)
    (saved / "files").mkdir(exist_ok=True)
    _, case = make_case(target, finding.seed, finding.case, saved / "files")
    facts = {"kind": finding.kind, "replay": finding.replay(), "detail": finding.detail, "case": case}
    (saved / "finding.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return saved


def _in_worker(
    target: Target, seed: int, batch: Sequence[int], limits: Limits, root: Path
) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    """Return (outcome, detail) of each finished case, and of the case that killed the worker, or None."""
    work, log = root / "work", root / "log"
    work.mkdir(exist_ok=True)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the child does not use them
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
    output = log.read_text(encoding="utf-8", errors="replace")
    if len(output) > 4000:  # the start shows where it hangs, the end what it raised
        output = f"{output[:2000]}\n...\n{output[-2000:]}"
    if not os.WIFSIGNALED(status):
        return "crash", f"exit code {os.waitstatus_to_exitcode(status)}\n{output}"
    by = signal.Signals(os.WTERMSIG(status))
    if by in (signal.SIGPROF, signal.SIGALRM):
        return "hang", output
    out_of_memory = by == signal.SIGKILL or "memory allocation" in output
    return ("memory" if out_of_memory else "crash"), f"{by.name}\n{output}"


def _work(
    target: Target, seed: int, batch: Sequence[int], limits: Limits, work: Path, writing: int, log: Path
) -> NoReturn:
    """Run the batch in the child process, write one JSON line per case to the pipe, and never return."""
    code = 1
    output = _redirect(log)
    try:
        prepare_worker(limits, output)
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            for number in batch:
                output.truncate(0)
                pipe.write(json.dumps(_attempt(target, seed, number, limits, work)) + "\n")
                pipe.flush()
        code = 0
    except BaseException:
        traceback.print_exc(file=output)
        output.flush()
    finally:
        os._exit(code)


def _redirect(log: Path) -> TextIO:
    """Redirect sys.stdout and sys.stderr to the log, and file descriptors 0 and 1 to /dev/null; return the open log."""
    output = log.open("a", encoding="utf-8")
    os.dup2(output.fileno(), 2)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    sys.stdout = sys.stderr = output
    return output


def _attempt(target: Target, seed: int, number: int, limits: Limits, work: Path) -> tuple[str, str]:
    inside, case = make_case(target, seed, number, work)
    before = snapshot(work)
    outcome, detail = _outcome(target, inside, case, limits)
    changed = {path for path, _ in (snapshot(work).items() ^ before.items())}
    files = [path for path in sorted(changed) if path in before or not os.path.isdir(path)]
    if outcome == "refused" and files:
        return "partial", f"files changed although the case was refused: {files[:9]}; {detail}"
    allowed = [os.path.abspath(inside / path) for path in target.outputs(case)]
    parents = [path for path in sorted(changed) if any(_below(output, path) for output in allowed)]
    strays = [path for path in sorted(changed) if path not in parents and not any(_below(path, o) for o in allowed)]
    if outcome == "accepted" and strays:
        return "stray", f"files changed: {strays[:9]}"
    return outcome, detail


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}{os.sep}")


def _outcome(target: Target, inside: Path, case: Any, limits: Limits) -> tuple[str, str]:
    unreadable = inside.parent / KEPT if target.confined else None
    writable = inside if target.confined else inside.parent
    try:
        with warnings.catch_warnings(), watched(limits, inside, writable, unreadable):
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
