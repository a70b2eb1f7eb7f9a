"""`minibiogpt classify` and `minibiogpt tag` from the command line, with heads created here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.pipelines.token_classification import TokenClassificationPipeline

from minibiogpt import BioGptForSequenceClassification, BioGptForTokenClassification, BioGptTokenizer, pipeline
from minibiogpt.cli import main, tag
from minibiogpt.cli.batch.resume import ResumableFile
from minibiogpt.heads.tagging import Tagged, entities
from tests.budgets import LANE_A

TEXTS = ["Ibuprofen is best used for pain.", "Insulin", "BRCA1 mutations cause hereditary breast cancer (rare)."]
NO_LABEL = "What is"  # no class has a probability above 0.5
DRUGS = {0: "O", 1: "B-DRUG", 2: "I-DRUG", 3: "B-GENE", 4: "I-GENE"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo with random heads, large enough that the classes differ from text to text."""
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "single": (BioGptForSequenceClassification, {"id2label": {0: "no", 1: "yes", 2: "maybe"}}),
        "several": (
            BioGptForSequenceClassification,
            {"num_labels": 4, "problem_type": "multi_label_classification"},
        ),
        "regression": (BioGptForSequenceClassification, {"num_labels": 1, "problem_type": "regression"}),
        "one": (BioGptForSequenceClassification, {"id2label": {0: "toxic"}}),
        "one exclusive": (
            BioGptForSequenceClassification,
            {"id2label": {0: "toxic"}, "problem_type": "single_label_classification"},
        ),
        "numbers": (
            BioGptForSequenceClassification,
            {"id2label": {0: "age", 1: "dose"}, "problem_type": "regression"},
        ),
        "tags": (BioGptForTokenClassification, {"id2label": DRUGS}),
    }
    folders = {}
    for name, (kind, changes) in kinds.items():
        folders[name] = tmp_path_factory.mktemp(name)
        seed = 4 if name == "several" else 3  # seeds for which the texts differ in their classes
        with pytest.warns(UserWarning, match="train the head before use"):
            model = kind.from_pretrained("demo", initializer_range=0.2, seed=seed, **changes)
        model.save_pretrained(folders[name])
        BioGptTokenizer.from_pretrained("demo").save_vocabulary(folders[name])
    return folders


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(words) == code
    printed = capsys.readouterr()
    return printed.err if code else printed.out


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def their_logits(folder: Path, kind: str, text: str) -> np.ndarray:
    theirs = (
        getattr(transformers, f"BioGptFor{kind}").from_pretrained(folder, attn_implementation="eager").double().eval()
    )
    ids = transformers.BioGptTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return theirs(**ids).logits[0].softmax(-1).numpy()


def test_classify_returns_what_transformers_returns(models: Any, capsys: pytest.CaptureFixture[str]) -> None:
    results = lines(run(capsys, "classify", *TEXTS, "--model", str(models["single"]), "--json", "--dtype", "float64"))
    assert [one["text"] for one in results] == TEXTS
    for one in results:
        want = their_logits(models["single"], "SequenceClassification", one["text"])
        assert one["label"] == ["no", "yes", "maybe"][want.argmax()]
        assert list(one["scores"]) == ["no", "yes", "maybe"]
        assert np.abs(np.array(list(one["scores"].values())) - want).max() < LANE_A
        assert one["score"] == max(one["scores"].values())
    assert len({one["label"] for one in results}) > 1, "the case is too easy"
    table = run(capsys, "classify", *TEXTS, "Insulin \n  pump", "--model", str(models["single"])).splitlines()
    assert table[0] == f"{results[0]['label']} {results[0]['score']:.3f}  {TEXTS[0]}"
    assert table[3].endswith("  Insulin pump"), "one line for each text"
    (plain,) = lines(run(capsys, "classify", TEXTS[0], "--model", str(models["single"]), "--json"))
    assert abs(sum(plain["scores"].values()) - 1) < 1e-12, "probabilities are in float64, whatever the model's dtype"


