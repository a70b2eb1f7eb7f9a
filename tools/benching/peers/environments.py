"""The environment of each engine: pinned packages in a virtual environment under the folder of --cache."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from minibiogpt.errors import InputError

NUMPY, ONNX = "numpy==2.4.6", "onnx==1.23.2"
EXPORTER = "onnx-export"  # read by the Python of the bench, which has torch and transformers
PINS = {
    "ctranslate2": ("ctranslate2==4.8.5", NUMPY, "safetensors==0.8.0"),
    "onnxruntime": ("onnxruntime==1.32.0", NUMPY, ONNX),
    "openvino": ("openvino==2026.4.1", NUMPY),
    EXPORTER: (ONNX, "onnxscript==0.7.2", NUMPY),
}
MADE = "made.json"  # written last: what a complete environment was made for


def folder_of(name: str, cache: Path) -> Path:
    return cache / "environments" / name


def python_of(name: str, cache: Path) -> Path:
    return folder_of(name, cache) / "bin" / "python"


def packages_of(name: str, cache: Path) -> Path:
    """Return the folder of an environment's packages."""
    return folder_of(name, cache) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def wanted(name: str) -> dict[str, object]:
    """Return what a complete environment writes down: its packages, and the Python that made it."""
    return {"packages": list(PINS[name]), "python": platform.python_version()}


def is_made(name: str, cache: Path) -> bool:
    """Return whether the environment is complete, of these versions and of this Python."""
    try:
        return json.loads((folder_of(name, cache) / MADE).read_text(encoding="utf-8")) == wanted(name)
    except (OSError, ValueError):
        return False


def check(names: Iterable[str], cache: Path) -> None:
    """Check that the environments exist.

    Raises
    ------
    InputError
        If one does not.
    """
    absent = [name for name in names if not is_made(name, cache)]
    if absent:
        packages = ", ".join(PINS[name][0] for name in absent)
        must = f"these --peers need {packages}, each in an environment of its own"
        remedy = "add --make-environments once: pip then installs them there"
        raise InputError(must, f"none in {folder_of(absent[0], cache).parent}", remedy)


def make(names: Iterable[str], cache: Path) -> None:
    """Make the environments that do not exist yet, with pip; an environment of other versions is replaced.

    Raises
    ------
    InputError
        If pip fails, with the last line that it printed, or the folder is not an environment.
    """
    for name in names:
        if is_made(name, cache):
            continue
        folder = folder_of(name, cache)
        if folder.exists() and not (folder / "pyvenv.cfg").is_file():  # it may be the user's: nothing is removed
            must = f"{folder} must be an environment that bench makes"
            raise InputError(must, "another folder", "remove it, or choose another --cache")
        print(f"bench: installing {', '.join(PINS[name])} in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(python_of(name, cache)), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        for line in ([sys.executable, "-m", "venv", str(folder)], [*pip, *PINS[name]]):
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            if done.returncode:
                found = ((done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"])[-1]
                raise InputError(f"pip must install {', '.join(PINS[name])}", found, "check the network")
        (folder / MADE).write_text(json.dumps(wanted(name)), encoding="utf-8")
