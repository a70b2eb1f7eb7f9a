"""manifest.json of a kit: what it says, and that no file was changed since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.reading import read_json, sha256

FORMAT, VERSION = "minibiogpt-golden-kit", "1"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a whole kit.

    Raises
    ------
    InputError
        If the folder is none, or a kit of a later version; or a file that it lists is missing, lies elsewhere or was
        changed; or two cases have one name.
    """
    path, remedy = folder / "manifest.json", "make it again: minibiogpt golden kit FOLDER"
    must = f"{folder} must be a whole kit"
    if not path.is_file():
        raise InputError(must, "no manifest.json", remedy)
    manifest = read_json(path, must)
    try:
        for key, want in (("format", FORMAT), ("version", VERSION)):
            if manifest[key] != want:
                found = f"{key} {short_repr(manifest[key])}"
                raise InputError(f"{must}, format {FORMAT!r}, version {VERSION!r}", found, remedy)
        names = [case["name"] for case in manifest["cases"]]
        if not names or len(set(names)) < len(names) or not all(map(_is_plain, names)):
            raise InputError(must, "no cases, two of one name, or a name that no file can have", remedy)
        for file, digest in _files(manifest):
            _check_file(folder, folder / file, digest, must, remedy)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(must, f"a manifest.json that is none ({short_repr(str(error))})", remedy) from None
    return manifest


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and name == Path(name).name != ""


def _files(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every file that the manifest lists, and its sha256."""
    for one in (*manifest["cases"], manifest["tokenizer"], manifest["readme"]):
        yield str(one["file"]), one["sha256"]
    for model, files in manifest["models"].items():
        for name, digest in files.items():
            yield f"{model}/{name}", digest


def _check_file(folder: Path, path: Path, digest: str, must: str, remedy: str) -> None:
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise InputError(must, f"no {path}", remedy)
    if sha256(path) != digest:
        raise InputError(must, f"{path}, changed since the kit was made", remedy)
