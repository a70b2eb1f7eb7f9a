"""docs/specification.md and docs/traps.md agree with the code, the tests and the measurements."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import product
from types import SimpleNamespace

import pytest

from minibiogpt import BioGptConfig
from minibiogpt.catalog.names import template_of
from minibiogpt.catalog.steps import Step, derived_steps, steps
from minibiogpt.golden.kit.probes import probes
from tests.reference.mistakes import MISTAKES
from tests.support.pages import DOCS, PAGES, ROOT, text_of

SPECIFICATION = text_of(DOCS / "specification.md")
TRAPS = text_of(DOCS / "traps.md")
SENSITIVITY = text_of(DOCS / "sensitivity.md")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def clauses(text: str) -> dict[str, str]:
    """Return {number: text of the clause}, split at the headings ### 6.4 ..."""
    parts = re.split(r"^### (\d+\.\d+) ", text, flags=re.M)[1:]
    return {
        number: re.split(r"^## ", body, flags=re.M)[0] for number, body in zip(parts[::2], parts[1::2], strict=True)
    }


def field(clause: str, name: str) -> list[str]:
    """Return the text of each list item of a clause that starts with ``name``, such as "Equation" or "Pinned by"."""
    return re.findall(rf"^- {name}(?:, [^:\n]*)?: (.+)$", clause, re.M)


def array(clause: str) -> tuple[str, str] | None:
    """Return the name and the axes of the array that a clause defines."""
    found = re.fullmatch(r"`(\S+)`, shape \((.*)\)", (field(clause, "Array") or [""])[0])
    return (found[1], found[2].replace(",", "")) if found else None


def written_equation(step: Step) -> str:
    """Return the equation of a step as a clause writes it, up to "; where", with {l} for the layer index."""
    layer = re.match(r"layers\.(\d+)", step.name)
    text = step.equation.replace(f"[{layer[1]},", "[{l},") if layer and "head_mask" in step.equation else step.equation
    return f"`{text}`" + "".join(f"; `{name}` is `{part}`" for name, part in step.terms.items())


CONFIGS = [
    *({"hidden_act": act, "num_labels": 5} for act in ("gelu", "gelu_new", "relu", "selu")),
    {"scale_embedding": False, "tie_word_embeddings": False},
    {"num_labels": 1}, {"problem_type": "multi_label_classification"}, {"pad_token_id": None},
]  # fmt: skip
INPUTS = [
    {"input_ids": "int64"} | dict.fromkeys(more, "int64")
    for more in ([], ["attention_mask"], ["position_ids"], ["past_key_values"], ["past_key_values", "attention_mask"],
                 ["head_mask"], ["labels"], ["labels", "attention_mask"])
] + [{"inputs_embeds": "float64"}, {"input_ids": "int64", "labels": "float32"}]  # fmt: skip


@cache
def all_steps() -> dict[tuple[str, str], set[str]]:
    """Return {(template, axes): equations} over all heads, configs and combinations of inputs."""
    found: dict[tuple[str, str], set[str]] = {}
    for changes, head, inputs in product(CONFIGS, ("base", "causal", "sequence", "token"), INPUTS):
        config = BioGptConfig(num_hidden_layers=2, **changes)
        for step in [*steps(config, head, inputs), *derived_steps(config)]:
            found.setdefault((step.template, step.axes), set()).add(written_equation(step))
    return found


def equations_of(text: str) -> dict[tuple[str, str], set[str]]:
    """Return {(name, axes): equations} of the clauses of a page."""
    found: dict[tuple[str, str], set[str]] = {}
    for clause in clauses(text).values():
        defined = array(clause)
        if defined:
            found.setdefault(defined, set()).update(x.partition("; where ")[0] for x in field(clause, "Equation"))
    return found


def test_every_step_has_its_clause_with_its_equations_and_no_other() -> None:
    written, known = equations_of(SPECIFICATION), all_steps()
    assert set(written) == set(known)
    for key, equations in known.items():
        assert written[key] == equations, key


def test_another_equation_and_another_shape_are_noticed() -> None:
    wrong = equations_of(SPECIFICATION.replace("/ sqrt(Dh)`", "/ sqrt(D)`"))
    assert {key for key, x in all_steps().items() if wrong[key] != x} == {("layers.{l}.self_attn.scores", "B H T S")}
    assert set(equations_of(SPECIFICATION.replace("shape (B, T, F)", "shape (B, T, D)"))) != set(all_steps())


