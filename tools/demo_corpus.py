"""The demo model's corpus: tables of textbook facts (tools/demo_facts) turned into sentences and short passages.

Everything follows from a seed. In a passage the entities recur, so that attention has something to attend to; the
codes of samples and patients are random, so that they can only be copied.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path

FACTS = Path(__file__).parent / "demo_facts"
HELD_OUT_EVERY = 12  # one sentence in so many (a fact in a certain wording) is never trained on

Row = list[str]
Sentence = str

DRUG = (
    "{name} is {kind}.",
    "{name} is {kind} that is used for {use}.",
    "{name} is best used for {use}.",
    "{name} is used to treat {use}.",
    "{name} acts by {how}.",
    "{name} works by {how}.",
    "{name} treats {use} by {how}.",
    "The most common adverse effect of {name} is {harm}.",
    "{name} can cause {harm}.",
    "Patients with {use} are often treated with {name}.",
    "{Use} can be treated with {name}, {kind}.",
    "Treatment with {name} may be complicated by {harm}.",
    "As {kind}, {name} acts by {how}.",
)
PREVENTION = {  # uses that begin with "the prevention of" or "the induction of" do not fit every wording
    "{name} is used to treat {use}.": "{name} is given for {use}.",
    "{name} treats {use} by {how}.": "{name} is given for {use} and acts by {how}.",
    "Patients with {use} are often treated with {name}.": "{name} is often chosen for {use}.",
    "{Use} can be treated with {name}, {kind}.": "{Use} is one use of {name}, {kind}.",
}
GENE = (
    "The gene {name} encodes {kind}.",
    "Mutations in {name} cause {use}.",
    "{Use} is associated with mutations in {name}.",
    "{name} encodes {kind}, and mutations in {name} cause {use}.",
    "Patients with {use} often carry a mutation in {name}.",
)
ORGANISM = (
    "{name} is {kind}.",
    "{name} is {kind} that causes {use}.",
    "{Use} is caused by {name}.",
    "{Use} is caused by {name}, {kind}.",
    "{name} is transmitted {how}.",
    "{Use} is transmitted {how}.",
    "Patients with {use} are infected with {name}.",
)
NUTRIENT = (
    "{name} is {kind}.",
    "A lack of {low} causes {use}.",
    "{Use} can result from a lack of {low}.",
    "{name} is {kind}, and a lack of it causes {use}.",
    "Patients with {use} may lack {low}.",
)
TEMPLATES = {"drugs": DRUG, "genes": GENE, "organisms": ORGANISM, "nutrients": NUTRIENT}


def read_facts() -> dict[str, list[Row]]:
    """{table: rows}, the header line of each left out."""
    tables = {}
    for name in TEMPLATES:
        with (FACTS / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
            tables[name] = list(csv.reader(file, delimiter="\t"))[1:]
    return tables


def fields(table: str, row: Row) -> dict[str, str]:
    """The words that the templates of one table ask for."""
    name, kind = row[:2]
    use = row[2]
    values = {"name": name, "kind": kind, "use": use, "Use": upper(use), "how": "", "harm": "", "low": lower(name)}
    if table == "drugs":
        values |= {"how": row[3], "harm": row[4]}
    if table == "organisms":
        values["how"] = row[3]
    return values


def upper(text: str) -> str:
    return text[0].upper() + text[1:]


def lower(name: str) -> str:
    """The name within a sentence: "vitamin C", but "Insulin" as a drug keeps its capital."""
    return name[0].lower() + name[1:]


def sentences(table: str, row: Row) -> list[Sentence]:
    """One fact in every wording its table has."""
    values = fields(table, row)
    templates = list(TEMPLATES[table])
    if values["use"].startswith("the "):
        templates = [PREVENTION.get(t, t) for t in templates]
    return [t.format(**values) for t in templates]


def patient(rng: random.Random, drug: Row) -> list[Sentence]:
    """A vignette: the patient's number can only be copied from its first mention."""
    code, age = f"{rng.choice('ABCDEFGHK')}{rng.randint(10, 99)}", rng.randint(19, 88)
    name, _, use, _, harm = drug
    story = [
        f"Patient {code}, a {rng.choice(['man', 'woman'])} aged {age}, was given {name} for {use}.",
        f"Patient {code} tolerated {name} well.",
        f"After {rng.randint(2, 9)} weeks, patient {code} developed {harm}.",
        f"{upper(harm)} is a known adverse effect of {name}.",
        f"The dose of {name} was reduced, and patient {code} recovered.",
    ]
    return story if rng.random() < 0.5 else [story[0], story[2], story[3], story[4]]


