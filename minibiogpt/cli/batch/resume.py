"""Output that survives a killed run: a file that grows chunk by chunk, and FILE.state, which records the progress."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from minibiogpt import __version__
from minibiogpt.cli.options import source_of, tokenizer_folder
from minibiogpt.errors import InputError

MODEL_FILES = ("*.json", "merges.txt", "*.safetensors", "adapter_model.bin")


@dataclass
class Progress:
    """What is complete: records with their digest, bytes of output, and sums over the records."""

    records: int = 0
    digest: str = hashlib.sha256().hexdigest()
    bytes: int = 0
    sums: dict[str, float] = field(default_factory=dict)


class ResumableFile:
    """FILE (or FILE.part, for a format that cannot grow) and FILE.state, which exists while FILE is unfinished.

    A chunk is appended first, then counted in the state, which is replaced atomically. A run that is killed in between,
    or in the middle of a line, leaves bytes that the state does not count. They are truncated and written again.

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
        self.data_path = path.with_name(f"{path.name}.part") if part else path
        self.state = _state_path(path)
        check_new(path, overwrite)
        self._file, self._untouched = _open_locked(self.data_path), True
        try:
            self.progress = self._saved_progress(overwrite) or Progress()
        except BaseException:
            self._close()
            raise

    def _saved_progress(self, overwrite: bool) -> Progress | None:
        """Return the progress of a killed run with the same settings, or None to start again."""
        if not self.state.exists():
            return None
        try:
            settings, progress = _read_state(self.state)
        except InputError:
            if overwrite:
                return None
            raise
        size = self.data_path.stat().st_size
        if settings != self.settings:
            if overwrite or not (progress.records or size):
                return None
            names = [name for name in self.settings | settings if self.settings.get(name) != settings.get(name)]
            must = f"an unfinished {self.path} can only be resumed by the command that started it"
            remedy = "repeat that command, or start again with --overwrite"
            raise InputError(must, f"different {', '.join(names)}", remedy)
        if size < progress.bytes and overwrite:
            return None
        if size < progress.bytes:
            must = f"{self.data_path} must hold the {progress.bytes} bytes that {self.state.name} counts"
            raise InputError(must, f"{size}", "restore it, or start again with --overwrite")
        return progress

    def append(self, data: bytes, records: int, digest: str, **sums: float) -> None:
        """Write one chunk. ``records`` and ``digest`` are those of the input up to its end."""
        self._truncate()
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        total = {name: self.progress.sums.get(name, 0) + value for name, value in sums.items()}
        self.progress = Progress(records, digest, self.progress.bytes + len(data), total)
        self._save()

    def finish(self, make: Callable[[Path, Path], None] | None = None) -> None:
        """Complete FILE at the end of the input. With ``part``, ``make(FILE.part, new file)`` writes it."""
        self._truncate()
        self._file.close()
        if make is not None:
            _replace(self.path, lambda new: make(self.data_path, new))
        self.state.unlink()
        if make is not None:
            self.data_path.unlink()

    def _truncate(self) -> None:
        """Remove the bytes that the state does not count: an incomplete chunk, or what --overwrite replaces."""
        if self._untouched:
            self._save()  # before any byte is lost, so that a state describes what is left
        self._untouched = False
        self._file.truncate(self.progress.bytes)
        self._file.seek(self.progress.bytes)

    def _save(self) -> None:
        content = json.dumps({"settings": self.settings, "done": asdict(self.progress)}, indent=1)
        _replace(self.state, lambda new: new.write_text(content + "\n", encoding="utf-8"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        """Close the file. If the run wrote nothing, keep earlier bytes, but remove an empty file."""
        self._file.close()
        if self._untouched and not self.state.exists() and not self.data_path.stat().st_size:
            self.data_path.unlink()


def check_new(path: Path, overwrite: bool) -> None:
    """Check that no finished output would be lost. An empty file holds nothing to lose.

    Raises
    ------
    InputError
        If the file is finished and ``overwrite`` is false, or the path is not a file.
    """
    if path.name in ("", "-") or (path.exists() and not path.is_file()):
        raise InputError("--output must name a file", str(path), "choose a new name, or leave --output out")
    if path.exists() and path.stat().st_size and not _state_path(path).exists() and not overwrite:
        must = f"{path} must be new, or the unfinished output of the same command"
        raise InputError(must, "a finished file", "choose another name, or use --overwrite")


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


def _read_state(state: Path) -> tuple[dict[str, Any], Progress]:
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        settings, progress = dict(content["settings"]), Progress(**content["done"])
        counts = (progress.records, progress.bytes)
        if not all(isinstance(n, int) and n >= 0 for n in counts) or not isinstance(progress.sums, dict):
            raise TypeError("counts that are not integers")
        return settings, progress
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{state} must be the state of a minibiogpt run", found, "start again with --overwrite"
        ) from None


def _state_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.state")


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write FILE.new and rename it. The name is fixed, so the next run overwrites what a killed run left."""
    new = path.with_name(f"{path.name}.new")
    write(new)
    os.replace(new, path)


def _open_locked(path: Path) -> BinaryIO:
    """Open or create the file, and lock it if the system can, since two runs appending to it would corrupt it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")
    except OSError as error:
        raise InputError(f"{path} must be writable", f"{error.strerror}", "choose another folder") from None
    try:
        import fcntl  # not on Windows

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        must = f"only one run at a time may write {path}"
        raise InputError(must, "a different run", "wait for it, or choose another name") from None
    except (ImportError, OSError):  # some network file systems cannot lock
        pass
    return file
