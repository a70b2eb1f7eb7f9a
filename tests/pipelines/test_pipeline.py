"""pipeline(): tasks, models, tokenizers, devices; and what all pipelines have in common."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

import minibiogpt
from minibiogpt import (
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    BioGptModel,
    BioGptTokenizer,
    InputError,
    pipeline,
)
from minibiogpt.backend import backend_for
from minibiogpt.files.hub import DEMO
from minibiogpt.pipelines import base
from tests.support.pipelines import folder

TASKS = ["text-generation", "text-classification", "token-classification", "feature-extraction"]


def test_the_parameters_are_those_of_transformers_in_their_order() -> None:
    theirs = list(inspect.signature(transformers.pipeline).parameters)
    ours = list(inspect.signature(pipeline).parameters)
    assert ours[:16] == theirs[:16]
    assert set(theirs[16:-1]) - set(ours) == {"pipeline_class"}


@pytest.mark.parametrize(
    ("task", "kind", "model"),
    [
        ("text-generation", "demo", BioGptForCausalLM),
        ("text-classification", "single", BioGptForSequenceClassification),
        ("sentiment-analysis", "single", BioGptForSequenceClassification),
        ("token-classification", "tags", BioGptForTokenClassification),
        ("ner", "tags", BioGptForTokenClassification),
        ("feature-extraction", "demo", BioGptModel),
    ],
)
def test_a_task_and_a_name(task: str, kind: str, model: type) -> None:
    made = pipeline(task, model=str(folder(kind)))
    assert made.task == task
    assert type(made.model) is model
    assert isinstance(made.tokenizer, BioGptTokenizer)
    assert made.device == "cpu"
    assert made.device.type == "cpu"
    assert made.dtype == "float32"
    assert repr(made) == f"<{type(made).__name__} {task!r} of {made.model!r}>"
    assert type(made).__name__ == type(transformers.pipeline(task, model=str(folder(kind)), device=-1)).__name__


def test_a_task_from_the_model() -> None:
    assert pipeline(model=str(folder("tags"))).task == "token-classification"
    assert pipeline(model=str(folder("single"))).task == "text-classification"
    assert pipeline(model="demo").task == "text-generation"
    assert pipeline(model=DEMO).task == "text-generation"
    for kind, task in ((BioGptModel, TASKS[3]), (BioGptForCausalLM, TASKS[0])):
        model = kind.from_pretrained("demo")
        made = pipeline(model=model)
        assert made.task == task
        assert made.model is model
        assert made("Insulin"), "the tokenizer is where the model came from"


def test_an_adapter_says_its_task_and_where_the_tokenizer_is(tmp_path: Path) -> None:
    base = transformers.BioGptForTokenClassification.from_pretrained(DEMO, num_labels=3)
    settings = peft.LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=["q_proj"], modules_to_save=["classifier"])
    peft.get_peft_model(base, settings).save_pretrained(tmp_path)
    made = pipeline(model=tmp_path)
    assert made.task == "token-classification"
    assert made.model.config.num_labels == 3
    assert made.tokenizer.get_vocab() == BioGptTokenizer.from_pretrained("demo").get_vocab(), "the base model's"
    BioGptTokenizer.from_pretrained("demo").save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 77}')
    assert pipeline(model=tmp_path).tokenizer.model_max_length == 77, "it was saved with its tokenizer"
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"task_type": None}))
    with pytest.raises(InputError, match="the task of .* must be in its config.json"):
        pipeline(model=tmp_path)
    assert pipeline("ner", model=tmp_path).task == "ner"


def test_without_a_model_the_demo_is_used() -> None:
    for task in ("text-generation", "feature-extraction"):
        with pytest.warns(UserWarning, match="no model is named, so the demo is used"):
            assert pipeline(task).model.config.hidden_size == 128
    for task in ("text-classification", "ner"):
        with pytest.raises(InputError, match=f"{task} must be given a model; found none"):
            pipeline(task)


def test_tokenizers() -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    assert pipeline("text-generation", "demo", tokenizer=tok).tokenizer is tok
    for name in ("demo", DEMO, ("demo", {"use_fast": False})):
        assert pipeline("text-generation", "demo", tokenizer=name).tokenizer.vocab_size == 1874
    model = BioGptForCausalLM.from_pretrained("demo")
    model.name_or_path = ""
    with pytest.raises(InputError, match="a model that was not loaded by name needs its tokenizer"):
        pipeline("text-generation", model)
    assert pipeline("text-generation", model, tokenizer=tok)("Insulin")


def test_options_given_to_the_pipeline_hold_for_each_call() -> None:
    made = pipeline("text-generation", "demo", max_new_tokens=3, do_sample=False, batch_size=2, use_fast=False)
    plain = pipeline("text-generation", "demo", trust_remote_code=False, framework="pt", token=None)
    assert made("Insulin") == plain("Insulin", max_new_tokens=3, do_sample=False)
    assert made("Insulin", max_new_tokens=5) == plain("Insulin", max_new_tokens=5, do_sample=False)
    with pytest.raises(InputError, match="found max_new_token; did you mean max_new_tokens"):
        pipeline("text-generation", "demo", max_new_token=3)
    with pytest.raises(InputError, match="must be called with known arguments; found topk; did you mean top_k"):
        pipeline("text-classification", str(folder("single")), topk=3)


def test_loading_options_reach_from_pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipeline("text-generation", "demo", dtype="float64").dtype == "float64"
    assert pipeline("text-generation", "demo", model_kwargs={"dtype": "float64"}).dtype == "float64"
    seen: list[dict[str, Any]] = []
    load = BioGptForCausalLM.from_pretrained

    def spy(name: Any, **options: Any) -> Any:
        seen.append(options)
        return load(name)

    monkeypatch.setattr(BioGptForCausalLM, "from_pretrained", spy)
    tok = BioGptTokenizer.from_pretrained("demo")
    pipeline("text-generation", "demo", tokenizer=tok)
    pipeline("text-generation", "demo", tokenizer=tok, torch_dtype=torch.float32, device_map="auto", token="t")
    pipeline("text-generation", "demo", tokenizer=tok, revision="main", dtype="auto", device="cpu")
    assert seen == [
        {},
        {"torch_dtype": torch.float32, "device_map": "auto", "token": "t"},
        {"dtype": "auto", "backend": backend_for("cpu")},  # a revision is of a hub id
    ]
    with pytest.warns(UserWarning, match="device 0: there is no GPU to use, so the model runs on the CPU, in float32"):
        made = pipeline("text-generation", "demo", dtype=torch.float16, device=0)
    assert made.device == "cpu"
    assert seen[3] == {"backend": backend_for("cpu")}


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let backend_for find no GPU, also where there is one."""
    from minibiogpt.backend import devices

    found = devices.get_backend

    def get(name: Any) -> Any:
        if name == "cupy":
            raise InputError("the cupy backend needs CuPy", "none", "install it")
        return found(name)

    monkeypatch.setattr(devices, "get_backend", get)


