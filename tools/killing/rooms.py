"""The folder of a run: what is laid in it before, and what may be in it afterwards."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from tools.killing.commands import Command

KEPT = b"not yours\n" * 30
Snapshot = dict[str, tuple[int, bytes]]  # of each path: mode, and content or target of the link


class Problem(NamedTuple):
    """What is wrong after a run: its kind, and a sentence."""

    kind: str
    detail: str


class Room:
    """A folder ``root`` with ``inputs``, ``outside``, and ``room``, in which the command runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / "room"

    def lay(self, command: Command, start: str, squatter: tuple[str, str] | None = None) -> Snapshot:
        """Empty the room, and put files of other programs, and the old output, into it.

        Parameters
        ----------
        start : "new" or "old": whether the output exists before.
        squatter : the name and the kind of one more file that has a name like those that the command may choose.
        """
        for path in (self.path, self.root / "outside"):
            path.mkdir(exist_ok=True)
            for entry in path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        (self.root / "outside" / "kept").write_bytes(KEPT)
        for name in ("notes.txt", f"{command.output}.part.bak", f".{command.output}.swp", f"{command.output}~"):
            (self.path / name).write_bytes(KEPT)
        (self.path / "linked").symlink_to("../outside/kept")
        if start == "old":
            self._lay_old(command)
        if squatter is not None:
            SQUATTERS[squatter[1]](self.path / squatter[0])
        return self.snapshot()

    def _lay_old(self, command: Command) -> None:
        for name, content in command.old.items():
            path = self.path / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_bytes(content)

    def snapshot(self) -> Snapshot:
        """Return all paths in the room and outside, relative to the room."""
        found = {}
        for folder in (self.path, self.root / "outside"):
            for path in sorted(folder.rglob("*")):
                mode = path.lstat().st_mode
                content = path.read_bytes() if stat.S_ISREG(mode) else b""
                content = os.fsencode(os.readlink(path)) if stat.S_ISLNK(mode) else content
                found[os.path.relpath(path, self.path)] = (mode, content)
        return found


def _file(path: Path) -> None:
    path.write_bytes(KEPT)


def _link(path: Path) -> None:
    path.symlink_to("../outside/kept")


def _dangling(path: Path) -> None:
    path.symlink_to("../outside/absent")


SQUATTERS: dict[str, Callable[[Path], None]] = {"file": _file, "link": _link, "dangling": _dangling}


def below(path: str, output: str) -> bool:
    return path == output or path.startswith(f"{output}/")


def foreign_problems(command: Command, before: Snapshot, after: Snapshot) -> Iterator[Problem]:
    """Whatever was there before and is not the output must be unchanged, and nothing may be new outside."""
    for path, entry in before.items():
        if not below(path, command.output) and after.get(path) != entry:
            yield Problem("foreign", f"{path} was {'changed' if path in after else 'removed'}")
    yield from (Problem("foreign", f"{path} was written") for path in after.keys() - before if path.startswith(".."))


def stopped_problems(command: Command, before: Snapshot, after: Snapshot, complete: Snapshot) -> Iterator[Problem]:
    """After a kill or an error, the output must be as before or complete; a new one may be unfinished, with a state."""
    yield from foreign_problems(command, before, after)
    if command.stdout is not None:
        return
    old, now, new = (output_of(command, snapshot) for snapshot in (before, after, complete))
    if command.whole and now not in ({}, old, new):
        yield Problem("half-written", f"{command.output} is neither as before nor complete: {sorted(now)}")
    for path in {**old, **new} if not command.whole else ():
        if not _allowed(command, path, now.get(path), old.get(path), new.get(path), after):
            state = f", and there is no {command.output}.state" if command.resumes else ""
            size = f"{len(now[path][1])} bytes" if path in now else "missing"
            yield Problem("half-written", f"{path} is neither as before nor complete: {size}{state}")


Entry = tuple[int, bytes] | None


def _allowed(command: Command, path: str, now: Entry, old: Entry, new: Entry, after: Snapshot) -> bool:
    if now in (old, new):
        return True
    if now is not None and stat.S_ISDIR(now[0]):
        return True  # created first, with its files one by one
    if now is None or old is not None or not command.resumes:
        return False  # an old output stays until the new one is complete
    if f"{command.output}.state" in after:
        return new is None or new[1].startswith(now[1])
    return not now[1]  # created, and nothing written yet


def output_of(command: Command, snapshot: Snapshot) -> Snapshot:
    return {path: entry for path, entry in snapshot.items() if below(path, command.output)}


def left_problems(command: Command, before: Snapshot, after: Snapshot, complete: Snapshot) -> Iterator[Problem]:
    """After an error that the command reports itself, it must have removed its temporary files."""
    allowed = {*before, *complete, *command.companions}
    if command.stdout is None:
        yield from (Problem("left behind", f"{path}, after an error") for path in _topmost(after.keys() - allowed))


def _topmost(paths: Collection[str]) -> list[str]:
    """Return the paths that are not below another one."""
    return sorted(path for path in paths if not any(other != path and below(path, other) for other in paths))


def complete_problems(after: Snapshot, complete: Snapshot) -> Iterator[Problem]:
    """After a complete run the room must be as after an undisturbed one: equal bytes and modes, and nothing else."""
    for path in _topmost(after.keys() - complete):
        yield Problem("left behind", f"{path}, after a complete run")
    for path, entry in complete.items():
        if path not in after:
            yield Problem("lost", f"{path} is missing after a complete run")
        elif after[path] != entry:
            what = "bytes" if after[path][1] != entry[1] else "mode"
            yield Problem("different", f"{path} has other {what} than after an undisturbed run")
