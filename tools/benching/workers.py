"""The side of the parent: two workers that live as long as the measurements, and processes for one thing alone."""

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
REMEDY = "see that the packages are there (pip install '.[test]'), and the memory"


def environment(threads: int) -> dict[str, str]:
    """That of this process, with so many threads for every library, no network, and this repository to import from."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = dict.fromkeys(THREADS, str(threads)) | {"HF_HUB_OFFLINE": "1"}
    return os.environ | settings | {"PYTHONPATH": os.pathsep.join(paths)}


def last_line(text: str, code: int | None) -> str:
    return (text.strip().splitlines() or [f"exit code {code}"])[-1]


class Worker:
    """A process that answers JSON lines; on leaving the ``with`` it is gone, whatever happened."""

    def __init__(self, name: str, command: list[str], threads: int) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115, closed on leaving
        self.process = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env=environment(threads), encoding="utf-8",
        )  # fmt: skip

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One measurement: the answer to one request.

        Raises
        ------
        InputError
            If the worker ends instead, with the last line it wrote to stderr.
        """
        asked, answers = self.process.stdin, self.process.stdout
        assert asked
        assert answers
        try:
            asked.write(json.dumps(request) + "\n")
            asked.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise self._ended()
        return json.loads(line)

    def _ended(self) -> InputError:
        code = self.process.wait()
        self._log.seek(0)
        return InputError(f"the worker of {self.name} must answer", last_line(self._log.read(), code), REMEDY)

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
            except BrokenPipeError:  # a request that nobody read
                pass


def run_alone(script: str, *arguments: object, threads: int = 1) -> dict[str, Any]:
    """What a script prints, in JSON, on its last line, run in a process of its own.

    Raises
    ------
    InputError
        If it does not end well, with the last line it wrote to stderr.
    """
    line = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment(threads))
    if done.returncode:
        found = last_line(done.stderr, done.returncode)
        raise InputError("each measurement must end well", found, REMEDY)
    return json.loads(done.stdout.splitlines()[-1])
