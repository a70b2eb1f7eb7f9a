"""The pool of threads: what it computes, how many threads it has, and that nothing is lost when something fails."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt import get_backend
from minibiogpt.backend import ignore_overflow
from minibiogpt.backend.threads import MOST, WORKERS, BlasThreads, Workers, usable_cores
from minibiogpt.model import attention, ops
from tests.backend.test_forks import START, WATCHDOG, run
from tests.budgets import SHARED_ATTENTION


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Give BLAS two threads, whatever the environment says."""
    given = WORKERS.blas.count
    WORKERS.blas.count = 2
    yield
    WORKERS.blas.count = given


def meet(parts: int = 2) -> set[int]:
    """Run parts that wait for each other, so that each needs a thread of its own; return the threads."""
    barrier, threads = threading.Barrier(parts, timeout=30), set[int]()

    def part(i: int) -> None:
        barrier.wait()
        threads.add(threading.get_ident())

    WORKERS.run(part, parts)
    return threads


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 4))
def test_each_part_is_computed_once(count: int, threads: int) -> None:
    WORKERS.blas.count = threads
    calls = [0] * count

    def part(i: int) -> None:
        calls[i] += 1

    WORKERS.run(part, count)
    assert calls == [1] * count


def test_there_are_as_many_threads_as_blas_was_given() -> None:
    assert len(meet()) == 2
    WORKERS.blas.count = 4
    assert len(meet(4)) == 4
    WORKERS.blas.count = 1
    assert WORKERS.count == 1
    idents = set[int]()
    WORKERS.run(lambda i: idents.add(threading.get_ident()), 5)
    assert idents == {threading.get_ident()}, "one thread is the caller"
    WORKERS.blas.count = MOST + 1
    assert WORKERS.count == MOST


