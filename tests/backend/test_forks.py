"""Processes forked while other threads compute. Each child has a watchdog: a hang ends it by a signal, and fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Event, Thread, get_ident
from typing import Any

import numpy as np
import pytest

from minibiogpt import get_backend
from minibiogpt.backend.forks import PRODUCTS, ForkGate
from minibiogpt.progress import progress_bar

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
ROOT = Path(__file__).parents[2]
WATCHDOG = 60  # seconds until the system ends a child that hangs
START = f"""
import os, signal, sys, threading, warnings
import numpy as np
from minibiogpt import BioGptConfig, BioGptForCausalLM, get_backend, pipeline
from minibiogpt.backend import base

warnings.simplefilter("ignore", DeprecationWarning)  # of Python: a fork with threads
config = BioGptConfig(vocab_size=257, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
                      num_attention_heads=4, max_position_embeddings=1100)
model = BioGptForCausalLM.from_config(config, seed=0)
ids = np.random.default_rng(0).integers(3, 257, (1, 1100))
pool = get_backend("numpy")._buffers
want = model(ids).logits.copy()


def forked(work):
    "Run work() in a child; exit with 1 unless it ends by itself with True."
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm({WATCHDOG})
            code = 0 if work() else 2
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        print("the child ended with", status)
        sys.stdout.flush()
        os._exit(1)


def same():
    return np.array_equal(model(ids).logits, want) and len(model.generate(ids[:, :5], max_new_tokens=3)[0]) == 8
"""


def run(code: str, threads: int = 2) -> str:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Scripted(Condition):
    """A condition that notes what is waited for, instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[Callable[[], Any]] = []
        self.notified = 0

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> bool:
        assert timeout is not None, "a fork never waits forever"
        self.waits.append(predicate)
        return True

    def notify_all(self) -> None:
        self.notified += 1


class Gate(ForkGate):
    """A gate whose waits are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.condition: Scripted = Scripted()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@contextmanager
def elsewhere(gate: ForkGate, note_end: bool = True) -> Iterator[int]:
    """Another thread is in a product meanwhile; its end may not be noted, as after an interrupt."""
    inside, leave = Event(), Event()

    def product() -> None:
        entered = gate.__enter__()
        inside.set()
        leave.wait(30)
        if note_end:
            entered.__exit__()

    thread = Thread(target=product)
    thread.start()
    inside.wait(30)
    yield thread.ident or 0
    leave.set()
    thread.join()


def test_a_fork_does_not_wait_for_a_product_whose_end_an_interrupt_has_hidden(gate: Gate) -> None:
    with elsewhere(gate, note_end=False) as other:
        gate.close()
        (ended,) = gate.condition.waits
        assert not ended()
    assert gate.running[other], "the end was not noted"
    assert ended()
    gate.open()


def test_a_fork_waits_for_the_products_of_other_threads_only(gate: Gate) -> None:
    with gate, gate:
        with elsewhere(gate) as other:
            gate.close()
            (ended,) = gate.condition.waits
            assert not ended()
        assert other not in gate.running
        assert ended(), "a thread does not wait for itself"
        assert list(map(len, gate.running.values())) == [2]
        gate.open()
    assert gate.running == {}


def test_a_product_waits_for_a_fork_unless_its_thread_forks_in_one(gate: Gate) -> None:
    gate.close()
    gate.condition.waits.clear()
    with gate:
        (forked,) = gate.condition.waits
        with gate:
            assert len(gate.condition.waits) == 1, "a product within a product does not wait"
        assert not forked()
        gate.open()
        assert forked()


def test_waiting_threads_are_notified_when_a_product_or_a_fork_ends(gate: Gate) -> None:
    with gate:
        gate.close()
    assert gate.condition.notified == 1
    gate.open()
    assert gate.condition.notified == 2


def test_a_child_forgets_the_other_threads_and_the_fork(gate: Gate) -> None:
    before = gate.condition
    with gate:
        gate.running[get_ident() + 1] = [1]
        gate.close()
        gate.renew()
        assert (list(gate.running), gate.forks) == ([get_ident()], 0)
        assert gate.condition is not before


def test_a_fork_of_this_process_goes_through_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = Scripted()
    monkeypatch.setattr(PRODUCTS, "condition", scripted)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if PRODUCTS.forks == 0 and PRODUCTS.condition is not scripted else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (len(scripted.waits), scripted.notified, PRODUCTS.forks) == (1, 1, 0)


def test_every_product_goes_through_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []

    def enter(gate: ForkGate, original: Callable[[ForkGate], ForkGate] = ForkGate.__enter__) -> ForkGate:
        entered.append(get_ident())
        return original(gate)

    monkeypatch.setattr(ForkGate, "__enter__", enter)
    backend, x = get_backend("numpy"), np.ones((2, 3), np.float32)
    assert backend.product(x, x).tolist() == [[3, 3], [3, 3]]
    assert len(entered) == 1
    assert backend.head_products(x[None, None], x[None, None], transposed=True)[0, 0].tolist() == [[3, 3], [3, 3]]
    assert len(entered) == 2


@pytest.mark.parametrize("lock", ["pool.lock", "base._LOCK"])
def test_a_child_does_not_wait_for_a_lock_that_another_thread_held(lock: str) -> None:
    code = f"""