def test_the_numbers_of_the_clauses_go_up_one_by_one() -> None:
    found = re.findall(r"^(##|###) (\d+)\.(\d*) ", SPECIFICATION, re.M)
    section = clause = 0
    for kind, first, second in found:
        section, clause = (section + 1, 0) if kind == "##" else (section, clause + 1)
        assert (int(first), second) == (section, "" if kind == "##" else str(clause))
    assert (section, len(clauses(SPECIFICATION))) == (14, len(set(clauses(SPECIFICATION))))


def test_clauses_that_are_cited_are_there() -> None:
    numbers = set(clauses(SPECIFICATION))
    plain = re.sub(r"`[^`]*`|^#[^\n]*$|\$\$.*?\$\$", "", SPECIFICATION, flags=re.M | re.S)
    cited = re.findall(r"(?<![\w.])(\d+\.\d+)(?!\w|\.\d)", plain)  # docs/_ext/clauses.py links the same numbers
    assert len(cited) > 15
    assert {x for x in cited if x not in numbers} <= {"4.57"}  # a version of transformers


def test_every_clause_that_demands_something_is_pinned() -> None:
    unpinned = {"1.1", "1.2", "1.3", "14.3"}  # requirement words, scope, letters, other versions
    assert {number for number, clause in clauses(SPECIFICATION).items() if not field(clause, "Pinned by")} == unpinned


@cache
def functions(file: str) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(text_of(ROOT / file))) if isinstance(node, ast.FunctionDef)}


def missing_tests(text: str) -> list[str]:
    """Return the tests that a page names but that don't exist."""
    named = TEST.findall(text)
    return [f"{file}::{name}" for file, name in named if not (ROOT / file).is_file() or name not in functions(file)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_that_a_page_names_are_there(page: object) -> None:
    assert missing_tests(text_of(page)) == []  # type: ignore[arg-type]


def test_a_test_that_is_not_there_is_noticed() -> None:
    assert missing_tests(
        "`tests/model/test_ops.py::test_linear` `tests/model/test_ops.py::test_no` `tests/no.py::test_x`"
    ) == [
        "tests/model/test_ops.py::test_no",
        "tests/no.py::test_x",
    ]
    assert len(TEST.findall(SPECIFICATION)) > 100


def test_each_mistake_is_named_in_the_clause_of_the_array_it_shows_in() -> None:
    """So the test of planted mistakes also pins these clauses: breaking one shows first in the clause's array."""
    named: dict[str, str] = {}
    for clause in clauses(SPECIFICATION).values():
        for line in field(clause, "Mistakes"):
            defined = array(clause)
            assert defined is not None
            for name in line.split(" · "):
                assert name not in named, name
                named[name] = defined[0]
    config = SimpleNamespace(num_hidden_layers=2)
    assert named == {name: template_of(mistake.first([{}], config)) for name, mistake in MISTAKES.items()}


def rows(text: str, width: int) -> dict[str, list[str]]:
    """Return {first cell: row} of the tables of mistakes: rows of ``width`` cells with a number in the second one."""
    cells = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row for row in cells if len(row) == width and row[1].isdigit()}


def test_the_numbers_of_the_traps_are_those_that_were_measured() -> None:
    measured, written = rows(SENSITIVITY, 8), rows(TRAPS, 6)
    assert set(written) == set(MISTAKES), "each mistake has its trap"
    for name, row in written.items():
        _, shows, _, _, case, *sizes = measured[name]
        assert row == [name, shows, f"`{case}`", *sizes], "measure again: python tools/sensitivity.py"


def test_what_finds_a_trap_is_a_case_of_the_kit() -> None:
    found = re.findall(r"^\*\*Found by\.\*\* (.*?)(?=\n\n)", TRAPS, re.M | re.S)
    assert (
        len(found)
        == len(re.findall(r"^\*\*Wrong\.\*\*", TRAPS, re.M))
        == len(re.findall(r"^\*\*Right\.\*\*", TRAPS, re.M))
    )
    named = {name for text in found for name in re.findall(r"`([^`]+)`", text)}
    assert len(named) > 15
    assert named <= set(probes())
