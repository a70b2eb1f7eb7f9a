"""The linker: modules in the order of their imports, and an error for each rule that a module breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from minibiogpt.view import modules


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
