"""docs/quantization.md: its table of formats is what its tool computes, and its numbers are right."""

from __future__ import annotations

import math
import re

import pytest

from minibiogpt import BioGptConfig
from minibiogpt.catalog.parameters import base_shapes
from minibiogpt.quantization import FORMATS, Quantization
from tests.budgets import TABLE_PERCENT_ABSOLUTE, TABLE_PERPLEXITY_ABSOLUTE
from tests.support.pages import DOCS, text_of
from tools.benching.models import SIZES
from tools.quantization_table import HEADER, MEMORY_HEADER, rows, size_of

PAGE = text_of(DOCS / "quantization.md")


def table(header: tuple[str, ...]) -> list[list[str]]:
    """Return the cells of the rows of the page's table with this header."""
    _, found, after = PAGE.partition(f"| {' | '.join(header)} |\n")
    assert found, header
    lines = after.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def different(page: list[str], made: list[str]) -> list[str]:
    """Return the columns of a row in which the page differs from what was made."""
    found = []
    for name, a, b in zip(HEADER, page, made, strict=True):
        if name.startswith("error") or name == "against float32":
            same = abs(float(a.rstrip(" %")) - float(b.rstrip(" %"))) <= TABLE_PERCENT_ABSOLUTE
        elif name == "perplexity":
            same = abs(float(a) - float(b)) <= TABLE_PERPLEXITY_ABSOLUTE
        else:
            same = a == b
        found += [] if same else [name]
    return found


def test_the_table_of_formats_is_what_its_tool_computes() -> None:
    page = table(HEADER)
    made = list(rows())
    assert len(page) == len(made) > len(FORMATS)
    assert [(a[0], different(a, b)) for a, b in zip(page, made, strict=True) if different(a, b)] == []


def test_a_row_that_is_not_current_is_noticed() -> None:
    row = ["`int8`", "8.023", "482", "1,864", "0.90 %", "0.78 %", "2.371", "+0.00 %"]
    for column, other in enumerate(["`nf4`", "8.024", "483", "1,863", "1.05 %", "0.93 %", "2.375", "-0.15 %"]):
        assert different(row, [*row[:column], other, *row[column + 1 :]]) == [HEADER[column]]
    assert different(row, [*row[:-1], "+0.03 %"]) == []


def test_the_memory_of_arrays_is_what_the_formats_take() -> None:
    for name, megabytes, *measured in table(MEMORY_HEADER):
        kind = name.strip("`")
        quantization = None if kind == "float32" else Quantization(kind)
        assert megabytes == f"{size_of(BioGptConfig(), quantization).megabytes:,.0f}"
        assert all(int(x.replace(",", "")) < 1.3 * int(megabytes.replace(",", "")) for x in measured), name


def test_the_numbers_of_the_prose_are_those_of_the_shapes() -> None:
    counts = [sum(map(math.prod, base_shapes(BioGptConfig(**SIZES[size])).values())) for size in ("base", "large")]
    assert "{:,} and {:,} numbers".format(*counts) in PAGE
    shapes = base_shapes(BioGptConfig())
    embeddings = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("embed_"))
    assert 4 * embeddings / 1e6 > size_of(BioGptConfig(), Quantization("nf4")).megabytes / 2  # "more than half"
    vectors = sum(math.prod(shape) for shape in shapes.values() if len(shape) == 1)
    assert vectors < 0.1 / 100 * counts[0]
    assert round(4 + 8 / 64 + 32 / (64 * 256), 3) == pytest.approx(4.127)
    assert "`nf4` is 4.127 bits" in PAGE


def test_every_format_and_each_of_its_tensors_is_on_the_page() -> None:
    assert [name for name in FORMATS if f"`{name}`" not in PAGE] == []
    stored = PAGE.partition("## Files")[2].partition("\n## ")[0]
    ends = ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4", "SCB")
    assert [end for end in (*ends, "weight_format") if not re.search(rf"[.`]{re.escape(end)}`", stored)] == []
