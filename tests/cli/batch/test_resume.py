"""FILE.state and FILE.part: foreign files under their names, damaged states, two runs at once, and a full disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minibiogpt.cli import main
from minibiogpt.cli.batch import resume
from minibiogpt.cli.batch.resume import ResumableFile
from minibiogpt.cli.batch.state import MAX_BYTES, Progress, open_own
from minibiogpt.errors import InputError

TEXTS = [f"Aspirin number {n} is a drug" for n in range(6)]


def run(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """Run the command and return standard error; an error must be one line."""
    capsys.readouterr()
    got = main(list(map(str, words)))
    err = capsys.readouterr().err
    assert got == code, err
    assert code != 2 or (err.count("\n") == 1 and err.startswith("minibiogpt: error: ")), err
    return err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in").write_text("\n".join(TEXTS))
    return tmp_path


def command(kind: str, *more: object) -> list[object]:
    return [kind, "--file", "in", "--chunk", 2, "--output", "out.npy", *more]


def interrupted(capsys: pytest.CaptureFixture[str], kind: str, *more: object) -> None:
    """Run the command until its second chunk is complete."""
    with pytest.MonkeyPatch.context() as patch:
        append, left = ResumableFile.append, [2]

        def stop(self: ResumableFile, *words: Any, **sums: Any) -> None:
            append(self, *words, **sums)
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        patch.setattr(ResumableFile, "append", stop)
        run(capsys, *command(kind, *more), code=130)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link_out(path: Path) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/precious").write_text("precious")
    path.symlink_to("elsewhere/precious")


def hard_link(path: Path) -> None:
    Path("precious").write_text("precious")
    os.link("precious", path)


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: path.write_text("my own notes"),
    "json": lambda path: path.write_text('{"settings": {}, "done": {}}'),
    "empty object": lambda path: path.write_text("{}"),
    "utf-16": lambda path: path.write_text("mine", encoding="utf-16"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "huge": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "folder": Path.mkdir,
    "pipe": fifo,
    "link": link_out,
    "dangling": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "hard link": hard_link,
}


def contents() -> dict[str, Any]:
    """Return what each path below the current folder is."""
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_size, os.readlink(path) if path.is_symlink() else None)
        for path in Path().rglob("*")
    }


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "overwrite"])
@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize(
    ("name", "of"), [("out.npy.state", "score"), ("out.npy.state", "embed"), ("out.npy.part", "embed")]
)
def test_a_foreign_file_under_a_helper_name_is_never_touched(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, of: str, kind: str, overwrite: tuple[str, ...]
) -> None:
    FOREIGN[kind](Path(name))
    before = contents()
    assert name in run(capsys, *command(of, *overwrite), code=2)
    assert contents() == before
    Path(name).rename("away") if kind != "loop" else Path(name).unlink()  # the remedy works
    run(capsys, *command(of, *overwrite))


def hung(number: int, frame: Any) -> None:
    raise AssertionError("it waits for the other end of a pipe")


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_a_file_that_is_replaced_after_the_first_look_is_not_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    state, lstat = Path("out.npy.state"), Path.lstat
    state.write_text("ours")

    def late(path: Path) -> os.stat_result:
        facts = lstat(path)
        monkeypatch.setattr(Path, "lstat", lstat)
        state.unlink()
        FOREIGN[kind](state)
        return facts

    monkeypatch.setattr(Path, "lstat", late)
    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(60)
    try:
        with pytest.raises(InputError, match="out.npy.state must be"):
            open_own(state, os.O_RDONLY)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_only_one_name_of_an_output_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hard_link(Path("out.npy"))
    run(capsys, *command("score", "--overwrite"))
    assert Path("precious").read_text() == "precious"
    Path("out.npy").unlink()
    Path("precious").write_text("")
    os.link("precious", "out.npy")  # empty, so nothing has to be replaced
    err = run(capsys, *command("score"), code=2)
    assert "out.npy must be a regular file with one name; found a file with 2 names (hard links)" in err
    assert Path("precious").read_text() == ""


def test_the_state_of_score_does_not_make_a_foreign_part_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(capsys, "score")
    Path("out.npy.part").write_text("precious")
    assert "out.npy.part must belong to" in run(capsys, *command("embed", "--overwrite"), code=2)
    assert Path("out.npy.part").read_text() == "precious"
    run(capsys, *command("score"))


START = '{\n "settings": {\n  "minibiogpt": '
GOOD: dict[str, Any] = {"records": 4, "digest": "0" * 64, "bytes": 5, "sums": {}, "made": False}
DAMAGED = [START, START + "[" * 100_000, START + '"1"}, "done": {}}']
DAMAGED += [START + '"1"}, "done": ' + json.dumps(GOOD) + "}" + " " * MAX_BYTES]
DAMAGED += [
    START + '"1"}, "done": ' + text + "}"
    for text in [
        *(json.dumps(GOOD | one) for one in [{"records": -1}, {"records": 1.0}, {"records": True}, {"records": 2**63}]),
        *(json.dumps(GOOD | one) for one in [{"digest": "Z" * 64}, {"digest": "0" * 63}, {"digest": None}]),
        *(json.dumps(GOOD | one) for one in [{"bytes": "5"}, {"bytes": 10**400}, {"made": 1}, {"more": 1}]),
        *(
            json.dumps(GOOD | {"sums": one})
            for one in [[], {"total": "x"}, {"total": [1]}, {"tokens": -1}, {"tokens": 0.5}]
        ),
        *(json.dumps(GOOD | {"sums": {"texts": one}}) for one in [0.5, -1, "2"]),
        *(json.dumps(GOOD | {"sums": {"total": one}}) for one in [float("inf"), float("nan"), True, None]),
        "[]",
        "9" * 5000,
    ]
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_state_of_ours_is_one_error_whose_remedy_works(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    interrupted(capsys, "score")
    Path("out.npy.state").write_text(text)
    before = contents()
    err = run(capsys, *command("score"), code=2)
    assert "must be the state of a minibiogpt run" in err
    assert err.endswith("start again with --overwrite\n")
    assert contents() == before
    run(capsys, *command("score", "--overwrite"))
    assert len(Path("out.npy").read_text().splitlines()) == len(TEXTS)


def test_a_state_that_is_not_utf_8_is_one_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(capsys, "score")
    Path("out.npy.state").write_bytes(START.encode() + b'"\xff"')
    assert "must be the state of a minibiogpt run; found 'utf-8'" in run(capsys, *command("score"), code=2)


def test_a_state_that_counts_more_records_than_there_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(capsys, "score")
    state = Path("out.npy.state")
    content = json.loads(state.read_text())
    content["done"]["records"] = 2**60
    state.write_text(json.dumps(content, indent=1))
    assert "the input must begin with the" in run(capsys, *command("score"), code=2)


def test_bytes_that_no_state_counts_are_not_those_of_a_different_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(capsys, "score")
    state = Path("out.npy.state")
    content = json.loads(state.read_text())
    content["done"] = {"records": 0, "digest": Progress().digest, "bytes": 0}
    state.write_text(json.dumps(content, indent=1))
    before = contents()
    assert "different dtype; repeat that command" in run(capsys, *command("score", "--dtype", "float64"), code=2)
    assert contents() == before
    run(capsys, *command("score"))


@pytest.mark.parametrize("kind", ["score", "embed"])
def test_the_second_of_two_runs_looks_again_once_it_has_the_lock(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The first run finishes between the second's first look and its lock; its file must not be truncated."""
    interrupted(capsys, kind)
    opened, original = [], resume._open_locked

    def late(path: Path) -> Any:
        if not opened:
            opened.append(path)
            assert main(list(map(str, command(kind)))) == 0
            opened.append(Path("out.npy").read_bytes())
        return original(path)

    monkeypatch.setattr(resume, "_open_locked", late)
    code = main(list(map(str, command(kind))))
    assert code == 2
    assert "a finished file; choose another name, or use --overwrite" in capsys.readouterr().err
    assert Path("out.npy").read_bytes() == opened[1]
    assert sorted(path.name for path in folder.iterdir()) == ["in", "out.npy"]


