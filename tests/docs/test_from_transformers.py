"""Coming from transformers: every example and every row of the page is run in both libraries."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers

import minibiogpt
from minibiogpt.files.hub import DEMO
from minibiogpt.model.ops import softmax
from tests.budgets import LANE_A, MODELS_FLOAT32
from tests.support.hub_cache import make_cache
from tests.support.pages import ROOT, blocks, text_of
from tests.support.typed_lines import PAGE, examples, plain, program

# Example number: its variables that must have the same values. The others depend on random draws; only their kinds and
# shapes are compared.
EQUAL = {
    0: ("greedy",),
    1: ("generated_ids", "output"),
    2: ("parameters",),
    3: ("last_hidden_states",),
    4: ("loss", "logits"),
    5: ("inputs",),
    6: ("inputs", "num_labels"),
    7: ("inputs", "num_labels"),
}
FLOAT32 = MODELS_FLOAT32


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Return the variables of each example, by library. Each library runs in a process of its own."""
    environment = os.environ | make_cache(tmp_path_factory.mktemp("hub")) | {"PYTHONPATH": str(ROOT)}
    found = {}
    for library in ("minibiogpt", "transformers"):
        command = [sys.executable, "-m", "tests.support.typed_lines", library]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[library] = json.loads(done.stdout.splitlines()[-1])
    return found


def kinds(value: Any) -> Any:
    """Return the structure of a value: types, keys and shapes, without the values. Texts may have any length."""
    if isinstance(value, dict):
        return {key: kinds(x) for key, x in value.items()}
    if isinstance(value, list):
        array = np.array(value) if all(isinstance(x, int | float | list) for x in value) else None
        return array.shape if array is not None else [kinds(x) for x in value]
    return type(value).__name__


@pytest.mark.parametrize("number", range(len(EQUAL)))
def test_an_example_of_the_documentation_runs_as_typed(number: int, typed: dict[str, list[dict[str, Any]]]) -> None:
    ours, theirs = (typed[library][number] for library in ("minibiogpt", "transformers"))
    sampled = ("predicted_class_ids", "tokenizer", "samples")  # the number of classes above 0.5 is random
    assert list(ours) == list(theirs)
    for name in ours:
        if name not in sampled and not isinstance(theirs[name], dict):
            assert kinds(ours[name]) == kinds(theirs[name]), name
    for name in EQUAL[number]:
        assert same(ours[name], theirs[name], FLOAT32), name


def test_every_example_is_compared() -> None:
    assert sorted(EQUAL) == list(range(len(examples())))
    assert all("import" in program(diff, library) for diff in examples() for library in ("minibiogpt", "transformers"))


def test_the_lines_for_a_gpu_warn_without_one() -> None:
    (block,) = (block for block in blocks(text_of(PAGE)) if "device=0" in block.text)
    scope: dict[str, Any] = {"pipeline": minibiogpt.pipeline, "AutoModelForCausalLM": minibiogpt.AutoModelForCausalLM}
    with pytest.warns(UserWarning, match="float32") as caught:
        exec(block.text.replace("microsoft/biogpt", "demo"), scope)
    assert scope["generator"].device == scope["model"].device
    if scope["model"].device == "cpu":
        assert ["no GPU" in str(one.message) for one in caught] == [True]
        assert (scope["generator"].model.dtype, scope["model"].dtype) == ("float32", "float16")


def test_samples_are_five_texts_that_begin_with_the_prompt(typed: dict[str, list[dict[str, Any]]]) -> None:
    for library in typed:
        texts = [sample["generated_text"] for sample in typed[library][0]["samples"]]
        assert len(texts) == 5
        assert all(text.startswith("Ibuprofen is best used for") for text in texts)


def translations() -> list[tuple[str, str]]:
    """Return the rows of the table of PyTorch's operations: (with torch, with NumPy)."""
    table = text_of(PAGE).partition("| with torch's tensors |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", table, re.M)


@pytest.mark.parametrize(("torchs", "numpys"), translations())
def test_an_operation_of_torch_and_numpys_give_the_same(torchs: str, numpys: str) -> None:
    got = []
    for library, line in (("minibiogpt", numpys), ("transformers", torchs)):
        names = loaded(library)
        with torch.no_grad():
            out = names["model"](**names["enc"], labels=names["ids"], output_hidden_states=True)
            scope = {"out": out, "hidden": out.hidden_states[-1], "ids": names["ids"], "model": names["model"]}
            got.append(plain(eval(line, scope | {"np": np, "torch": torch, "softmax": softmax})))
    assert same(*got, LANE_A if "loss" not in torchs else FLOAT32)


def test_the_translations_are_found() -> None:
    assert len(translations()) >= 12


class Row(NamedTuple):
    line: str
    here: str
    note: str


def rows() -> list[Row]:
    """Return the rows of the page's tables."""
    kinds = r"equal|equal, \(1, T\)|differs|only here|refused"
    found = re.findall(rf"^\| `(.+?)` \| ({kinds}) \| ?(.*?) ?\|$", text_of(PAGE), re.M)
    return [Row(*cells) for cells in found]