def test_devices() -> None:
    for device in (-1, "cpu", torch.device("cpu"), "auto"):
        assert pipeline("text-generation", "demo", device=device).device == "cpu"
        assert pipeline(model=BioGptForCausalLM.from_pretrained("demo"), device=device).device == "cpu"
    with pytest.raises(InputError, match="the cupy backend needs CuPy"):
        pipeline("text-generation", "demo", device="cuda")
    with pytest.raises(InputError, match="a device must be 'cpu'"):
        pipeline("text-generation", "demo", device="tpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a pipeline needs a task or a model"),
        ({"task": "translation"}, "a task must be one of text-generation, text-classification, token-classification, "
         "feature-extraction, sentiment-analysis, ner; found 'translation'"),
        ({"task": 3}, "a task must be one of"),
        ({"task": "text-generation", "tokenizer": "demo"}, "a tokenizer must come with its model"),
        ({"task": "text-generation", "model": 3}, "found builtins.int; pass the name"),
        ({"task": "text-generation", "model": "nowhere"}, "a model must be 'demo', a folder, or a hub id"),
        ({"model": BioGptModel}, "found the class minibiogpt.model.biogpt.BioGptModel; pass the name"),
        ({"model": "demo", "model_kwargs": 3}, "model_kwargs must be a dict; found 3"),
        ({"model": "demo", "framework": "tf"}, "framework must be None; found 'tf'"),
        ({"model": "demo", "dtype": "float32", "torch_dtype": "float32"}, "dtype must be given once"),
        ({"model": "demo", "device": "cpu", "device_map": "auto"}, "one of device and device_map may be given"),
        ({"model": "demo", "feature_extractor": "x"}, "feature_extractor must be None"),
        ({"model": "demo", "pipeline_class": 1}, "found pipeline_class; leave it out: the task chooses the class"),
        ({"model": "demo", "tokenizer": 5}, "tokenizer must be a BioGptTokenizer of minibiogpt, or a name"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        pipeline(**options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_loaded_model_must_fit() -> None:
    model = BioGptForCausalLM.from_pretrained("demo")
    with pytest.raises(InputError, match="ner needs a BioGptForTokenClassification; found BioGptForCausalLM"):
        pipeline("ner", model)
    with pytest.raises(InputError, match="a loaded model keeps its dtype; found float32 and the dtype float64"):
        pipeline(model=model, torch_dtype=torch.float64)
    with pytest.warns(UserWarning, match="a loaded model keeps its dtype: float16 is ignored"):
        assert pipeline(model=model, torch_dtype=torch.float16).model is model
    assert pipeline(model=model, torch_dtype=torch.float32, device_map="auto").model is model
    with pytest.raises(InputError, match="a loaded model takes no options of loading; found num_labels; pass"):
        pipeline(model=model, model_kwargs={"num_labels": 3})
    with pytest.raises(InputError, match="the cupy backend needs CuPy"):
        pipeline(model=model, device_map="cuda")
    assert pipeline(model=model, device_map="cpu", revision="main").model is model
    theirs = transformers.BioGptForCausalLM.from_pretrained(DEMO)
    with pytest.raises(InputError, match="found transformers.models.biogpt.modeling_biogpt.BioGptForCausalLM; pass"):
        pipeline("text-generation", model=theirs)
    with pytest.raises(InputError, match="found transformers.models.biogpt.tokenization_biogpt.BioGptTokenizer; pass"):
        pipeline("text-generation", model, tokenizer=transformers.BioGptTokenizer.from_pretrained(DEMO))


def test_a_checkpoint_that_does_not_say_its_task(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "m")
    config = json.loads((DEMO / "config.json").read_text())
    for architectures in (None, ["Other"], 5):
        (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"architectures": architectures}))
        with pytest.raises(InputError, match="the task of .* must be in its config.json, as architectures; found none"):
            pipeline(model=tmp_path / "m")
    assert pipeline("text-generation", model=tmp_path / "m").task == "text-generation"


