"""What the whole suite shares: no network, one thread a process, hypothesis without chance or clock.

One BLAS thread and one torch thread a process, whatever the environment says: with two each, on two cores that others
use too, the suite takes eight times as long. ``pytest -n 2`` uses two cores with two processes. A test that needs two
threads asks for them itself (``torch.set_num_threads``, or a process of its own with its own environment).
"""

import contextlib
import os
import sys

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
NUMPY_CAME_FIRST = "numpy" in sys.modules  # then its BLAS has read the environment already; a test asks
os.environ.update(dict.fromkeys(THREADS, "1"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

with contextlib.suppress(ImportError, pytest.skip.Exception):  # where something is absent, its own tests say so
    from tests.support.device import backend, dtype  # noqa: F401, fixtures of all tests of the CuPy backend

from tests.support.browser import browser  # noqa: E402, F401, a fixture of all tests of pages

with contextlib.suppress(ImportError):  # the tests of a device need no torch
    import torch

    torch.set_num_threads(1)
hypothesis.settings.register_profile("still", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("still")
