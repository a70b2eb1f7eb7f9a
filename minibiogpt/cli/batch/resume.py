"""Output that survives a killed run: a file that grows chunk by chunk, and FILE.state, which records the progress."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from minibiogpt import __version__
from minibiogpt.cli.batch.state import AWAY, DamagedState, Progress, open_own, read_state, state_path, write_state
from minibiogpt.cli.options import source_of, tokenizer_folder
from minibiogpt.errors import InputError, listed
from minibiogpt.files.temporaries import ATTEMPTS, clear_leftovers, is_open_as, not_writable, try_lock
from minibiogpt.files.writing import write_atomically

MODEL_FILES = ("*.json", "merges.txt", "*.safetensors", "adapter_model.bin")


class ResumableFile:
    """FILE (or FILE.part, see below) and FILE.state, which exists while FILE is unfinished.

    A chunk is appended first, then counted in the state, which is replaced atomically. A run that is killed in between,
    or in the middle of a line, leaves bytes that the state does not count. They are truncated and written again.
    FILE.part is for a format that cannot grow, and for a finished FILE, which stays until the new one is complete.

    Parameters
    ----------
    settings : everything that the bytes of FILE depend on. Only a run with equal settings may resume it.
    part : append to FILE.part, from which ``finish`` makes FILE.
    overwrite : whether to replace a finished FILE, or an unfinished one with different settings. An unfinished one with
        equal settings is resumed anyway, so that you can repeat a killed command unchanged.

    Raises
    ------
    InputError
        If FILE is finished, belongs to a different run, has lost bytes, is being written by another process, or is not
        writable.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, part: bool = False, overwrite: bool = False) -> None:
        self.path, self.settings = path, {"minibiogpt": __version__, **settings}
        self.state, self._untouched = state_path(path), True
        for _ in range(ATTEMPTS):
            check_new(path, overwrite)
            self.progress = Progress(replacing=not part and _replaces(path, overwrite))
            self.data_path = part_path(path) if part or self.progress.replacing else path
            self._file, self._created = _open_locked(self.data_path)
            try:
                check_new(path, overwrite)  # again: a run that held the lock may have finished meanwhile
                if part or self.progress.replacing == _replaces(path, overwrite):
                    self._prepare(overwrite)
                    return
            except BaseException:
                self._close()
                raise
            self._close()
        raise _unstable(path)

    def _prepare(self, overwrite: bool) -> None:
        """Clear what killed runs left, and read the progress of one with the same settings."""
        if self._created and self.data_path != self.path and self.path.exists():
            mode = stat.S_IMODE(self.path.stat().st_mode) & 0o777  # as private as FILE, but to be read and written here
            self.data_path.chmod(mode | stat.S_IRUSR | stat.S_IWUSR)
        clear_leftovers(self.state)
        clear_leftovers(self.path)
        self.progress = self._saved_progress(overwrite) or self.progress

    def _saved_progress(self, overwrite: bool) -> Progress | None:
        """Return the progress of a killed run with the same settings, or None to start again."""
        size = os.fstat(self._file.fileno()).st_size
        try:
            saved = read_state(self.state)
        except DamagedState:
            if not overwrite:
                raise
            if not (self.progress.replacing and size):
                return None
            saved = None  # nothing shows that FILE.part is ours
        ours = saved is not None and saved[0].get("command") == self.settings.get("command")
        if self.data_path != self.path and size and not ours:
            must = f"{self.data_path} must belong to an unfinished run"
            raise InputError(must, f"no {self.state.name} of such a run beside it", AWAY)
        if saved is None:
            return None
        settings, progress = saved
        if progress.made and not self.path.exists():
            progress = Progress(replacing=progress.replacing)
        if settings != self.settings:
            if overwrite or not (progress.records or size or progress.replacing):
                return None
            if progress.made:
                raise _finished(self.path)
            names = [name for name in self.settings | settings if self.settings.get(name) != settings.get(name)]
            must = f"an unfinished {self.path} can only be resumed by the command that started it"
            remedy = "repeat that command, or start again with --overwrite"
            raise InputError(must, f"different {listed(names)}", remedy)
        if size < progress.bytes and not progress.made:
            if overwrite:
                return None
            must = f"{self.data_path} must hold the {progress.bytes} bytes that {self.state.name} counts"
            raise InputError(must, f"{size}", "restore it, or start again with --overwrite")
        return progress

    def append(self, data: bytes, records: int, digest: str, **sums: float) -> None:
        """Write one chunk. ``records`` and ``digest`` are those of the input up to its end."""
        self._check_in_place()
        try:
            self._truncate()
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._kept(not_writable(self.data_path, error)) from None
        total = {name: self.progress.sums.get(name, 0) + value for name, value in sums.items()}
        size = self.progress.bytes + len(data)
        done = replace(self.progress, records=records, digest=digest, bytes=size, sums=total)
        try:
            self._save(done)
        except InputError as error:
            raise self._kept(error) from None
        self.progress = done

    def _kept(self, error: InputError) -> InputError:
        """Remove an incomplete chunk, and say that repeating the command goes on from the chunk before."""
        with suppress(OSError):
            self._file.truncate(self.progress.bytes)
        if not self.progress.records:
            return error
        remedy = f"{error.remedy}; to go on after its {self.progress.records} records, repeat the command"
        return InputError(error.must, error.found, remedy)

    def finish(self, make: Callable[[Path, Path], None] | None = None) -> None:
        """Complete FILE at the end of the input. With ``part``, ``make(FILE.part, new file)`` writes it.

        The lock is held until the state is gone: a run that gets it then finds a finished FILE.
        """
        if not self.progress.made:
            self._check_in_place()
        if self.progress.replacing:
            make = _copy
        try:
            if make is not None and not self.progress.made:
                self._truncate()
                write_atomically(self.path, lambda new: make(self.data_path, new))
                self.progress = replace(self.progress, made=True)
                self._save(self.progress)
            elif make is None:
                self._truncate()
            if make is not None:
                self.data_path.unlink()
            self.state.unlink()
        except OSError as error:
            raise not_writable(self.path, error) from None
        except InputError as error:  # such as no space for FILE beside FILE.part
            raise self._kept(error) from None
        self._untouched = False
        self._file.close()

    def _check_in_place(self) -> None:
        """Check that what is written has not been removed or renamed: nobody would find the results."""
        if not is_open_as(self.data_path, self._file.fileno()):
            must = f"{self.data_path} must stay in place while it is written"
            found = "a different file" if os.path.lexists(self.data_path) else "no such file"
            raise InputError(must, found, "put it back and repeat the command, or start again with --overwrite")

    def _truncate(self) -> None:
        """Remove the bytes that the state does not count: an incomplete chunk, or what --overwrite replaces."""
        if self._untouched:
            self._save(self.progress)  # before any byte is lost, so that a state describes what is left
        self._untouched = False
        self._file.truncate(self.progress.bytes)
        self._file.seek(self.progress.bytes)

    def _save(self, progress: Progress) -> None:
        write_state(self.state, self.settings, progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        """Close the file. If this run created it and completed nothing, leave nothing."""
        if self._file.closed:
            return
        empty = self._created and not self.progress.records and not os.fstat(self._file.fileno()).st_size
        if empty and is_open_as(self.data_path, self._file.fileno()):
            with suppress(OSError):
                self.data_path.unlink()
                if not self._untouched:
                    self.state.unlink()
        self._file.close()


def _replaces(path: Path, overwrite: bool) -> bool:
    """Whether a run replaces a finished FILE, or what may be one."""
    try:
        saved = read_state(state_path(path))
    except DamagedState:
        saved = None
    if saved is not None:
        return saved[1].replacing
    return overwrite and path.exists() and path.stat().st_size > 0


def _copy(part: Path, new: Path) -> None:
    shutil.copyfile(part, new)


def part_path(path: Path) -> Path:
    return path.parent / f"{path.name}.part"


def check_new(path: Path, overwrite: bool) -> None:
    """Check that no finished output would be lost. An empty file holds nothing to lose.

    Raises
    ------
    InputError
        If the file is finished and ``overwrite`` is false, or FILE.state is not a state of ours.
    """
    try:
        unfinished = read_state(state_path(path)) is not None
    except DamagedState:
        unfinished = True  # the error is raised when it is read, unless --overwrite replaces it
    if path.exists() and path.stat().st_size and not unfinished and not overwrite:
        raise _finished(path)


def _finished(path: Path) -> InputError:
    must = f"{path} must be new, or the unfinished output of the same command"
    return InputError(must, "a finished file", "choose another name, or use --overwrite")


def _unstable(path: Path) -> InputError:
    return InputError(f"{path} must stay in place", "a file that is removed again and again", "choose another name")


def model_settings(options: argparse.Namespace) -> dict[str, str]:
    """Return the fingerprint of the model, and of its adapter and tokenizer if they are in other folders."""
    source, tokenizer = source_of(options), tokenizer_folder(options)
    settings = {"model": fingerprint(source.folder)}
    if source.adapter is not None:
        settings["adapter"] = fingerprint(source.adapter.folder)
    if tokenizer not in source.folders:
        settings["tokenizer"] = fingerprint(tokenizer)
    return settings


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a model's files: config, vocabulary and weights."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in MODEL_FILES for path in folder.glob(pattern)):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _open_locked(path: Path) -> tuple[FileIO, bool]:
    """Open or create the file, and lock it if the system can; return whether it is new.

    Two runs appending to one file would corrupt it. A run that finishes removes its FILE.part, so what was opened
    before may no longer be the file of that name once it is locked.
    """
    for _ in range(ATTEMPTS):
        descriptor, created = _opened(path)
        locked = try_lock(descriptor)
        if locked is not False and is_open_as(path, descriptor):
            return FileIO(descriptor, "r+"), created
        os.close(descriptor)
        if locked is False:
            must = f"only one run at a time may write {path}"
            raise InputError(must, "another run that writes it now", "wait for it, or choose another name")
    raise _unstable(path)


def _opened(path: Path) -> tuple[int, bool]:
    binary = getattr(os, "O_BINARY", 0)
    for _ in range(ATTEMPTS):
        with suppress(FileNotFoundError):
            return open_own(path, os.O_RDWR), False
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | binary, 0o666), True
        except FileExistsError:  # a different run was faster
            continue
        except OSError as error:
            raise not_writable(path, error) from None
    raise _unstable(path)
