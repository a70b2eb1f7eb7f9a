"""Atomic writes: permissions, full disks, and what killed runs leave."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, InputError, Trace
from minibiogpt.files import temporaries
from minibiogpt.files.temporaries import clear_leftovers, temporary_folder
from minibiogpt.files.writing import atomic_folder, write_atomically


def write_text(path: Path, text: str = "new") -> None:
    write_atomically(path, lambda new: new.write_text(text))


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_text("old")
    path.chmod(0o600)
    write_text(path)
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def test_new_bytes_do_not_run_as_the_owner_of_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("old")
    path.chmod(0o4755)
    write_text(path)
    assert mode(path) == 0o755


def test_a_new_file_and_folder_have_the_permissions_that_the_umask_leaves(
    tmp_path: Path, umask: Callable[[int], int]
) -> None:
    umask(0o027)
    write_atomically(tmp_path / "x", lambda new: save_file({"a": np.zeros(3)}, new))
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "y").write_text("y")
    assert (mode(tmp_path / "x"), mode(tmp_path / "folder"), mode(tmp_path / "folder" / "y")) == (0o640, 0o750, 0o640)


def test_the_umask_of_the_process_is_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("other threads would create files with it"))
    write_text(tmp_path / "x")
    with atomic_folder(tmp_path / "folder"):
        pass


def test_a_link_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    """As in the hub's cache, whose links lead to blobs that other revisions share."""
    (tmp_path / "blob").write_text("old")
    (tmp_path / "link").symlink_to("blob")
    write_text(tmp_path / "link")
    assert ((tmp_path / "blob").read_text(), (tmp_path / "link").read_text()) == ("old", "new")


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from minibiogpt.files.writing import atomic_folder, write_atomically

def half(new):
    new.write_text("half")
    (new.parent / ".tmpAbCdEf").write_text("as safetensors does")
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "file":
    write_atomically(Path(sys.argv[2]), half)
with atomic_folder(Path(sys.argv[2])) as folder:
    half(folder / "x")
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "a name.*[x]"
    killed = subprocess.run([sys.executable, "-c", KILLED, kind, target])
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a name.*[x].minibiogpt-")
    if kind == "file":
        write_text(target)
    else:
        with atomic_folder(target) as folder:
            (folder / "x").write_text("x")
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_run_left_that_was_killed_at_its_end_is_cleared_too(tmp_path: Path) -> None:
    """Its folder is complete, so the next run has nothing to do but to say so."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "x").write_text("x")
    (tmp_path / ".target.minibiogpt-0123abcd.part").mkdir(mode=0o700)
    with pytest.raises(InputError, match="must be new or empty"), atomic_folder(target):
        pass
    assert list(tmp_path.iterdir()) == [target]


def test_only_what_is_ours_and_dead_is_cleared(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "kept").write_text("kept")
    here = tmp_path / "here"
    here.mkdir()
    foreign = [here / name for name in (".x.abcdefgh", ".x.abcdefgh.part", ".y.minibiogpt-abcdefgh.part")]
    foreign += [here / ".x.minibiogpt-ABCDEFGH.part", here / ".x.minibiogpt-aaaaaaaa.part"]
    foreign += [here / ".x.minibiogpt-abcdefgh.part.old"]
    for path in foreign:
        path.mkdir(mode=0o755 if path.name.endswith("aaaaaaaa.part") else 0o700)
    (here / ".x.minibiogpt-link0000.part").symlink_to(outside)
    (here / ".x.minibiogpt-file0000.part").write_text("kept")
    os.mkfifo(here / ".x.minibiogpt-pipe0000.part")
    busy = here / ".x.minibiogpt-busy0000.part"
    busy.mkdir(mode=0o700)
    before = sorted(here.iterdir())
    descriptor = os.open(busy, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    write_text(here / "x")
    assert sorted(here.iterdir()) == sorted([*before, here / "x"])
    assert (outside / "kept").read_text() == "kept"
    os.close(descriptor)
    write_text(here / "x")
    assert not busy.exists()


def test_what_a_different_user_left_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".x.minibiogpt-0123abcd.part").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    clear_leftovers(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == [".x.minibiogpt-0123abcd.part"]


def test_a_folder_that_took_the_name_of_a_cleared_one_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a run's look at a folder and its lock, a different run may clear it and take its name."""
    folder = tmp_path / ".x.minibiogpt-0123abcd.part"
    folder.mkdir(mode=0o700)

    def late(descriptor: int) -> bool:
        folder.rmdir()
        folder.mkdir(mode=0o700)
        (folder / "new").write_text("kept")
        return True

    monkeypatch.setattr(temporaries, "try_lock", late)
    clear_leftovers(tmp_path / "x")
    assert (folder / "new").read_text() == "kept"


def test_a_folder_that_is_cleared_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_lock = temporaries.try_lock

    def late(descriptor: int) -> bool | None:
        monkeypatch.setattr(temporaries, "try_lock", try_lock)
        clear_leftovers(tmp_path / "x")
        return try_lock(descriptor)

    monkeypatch.setattr(temporaries, "try_lock", late)
    with temporary_folder(tmp_path / "x") as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_a_file_system_that_cannot_lock_is_written_and_nothing_on_it_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    left = tmp_path / ".x.minibiogpt-0123abcd.part"
    left.mkdir(mode=0o700)
    monkeypatch.setattr(fcntl, "flock", fail)
    write_text(tmp_path / "x")
    assert sorted(tmp_path.iterdir()) == [left, tmp_path / "x"]