def same(ours: Any, theirs: Any, budget: float) -> bool:
    """Return whether two plain values are equal, up to rounding of floats."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key], budget) for key in ours)
    a, b = _as_array(ours), _as_array(theirs)
    if a is None or b is None:
        if not (isinstance(ours, list) and isinstance(theirs, list)):
            return bool(type(ours) is type(theirs) and ours == theirs)
        return len(ours) == len(theirs) and all(same(x, y, budget) for x, y in zip(ours, theirs, strict=True))
    if a.shape != b.shape:
        return False
    return bool((abs(a - b) <= budget * max(1.0, abs(b).max(initial=0))).all())


def _as_array(value: Any) -> np.ndarray | None:
    """Return a number or nested lists of numbers as an array; None for anything else."""
    try:
        array = np.array(value)
    except ValueError:
        return None
    return array.astype(np.float64) if array.dtype.kind in "bif" else None


@cache
def folders() -> dict[str, Path]:
    """Return the demo's folder, and folders of a sequence and a token classifier with the same random heads in both."""
    import tempfile

    root = Path(tempfile.mkdtemp())
    found = {"path": DEMO}
    for name, kind in (
        ("classifier_path", minibiogpt.BioGptForSequenceClassification),
        ("tagger_path", minibiogpt.BioGptForTokenClassification),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = kind.from_pretrained("demo", num_labels=3, initializer_range=1.0)
        model.save_pretrained(root / name)
        minibiogpt.BioGptTokenizer.from_pretrained("demo").save_pretrained(root / name)
        found[name] = root / name
    return found


@cache
def loaded(library: str) -> dict[str, Any]:
    """Return the names that the rows use, in one library; models in float64."""
    lib = {"minibiogpt": minibiogpt, "transformers": transformers}[library]
    paths = folders()
    classes = {
        "model": (lib.BioGptForCausalLM, "path"),
        "classifier": (lib.BioGptForSequenceClassification, "classifier_path"),
        "tagger": (lib.BioGptForTokenClassification, "tagger_path"),
    }
    options = {"attn_implementation": "eager", "dtype": "float64"}
    scope: dict[str, Any] = {
        name: kind.from_pretrained(paths[path], **options) for name, (kind, path) in classes.items()
    }
    tok = lib.BioGptTokenizer.from_pretrained(paths["path"])
    text = "Ibuprofen is best used for pain"
    tensors = "pt" if library == "transformers" else "np"
    mask = [1.0, 0.0, 1.0, 1.0]
    return {
        **scope,
        **{name: str(path) for name, path in paths.items()},
        "tok": tok,
        "text": text,
        "texts": [text, "Metformin, for example, isn't one."],
        "enc": tok(text, return_tensors=tensors),
        "ids": tok(text, return_tensors=tensors)["input_ids"],
        "head_mask": torch.tensor(mask, dtype=torch.float64) if library == "transformers" else mask,
        "BioGptConfig": lib.BioGptConfig,
        "pipeline": lib.pipeline,
    }


def run(line: str, library: str, folder: Path) -> Any:
    """Return the value of a line in one library. What it changes is changed in a copy."""
    scope = dict(loaded(library)) | {"folder": str(folder)}
    for name in ("tok", "model", "classifier", "tagger"):
        if re.search(rf"\b{name}\b", line):
            scope[name] = copy.deepcopy(scope[name])
    typed = line.replace('"np"', '"pt"') if library == "transformers" else line
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return plain(eval(typed, scope))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Silence transformers' log."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    yield
    transformers.logging.set_verbosity(level)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.line)
def test_a_row_of_the_table_says_what_happens(row: Row, tmp_path: Path) -> None:
    if row.here == "refused":
        says = re.search(r"says \*(.+?)\*", row.note)
        assert says, "the note must quote the message"
        with pytest.raises((minibiogpt.InputError, AttributeError), match=re.escape(says[1])) as caught:
            run(row.line, "minibiogpt", tmp_path)
        assert "\n" not in str(caught.value)
        return
    ours = run(row.line, "minibiogpt", tmp_path)
    if row.here == "only here":
        with pytest.raises(Exception):  # noqa: B017, PT011 - any of transformers' errors
            run(row.line, "transformers", tmp_path)
        return
    theirs = run(row.line, "transformers", tmp_path)
    # transformers computes losses and the scores of generation in float32, and pipelines load float32 models.
    budget = FLOAT32 if re.search("pipeline|loss|scores", row.line) else LANE_A
    if row.here == "equal, (1, T)":
        assert np.shape(ours) == (1, *np.shape(theirs)), (ours, theirs)
        ours = ours[0]
    assert same(ours, theirs, budget) == (row.here != "differs"), (ours, theirs)


def test_no_row_is_left_out() -> None:
    tables = text_of(PAGE).partition("## Line by line")[2].partition("\n### Torch")[0]
    lines = [line for line in tables.splitlines() if line.startswith("| `")]
    assert len(lines) == len(rows()) > 100


def test_values_that_differ_are_noticed() -> None:
    assert same([1, 2], [1, 2], 0)
    assert not same([[1, 2]], [1, 2], 0)
    assert same({"a": [1.0]}, {"a": [1.0 + 1e-12]}, 1e-10)
    assert not same([1, 2], [1, 3], 0)
    assert not same([1.0], [1.0 + 1e-9], 1e-10)
    assert not same({"a": 1}, {"b": 1}, 0)
    assert not same(["a"], ["b"], 0)
    assert not same([[1], [2]], [[1, 2]], 0)