def test_a_part_that_is_removed_before_it_is_locked_is_opened_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that finishes removes its FILE.part, which a second run may have opened by then."""
    path, try_lock = Path("out.npy.part"), resume.try_lock
    path.touch()

    def late(descriptor: int) -> bool | None:
        monkeypatch.setattr(resume, "try_lock", try_lock)
        path.unlink()
        return try_lock(descriptor)

    monkeypatch.setattr(resume, "try_lock", late)
    before = os.listdir("/proc/self/fd")
    file, created = resume._open_locked(path)
    with file:
        assert created
        assert path.samefile(f"/proc/self/fd/{file.fileno()}")
    assert os.listdir("/proc/self/fd") == before, "the other one is closed"


@pytest.mark.parametrize(("kind", "locked"), [("score", "out.npy"), ("embed", "out.npy.part")])
def test_a_run_holds_its_lock_until_it_is_finished(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str, locked: str
) -> None:
    refused, unlink = [], Path.unlink

    def watched(path: Path, *words: Any, **more: Any) -> None:
        if Path(locked).exists() and path.name.startswith("out.npy."):
            with pytest.raises(InputError, match="only one run at a time"):
                resume._open_locked(Path(locked))
            refused.append(path)
        unlink(path, *words, **more)

    monkeypatch.setattr(Path, "unlink", watched)
    run(capsys, *command(kind))
    assert len(refused) == 1


def test_embed_that_is_killed_after_its_part_is_gone_is_complete(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def killed_before_unlinking(name: str) -> None:
        def stop(path: Path, *words: Any, **more: Any) -> None:
            if path.name == name:
                raise KeyboardInterrupt
            unlink(path, *words, **more)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", stop)
            run(capsys, *command("embed"), code=130)
        assert Path("out.npy.part").exists() is (name == "out.npy.part")
        assert Path("out.npy.state").exists()

    run(capsys, *command("embed"))
    want = Path("out.npy").read_bytes()
    Path("out.npy").unlink()
    killed_before_unlinking("out.npy.part")
    killed_before_unlinking("out.npy.state")
    assert "a finished file" in run(capsys, *command("embed", "--pooling", "mean"), code=2)
    run(capsys, *command("embed"))
    assert Path("out.npy").read_bytes() == want
    Path("out.npy").unlink()
    killed_before_unlinking("out.npy.state")
    Path("out.npy").unlink()  # by hand: it is made again
    run(capsys, *command("embed"))
    assert Path("out.npy").read_bytes() == want
    assert sorted(path.name for path in folder.iterdir()) == ["in", "out.npy"]


def test_a_file_that_took_the_name_of_an_empty_output_is_kept(folder: Path) -> None:
    with ResumableFile(Path("out"), {}):
        Path("out").unlink()
        Path("out").touch()
    assert Path("out").exists()


def test_what_a_killed_run_left_beside_the_output_is_cleared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("out.npy", "out.npy.state"):
        Path(f".{name}.minibiogpt-0123abcd.part").mkdir(mode=0o700)
    run(capsys, *command("score"))
    assert sorted(path.name for path in folder.iterdir()) == ["in", "out.npy"]


def test_a_file_that_a_different_run_creates_first_is_not_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the run that created it removes an empty one."""
    path, opened = Path("out.npy"), resume.open_own

    def late(path: Path, flags: int) -> int:
        monkeypatch.setattr(resume, "open_own", opened)
        path.touch()
        raise FileNotFoundError

    monkeypatch.setattr(resume, "open_own", late)
    file, created = resume._open_locked(path)
    with file:
        assert not created