def test_blas_has_one_thread_meanwhile_and_its_own_number_afterwards() -> None:
    seen = []
    WORKERS.run(lambda i: seen.append(WORKERS.blas.count), 2)
    assert (seen, WORKERS.blas.count) == ([1, 1], 2)
    with pytest.raises(ZeroDivisionError):
        WORKERS.run(lambda i: 1 // 0, 2)
    assert WORKERS.blas.count == 2, "also after an error"

    def part(i: int) -> None:
        WORKERS.blas.count = 3

    WORKERS.run(part, 2)
    assert WORKERS.blas.count == 3, "what another part of the process sets meanwhile stays"


def test_the_first_error_is_raised_when_all_parts_have_ended() -> None:
    done = []

    def part(i: int) -> None:
        if i % 2:
            raise ValueError(i)
        done.append(i)

    with pytest.raises(ValueError, match=r"\d"):
        WORKERS.run(part, 6)
    assert sorted(done) == [0, 2, 4]
    assert len(meet()) == 2, "the threads go on"


def test_a_computation_within_another_or_beside_it_runs_on_its_own_thread() -> None:
    within = set[tuple[int, int]]()

    def part(i: int) -> None:
        WORKERS.run(lambda j: within.add((threading.get_ident(), threading.get_ident())), 3)

    WORKERS.run(part, 2)
    assert all(outer == inner for outer, inner in within)
    beside = set[int]()

    def other() -> None:
        WORKERS.run(lambda i: beside.add(threading.get_ident()), 3)

    def start(i: int) -> None:
        if i == 0:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(30)
            assert beside == {thread.ident}

    WORKERS.run(start, 2)


def test_a_part_has_the_callers_error_state_on_each_thread() -> None:
    barrier, results = threading.Barrier(2, timeout=30), np.zeros(2, np.float32)

    def part(i: int) -> None:
        barrier.wait()
        results[i] = np.float32(3e38) * np.float32(10)

    with ignore_overflow:
        WORKERS.run(part, 2)
    assert np.isinf(results).all()
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        WORKERS.run(part, 2)


def test_an_interrupt_ends_the_computation_and_the_next_one_is_whole() -> None:
    def part(i: int) -> None:
        if i == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WORKERS.run(part, 8)
    x = np.linspace(-9, 9, 1 << 20, dtype=np.float32).reshape(-1, 64)
    assert np.array_equal(ops.gelu(x), ops.gelu.__wrapped__(x))  # type: ignore[attr-defined]


def test_an_interrupt_at_any_moment_leaves_blas_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt may come between two steps of what sets and restores the number: the next computation repairs it."""
    for moment in range(1, 4):
        calls = 0

        def count(self: object, threads: int, moment: int = moment, original: Any = BlasThreads.count.fset) -> None:
            nonlocal calls
            calls += 1
            if calls == moment:
                original(self, threads) if moment == 2 else None
                raise KeyboardInterrupt
            original(self, threads)

        with monkeypatch.context() as patch:
            patch.setattr(BlasThreads, "count", BlasThreads.count.setter(count))
            with contextlib.suppress(KeyboardInterrupt):
                WORKERS.run(lambda i: None, 2)
        assert len(meet()) == 2, moment
        assert (WORKERS.count, WORKERS.blas.count) == (2, 2), moment


def test_the_number_of_threads_is_what_was_given_also_meanwhile() -> None:
    seen = []
    WORKERS.run(lambda i: seen.append((WORKERS.count, WORKERS.blas.count)), 2)
    assert seen == [(2, 1), (2, 1)]


def test_a_system_without_more_threads_computes_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, seen = Workers(), []

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    workers.run(seen.append, 4)
    assert seen == [0, 1, 2, 3]


def test_two_threads_compute_what_one_does() -> None:
    rng, backend = np.random.default_rng(0), get_backend("numpy")
    x = rng.normal(0, 3, (700, 512)).astype(np.float32)
    weight, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((640, 512), (640,)))
    g, b = rng.normal(size=(2, 512)).astype(np.float32)
    for equation in (ops.gelu, ops.softmax, ops.log_softmax, lambda x: ops.layer_norm(x, g, b, 1e-5)):
        two = equation(x)
        WORKERS.blas.count = 1
        assert np.array_equal(two, equation(x))
        WORKERS.blas.count = 2
    for M in (1, 2, 5, 9, 33, 700):
        want = x[:M].astype(float) @ weight.T.astype(float) + bias
        assert np.abs(backend.product(x[:M], weight, bias) - want).max() < 2e-4, M


def test_the_library_of_numpy_is_known() -> None:
    (library,) = WORKERS.blas.libraries
    assert "numpy" in library.filepath
    assert WORKERS.blas.kernel == library.architecture
    WORKERS.blas.count = 3
    assert library.get_num_threads() == 3
    assert 1 <= usable_cores() <= 4096


TWO = f"""
from minibiogpt.backend.threads import WORKERS
WORKERS.blas.count = 2
signal.alarm({WATCHDOG})


def both():
    "Whether two parts meet, each on its own thread."
    barrier = threading.Barrier(2, timeout=30)
    WORKERS.run(lambda i: barrier.wait(), 2)
    return True


both()
"""


def test_a_child_starts_threads_of_its_own() -> None:
    assert run(TWO + "forked(lambda: WORKERS.helpers == [] and both() and same())\nprint('all')") == "all\n"


@pytest.mark.parametrize("waits", [True, False], ids=["while the main thread waits", "while it computes"])
def test_a_signal_handler_may_fork_in_the_middle(waits: bool) -> None:
    """The helper's part is in the middle when the signal comes. The fork waits for it, and the child does the rest."""
    code = f"""
children, results, main = [], np.zeros(6), threading.get_ident()
meeting, forked = threading.Barrier(2, timeout=30), threading.Event()


def handler(*_):
    assert not forked.is_set() and not results[:2].all()
    children.append(os.fork())
    assert results[part_of[0]] == part_of[0] + 1, "the helper's part has ended"
    forked.set()


signal.signal(signal.SIGUSR1, handler)
part_of = []


def part(i):
    if i < 2:
        meeting.wait()
        if threading.get_ident() != main:
            part_of.append(i)
            os.kill(os.getpid(), signal.SIGUSR1)
            forked.wait(0.5)
        elif not {waits}:
            while not children:
                sum(range(1000))
    results[i] = i + 1


WORKERS.run(part, 6)
assert results.tolist() == [1, 2, 3, 4, 5, 6]
assert WORKERS.blas.count == 2
if children[0] == 0:
    os._exit(0 if both() and same() else 3)
status = os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])
assert status == 0, status
assert both()
print("all")
"""
    assert run(TWO + code) == "all\n"


def test_forks_in_a_storm_of_threads_that_share_the_pool() -> None:
    code = """
going = True
x = np.linspace(-9, 9, 1 << 20, dtype=np.float32).reshape(-1, 64)
from minibiogpt.model import attention, ops
right = ops.gelu(x)


def compute():
    while going:
        assert np.array_equal(ops.gelu(x), right)
        model(ids)


threads = [threading.Thread(target=compute) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(5):
    forked(lambda: np.array_equal(ops.gelu(x), right) and same())
going = False
for thread in threads:
    thread.join()
assert both()
print("all")
"""
    assert run(TWO + code) == "all\n"


def test_the_program_ends_with_idle_threads_and_with_busy_ones() -> None:
    code = (
        START + TWO + "threading.Thread(target=lambda: [model(ids) for _ in range(999)], daemon=True).start()\nsame()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WATCHDOG)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_attention_is_shared_only_if_it_takes_longer_than_a_thread_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, counts = get_backend("numpy"), []
    monkeypatch.setattr(
        backend, "run_parts", lambda part, count: counts.append(count) or [part(i) for i in range(count)]
    )
    found = []
    for shared in (1 << 60, 4 * 6 * 8, 4 * 6 * 8 + 1):  # q (1, 4, 1, 8), k (1, 4, 6, 8)
        monkeypatch.setattr(attention, "SHARED", shared)
        q, kv = (np.random.default_rng(0).normal(size=(1, 4, T, 8)) for T in (1, 6))
        found.append(attention.attend_blocked(q, kv, kv, attention.make_mask(backend, 1, 6, None), None))
    assert counts == [1, 4, 1]
    np.testing.assert_allclose(found[0], found[1], rtol=SHARED_ATTENTION)
