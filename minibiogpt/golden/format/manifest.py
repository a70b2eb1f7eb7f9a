"""Read a kit's manifest.json and verify every file it lists by its sha256."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.reading import read_json, sha256
from minibiogpt.golden.format.names import is_case_name

FORMAT, VERSION = "minibiogpt-golden-kit", "1"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a complete kit.

    Raises
    ------
    InputError
        If the folder isn't a kit, or has a different version; if a listed file is missing, was changed, or is
        outside the folder; or if two cases have the same name.
    """
    path, remedy = folder / "manifest.json", "make it again: minibiogpt golden kit FOLDER"
    must = f"{folder} must be a complete kit"
    if not path.is_file():
        raise InputError(must, "no manifest.json", remedy)
    manifest = read_json(path, must, absent=remedy, broken=remedy)
    try:
        for key, expected in (("format", FORMAT), ("version", VERSION)):
            if manifest[key] != expected:
                found = f"{key} {short_repr(manifest[key])}"
                raise InputError(f"{must}, format {FORMAT!r}, version {VERSION!r}", found, remedy)
        names = [case["name"] for case in manifest["cases"]]
        if not names or len(set(names)) < len(names) or not all(map(is_case_name, names)):
            raise InputError(must, "no cases, two cases of the same name, or a name that is no file name", remedy)
        for file, digest in _listed_files(manifest):
            _check_file(folder, folder / file, digest, must, remedy)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(must, f"an invalid manifest.json ({short_repr(str(error))})", remedy) from None
    return manifest


def cases_beside(case: Path) -> dict[str, tuple[Path, Path]]:
    """Return {name: (file, folder of its model)} of all cases of the kit that a case lies in; empty if it is in none.

    Nothing is verified; an unreadable manifest.json counts as none.
    """
    kit = case.parent.parent
    try:
        manifest = read_json(kit / "manifest.json", "a kit's manifest", absent="", broken="")
        return {str(item["name"]): (kit / str(item["file"]), kit / str(item["model"])) for item in manifest["cases"]}
    except (InputError, KeyError, TypeError):
        return {}


def _listed_files(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each file that the manifest lists, with its sha256."""
    for item in (*manifest["cases"], manifest["tokenizer"], manifest["readme"]):
        yield str(item["file"]), item["sha256"]
    for model, files in manifest["models"].items():
        for name, digest in files.items():
            yield f"{model}/{name}", digest


def _check_file(folder: Path, path: Path, digest: str, must: str, remedy: str) -> None:
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise InputError(must, f"no {path}", remedy)
    if sha256(path) != digest:
        raise InputError(must, f"{path}, changed since the kit was made", remedy)
