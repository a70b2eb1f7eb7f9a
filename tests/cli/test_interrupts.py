"""Signals at any moment: one line and no traceback, and no temporary file is left.

The tests do not time anything. An audit hook, which Python calls for every import, file and so on, sends the signal at
an event with a given number.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from minibiogpt.interrupts import CODE, LINE, is_command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on Unix")
ROOT = Path(__file__).parents[2]
# Loaded by Python before the command. Events count from the first line of ours that can be interrupted.
HOOK = """
import os, sys
number, signals = int(os.environ["SIGNAL"]), [int(n) for n in os.environ["EVENTS"].split(",")]
log, kill, mine, exit_now = os.environ["COUNT"], os.kill, os.getpid(), os._exit
count = -1

def hook(event, arguments):
    global count
    if count < 0 and not (event == "import" and arguments[0] == "signal"):
        return
    count += 1
    if count in signals:
        kill(mine, number)

sys.addaudithook(hook)
if log:
    import atexit
    atexit.register(lambda: open(log, "w").write(str(count)))
"""
WORDS = ["generate", "Ibuprofen treats", "--max-new-tokens", "3"]
SCRIPT = "import sys\nfrom minibiogpt.__main__ import main\nif __name__ == '__main__':\n    sys.exit(main())\n"  # pip's


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the hook, and with the script that pip would install."""
    found = tmp_path_factory.mktemp("interrupts")
    (found / "sitecustomize.py").write_text(HOOK)
    (found / "minibiogpt").write_text(SCRIPT)
    return found


def heed_signals() -> None:
    """Undo what a shell does to a job in the background, whose processes inherit that SIGINT is ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def run(
    folder: Path, words: list[str], events: list[int], number: int = signal.SIGINT, *, script: bool = False,
    count: str = "",
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    start = [str(folder / "minibiogpt")] if script else ["-m", "minibiogpt"]
    environment = os.environ | {
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1", "COUNT": count,
        "EVENTS": ",".join(map(str, events)), "SIGNAL": str(int(number)), "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *start, *words], capture_output=True, env=environment, cwd=folder, preexec_fn=heed_signals
    )


def events_of(folder: Path, words: list[str], code: int = 0) -> int:
    log = folder / "count"
    assert run(folder, words, [-1], count=str(log)).returncode == code
    return int(log.read_text())


def spread(count: int, points: int) -> list[int]:
    """Return the first few numbers, and others from there to the end at equal distances."""
    return sorted({0, 1, 2, 5, 12, *(count * i // points for i in range(1, points)), count})


@pytest.mark.parametrize("script", [False, True])
def test_an_interrupt_at_any_moment_is_one_line(folder: Path, script: bool) -> None:
    events = spread(events_of(folder, WORDS), 14)
    assert len(events) > 10
    codes = []
    for event in events:
        done = run(folder, WORDS, [event], script=script)
        codes.append(done.returncode)
        assert done.returncode in (CODE, -signal.SIGINT), (event, done)  # Python's own end restores the default
        assert done.stderr.replace(LINE, b"") == b"", (event, done.stderr)
    assert codes.count(CODE) > len(codes) / 2


def test_two_interrupts_are_as_quiet_as_one(folder: Path) -> None:
    for event in spread(events_of(folder, WORDS), 6):
        done = run(folder, WORDS, [event, event + 1, event + 2])
        assert done.returncode in (CODE, -signal.SIGINT), (event, done)
        assert done.stderr.replace(LINE, b"") == b"", (event, done.stderr)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["generate", "--help"], 0), (["nonsense"], 2)])
def test_an_interrupt_while_parsing(folder: Path, words: list[str], code: int) -> None:
    count = events_of(folder, words, code)
    for event in (count // 2, count * 9 // 10):
        done = run(folder, words, [event])
        assert (done.returncode, done.stdout, done.stderr) == (CODE, b"", LINE), event


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_temporary_file(folder: Path, tmp_path: Path, number: int) -> None:
    output = tmp_path / "page.html"
    words = ["view", "Ibuprofen treats", "--output", str(output)]
    count = events_of(folder, words)
    output.unlink()
    ends = set()
    for event in range(count - 60, count, 10):  # around the writing of the file
        done = run(folder, words, [event], number)
        assert b"Traceback" not in done.stderr, (event, done.stderr)
        assert [path.name for path in tmp_path.iterdir()] in ([], ["page.html"]), event
        ends.add(done.returncode)
        output.unlink(missing_ok=True)
    assert ends <= {CODE, -number} if number == signal.SIGINT else ends == {-number}


def test_an_ignored_signal_stays_ignored(folder: Path) -> None:
    command = f"trap '' INT TERM HUP; exec {sys.executable} -m minibiogpt tokenize pain"
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "EVENTS": "300", "COUNT": ""}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, env=environment | {"SIGNAL": str(int(number))}
        )
        assert (done.returncode, done.stderr) == (0, b""), "as in a background job, or under nohup"


@pytest.mark.parametrize("words", [["--help"], ["info"], ["tokenize", "a"]])
def test_nobody_reads_the_output(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        command = [sys.executable, "-m", "minibiogpt", *words]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "minibiogpt", "info"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment)
    assert done.returncode == 2
    must = "files must be readable, and the output writable"
    remedy = "free some space, or choose a folder on a disk that has some"
    assert done.stderr.decode() == f"minibiogpt: error: {must}; found No space left on device; {remedy}\n"


def test_a_program_that_imports_the_package_keeps_its_own_handlers() -> None:
    code = (
        "import signal, sys; before = [signal.getsignal(n) for n in (1, 2, 15)], sys.excepthook, sys.unraisablehook\n"
        "import minibiogpt.cli\n"
        "assert ([signal.getsignal(n) for n in (1, 2, 15)], sys.excepthook, sys.unraisablehook) == before"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_installed_script_starts_what_is_tested_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"minibiogpt": "minibiogpt.__main__:main"}
    assert is_command(["minibiogpt.exe"], ["minibiogpt.exe"])
    assert not is_command([], [])
    assert not is_command(["other"], ["python", "other"])