def test_classify_several_labels_and_values(models: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for one in lines(run(capsys, "classify", *TEXTS, "--model", str(models["several"]), "--json")):
        assert one["labels"] == [name for name, p in one["scores"].items() if p > 0.5]
        assert set(one["scores"]) == {f"LABEL_{i}" for i in range(4)}
    for one in lines(run(capsys, "classify", *TEXTS, "--model", str(models["regression"]), "--json")):
        model = BioGptForSequenceClassification.from_pretrained(models["regression"])
        ids = BioGptTokenizer.from_pretrained("demo")(one["text"])["input_ids"]
        assert abs(one["value"] - model(ids).logits[0, 0]) < 1e-5
    texts = [*TEXTS, NO_LABEL]
    results = lines(run(capsys, "classify", *texts, "--model", str(models["several"]), "--json"))
    found = run(capsys, "classify", *texts, "--model", str(models["several"])).splitlines()
    for one, line in zip(results, found, strict=True):
        labels = ", ".join(f"{name} {one['scores'][name]:.3f}" for name in one["labels"]) or "-"
        assert line == f"{labels}  {one['text']}"
    assert found[3] == f"-  {NO_LABEL}"
    assert any(len(one["labels"]) > 1 for one in results)
    float(run(capsys, "classify", TEXTS[1], "--model", str(models["regression"])).split()[0])


@pytest.mark.parametrize("name", ["one", "one exclusive", "regression", "single"])
def test_the_score_of_classify_is_that_of_transformers_pipeline(
    models: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    theirs = transformers.TextClassificationPipeline(
        model=transformers.BioGptForSequenceClassification.from_pretrained(models[name]).double().eval(),
        tokenizer=transformers.BioGptTokenizer.from_pretrained(models[name]),
    )
    words = ("--model", str(models[name]), "--json", "--dtype", "float64")
    for one in lines(run(capsys, "classify", *TEXTS, *words)):
        (want,) = theirs(one["text"])
        if name == "regression":
            assert set(one) == {"text", "value"}
        else:
            assert one["label"] == want["label"]
            assert one["scores"][one["label"]] == one["score"]
        assert abs(one.get("value", one.get("score")) - want["score"]) < 1e-6, "their pipeline computes it in float32"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("problem_type", [None, "multi_label_classification", "regression"])
def test_classes_of_the_same_name_keep_their_scores(
    models: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, problem_type: str | None
) -> None:
    folder = shutil.copytree(models["single"], tmp_path / "same")
    config = json.loads((folder / "config.json").read_text()) | {"problem_type": problem_type}
    (folder / "config.json").write_text(json.dumps(config))
    words = ["--json", "--model", str(folder)]
    different = lines(run(capsys, "classify", *TEXTS, *words))
    config |= {"id2label": {"0": "a", "1": "b", "2": "b"}, "label2id": {"a": 0, "b": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["classify", *TEXTS, *words]) == 0
    out, err = capsys.readouterr()
    assert err.count("several classes the same name") == err.count("\n") == 1
    key, field = ("value", "values") if problem_type == "regression" else ("score", "scores")
    for one, other in zip(lines(out), different, strict=True):
        assert one[field] == [{"label": n, key: x} for n, x in zip("abb", other[field].values(), strict=True)]
        if problem_type is None:
            assert one["score"] == other["score"] == max(entry["score"] for entry in one["scores"])
            assert one["label"] == {"no": "a", "yes": "b", "maybe": "b"}[other["label"]]
        elif problem_type != "regression":
            assert one["labels"] == [entry["label"] for entry in one["scores"] if entry["score"] > 0.5]
    table = run(capsys, "classify", *TEXTS, "--model", str(folder)).splitlines()
    assert len(table) == 3
    if problem_type == "regression":
        assert table[0].startswith(f"a {different[0]['values']['no']:.4f}  b {different[0]['values']['yes']:.4f}  b ")


def test_classify_returns_each_value_of_a_regression_of_several(
    models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = BioGptForSequenceClassification.from_pretrained(models["numbers"], dtype="float64")
    logits = model(BioGptTokenizer.from_pretrained("demo")("Insulin")["input_ids"]).logits[0]
    words = ("classify", "Insulin", "--model", str(models["numbers"]), "--dtype", "float64")
    (result,) = lines(run(capsys, *words, "--json"))
    assert result == {"text": "Insulin", "values": {"age": logits[0], "dose": logits[1]}}
    assert run(capsys, *words) == f"age {logits[0]:.4f}  dose {logits[1]:.4f}  Insulin\n"


def test_tags_are_where_transformers_has_them(models: Any, capsys: pytest.CaptureFixture[str]) -> None:
    results = lines(
        run(capsys, "tag", *TEXTS, "--model", str(models["tags"]), "--json", "--tokens", "--dtype", "float64")
    )
    for one in results:
        want = their_logits(models["tags"], "TokenClassification", one["text"])[1:]
        assert [token["label"] for token in one["tokens"]] == [DRUGS[i] for i in want.argmax(axis=-1)]
        assert np.abs(np.array([token["score"] for token in one["tokens"]]) - want.max(axis=-1)).max() < LANE_A
        assert "".join(one["text"][t["start"] : t["end"]] for t in one["tokens"]) == one["text"].replace(" ", "")
        for entity in one["entities"]:
            assert one["text"][entity["start"] : entity["end"]].strip()
    assert any(one["entities"] for one in results)
    table = run(capsys, "tag", *TEXTS, "--model", str(models["tags"]))
    first = next(one for one in results if one["entities"])
    entity = first["entities"][0]
    words = first["text"][entity["start"] : entity["end"]]
    line = f"  {entity['label']:20}  {entity['start']:5}  {entity['end']:5}  {entity['score']:.3f}  {words}"
    assert line in table.splitlines()
    texts = ["Ibuprofen is\n best used for pain."]
    results = lines(run(capsys, "tag", *texts, "--model", str(models["tags"]), "--json"))
    assert all(set(one) == {"text", "entities"} for one in results), "tokens only on request"
    table = run(capsys, "tag", *texts, "--model", str(models["tags"]), "--tokens").splitlines()
    assert table[0] == "Ibuprofen is best used for pain."
    labels = ["I·", "b·", "upro·", "fen", "is", "best", "used", "for", "pain", "."]
    assert [row.split()[0] for row in table[1 : len(labels) + 1]] == labels
    assert len(table) == 1 + len(labels) + len(results[0]["entities"]), "a line for each token, and for each entity"


def test_what_is_found_is_shown_on_one_line_and_written_as_it_is(
    models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    prediction = {"entities": [{"label": "DISEASE", "start": 2, "end": 17, "score": 0.5}]}
    job: Any = SimpleNamespace(tokenizer=BioGptTokenizer.from_pretrained("demo"))
    table = tag._lines(job, "a type 2\n diabetes", prediction)
    assert table.splitlines()[1] == f"  {'DISEASE':20}  {2:5}  {17:5}  0.500  type 2 diabete"
    for command, model in (("classify", "single"), ("tag", "tags")):
        assert "β-blocker" in run(capsys, command, "β-blocker", "--model", str(models[model]), "--json")


def test_each_strategy_of_tag_is_that_of_entities(models: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for strategy in ("first", "simple"):
        words = ["tag", *TEXTS, "--model", str(models["tags"]), "--json", "--tokens", "--strategy", strategy]
        found[strategy] = lines(run(capsys, *words))
        for one in found[strategy]:
            tagged = [
                Tagged((t["start"], t["end"]), t["label"], t["score"], t["piece"].endswith("</w>"))
                for t in one["tokens"]
            ]
            assert one["entities"] == [entity._asdict() for entity in entities(tagged, strategy)]
    assert found["first"] != found["simple"], "the case is too easy"


@pytest.mark.parametrize("strategy", ["simple", "first", "average", "max"])
def test_the_entities_of_tag_are_those_of_the_pipeline(
    models: Any, capsys: pytest.CaptureFixture[str], strategy: str
) -> None:
    """A word counts once in the score of its entity, however many pieces it has; transformers checks the pipeline."""
    pipe = pipeline("token-classification", str(models["tags"]), dtype="float64", aggregation_strategy=strategy)
    words = ["--model", str(models["tags"]), "--json", "--dtype", "float64", "--strategy", strategy]
    texts = [*TEXTS, "Ibuprofen pneumothorax of the tuberculosis hepatocyte Ibuprofen insulin"]
    longest = 0
    for text, one in zip(texts, lines(run(capsys, "tag", *texts, *words)), strict=True):
        want = [group for group in pipe(text) if group["entity_group"] != "O"]
        assert [(e["label"], e["start"], e["end"]) for e in one["entities"]] == [
            (group["entity_group"], group["start"], group["end"]) for group in want
        ]
        for entity, group in zip(one["entities"], want, strict=True):
            assert abs(entity["score"] - group["score"]) < LANE_A
            longest = max(longest, len(text[entity["start"] : entity["end"]].split()))
    assert longest > 1, "the case is too easy"


class PlainTokenizer:
    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return " ".join(tokens)


def test_entities_are_grouped_as_transformers_pipeline_does() -> None:
    rng = np.random.default_rng(0)
    theirs = TokenClassificationPipeline.__new__(TokenClassificationPipeline)
    theirs.tokenizer = PlainTokenizer()  # type: ignore[assignment]
    names = [*DRUGS.values(), "CELL"]
    for _ in range(300):
        labels = [names[i] for i in rng.integers(0, len(names), rng.integers(1, 9))]
        tagged = [Tagged((2 * i, 2 * i + 1), label, 0.25 * (i % 4)) for i, label in enumerate(labels)]
        pieces = [
            {"entity": t.label, "score": t.score, "word": "x", "start": t.span[0], "end": t.span[1], "index": i}
            for i, t in enumerate(tagged)
        ]
        groups = [group for group in theirs.group_entities(pieces) if group["entity_group"] != "O"]
        want = [(group["entity_group"], group["start"], group["end"], float(group["score"])) for group in groups]
        assert [tuple(entity) for entity in entities(tagged, "simple")] == want


def test_other_schemes_and_words_of_several_pieces() -> None:
    def grouped(labels: str, strategy: str = "simple", pieces: str = "") -> list[tuple[str, int, int]]:
        names = labels.split()
        ends = pieces or "w" * len(names)
        tagged = [
            Tagged((i, i + 1), name, 1.0, ends_word=end == "w")
            for i, (name, end) in enumerate(zip(names, ends, strict=True))
        ]
        return [tuple(entity[:3]) for entity in entities(tagged, strategy)]

    assert grouped("B-X I-X E-X I-X S-X S-X") == [("X", 0, 3), ("X", 3, 4), ("X", 4, 5), ("X", 5, 6)]
    assert grouped("B-X L-X U-Y O I-Y") == [("X", 0, 2), ("Y", 2, 3), ("Y", 4, 5)]
    assert grouped("X X Y O X") == [("X", 0, 2), ("Y", 2, 3), ("X", 4, 5)]
    assert grouped("non-small non-small") == [("non-small", 0, 2)], "not every hyphen ends a prefix"
    assert grouped("B B I O S S") == [("B", 0, 2), ("I", 2, 3), ("S", 4, 6)], "a prefix ends in a hyphen"
    assert grouped("B-X O I-X", "first", "..w") == [("X", 0, 3)], "a word has the label of its first piece"
    assert grouped("B-X O I-X", "simple", "..w") == [("X", 0, 1), ("X", 2, 3)]
    assert grouped("O B-X B-X I-X", "first", ".wwx") == [("X", 2, 4)]
    assert grouped("I-O O I-O") == [("O", 0, 1), ("O", 2, 3)], "a class may also be called O"


def test_files_in_and_out_and_batches(models: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    records = [{"id": i, "text": text} for i, text in enumerate(TEXTS * 5)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for command, model in (("classify", "single"), ("tag", "tags")):
        out = tmp_path / f"{command}.jsonl"
        words = [command, "--file", str(tmp_path / "in.jsonl"), "--jsonl", "--model", str(models[model])]
        assert run(capsys, *words, "--chunk", "4", "--batch-tokens", "40", "--output", str(out)) == ""
        found = lines(out.read_text())
        printed = run(capsys, *words, "--chunk", "4", "--batch-tokens", "40")
        assert printed == out.read_text(), "a file gives JSON Lines even without --json"
        assert [one["id"] for one in found] == list(range(15))
        assert sorted(path.name for path in tmp_path.glob(f"{command}*")) == [out.name], "no other file is left"
        alone = lines(run(capsys, command, *TEXTS, "--model", str(models[model]), "--json", "--batch-tokens", "1"))
        for one, other in zip(found[:3], alone, strict=True):
            if command == "classify":
                assert one["label"] == other["label"]
                assert abs(one["score"] - other["score"]) < 1e-6
            else:
                assert [e["start"] for e in one["entities"]] == [e["start"] for e in other["entities"]]


@pytest.mark.parametrize(("command", "model"), [("classify", "single"), ("tag", "tags")])
def test_a_killed_run_is_resumed_only_by_the_same_command(
    models: Any, command: str, model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "in").write_text("\n".join(TEXTS * 3))
    words = [command, "--file", str(tmp_path / "in"), "--model", str(models[model]), "--chunk", "4"]
    run(capsys, *words, "--output", str(tmp_path / "whole"))
    append = ResumableFile.append

    def killed(self: ResumableFile, *args: Any, **sums: Any) -> None:
        append(self, *args, **sums)
        raise KeyboardInterrupt

    words += ["--output", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(ResumableFile, "append", killed)
        run(capsys, *words, code=130)
    assert len((tmp_path / "out").read_text().splitlines()) == 4
    options = {"truncate": ["--truncate"], "window": ["--window", "9"], "stride": ["--stride", "9"]}
    options |= {"--no-special": ["--no-special"], "dtype": ["--dtype", "float64"], "chunk": ["--chunk", "5"]}
    options |= {"--batch-tokens": ["--batch-tokens", "40"]}
    if command == "classify":
        options |= {"combine": ["--combine", "max"]}
    else:
        options |= {"strategy": ["--strategy", "simple"], "tokens": ["--tokens"]}
    for name, more in options.items():
        error = run(capsys, *words, *more, code=2)
        assert f"can only be resumed by the command that started it; found different {name};" in error
    run(capsys, *words)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("command", ["classify", "tag"])
def test_a_model_without_the_head_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = run(capsys, command, "Insulin", code=2)
    assert "the requested head, score.weight" in error or "requested head, classifier.weight, classifier.bias" in error
    assert error.count("\n") == 1


@pytest.mark.filterwarnings("default:text 1 was truncated")
def test_texts_beyond_n_are_cut_on_request(models: Any, capsys: pytest.CaptureFixture[str]) -> None:
    long = "pain " * 300
    for command, model in (("classify", "single"), ("tag", "tags")):
        assert main([command, long, "--model", str(models[model]), "--truncate", "--json"]) == 0
        out, err = capsys.readouterr()
        assert err == "minibiogpt: warning: text 1 was truncated to 256 tokens\n"
        (cut,) = lines(out)
        (fits,) = lines(run(capsys, command, "pain " * 255, "--model", str(models[model]), "--json"))
        assert cut.pop("text") == long
        assert fits.pop("text") == "pain " * 255
        assert cut == fits, "a truncated text keeps all tokens that fit"


@pytest.mark.parametrize("char", ["\u2603", "</s>"])
def test_unknown_characters_and_special_tokens_end_their_words(
    models: Any, capsys: pytest.CaptureFixture[str], char: str
) -> None:
    """If they did not end their words, the next word would get their label."""
    texts, pairs = [f"{char} {word}" for word in ("aspirin", "Insulin", "pain", "BRCA1", "cancer", "the")], set()
    for result in lines(run(capsys, "tag", *texts, "--model", str(models["tags"]), "--json", "--tokens")):
        first = {token["start"]: token["label"] for token in result["tokens"]}
        spans = [(0, len(char)), (len(char) + 1, len(result["text"]))]
        want = entities([Tagged(span, first[span[0]], 1.0) for span in spans])
        assert [(e["label"], e["start"], e["end"]) for e in result["entities"]] == [tuple(e[:3]) for e in want]
        pairs.add((first[spans[0][0]], first[spans[1][0]]))
    assert any(one != other for one, other in pairs), "the case is too easy"


def test_logits_that_are_not_finite_are_refused(
    models: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    for command, model in (("classify", "single"), ("tag", "tags")):
        folder = tmp_path / command
        folder.mkdir()
        for path in models[model].iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        tensors = load_file(folder / "model.safetensors")
        tensors["biogpt.layer_norm.weight"][:] = 3e38
        save_file(tensors, folder / "model.safetensors")
        assert "logits must be finite" in run(capsys, command, "Insulin", "--model", str(folder), "--json", code=2)


LONG = " ".join(f"{text} BRCA1 gene" for text in TEXTS * 12)  # about 500 tokens


def test_a_long_text_is_tagged_in_windows(models: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = BioGptForTokenClassification.from_pretrained(models["tags"], dtype="float64")
    ids = BioGptTokenizer.from_pretrained("demo")(LONG)["input_ids"][0]
    assert len(ids) > 256
    for window, stride, words in (
        (256, 128, ()),
        (9, 4, ("--window", "9")),
        (11, 3, ("--window", "11", "--stride", "3")),
    ):
        want = np.zeros((len(ids), len(DRUGS)))
        done, begin = 0, 0
        while done < len(ids):
            end = min(begin + window, len(ids))
            logits = model(ids[None, begin:end]).logits[0]
            p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
            want[done:end] = p[done - begin :]
            done, begin = end, begin + stride
        command = ["tag", LONG, "--model", str(models["tags"]), "--json", "--tokens", "--dtype", "float64", *words]
        (found,) = lines(run(capsys, *command))
        assert [token["label"] for token in found["tokens"]] == [DRUGS[i] for i in want[1:].argmax(axis=-1)]
        assert np.abs(np.array([t["score"] for t in found["tokens"]]) - want[1:].max(axis=-1)).max() < LANE_A
        assert "".join(LONG[t["start"] : t["end"]] for t in found["tokens"]) == LONG.replace(" ", "")
        tagged = [
            Tagged((t["start"], t["end"]), t["label"], t["score"], t["piece"].endswith("</w>")) for t in found["tokens"]
        ]
        assert found["entities"] == [entity._asdict() for entity in entities(tagged)], "joined across the borders"


def test_a_long_text_is_classified_in_windows(models: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from minibiogpt.model.ops import softmax

    model = BioGptForSequenceClassification.from_pretrained(models["single"], dtype="float64")
    ids = BioGptTokenizer.from_pretrained("demo")(LONG)["input_ids"][0]
    starts = range(0, len(ids) - 256 + 128, 128)
    p = np.stack([softmax(model(ids[None, start : start + 256]).logits[0]) for start in starts])
    new = np.array([256] + [128] * (len(starts) - 2) + [len(ids) - 256 - 128 * (len(starts) - 2)])
    want = {
        "mean": (p * new[:, None]).sum(axis=0) / len(ids),
        "last": softmax(model(ids[None, -256:]).logits[0]),
        "max": p.max(axis=0),
    }
    command = ["classify", LONG, "--model", str(models["single"]), "--json", "--dtype", "float64"]
    for combine, scores in want.items():
        (found,) = lines(run(capsys, *command, "--combine", combine))
        assert np.abs(np.array(list(found["scores"].values())) - scores).max() < LANE_A
        assert found["label"] == ["no", "yes", "maybe"][scores.argmax()]
        (fits,) = lines(run(capsys, "classify", "Insulin", *command[2:], "--combine", combine))
        (plain,) = lines(run(capsys, "classify", "Insulin", *command[2:]))
        assert fits == plain, "a text that fits has no windows to combine"
    (default,) = lines(run(capsys, *command))
    assert default["scores"] == lines(run(capsys, *command, "--combine", "mean"))[0]["scores"]
    error = run(capsys, *command, "--window", "9", "--stride", "9", code=2)
    assert "stride must be an integer, 1 to 8; found 9" in error
    assert "window must be an integer, 2 to 256; found 257" in run(capsys, *command, "--window", "257", code=2)


def test_words_that_are_split_already_are_tagged(
    models: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["COVID-19", "(mild)", " ", "Ibuprofen", "isn't", "BRCA1", "Insulin"]
    tok = BioGptTokenizer.from_pretrained("demo")
    pieces = [tok.tokenize(word) for word in words]
    assert len(pieces[0]) > 1
    assert pieces[2] == []
    ids = [tok.eos_token_id, *(i for word in words for i in tok.encode(word, add_special_tokens=False))]
    model = BioGptForTokenClassification.from_pretrained(models["tags"])
    p = np.exp(model([ids]).logits[0, 1:].astype("float64"))
    p /= p.sum(axis=-1, keepdims=True)
    ends = np.cumsum([len(word) for word in pieces])
    rows = [p[end - len(word) : end] for word, end in zip(pieces, ends, strict=True)]
    (tmp_path / "in").write_text(json.dumps({"id": 7, "tokens": words}) + "\n")
    command = ["tag", "--file", str(tmp_path / "in"), "--jsonl", "--field", "tokens", "--model", str(models["tags"])]
    for strategy in ("first", "average", "max", "simple"):
        (found,) = lines(run(capsys, *command, "--strategy", strategy))
        chosen = {
            "first": lambda x: x[0],
            "simple": lambda x: x[0],
            "average": lambda x: x.mean(axis=0),
            "max": lambda x: x[x.max(axis=-1).argmax()],
        }[strategy]
        want = [chosen(row) if len(row) else None for row in rows]
        assert [one["word"] for one in found["words"]] == words
        assert [one["label"] for one in found["words"]] == [None if q is None else DRUGS[q.argmax()] for q in want]
        for one, q in zip(found["words"], want, strict=True):
            assert one["score"] is None if q is None else abs(one["score"] - q.max()) < 1e-6
        assert found["tokens"] == words, "an input field"
        text = " ".join(words)
        assert found["entities"]
        for entity in found["entities"]:
            named = words[entity["start_word"] : entity["end_word"]]
            assert named
            if strategy != "simple":
                assert text[entity["start"] : entity["end"]] == " ".join(named).strip()
    found = lines(run(capsys, *command, "--tokens"))[0]
    assert found["input_tokens"] == words
    assert [token["piece"] for token in found["tokens"]] == [piece for word in pieces for piece in word]
    for blank in ([], [""], [" ", "\0"]):
        (tmp_path / "in").write_text(json.dumps({"tokens": blank}) + "\n")
        error = run(capsys, *command, code=2)
        assert f"must contain a word in 'tokens'; found {blank!r}; remove the line" in error
    (tmp_path / "in").write_text('{"text": ["a", 1]}\n')
    error = run(capsys, *command[:4], "--model", str(models["tags"]), code=2)
    assert "is a string or a list of strings; found a list that holds something else" in error
    (tmp_path / "in").write_text('{"text": "a", "words": 1}\n')
    run(capsys, *command[:4], "--model", str(models["tags"]))
    (tmp_path / "in").write_text('{"text": ["a"], "words": 1}\n')
    (found,) = lines(run(capsys, *command[:4], "--model", str(models["tags"])))
    assert (found["input_words"], found["words"][0]["word"]) == (1, "a")


def test_a_gold_label_is_kept_beside_the_predicted_one(
    models: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "in").write_text(json.dumps({"text": "Insulin", "label": 7, "scores": "x"}) + "\n")
    words = ("--model", str(models["single"]))
    (found,) = lines(run(capsys, "classify", "--file", str(tmp_path / "in"), "--jsonl", *words))
    (plain,) = lines(run(capsys, "classify", "Insulin", "--json", *words))
    assert found == {"text": "Insulin", "input_label": 7, "input_scores": "x"} | plain


def test_a_word_ends_at_its_mark(models: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown character within a word does not end it: the word has one label."""
    text = "pain\u0436gene"
    (found,) = lines(run(capsys, "tag", text, "--model", str(models["tags"]), "--json", "--tokens"))
    assert "<unk>" in [token["piece"] for token in found["tokens"][1:-1]]
    for entity in found["entities"]:
        assert (entity["start"], entity["end"]) == (0, len(text))
    first = found["tokens"][0]["label"]
    assert [e["label"] for e in found["entities"]] == ([] if first == "O" else [first[2:]])


def test_other_commands_take_words_too(models: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["COVID-19", "(mild)"]
    (tmp_path / "in").write_text(json.dumps({"text": words}) + "\n")
    file = ["--file", str(tmp_path / "in"), "--jsonl"]
    (found,) = lines(run(capsys, "classify", *file, "--model", str(models["single"])))
    tok = BioGptTokenizer.from_pretrained("demo")
    ids = [tok.eos_token_id, *(i for word in words for i in tok.encode(word, add_special_tokens=False))]
    logits = BioGptForSequenceClassification.from_pretrained(models["single"])([ids]).logits[0].astype("float64")
    assert abs(found["score"] - np.exp(logits).max() / np.exp(logits).sum()) < 1e-6
    (scored,) = lines(run(capsys, "score", *file, "--tokens"))
    assert scored["ids"] == ids[1:]
    assert "".join(" ".join(words)[start:end] for start, end in scored["offsets"]) == "".join(words)


def test_special_tokens_among_words_are_plain_text_on_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words, tok = ["pain", "</s>", "gene"], BioGptTokenizer.from_pretrained("demo")
    (tmp_path / "in").write_text(json.dumps({"text": words}) + "\n")
    for more, parse in (((), True), (("--no-special",), False)):
        (scored,) = lines(run(capsys, "score", "--file", str(tmp_path / "in"), "--jsonl", "--tokens", *more))
        want = [tok.encode(word, add_special_tokens=False, parse_special=parse) for word in words]
        assert scored["ids"] == [i for ids in want for i in ids]
        assert (tok.eos_token_id in scored["ids"]) is parse
