"""What the whole suite shares: no network, two threads (OMP_NUM_THREADS), hypothesis without chance or clock."""

import contextlib
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait must not keep a busy machine's other work off

import hypothesis
import pytest

with contextlib.suppress(ImportError, pytest.skip.Exception):  # where something is absent, its own tests say so
    from tests.support.device import backend, dtype  # noqa: F401, fixtures of all tests of the CuPy backend

from tests.support.browser import browser  # noqa: F401, a fixture of all tests of pages

with contextlib.suppress(ImportError):  # the tests of a device need no torch
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
hypothesis.settings.register_profile("still", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("still")
