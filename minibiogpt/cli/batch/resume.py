"""Output that survives a killed run: a file that grows chunk by chunk, and FILE.state that says how far it is."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from minibiogpt import __version__
from minibiogpt.errors import InputError

MODEL_FILES = ("*.json", "merges.txt", "*.safetensors")


@dataclass
class Done:
    """What is written and whole: so many records with this digest, so many bytes, and what was summed over them."""

    records: int = 0
    digest: str = hashlib.sha256().hexdigest()
    bytes: int = 0
    sums: dict[str, float] = field(default_factory=dict)


class Resumable:
    """FILE (or FILE.part, for a format that cannot grow) and FILE.state, which exists while FILE is unfinished.

    A chunk is first appended, then counted in the state, which is replaced at once: a run that is killed between the
    two, or in the middle of a line, leaves bytes that the state does not count. They are cut off and written again.

    Parameters
    ----------
    settings : everything that the bytes of FILE depend on; only a run with equal settings may continue it.
    part : grow FILE.part, and let ``finish`` make FILE from it.
    overwrite : whether a finished FILE, or another run's unfinished one, may be replaced. An unfinished one of equal
        settings is continued all the same: a killed command is repeated as it was.

    Raises
    ------
    InputError
        If FILE is finished or another run's, has lost bytes, is being written by a running process, or cannot be.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, part: bool = False, overwrite: bool = False) -> None:
        self.path, self.settings = path, {"minibiogpt": __version__, **settings}
        self.grows = path.with_name(f"{path.name}.part") if part else path
        self.state = _state_of(path)
        check_new(path, overwrite)
        self._file, self._untouched = _held(self.grows), True
        try:
            self.done = self._earlier(overwrite) or Done()
        except BaseException:
            self._close()
            raise

    def _earlier(self, overwrite: bool) -> Done | None:
        """What a killed run of the same settings has done; None to begin anew."""
        if not self.state.exists():
            return None
        settings, done = _stored(self.state)
        size = self.grows.stat().st_size
        if settings != self.settings:
            if overwrite or not (done.records or size):
                return None
            names = [name for name in self.settings | settings if self.settings.get(name) != settings.get(name)]
            must = f"an unfinished {self.path} can only be continued by the command that began it"
            raise InputError(must, f"another {', '.join(names)}", "repeat that command, or begin anew with --overwrite")
        if size < done.bytes:
            must = f"{self.grows} must hold the {done.bytes} bytes that {self.state.name} counts"
            raise InputError(must, f"{size}", "put it back, or remove both to begin anew")
        return done

    def append(self, data: bytes, records: int, digest: str, **sums: float) -> None:
        """Write one chunk; ``records`` and ``digest`` are those of the input up to its end."""
        self._cut()
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        total = {name: self.done.sums.get(name, 0) + value for name, value in sums.items()}
        self.done = Done(records, digest, self.done.bytes + len(data), total)
        self._save()

    def finish(self, make: Callable[[Path, Path], None] | None = None) -> None:
        """The input is at its end: with ``part``, ``make(FILE.part, new file)`` writes what becomes FILE."""
        self._cut()
        self._file.close()
        if make is not None:
            _replace(self.path, lambda new: make(self.grows, new))
        self.state.unlink()
        if make is not None:
            self.grows.unlink()

    def _cut(self) -> None:
        """Drop what the state does not count: the rest of a chunk, or what --overwrite replaces."""
        if self._untouched:
            self._save()  # before a byte is lost, so that what is then there has an owner
        self._untouched = False
        self._file.truncate(self.done.bytes)
        self._file.seek(self.done.bytes)

    def _save(self) -> None:
        content = json.dumps({"settings": self.settings, "done": asdict(self.done)}, indent=1)
        _replace(self.state, lambda new: new.write_text(content + "\n", encoding="utf-8"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        """A run that failed before its first result leaves what was there before, and no empty file."""
        self._file.close()
        if self._untouched and not self.state.exists() and not self.grows.stat().st_size:
            self.grows.unlink()


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse a finished file unless it may be replaced; an empty one holds nothing to lose.

    Raises
    ------
    InputError
        If it is finished, or no file at all.
    """
    if path.name in ("", "-") or (path.exists() and not path.is_file()):
        raise InputError("--output must name a file", str(path), "choose a new name, or leave --output out")
    if path.exists() and path.stat().st_size and not _state_of(path).exists() and not overwrite:
        must = f"{path} must be new, or the unfinished output of this very command"
        raise InputError(must, "a finished file", "choose another name, or give --overwrite")


def fingerprint(folder: Path) -> str:
    """SHA-256 of a model's files: config, vocabulary and weights."""
    found = hashlib.sha256()
    for path in sorted(path for pattern in MODEL_FILES for path in folder.glob(pattern)):
        with path.open("rb") as file:
            found.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _stored(state: Path) -> tuple[dict[str, Any], Done]:
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        settings, done = dict(content["settings"]), Done(**content["done"])
        if not isinstance(done.records + done.bytes, int) or not isinstance(done.sums, dict):
            raise TypeError("counts that are no numbers")
        return settings, done
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{state} must be what a minibiogpt run left", found, "remove it to begin anew") from None


def _state_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.state")


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write FILE.new and rename it. Its name is fixed: what a killed run leaves of it, the next one writes anew."""
    new = path.with_name(f"{path.name}.new")
    write(new)
    os.replace(new, path)


def _held(path: Path) -> BinaryIO:
    """The file, made if it is absent, and held where the system can: two runs that append to one would spoil it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")
    except OSError as error:
        raise InputError(f"{path} must be writable", f"{error.strerror}", "choose another folder") from None
    try:
        fcntl = importlib.import_module("fcntl")  # not on Windows
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        must = f"only one run at a time may write {path}"
        raise InputError(must, "another that is running", "wait for it, or choose another name") from None
    except (ImportError, OSError):  # some network file systems hold nothing
        pass
    return file