@pytest.mark.parametrize("kind", ["score", "embed"])
@pytest.mark.parametrize("limit", [0, 500, 3000])
def test_a_full_disk_is_one_line_and_the_run_goes_on_afterwards(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str, limit: int
) -> None:
    run(capsys, *command(kind))
    want = Path("out.npy").read_bytes()
    Path("out.npy").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        err = run(capsys, *command(kind), code=2 if limit < len(want) else 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if limit < len(want):
        assert "must be writable; found File too large; raise the limit on the size of files (ulimit -f)" in err
        if not limit:
            assert [path.name for path in folder.iterdir()] == ["in"]
        elif kind == "embed" and limit == 3000:  # in the last of three chunks
            done = json.loads(Path("out.npy.state").read_text())["done"]
            assert 0 < done["bytes"] == Path("out.npy.part").stat().st_size, "no part of a chunk is left"
            assert err.endswith("; to go on after its 4 records, repeat the command\n")
        run(capsys, *command(kind))
    assert Path("out.npy").read_bytes() == want
    assert sorted(path.name for path in folder.iterdir()) == ["in", "out.npy"]


def test_a_chunk_is_on_the_disk_before_the_state_counts_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    counted: list[tuple[int, int]] = []
    fsync, write_state = os.fsync, resume.write_state

    def noted_sync(descriptor: int) -> None:
        fsync(descriptor)
        if os.fstat(descriptor).st_ino == Path("out.npy").stat().st_ino:
            synced.append(os.fstat(descriptor).st_size)

    def noted_state(state: Path, settings: dict[str, Any], progress: Progress) -> None:
        counted.append((progress.bytes, max(synced, default=0)))
        write_state(state, settings, progress)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(resume, "write_state", noted_state)
    run(capsys, *command("score"))
    assert len(counted) == 4, "one for each chunk, after one before any"
    assert all(bytes_ == size for bytes_, size in counted)


@pytest.mark.parametrize("kind", ["score", "embed"])
def test_exactly_one_of_two_processes_writes_the_file(folder: Path, kind: str) -> None:
    Path("in").write_text("\n".join(TEXTS * 20))
    line = [sys.executable, "-m", "minibiogpt", *map(str, command(kind))]
    both = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    (refused,) = [error for error, process in zip(errors, both, strict=True) if process.returncode]
    assert "only one run at a time may write out.npy" in refused or "a finished file" in refused
    size = Path("out.npy").stat().st_size
    assert main([*map(str, command(kind)), "--overwrite"]) == 0
    assert Path("out.npy").stat().st_size == size
    assert sorted(path.name for path in folder.iterdir()) == ["in", "out.npy"]


@pytest.mark.parametrize("name", ["out", "out.state"])
def test_standard_input_from_the_output_is_refused(folder: Path, name: str) -> None:
    Path("in").rename(name)
    line = [sys.executable, "-m", "minibiogpt", "score", "--output", "out", "--overwrite"]
    with Path(name).open() as texts:
        run = subprocess.run(line, stdin=texts, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2
    assert "--output must not overwrite a file that is read; found standard input" in run.stderr
    assert Path(name).read_text() == "\n".join(TEXTS)


def test_an_output_is_utf_8_without_escapes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").write_text("β-blocker", encoding="utf-8")
    run(capsys, *command("score"))
    assert "β-blocker".encode() in Path("out.npy").read_bytes()


@pytest.mark.parametrize("mode", [0o600, 0o200])
def test_a_private_output_stays_private(folder: Path, capsys: pytest.CaptureFixture[str], mode: int) -> None:
    for kind in ("score", "embed"):
        Path("out.npy").write_text("old")
        Path("out.npy").chmod(mode)
        interrupted(capsys, kind, "--overwrite")
        assert Path("out.npy.part").stat().st_mode & 0o777 == 0o600
        run(capsys, *command(kind, "--overwrite"))
        assert Path("out.npy").stat().st_mode & 0o777 == mode
        Path("out.npy").chmod(0o600)


def finished(capsys: pytest.CaptureFixture[str], kind: str) -> tuple[bytes, bytes]:
    """Write a finished output of other texts. Return it, and what the command for these texts would write."""
    run(capsys, *command(kind))
    want = Path("out.npy").read_bytes()
    Path("other").write_text("An older text")
    run(capsys, kind, "--file", "other", "--output", "out.npy", "--overwrite")
    return Path("out.npy").read_bytes(), want


@pytest.mark.parametrize("kind", ["score", "embed"])
def test_a_finished_output_stays_until_the_new_one_is_complete(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    old, want = finished(capsys, kind)
    Path("out.npy").chmod(0o600)
    interrupted(capsys, kind, "--overwrite")
    assert Path("out.npy").read_bytes() == old
    assert Path("out.npy.part").stat().st_mode & 0o777 == 0o600
    different = ["--no-special"]
    assert "only be resumed by the command that started it" in run(capsys, *command(kind, *different), code=2)
    assert Path("out.npy").read_bytes() == old
    run(capsys, *command(kind))  # resumes
    assert Path("out.npy").read_bytes() == want
    assert Path("out.npy").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["in", "other", "out.npy"]


@pytest.mark.parametrize("kind", ["score", "embed"])
@pytest.mark.parametrize("limit", [0, 300, 500])
def test_a_finished_output_survives_a_full_disk(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str, limit: int
) -> None:
    old, want = finished(capsys, kind)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        err = run(capsys, *command(kind, "--overwrite"), code=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "raise the limit on the size of files (ulimit -f)" in err
    assert Path("out.npy").read_bytes() == old
    run(capsys, *command(kind, "--overwrite"))
    assert Path("out.npy").read_bytes() == want
    assert sorted(path.name for path in folder.iterdir()) == ["in", "other", "out.npy"]


def test_a_replacing_run_that_is_killed_at_its_end_is_complete(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, want = finished(capsys, "score")
    for name in (".part", ".state"):
        with monkeypatch.context() as patch:
            unlink = Path.unlink

            def stop(path: Path, *words: Any, suffix: str = name, original: Any = unlink, **more: Any) -> None:
                if path.name.endswith(suffix):
                    raise KeyboardInterrupt
                original(path, *words, **more)

            patch.setattr(Path, "unlink", stop)
            run(capsys, *command("score", "--overwrite"), code=130)
        assert Path("out.npy").read_bytes() == want
    run(capsys, *command("score"))
    assert Path("out.npy").read_bytes() == want
    assert sorted(path.name for path in folder.iterdir()) == ["in", "other", "out.npy"]


@pytest.mark.parametrize("state", [None, START])
def test_a_foreign_part_is_never_touched_by_a_replacing_run(
    folder: Path, capsys: pytest.CaptureFixture[str], state: str | None
) -> None:
    old, want = finished(capsys, "score")
    Path("out.npy.part").write_text("precious")
    if state is not None:
        Path("out.npy.state").write_text(state)
    assert "out.npy.part must belong to an unfinished run" in run(capsys, *command("score", "--overwrite"), code=2)
    assert Path("out.npy").read_bytes() == old
    assert Path("out.npy.part").read_text() == "precious"
    Path("out.npy.part").rename("away")  # the remedy works
    run(capsys, *command("score", "--overwrite"))
    assert Path("out.npy").read_bytes() == want


def test_a_state_whose_count_of_texts_was_changed_makes_no_vectors(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(capsys, "embed")
    state = Path("out.npy.state")
    content = json.loads(state.read_text())
    content["done"]["sums"]["texts"] += 1
    state.write_text(json.dumps(content, indent=1) + "\n")
    error = run(capsys, *command("embed"), code=2)
    assert error.endswith("; remove out.npy.part and out.npy.state to start again\n")
    assert not Path("out.npy").exists()
    Path("out.npy.part").unlink()
    state.unlink()
    run(capsys, *command("embed"))
