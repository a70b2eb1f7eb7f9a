"""The architecture: which subpackage may import which, no import cycles, and limits on the size of files and folders.

Imports are read from the source with ``ast``, wherever they are in a file: an import inside a function, or one for type
checking only, counts like any other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import minibiogpt

PACKAGE = Path(minibiogpt.__file__).parent
# From the bottom up. A subpackage imports itself and those below it. Those on one line do not import each other.
LAYERS = [
    {"errors", "interrupts", "progress"},
    {"checks", "files", "idioms"},
    {"backend"},
    {"quantization"},
    {"config"},
    {"tokenizer"},
    {"catalog"},
    {"trace"},
    {"checkpoint"},
    {"model"},
    {"generation"},
    {"heads"},
    {"lens", "pipelines"},
    {"minibiogpt"},  # __init__.py: the public names
    {"golden", "view"},
    {"cli"},
    {"__main__"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
# The registry imports the CuPy backend inside a function, so that CuPy is imported only when it is requested. No other
# module imports it.
LAZY = ("backend.registry", "backend.cupy")
# What a subpackage may import besides the standard library, NumPy and this package.
OUTSIDE = {
    "progress": {"tqdm"},
    "files": {"safetensors", "huggingface_hub"},
    "backend": {"cupy", "cupyx", "cupy_backends", "ml_dtypes", "threadpoolctl", "scipy_openblas64"},
    "quantization": {"ml_dtypes"},
    "tokenizer": {"sacremoses"},
    "golden": {"safetensors"},
    "view": {"matplotlib", "ipywidgets"},
    "cli": {"shtab"},
}
# Modules and names that import by a name made at run time, which no reader of the source can follow.
DYNAMIC = {"importlib", "runpy", "pkgutil", "imp", "builtins", "zipimport"}
DYNAMIC_NAMES = {"__import__", "exec", "eval", "__builtins__", "__loader__"}
MAX_FILES_AT_TOP, MAX_FILES_IN_FOLDER, MAX_LINES = 8, 14, 330


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Return {"model.ops": its file}. A package has its own name, the root is "minibiogpt"."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").removesuffix(".")
        found[name or "minibiogpt"] = path
    return found


def imports(source: str, known: set[str]) -> set[str]:
    """Return the modules of the package that a source imports, anywhere in it.

    ``from minibiogpt.model import ops`` imports the module ``model.ops``; ``from minibiogpt.model import BioGptModel``
    imports ``model``.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.partition(".")[0] == "minibiogpt":
                inside = module.removeprefix("minibiogpt").removeprefix(".")
                for alias in node.names:
                    full = f"{inside}.{alias.name}".removeprefix(".")
                    found.add(full if full in known else inside or "minibiogpt")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "minibiogpt":
                    found.add(alias.name.removeprefix("minibiogpt").removeprefix(".") or "minibiogpt")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "minibiogpt":
            found |= {node.attr} & known  # minibiogpt.view, after a plain ``import minibiogpt``
    return found


def hidden(source: str) -> set[str]:
    """Return what lets a source import in ways that ``imports`` cannot see: relative, or by a name made at run time."""
    found = roots(source) & DYNAMIC
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.add("a relative import")
        elif isinstance(node, ast.Name) and node.id in DYNAMIC_NAMES:
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr == "modules" and ast.unparse(node.value) == "sys":
            found.add("sys.modules")
    return found


