"""The kinds of disturbance: each has moments, taken from an undisturbed run, and a trial at one of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

from tools.killing import disk, tracing
from tools.killing.children import Ended
from tools.killing.rooms import SQUATTERS, Problem, complete_problems, stopped_problems
from tools.killing.site import Site
from tools.killing.tracing import MAY_FAIL, WRITES, Tracer

TICK = 1e-4  # seconds between the possible delays of "together"
PAIR = 1000  # more than the calls of a run
STDERR, MAIN = 2, "sys.exit(main())"
NAMES = [f"{{}}{end}" for end in (".part", ".state", ".new", ".tmp")] + [".{}.part", ".{}.tmp"]


@dataclass(frozen=True)
class Kind:
    """A kind of disturbance.

    Attributes
    ----------
    moments : all moments of a site, as integers. share : the part of --moments that are tried, at most.
    trial : disturbs a run at a moment, and yields what is wrong afterwards.
    possible : whether this system allows it. old : whether it also starts with an old output.
    printed : whether it is also for commands whose output is what they print. spawned : whether the disturbed run has
        a new process, so that its bytes can be compared only if they are the same in each process.
    """

    about: str
    moments: Callable[[Site], range | list[int]]
    trial: Callable[[Site, int], Iterator[Problem]]
    share: float = 1
    possible: Callable[[], bool] = lambda: True
    old: bool = True
    printed: bool = True
    spawned: bool = False

    def applies(self, site: Site) -> bool:
        if (self.spawned and site.varies) or not (self.old or site.start == "new"):
            return False
        return self.possible() and (self.printed or site.command.stdout is None)


def drawn(kind: Kind, site: Site, name: str, seed: int, count: int) -> list[int]:
    """Return ``count`` of the moments, or all if there are fewer, in order."""
    moments = kind.moments(site)
    rng = Random(f"{site.command.name} {site.start} {name} {seed}")
    return sorted(rng.sample(moments, min(count, len(moments))))


def _calls(site: Site) -> range:
    return range(1, len(site.calls) + 1)


def _failing_calls(site: Site) -> list[int]:
    return [
        number
        for number, call in enumerate(site.calls, start=1)
        if call.name in MAY_FAIL and not (call.name in WRITES and call.file_descriptor == STDERR)
    ]


def _sizes(site: Site) -> range:
    """Sizes in bytes below that of the largest file."""
    return range(max(len(content) for path, (_, content) in site.complete.items() if not path.startswith("..")))


def _pages(site: Site) -> range:
    """Numbers of free pages, up to more than the output needs."""
    entries = [content for path, (_, content) in site.complete.items() if path.startswith(site.command.output)]
    return range(sum(-(-len(content) // disk.PAGE) for content in entries) + 3)


def _on_signal(signum: signal.Signals) -> Callable[[Site, int], Iterator[Problem]]:
    def trial(site: Site, at: int) -> Iterator[Problem]:
        before, child = site.lay(), site.fork(traced=True)
        tracer = Tracer(child.pid)
        tracer.reach(at)
        tracer.step(signum)
        yield from site.signal_problems(child.ended(tracer.finish()), signum, before)
        yield from site.repeat()

    return trial


def _pairs(site: Site) -> list[int]:
    return [PAIR * first + second for first in _calls(site) for second in _calls(site)]


def _twice(site: Site, at: int) -> Iterator[Problem]:
    """Kill a run, and kill the run that resumes it."""
    before = site.lay()
    for number in divmod(at, PAIR):
        child = site.fork(traced=True)
        tracer = Tracer(child.pid)
        tracer.reach(number)
        tracer.step(signal.SIGKILL)
        child.ended(tracer.status)
        yield from stopped_problems(site.command, before, site.room.snapshot(), site.complete)
    yield from site.repeat()


def _timed(signum: signal.Signals) -> Callable[[Site, int], Iterator[Problem]]:
    def trial(site: Site, at: int) -> Iterator[Problem]:
        before = site.lay()
        ended, _ = site.spawn(at / 1000, signum)
        outside = signum == signal.SIGINT and ended.code and MAIN not in ended.stderr
        if outside and (site.command.stdout or site.room.snapshot() in (before, site.complete)):
            return  # Python itself was interrupted, before the command began or after it ended
        yield from site.signal_problems(ended, signum, before)
        yield from site.repeat()

    return trial


def _failing(site: Site, at: int) -> Iterator[Problem]:
    before, child = site.lay(), site.fork(traced=True)
    tracer = Tracer(child.pid)
    if tracer.reach(at) is not None:
        tracer.fail()
    yield from site.error_problems(child.ended(tracer.finish()), before)
    yield from site.repeat()


def _limited(site: Site, at: int) -> Iterator[Problem]:
    before = site.lay()
    yield from site.error_problems(site.fork(limit=at).wait(), before)
    yield from site.repeat()


def _full(site: Site, at: int) -> Iterator[Problem]:
    with disk.small_disk(site.room.path):
        before = site.lay()
        disk.leave_free(site.room.path, at)
        ended = site.fork().wait()
        disk.leave_free(site.room.path, None)
        yield from site.error_problems(ended, before)
        yield from site.repeat()


def _stdout(site: Site, at: int) -> Iterator[Problem]:
    before = site.lay()
    yield from site.error_problems(site.fork(full=True).wait(), before)
    yield from site.repeat()


def _together(site: Site, at: int) -> Iterator[Problem]:
    site.lay()
    first = site.fork()
    time.sleep(at * TICK)
    second = site.fork()
    yield from _rivals(site, [first.wait(), second.wait()])


def _paused(site: Site, at: int) -> Iterator[Problem]:
    site.lay()
    first = site.fork(traced=True)
    tracer = Tracer(first.pid)
    tracer.reach(at)
    second = site.fork().wait()
    yield from _rivals(site, [first.ended(tracer.finish()), second])


def _rivals(site: Site, ends: list[Ended]) -> Iterator[Problem]:
    """Two runs with the same output: at least one succeeds, the other may refuse, and the output is complete."""
    for ended in ends:
        yield from site.message_problems(ended)
    if all(ended.code for ended in ends):
        yield Problem("exit code", f"both failed: {[ended.stderr[-300:] for ended in ends]}")
    yield from complete_problems(site.room.snapshot(), site.complete)


def _squatted(site: Site, at: int) -> Iterator[Problem]:
    name, kind = list(product(NAMES, SQUATTERS))[at]
    squatter = name.format(site.command.output)
    before = site.lay((squatter, kind))
    ended = site.fork().wait()
    after = site.room.snapshot()
    problems = list(site.message_problems(ended))
    problems += stopped_problems(site.command, before, after, site.complete)
    if ended.code == 0:
        problems += complete_problems({path: after[path] for path in after if path != squatter}, site.complete)
    for problem in problems:
        yield problem._replace(detail=f"{problem.detail} (before, there was {squatter}: {kind})")


SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
KINDS = {
    **{s.name: Kind(f"{s.name} at system call N", _calls, _on_signal(s), possible=tracing.possible) for s in SIGNALS},
    "twice": Kind("SIGKILL at call N // 1000, then at N % 1000", _pairs, _twice, possible=tracing.possible),
    **{
        f"{s.name}-timed": Kind(
            f"{s.name} after N ms, in a process of its own",
            lambda site: range(1, max(2, int(1000 * site.seconds))),
            _timed(s),
            share=0.1,
            spawned=True,
        )
        for s in SIGNALS
    },
    "failing": Kind("system call N fails: no space", _failing_calls, _failing, possible=tracing.possible),
    "limited": Kind("no file may exceed N bytes", _sizes, _limited, share=0.4),
    "full": Kind("a disk with N free pages", _pages, _full, share=0.4, possible=disk.possible),
    "stdout": Kind("standard output is full", lambda site: range(1), _stdout),
    "together": Kind(
        "a second run after N times 0.1 ms", lambda site: range(1000), _together, share=0.4, printed=False
    ),
    "paused": Kind(
        "a second run while the first is at system call N", _calls, _paused, possible=tracing.possible, printed=False
    ),
    "squatted": Kind(
        "a foreign file of kind N is there", lambda site: range(len(NAMES) * len(SQUATTERS)), _squatted,
        old=False, printed=False,
    ),
}  # fmt: skip
