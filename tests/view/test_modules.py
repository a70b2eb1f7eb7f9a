"""The linker: modules in the order of their imports, and an error for each rule that a module breaks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from minibiogpt.view import modules

STATIC = modules.STATIC
SCRIPTS = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js"))
STYLES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.css"))
PUBLIC = {name for name, _ in modules.imports("biogpt.js")}
"""The modules whose exports are the public API of the twin, whether or not a page uses them."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(modules, "STATIC", tmp_path)
    modules.read.cache_clear()
    modules.linked.cache_clear()
    (tmp_path / "deep").mkdir()
    return tmp_path


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name.replace('_', '/')}.js").write_text(text)


def test_each_module_comes_once_after_those_that_it_imports(folder: Path) -> None:
    write(
        folder,
        main='import { b, B2 } from "./b.js";\nimport { c } from "./deep/c.js";\nb(c, B2);\n',
        b='import { c } from "./deep/c.js";\nexport function b() { return c; }\nexport class B2 {}\n',
        deep_c='export * from "../d.js";\nexport const c = 1;\n',
        d="export async function d() {}\nexport function* e() {}\n",
    )
    script = modules.linked("main.js")
    d, c, b = "async function d() {}\nfunction* e() {}\n", "const c = 1;\n", "function b() { return c; }\nclass B2 {}\n"
    assert script == "\n".join([d, c, b, "b(c, B2);\n"])
    assert modules.exports("deep/c.js") == {"c", "d", "e"}


ONE = "export const b = 1;\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"main": 'import { b } from "./b.js";\n', "b": "export const c = 1;\n"}, "imports b, which b.js does not"),
        ({"main": 'import { b as c } from "./b.js";\n', "b": ONE}, "must not rename: b as c"),
        ({"main": 'import * as b from "./b.js";\n', "b": ONE}, "cannot be linked: import"),
        ({"main": 'import b from "./b.js";\n', "b": ONE}, "cannot be linked: import b"),
        ({"main": "export default 1;\n"}, "cannot be linked: export default"),
        ({"main": "const b = 1;\nexport { b };\n"}, "cannot be linked: export { b }"),
        ({"main": 'import { b } from "./b.js";\nconst c = 1;\n', "b": ONE + "let c = 2;\n"}, "c is decl"),
        ({"main": 'import { b } from "./b.js";\nconst { x, c } = b;\n', "b": ONE + "let c;\n"}, "c is decl"),
        ({"main": 'import { b } from "./b.js";\nconst x = f(1, 2), c = 1;\n', "b": ONE + "let d, c;\n"}, "c is decl"),
        ({"main": "const chrome = {};\n"}, "declares chrome, which a window of a browser has"),
        (
            {"main": 'import { b } from "./b.js";\nexport const c = 1;\n', "b": 'import { c } from "./main.js";\n'},
            "in a circle: main.js > b.js > main.js",
        ),
    ],
)  # fmt: skip
def test_a_broken_rule_is_an_error(folder: Path, files: dict[str, str], message: str) -> None:
    write(folder, **files)
    with pytest.raises(ValueError, match=message.replace("{", r"\{").replace("*", r"\*")):
        modules.linked("main.js")


@pytest.mark.parametrize("entry", ["explorer/main.js", "stepper/stepper_page.js", "sampler/sampler.js"])
def test_the_pages_can_be_linked(entry: str) -> None:
    modules.read.cache_clear()
    modules.linked.cache_clear()
    assert not re.search(r"^(import|export)\b", modules.linked(entry), re.M)


KEPT_NAMES = """
Object.entries(Object.getOwnPropertyDescriptors(window)).filter(([, own]) => !own.configurable).map(([name]) => name)
"""


def test_the_names_that_a_window_keeps_are_known(browser: Any) -> None:
    page = browser.new_page()
    kept = page.evaluate(KEPT_NAMES)
    assert {"document", "top"} < set(kept) <= modules.FIXED


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_import_is_used(name: str) -> None:
    own = modules.plain(name)
    for source, names in modules.imports(name):
        unused = [each for each in names if each != "*" and not re.search(rf"\b{each}\b", own)]
        assert not unused, f"{name} does not use {', '.join(unused)} of {source}"


def test_every_export_is_imported_or_public() -> None:
    imported = {(source, each) for name in SCRIPTS for source, names in modules.imports(name) for each in names}
    through = {each for source, each in imported if source == "biogpt.js"}
    for name in SCRIPTS:
        used = {each for source, each in imported if source == name} | (through if name in PUBLIC else set())
        unused = set() if name in PUBLIC or name == "biogpt.js" else modules.exports(name) - used
        assert not unused, f"no module imports {', '.join(sorted(unused))} of {name}: leave out export, or remove it"


def test_files_and_folders_stay_small_enough_to_read() -> None:
    for name in [*SCRIPTS, *STYLES]:
        lines = (STATIC / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 330, f"{name} has {len(lines)} lines: split it by what it is about"
        wide = [i for i, line in enumerate(lines, 1) if len(line) > 140]
        assert not wide, f"{name}: more than 140 characters in lines {wide}"
    for folder in [STATIC, *(path for path in STATIC.rglob("*") if path.is_dir())]:
        files = [path for path in folder.iterdir() if path.is_file()]
        assert len(files) <= 14, f"{folder.name} has {len(files)} files: sort them into folders"
