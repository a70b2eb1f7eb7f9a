"""--fast-blas, and the note on a terminal that NumPy's OpenBLAS has chosen kernels for an older processor."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from minibiogpt.backend.report import CORETYPE, kernel_advice, kernel_to_set
from minibiogpt.backend.threads import WORKERS
from minibiogpt.interrupts import command_is_running


def kernel_note(options: argparse.Namespace) -> str:
    """Return what to say about OpenBLAS's kernels, "" for nothing; with --fast-blas start the command again.

    OpenBLAS reads its environment variable when NumPy is imported, which has happened. So the command is started again
    with the variable set, before it has read or written anything.
    """
    if getattr(options, "backend", None) != "numpy" or "fast_blas" not in options or not (better := kernel_to_set()):
        return ""
    if options.fast_blas and os.environ.get(CORETYPE) != better and command_is_running():
        os.environ[CORETYPE] = better
        _start_again()
    if options.fast_blas:
        return f"--fast-blas has no effect here: NumPy's OpenBLAS keeps its kernels for {WORKERS.blas.kernel}"
    if options.command == "info" or not sys.stderr.isatty():  # info prints the advice itself
        return ""
    return f"{kernel_advice()}; --fast-blas sets it"


def _start_again() -> None:
    words = [sys.executable, *sys.orig_argv[1:]]
    if os.name == "nt":  # where exec does not wait for the new process
        sys.exit(subprocess.call(words))
    os.execv(sys.executable, words)