class Dataset:
    """A dataset as torch has them: a length, and items by number."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> str:
        return ["a", "Insulin", "pain"][i]  # no IndexError of its own beyond the length: -4 and 3 would raise


def test_datasets_and_endless_iterators() -> None:
    classifier = pipeline(model=str(folder("single")))
    want = classifier(["a", "Insulin", "pain"])
    found = classifier(Dataset())
    assert iter(found) is found, "an iterator, as in transformers"
    assert [one["label"] for one in found] == [one["label"] for one in want]
    read = []

    def endless() -> Any:
        while True:
            read.append("Insulin")
            yield "Insulin"

    results = classifier(endless())
    assert next(results)["label"] == want[1]["label"]
    assert len(read) == 1, "nothing is read ahead"
    results = classifier(endless(), batch_size=4)
    next(results)
    assert len(read) == 5
    with pytest.raises(InputError, match="the text, a dict, must have the strings"):
        classifier({"foo": 1})
    with pytest.raises(InputError, match="the text must be a string; found {'text': 'a'}"):
        pipeline(model="demo")({"text": "a"})


def test_a_progress_bar_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = pipeline(model=str(folder("single")))
    classifier(["a"] * 60)
    assert capsys.readouterr().err == "", "not a terminal"
    classifier(["a"] * 3, progress=True)
    assert "3/3" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    classifier(["a"] * base.PROGRESS_BAR_ABOVE)
    assert capsys.readouterr().err == ""
    classifier(["a"] * (base.PROGRESS_BAR_ABOVE + 1))
    assert "51/51" in capsys.readouterr().err
    classifier(["a"] * 60, progress=False)
    assert capsys.readouterr().err == ""


def test_saving_and_attributes(tmp_path: Path) -> None:
    made = pipeline(model=str(folder("single")))
    made.save_pretrained(tmp_path / "new")
    assert pipeline(model=str(tmp_path / "new"))("Insulin") == made("Insulin")
    assert transformers.pipeline(model=str(tmp_path / "new"), task="text-classification", device=-1)("Insulin")
    with pytest.raises(AttributeError, match="has no attribute 'push_to_hub'; write the files with save_pretrained"):
        made.push_to_hub("x")
    assert not hasattr(made, "feature_extractor")


def test_a_plain_import_stays_light() -> None:
    code = "import sys, minibiogpt; print(*(set(sys.modules) & {'tqdm', 'huggingface_hub', 'torch', 'transformers'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert {"pipeline", "set_seed"} <= set(minibiogpt.__all__)
