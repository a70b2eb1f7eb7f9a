"""The suite itself: one thread per process, and every process of ``pytest -n 2`` collects the same tests."""

from __future__ import annotations

import os
import re

import pytest

from tests import conftest


def test_a_process_has_one_thread_for_products() -> None:
    assert not conftest.NUMPY_CAME_FIRST, "NumPy was imported before the number of its threads was set"
    assert {os.environ[name] for name in conftest.THREADS} == {"1"}
    torch = pytest.importorskip("torch", reason="torch is not installed, so its threads cannot be counted")
    assert torch.get_num_threads() == 1


def test_the_names_of_tests_are_the_same_in_every_process(request: pytest.FixtureRequest) -> None:
    """pytest -n stops if two processes collect different names. One object's address in a name is enough."""
    names = [item.nodeid for item in request.session.items]
    assert [name for name in names if re.search(r"0x[0-9a-f]{6,}", name)] == []
    assert len(names) == len(set(names)), "two tests have the same name"