def roots(source: str) -> set[str]:
    """Return the first name of every module that a source imports: "cupy" for ``from cupy.cuda import ...``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def graph() -> dict[str, set[str]]:
    """Return {module: the modules it imports}."""
    found = modules()
    return {name: imports(path.read_text(encoding="utf-8"), set(found)) for name, path in found.items()}


def subpackage(module: str) -> str:
    return module.partition(".")[0]


def upward(edges: dict[str, set[str]]) -> list[str]:
    """Return the imports that go up, or sideways to another subpackage."""
    return [
        f"{name} imports {other}"
        for name, others in edges.items()
        for other in sorted(others)
        if subpackage(name) != subpackage(other) and LEVEL[subpackage(name)] <= LEVEL[subpackage(other)]
    ]


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """Return the modules of one import cycle; an empty list if there is none."""
    try:
        TopologicalSorter({name: others - {name} for name, others in edges.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_subpackage_has_a_level() -> None:
    assert {subpackage(name) for name in modules()} == set(LEVEL)


def test_imports_go_down() -> None:
    assert upward(graph()) == []


def test_no_cycle_between_files() -> None:
    assert cycle(graph()) == []


def test_no_cycle_between_subpackages() -> None:
    parts: dict[str, set[str]] = {}
    for name, others in graph().items():
        parts.setdefault(subpackage(name), set()).update(subpackage(other) for other in others)
    assert cycle(parts) == []


def test_the_parts_of_golden_import_one_way() -> None:
    order = ["format", "kit", "candidate", "check", "report", "diagnosis", "selftest"]
    pairs = [(name.split("."), other.split(".")) for name, others in graph().items() for other in others]
    parts = {(a[1], b[1]) for a, b in pairs if a[0] == b[0] == "golden" and len(a) > 1 and len(b) > 1 and a[1] != b[1]}
    assert parts
    assert [(a, b) for a, b in parts if order.index(a) <= order.index(b)] == []


def test_an_upward_import_is_detected_anywhere_in_a_file() -> None:
    known = set(modules())
    for source in (
        "from minibiogpt.cli import main",
        "def f():\n    from minibiogpt.view.page import Page",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import minibiogpt.golden.format.case",
        "from minibiogpt import lens",
        "from minibiogpt import __version__",
        "import minibiogpt",
        "import minibiogpt.lens as x",
    ):
        (found,) = upward({"model.ops": imports(source, known)})
        assert found.startswith("model.ops imports ")
    assert upward({"golden.kit.readme": {"view.page"}}) == ["golden.kit.readme imports view.page"]
    assert upward({"model.ops": {"model.biogpt", "backend"}}) == []
    assert imports("import minibiogpt\nminibiogpt.view.page", known) == {"minibiogpt", "view"}


def test_a_cycle_is_detected() -> None:
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    assert cycle({"a": {"a"}, "b": {"a"}}) == []


def test_imports_are_found() -> None:
    assert {"backend", "model.layers", "model.inputs", "trace.edits"} <= graph()["model.biogpt"]
    assert graph()["minibiogpt"] >= {"model", "heads", "trace"}


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_what_its_subpackage_may(name: str) -> None:
    """CuPy in the backend alone, and torch, transformers, tests and tools nowhere."""
    source = modules()[name].read_text(encoding="utf-8")
    allowed = {"minibiogpt", "numpy", *sys.stdlib_module_names, *OUTSIDE.get(subpackage(name), set())}
    assert roots(source) - allowed == set()
    assert hidden(source) == set()


def test_every_exception_is_used() -> None:
    used: dict[str, set[str]] = {}
    for name, path in modules().items():
        used.setdefault(subpackage(name), set()).update(roots(path.read_text(encoding="utf-8")))
    assert {part: names - used[part] for part, names in OUTSIDE.items() if names - used[part]} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from importlib import import_module as f",
        "import importlib.util",
        "import runpy",
        "e = exec",
        "f = __import__",
        "import sys\nsys.modules['minibiogpt.lens']",
        "from . import lens",
        "from ..lens import logit_lens",
    ],
)
def test_a_hidden_import_is_detected(source: str) -> None:
    assert len(hidden(source)) == 1


def test_the_registry_alone_imports_the_cupy_backend() -> None:
    registry, cupy = LAZY
    assert [name for name, others in graph().items() if cupy in others] == [registry]
    tree = ast.parse(modules()[registry].read_text(encoding="utf-8"))
    assert not any(isinstance(node, ast.ImportFrom) and (node.module or "").endswith("cupy") for node in tree.body)


def test_golden_reads_traces_and_never_layers() -> None:
    """It makes models for its kit and runs them, so it needs the heads and their common base class."""
    found = {other for name, others in graph().items() if subpackage(name) == "golden" for other in others}
    assert {other for other in found if subpackage(other) == "model"} == {"model.pretrained"}


def test_files_and_folders_stay_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_FILES_AT_TOP
    for folder in {path.parent for path in modules().values()} - {PACKAGE}:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MAX_FILES_IN_FOLDER, folder
    for path in modules().values():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES, path


def test_each_subpackage_describes_itself() -> None:
    for path in modules().values():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_the_tests_of_a_subpackage_are_in_a_folder_of_its_name() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    tests = {path.name for path in Path(__file__).parent.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= tests
    assert [path for path in Path(__file__).parent.glob("*/test_*.py") if path.parent.name == "support"] == []


def test_a_plain_import_loads_no_golden_values_and_no_explanations() -> None:
    code = "import sys, minibiogpt; print(*(name for name in sys.modules if name.startswith('minibiogpt.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("minibiogpt.") for name in done.stdout.split()}
    assert "trace.tap" in loaded
    assert {subpackage(name) for name in loaded} & {"golden", "view", "cli", "lens"} == set()
    assert (
        loaded & {f"catalog.{name}" for name in ("steps", "equations", "descriptions", "aliases", "explain")} == set()
    )
    assert "backend.cupy" not in loaded


def test_what_the_commands_keep_by_themselves_to_start_quickly_is_what_the_package_defines() -> None:
    from minibiogpt.catalog.steps import HEADS
    from minibiogpt.cli.golden import comparing, record
    from minibiogpt.golden.format import case

    assert (*case.PRECISIONS, case.EIGHT_BITS) == comparing.PRECISIONS
    assert {name: head for head, name in record.CLASSES.items()} == HEADS