def sample(rng: random.Random, gene: Row) -> list[Sentence]:
    """A laboratory report about one sample and one gene."""
    code = f"{rng.choice('PQRST')}{rng.randint(100, 999)}"
    name, kind, disease = gene
    return [
        f"Sample {code} was sequenced for {name}.",
        f"{name} encodes {kind}.",
        f"A mutation in {name} was found in sample {code}.",
        f"The result of sample {code} is consistent with {disease}.",
    ]


def pair(rng: random.Random, drugs: list[Row]) -> list[Sentence]:
    """Two drugs compared: same use, or not."""
    first, second = rng.sample(drugs, 2)
    a, b = first[0], second[0]
    ending = (
        f"Both {a} and {b} are used for {first[2]}."
        if first[2] == second[2]
        else f"{a} is used for {first[2]}, whereas {b} is used for {second[2]}."
    )
    return [
        f"{a} is {first[1]}.",
        f"{b} is {second[1]}.",
        f"{a} acts by {first[3]}.",
        f"{b} acts by {second[3]}.",
        ending,
    ]


def question(rng: random.Random, table: str, row: Row) -> list[Sentence]:
    """A question and its answer."""
    values = fields(table, row)
    if table == "drugs":
        asked = (
            ("What is {name} used for?", "{name} is used for {use}."),
            ("How does {name} act?", "{name} acts by {how}."),
        )
    elif table == "genes":
        asked = (("Which disease do mutations in {name} cause?", "Mutations in {name} cause {use}."),)
    elif table == "organisms":
        asked = (("What causes {use}?", "{Use} is caused by {name}."),)
    else:
        asked = (("What does a lack of {low} cause?", "A lack of {low} causes {use}."),)
    return [part.format(**values) for part in rng.choice(asked)]


def corpus(seed: int, documents: int = 24_000) -> tuple[list[str], list[str]]:
    """The training documents, and the held-out sentences, none of which occurs word for word in the former."""
    rng = random.Random(seed)
    tables = read_facts()
    facts = [(table, row) for table, rows in tables.items() for row in rows]
    written = [(table, row, s) for table, row in facts for s in sentences(table, row)]
    held_out = {s for _, row, s in rng.sample(written, len(written) // HELD_OUT_EVERY) if row[0] != "Ibuprofen"}
    known: dict[int, list[Sentence]] = {}
    for _, row, sentence in written:
        if sentence not in held_out:
            known.setdefault(id(row), []).append(sentence)

    def single() -> list[Sentence]:
        return [rng.choice(known[id(rng.choice(facts)[1])])]

    def about() -> list[Sentence]:
        one = known[id(rng.choice(facts)[1])]
        return rng.sample(one, min(len(one), rng.randint(2, 5)))

    kinds: list[tuple[Callable[[], list[Sentence]], int]] = [
        (single, 9),
        (about, 6),
        (lambda: patient(rng, rng.choice(tables["drugs"])), 4),
        (lambda: sample(rng, rng.choice(tables["genes"])), 2),
        (lambda: pair(rng, tables["drugs"]), 2),
        (lambda: question(rng, *rng.choice(facts)), 2),
    ]
    makers, weights = zip(*kinds, strict=True)
    made = [" ".join(s for s in maker() if s not in held_out) for maker in rng.choices(makers, weights, k=documents)]
    return [text for text in made if text], sorted(held_out)


def main() -> None:
    train, held_out = corpus(0)
    print(f"{len(train)} documents, {sum(map(len, train)) / 1e6:.1f} MB; {len(held_out)} held-out sentences")
    print(*train[:12], sep="\n")


if __name__ == "__main__":
    main()
