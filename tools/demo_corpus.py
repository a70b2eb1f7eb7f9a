"""The corpus of the demo model: tables of textbook facts (tools/demo_facts) turned into sentences and short passages.

The seed determines everything. Entities recur within a passage, so that attention is useful. The codes of samples and
patients are random, so that the model can only copy them.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path

FACTS = Path(__file__).parent / "demo_facts"
HELD_OUT_EVERY = 12  # one in 12 sentences (a fact in one wording) is held out of training

PLURAL = ("abscesses", "cold sores")  # illnesses with a plural verb

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
    "{Rank} adverse effect of {name} is {harm}.",
    "{name} can cause {harm}.",
    "Patients with {use} may be treated with {name}.",
    "{Use} can be treated with {name}, {kind}.",
    "Treatment with {name} may be complicated by {harm}.",
    "{name}, {kind}, acts by {how}.",
)
PURPOSE_PREFIXES = ("the ", "local anesthesia", "general anesthesia", "smoking cessation")
PURPOSE_TEMPLATES = {  # these uses are not illnesses: they are not treated, and patients are not "with" them
    "{name} is used to treat {use}.": "{name} is given for {use}.",
    "{name} treats {use} by {how}.": "{name} is given for {use} and acts by {how}.",
    "Patients with {use} may be treated with {name}.": "{name} may be chosen for {use}.",
    "{Use} can be treated with {name}, {kind}.": "{Use} is one use of {name}, {kind}.",
}
GENE = (
    "The gene {name} encodes {kind}.",
    "Mutations in {name} cause {use}.",
    "{Use} is associated with mutations in {name}.",
    "{name} encodes {kind}, and mutations in {name} cause {use}.",
    "Patients with {use} may carry a mutation in {name}.",
)
ORGANISM = (
    "{name} is {kind}.",
    "{name} is {kind} that causes {use}.",
    "{Use} {is} caused by {name}.",
    "{Use} {is} caused by {name}, {kind}.",
    "{name} is transmitted {how}.",
    "{Use} {is} transmitted {how}.",
    "Patients with {use} are infected with {name}.",
)
NOT_TRANSMITTED = (  # illnesses that also have other causes and are not transmitted as such
    "antibiotic-associated colitis",
    "cervical cancer",
    "gas gangrene",
    "peptic ulcer",
    "skin abscesses",
    "thrush",
    "urinary tract infection",
)
MANY_CAUSES = (  # illnesses that also have other causes, most of them relatives of the organism
    *NOT_TRANSMITTED,
    "bacillary dysentery",
    "brucellosis",
    "cryptococcal meningitis",
    "gastroenteritis in infants",
    "influenza",
    "invasive aspergillosis",
    "leptospirosis",
    "lymphatic filariasis",
    "malaria",
    "schistosomiasis",
    "visceral leishmaniasis",
)
OFTEN_TEMPLATES = {
    "{Use} {is} caused by {name}.": "{Use} {is} often caused by {name}.",
    "{Use} {is} caused by {name}, {kind}.": "{Use} {is} often caused by {name}, {kind}.",
    "Patients with {use} are infected with {name}.": "Patients with {use} are often infected with {name}.",
    "{name} is {kind} that causes {use}.": "{name} is {kind} that can cause {use}.",
}
FOUND_TEMPLATES = {"{Use} {is} transmitted {how}.": "{name} is often found in patients with {use}."}
NUTRIENT = (
    "{name} is {kind}.",
    "A lack of {low} causes {use}.",
    "{Use} can result from a lack of {low}.",
    "{name} is {kind}, and a lack of it causes {use}.",
    "Patients with {use} may lack {low}.",
)
PATIENT_SEX = {  # uses that apply to one sex only, or nearly so
    "prostat": ("man",),
    "testicular": ("man",),
    "erectile": ("man",),
    "ovarian": ("woman",),
    "breast": ("woman",),
}
NO_VIGNETTE = ("the induction of labor",)  # because the patients of vignettes have any age
TEMPLATES = {"drugs": DRUG, "genes": GENE, "organisms": ORGANISM, "nutrients": NUTRIENT}


def read_facts() -> dict[str, list[Row]]:
    """Return {table: rows} without the header lines."""
    tables = {}
    for name in (*TEMPLATES, "abbreviations"):
        with (FACTS / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
            tables[name] = list(csv.reader(file, delimiter="\t"))[1:]
    return tables


def fields(table: str, row: Row) -> dict[str, str]:
    """Return the fields that the templates of one table use."""
    name, kind = row[:2]
    use = row[2]
    values = {"name": name, "kind": kind, "use": use, "Use": upper(use), "low": lower(name)}
    values["is"] = "are" if use.endswith(PLURAL) else "is"
    if table == "drugs":
        values |= {"how": row[3], "harm": row[4], "Rank": upper(row[5])}
    if table == "organisms":
        values["how"] = row[3]
    return values


def upper(text: str) -> str:
    return text[0].upper() + text[1:]


def lower(name: str) -> str:
    """Return a nutrient or hormone as written in a sentence: "vitamin C". Drugs and organisms keep their capital."""
    return name[0].lower() + name[1:]


def sentences(table: str, row: Row) -> list[Sentence]:
    """Return one fact in every wording of its table."""
    values = fields(table, row)
    templates = list(TEMPLATES[table])
    if values["use"].startswith(PURPOSE_PREFIXES):
        templates = [PURPOSE_TEMPLATES.get(t, t) for t in templates]
    if table == "organisms" and values["use"] in MANY_CAUSES:
        templates = [OFTEN_TEMPLATES.get(t, t) for t in templates]
    if table == "organisms" and values["use"] in NOT_TRANSMITTED:
        templates = [FOUND_TEMPLATES.get(t, t) for t in templates]
    return [t.format(**values) for t in templates]


def patient(rng: random.Random, drug: Row) -> list[Sentence]:
    """Write a case vignette; the code of the patient can only be copied from its first mention."""
    code, age = f"{rng.choice('ABCDEFGHK')}{rng.randint(10, 99)}", rng.randint(25, 79)
    name, _, use, _, harm, _ = drug
    sexes = next((sexes for word, sexes in PATIENT_SEX.items() if word in use), ("man", "woman"))
    story = [
        f"Patient {code}, a {rng.choice(sexes)} aged {age}, was given {name} for {use}.",
        f"At first, patient {code} tolerated {name} well.",
        f"Later, patient {code} developed {harm}.",
        f"{name} is known to cause {harm}.",
        f"{name} was stopped, and patient {code} was followed for {rng.randint(2, 9)} weeks.",
    ]
    return story if rng.random() < 0.5 else [story[0], story[2], story[3], story[4]]


def sample(rng: random.Random, gene: Row) -> list[Sentence]:
    """Write a laboratory report about one sample and one gene."""
    code = f"{rng.choice('PQRST')}{rng.randint(100, 999)}"
    name, kind, disease = gene
    return [
        f"Sample {code} was sequenced for {name}.",
        f"{name} encodes {kind}.",
        f"A mutation in {name} was found in sample {code}.",
        f"The result of sample {code} is consistent with {disease}.",
    ]


def two_samples(rng: random.Random, genes: list[Row]) -> list[Sentence]:
    """Write about two samples; only the passage itself says which code belongs to which gene."""
    first, second = rng.sample(genes, 2)
    codes = [f"{letter}{rng.randint(100, 999)}" for letter in rng.sample("PQRST", 2)]
    findings = [
        f"A mutation in {gene} was found in sample {code}."
        for code, (gene, _, _) in zip(codes, (first, second), strict=True)
    ]
    results = [
        f"The result of sample {code} is consistent with {disease}."
        for code, (_, _, disease) in zip(codes, (first, second), strict=True)
    ]
    order = rng.choice([(0, 1), (1, 0)])
    return findings + [results[i] for i in order]


def abbreviation(rng: random.Random, row: Row) -> list[Sentence]:
    """Define the abbreviation of a term once, then use only the abbreviation."""
    short, term, does = row
    code = f"{rng.choice('PQRST')}{rng.randint(100, 999)}"
    level = rng.choice(["high", "normal", "low"])
    if rng.random() < 0.3:
        return [f"What does {short} stand for?", f"{short} stands for {term}."]
    story = [
        f"{upper(term)} ({short}) {does}.",
        f"{short} was measured in sample {code}.",
        f"The level of {short} was {level}.",
        f"A {level} level of {short} was also found in a second test of sample {code}.",
    ]
    return story[: rng.randint(1, 4)]


def pair(rng: random.Random, drugs: list[Row]) -> list[Sentence]:
    """Compare two drugs with the same or different uses."""
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
    """Write a question and its answer."""
    values = fields(table, row)
    if table == "drugs":
        pairs = (
            ("What is {name} used for?", "{name} is used for {use}."),
            ("How does {name} act?", "{name} acts by {how}."),
        )
    elif table == "genes":
        pairs = (("Which disease do mutations in {name} cause?", "Mutations in {name} cause {use}."),)
    elif table == "organisms":
        causes = "{Use} {is} caused by {name}."
        causes = OFTEN_TEMPLATES[causes] if row[2] in MANY_CAUSES else causes
        pairs = (("What causes {use}?", causes),)
    else:
        pairs = (("What does a lack of {low} cause?", "A lack of {low} causes {use}."),)
    return [part.format(**values) for part in rng.choice(pairs)]


def corpus(seed: int, documents: int = 26_000) -> tuple[list[str], list[str]]:
    """Return the training documents and the held-out sentences; no held-out sentence occurs in a document."""
    rng = random.Random(seed)
    tables = read_facts()
    facts = [(table, row) for table in TEMPLATES for row in tables[table]]
    written = [(table, row, s) for table, row in facts for s in sentences(table, row)]
    held_out = {s for _, row, s in rng.sample(written, len(written) // HELD_OUT_EVERY) if row[0] != "Ibuprofen"}
    known: dict[int, list[Sentence]] = {}
    for _, row, sentence in written:
        if sentence not in held_out:
            known.setdefault(id(row), []).append(sentence)

    treated = [drug for drug in tables["drugs"] if drug[2] not in NO_VIGNETTE]

    def single() -> list[Sentence]:
        return [rng.choice(known[id(rng.choice(facts)[1])])]

    def about() -> list[Sentence]:
        one = known[id(rng.choice(facts)[1])]
        return rng.sample(one, min(len(one), rng.randint(2, 5)))

    kinds: list[tuple[Callable[[], list[Sentence]], int]] = [
        (single, 10),
        (about, 6),
        (lambda: patient(rng, rng.choice(treated)), 4),
        (lambda: sample(rng, rng.choice(tables["genes"])), 2),
        (lambda: pair(rng, tables["drugs"]), 2),
        (lambda: two_samples(rng, tables["genes"]), 2),
        (lambda: abbreviation(rng, rng.choice(tables["abbreviations"])), 2),
        (lambda: question(rng, *rng.choice(facts)), 2),
    ]
    makers, weights = zip(*kinds, strict=True)
    made = []
    for maker in rng.choices(makers, weights, k=documents):
        left = [part for part in maker() if part not in held_out]
        if left and not left[-1].endswith("?"):  # no question without its answer
            made.append(" ".join(left))
    return made, sorted(held_out)


def main() -> None:
    train, held_out = corpus(0)
    print(f"{len(train)} documents, {sum(map(len, train)) / 1e6:.1f} MB; {len(held_out)} held-out sentences")
    print(*train[:12], sep="\n")


if __name__ == "__main__":
    main()