base._INSTANCES.clear() if "base" in {lock!r} else None
held, done = threading.Event(), threading.Event()


def hold():
    with {lock}:
        held.set()
        done.wait()


thread = threading.Thread(target=hold)
thread.start()
held.wait()
forked(lambda: get_backend("numpy").name == "numpy" and same())
done.set()
thread.join()
print("all")
"""
    assert run(code) == "all\n"


@pytest.mark.parametrize("shown", [False, True])
def test_a_child_does_not_wait_for_the_lock_of_a_progress_bar(shown: bool) -> None:
    code = f"""
from tqdm import tqdm
from minibiogpt.progress import progress_bar

sys.stderr = open(os.devnull, "w")
model.generate(ids[:, :5], max_new_tokens=3, progress=True)
lock = type(progress_bar(True)).get_lock() if {shown} else tqdm.get_lock()
held, done = threading.Event(), threading.Event()


def hold():
    with lock:
        held.set()
        done.wait()


thread = threading.Thread(target=hold)
thread.start()
held.wait()
forked(lambda: len(model.generate(ids[:, :5], max_new_tokens=3, progress={shown})[0]) == 8)
done.set()
thread.join()
print("all")
"""
    assert run(code) == "all\n"


def test_a_bar_that_is_not_shown_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (False, True):
        with progress_bar(shown, total=2) as bar:
            bar.update(2)
        assert ("2/2" in capsys.readouterr().err) == shown


def test_children_of_a_storm_of_threads_compute_the_right_result() -> None:
    code = """
going = True


def compute():
    while going:
        model(ids)


threads = [threading.Thread(target=compute) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(6):
    forked(same)
going = False
for thread in threads:
    thread.join()
assert np.array_equal(model(ids).logits, want), "the parent's memory is its own"
print("all")
"""
    assert run(code) == "all\n"


def test_a_child_keeps_its_arrays_and_starts_with_no_other_buffers() -> None:
    code = """
kept = pool.empty((1 << 20,), "float32")
kept[:] = 7


def work():
    assert pool.buffers == [], "what the parent's other threads use is not in the way"
    others = [pool.empty((1 << 20,), "float32") for _ in range(4)]
    for x in others:
        x[:] = 8
    return bool((kept == 7).all()) and not any(np.shares_memory(kept, x) for x in others)


forked(work)
assert (kept == 7).all() and pool.buffers
print("all")
"""
    assert run(code) == "all\n"


def test_a_pool_of_processes_computes_what_one_process_does() -> None:
    code = f"""
import multiprocessing


def start():
    signal.alarm({WATCHDOG})


signal.alarm({2 * WATCHDOG})
threading.Thread(target=model, args=[ids]).start()
with multiprocessing.get_context("fork").Pool(2, start) as workers:
    found = workers.map(model, [ids] * 4)
assert all(np.array_equal(one.logits, want) for one in found)
print("all")
"""
    assert run(code) == "all\n"
