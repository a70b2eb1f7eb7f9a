"""The parent's side: worker processes that run during all measurements, and processes for one script each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from minibiogpt.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
REMEDY = "check that the packages are installed (pip install '.[test]') and that there is enough memory"


def environment(threads: int, own: bool = True) -> dict[str, str]:
    """Return the environment of this process with a thread count, offline mode and this repository on PYTHONPATH.

    What else is on PYTHONPATH is for this Python only (``own``), not for another one.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH") if own else None])]
    settings = dict.fromkeys(THREADS, str(threads)) | {"HF_HUB_OFFLINE": "1"}
    return os.environ | settings | {"PYTHONPATH": os.pathsep.join(paths)}


def last_line(text: str, code: int | None) -> str:
    return (text.strip().splitlines() or [f"exit code {code}"])[-1]


class Worker:
    """A process that answers JSON lines, as a context manager that always ends it on exit."""

    def __init__(self, name: str, command: list[str], threads: int, python: str | None = None) -> None:
        """Start it, with this Python or another one."""
        self.name = name
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115, closed on exit
        self.process = subprocess.Popen(
            [python or sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env=environment(threads, python is None), encoding="utf-8",
        )  # fmt: skip

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return the answer.

        Raises
        ------
        InputError
            If the worker exits instead, with the last line of its stderr.
        """
        requests, answers = self.process.stdin, self.process.stdout
        assert requests
        assert answers
        try:
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise self._ended()
        return json.loads(line)

    def _ended(self) -> InputError:
        code = self.process.wait()
        self._log.seek(0)
        return InputError(f"the {self.name} worker must answer", last_line(self._log.read(), code), REMEDY)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            try:
                if stream:
                    stream.close()
            except BrokenPipeError:  # the worker did not read a request
                pass


def run_alone(script: str, *arguments: object, threads: int = 1) -> dict[str, Any]:
    """Run a script in its own process and return the JSON on the last line of its output.

    Raises
    ------
    InputError
        If the script fails, with the last line of its stderr.
    """
    line = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment(threads))
    if done.returncode:
        found = last_line(done.stderr, done.returncode)
        raise InputError("each measurement must succeed", found, REMEDY)
    return json.loads(done.stdout.splitlines()[-1])