def test_a_signal_during_the_cleanup_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rmtree = shutil.rmtree

    def interrupted(folder: Path, **options: bool) -> None:
        monkeypatch.setattr(shutil, "rmtree", rmtree)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_the_folder_of_a_living_writer_survives_a_second_writer(tmp_path: Path) -> None:
    def both(new: Path) -> None:
        new.write_text("outer")
        write_text(tmp_path / "x", "inner")
        assert new.exists()

    write_atomically(tmp_path / "x", both)
    assert (tmp_path / "x").read_text() == "outer"


def test_writers_that_clear_at_once_never_remove_each_others_folders(tmp_path: Path) -> None:
    """A folder is not yet locked at the moment it is created."""
    errors = []

    def write_often() -> None:
        try:
            for _ in range(60):
                with temporary_folder(tmp_path / "x") as folder:
                    (folder / "new").write_text("x")
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not list(tmp_path.iterdir())


def test_a_name_of_any_length_that_a_file_may_have_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("é" * 127))
    with pytest.raises(InputError, match="must be writable; found File name too long; choose a shorter name"):
        write_text(tmp_path / ("é" * 128))


CODES = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.EFBIG: "ulimit -f"}
CODES |= {errno.EIO: "check the disk", errno.EROFS: "that you may write to", errno.EACCES: "that you may write to"}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_each_cause_has_its_own_remedy(tmp_path: Path, code: int, kind: type) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def fail(new: Path) -> None:
        new.write_text("half")
        if kind is OSError:
            raise OSError(code, os.strerror(code))
        raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(code)} (os error {code})")

    with pytest.raises(InputError, match=f"x must be writable; found {os.strerror(code)}; .*{CODES[code]}"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may have more than 3,000 bytes; Python ignores SIGXFSZ, so that writing fails instead."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def traced() -> Trace:
    trace = Trace()
    BioGptForCausalLM.from_pretrained("demo")([[2, 5, 9]], trace=trace)
    return trace


SAVED = {
    "model.safetensors": lambda path: BioGptForCausalLM.from_pretrained("demo").save_pretrained(path.parent),
    "vocab.json": lambda path: BioGptTokenizer.from_pretrained("demo").save_pretrained(path.parent),
    "trace.safetensors": lambda path: traced().save(path),
}


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.usefixtures("small_files")
def test_what_cannot_be_written_whole_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    with pytest.raises(InputError, match=f"{name} must be writable; found File too large; raise the limit"):
        SAVED[name](path)
    assert path.read_text() == "old"
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_a_safetensors_file_is_written_through(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", lambda new: save_file({"a": np.arange(3)}, new))
    assert load_file(tmp_path / "x")["a"].tolist() == [0, 1, 2]


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("replace"), replace(a, b))[1])
    write_text(tmp_path / "x")
    assert events == ["fsync", "replace"]
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda a, b: (events.append("rename"), rename(a, b))[1])
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "y").write_text("y")
    assert events[2:] == ["fsync", "rename"]


@pytest.mark.parametrize(("code", "written"), [(errno.EINVAL, True), (errno.ENOSYS, True), (errno.EIO, False)])
def test_a_file_system_that_cannot_sync_is_no_error_but_a_broken_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, written: bool
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    if written:
        write_text(tmp_path / "x")
    else:
        with pytest.raises(InputError, match="must be writable; found Input/output error; check the disk"):
            write_text(tmp_path / "x")
    assert (tmp_path / "x").exists() == written


def test_a_save_that_fails_leaves_no_folder_that_it_created(tmp_path: Path) -> None:
    def fail(new: Path) -> None:
        raise InputError("a value must be finite", "NaN", "check it")

    (tmp_path / "kept").mkdir()
    with pytest.raises(InputError):
        write_atomically(tmp_path / "kept" / "a" / "b" / "x", fail)
    with pytest.raises(InputError), atomic_folder(tmp_path / "c" / "d" / "x") as folder:
        fail(folder)
    assert [*tmp_path.rglob("*")] == [tmp_path / "kept"]


def test_a_folder_in_which_another_program_wrote_stays(tmp_path: Path) -> None:
    def fail(new: Path) -> None:
        (tmp_path / "a" / "theirs").write_text("theirs")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="must be writable; found No space left on device"):
        write_atomically(tmp_path / "a" / "b" / "x", fail)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "theirs"]


def test_the_error_of_a_file_in_a_new_folder_names_the_new_folder(tmp_path: Path) -> None:
    """The temporary folder is gone when the error is read."""

    def fail(new: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "kit"
    with pytest.raises(InputError) as caught, atomic_folder(target) as folder:
        write_atomically(folder / "models" / "x", fail)
    assert str(caught.value).startswith(f"{target / 'models' / 'x'} must be writable; found No space left on device;")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.EMFILE, "ulimit -n"), (errno.ENFILE, "close some files"), (errno.ENOMEM, "free some memory")],
)
def test_what_has_nothing_to_do_with_permissions_is_not_called_so(tmp_path: Path, code: int, remedy: str) -> None:
    def fail(new: Path) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(InputError, match=f"found {os.strerror(code)}; .*{remedy}"):
        write_atomically(tmp_path / "x", fail)
