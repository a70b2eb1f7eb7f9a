"""The demo model's corpus: held-out sentences stay unseen, and every exception in the templates is used."""

from __future__ import annotations

from collections import Counter

from tools import demo_corpus as tool


def test_no_held_out_sentence_occurs_in_a_training_document_even_inside_another_sentence() -> None:
    train, held_out = tool.corpus(0)
    assert len(train) > 25_000
    assert len(held_out) > 300
    everything = "\n".join(train)
    assert [sentence for sentence in held_out if sentence in everything] == []


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another() -> None:
    assert tool.corpus(3, 500) == tool.corpus(3, 500) != tool.corpus(4, 500)


def test_every_exception_replaces_a_template_and_every_illness_named_is_in_the_tables() -> None:
    assert set(tool.PURPOSE_TEMPLATES) <= set(tool.DRUG)
    assert set(tool.OFTEN_TEMPLATES) | set(tool.FOUND_TEMPLATES) <= set(tool.ORGANISM)
    tables = tool.read_facts()
    uses = [row[2] for row in tables["drugs"]]
    assert set(tool.MANY_CAUSES) <= {row[2] for row in tables["organisms"]}
    assert set(tool.NO_VIGNETTE) <= set(uses)
    assert all(any(word in use for use in uses) for word in tool.PATIENT_SEX)
    assert all(any(use.startswith(word) for use in uses) for word in tool.PURPOSE_PREFIXES)


def test_every_row_has_its_columns_and_every_name_one_row() -> None:
    columns = {"drugs": 6, "genes": 3, "organisms": 4, "nutrients": 3, "abbreviations": 3}
    tables = tool.read_facts()
    assert set(tables) == set(columns)
    for name, rows in tables.items():
        assert {len(row) for row in rows} == {columns[name]}
        assert all(cell == cell.strip() != "" for row in rows for cell in row)
        assert [twice for twice, count in Counter(row[0] for row in rows).items() if count > 1] == []


def test_no_question_stays_without_its_answer() -> None:
    train, _ = tool.corpus(0)
    assert sum("?" in text for text in train) > 1000
    assert [text for text in train if text.endswith("?")] == []
