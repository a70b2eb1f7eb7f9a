"""``from minibiogpt import NAME`` works, or says what to write instead; other names stay plain AttributeErrors."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import minibiogpt
from minibiogpt import pipelines

ROOT = Path(minibiogpt.__file__).parents[1]
TRAINING = "train in PyTorch, and load the checkpoint"
SAID = {
    "Trainer": TRAINING,
    "Seq2SeqTrainer": TRAINING,
    "TrainingArguments": TRAINING,
    "EarlyStoppingCallback": TRAINING,
    "TrainerCallback": TRAINING,
    "get_scheduler": TRAINING,
    "get_linear_schedule_with_warmup": TRAINING,
    "get_cosine_schedule_with_warmup": TRAINING,
    "StoppingCriteria": "stopping_criteria=[f]",
    "StoppingCriteriaList": "stopping_criteria=[f]",
    "MaxLengthCriteria": "max_length=N",
    "MyOwnCriteria": "stopping_criteria=[f]",
    "LogitsProcessor": "logits_processor=[f]",
    "LogitsProcessorList": "logits_processor=[f]",
    "TemperatureLogitsWarper": "minibiogpt.generation has the functions",
    "NoRepeatNGramLogitsProcessor": "minibiogpt.generation has the functions",
    "DataCollatorWithPadding": "tokenizer(texts, padding=True)",
    "DataCollatorForLanguageModeling": "pass it return_tensors='np'",
    "StopStringCriteria": "stop_strings=",
    "BioGptAttention": "minibiogpt.model.attention",
    "CausalLMOutputWithCrossAttentions": "minibiogpt.model.outputs",
    "default_data_collator": "tokenizer(texts, padding=True)",
    "DynamicCache": "the cache is a KVCache",
    "Cache": "the cache is a KVCache",
    "BitsAndBytesConfig": "write Class.from_pretrained(name, quantization='nf4')",
    "AutoModelForSeq2SeqLM": "the heads are BioGptForCausalLM",
    "AutoModelForQuestionAnswering": "the heads are BioGptForCausalLM",
    "AutoModelForMaskedLM": "the heads are BioGptForCausalLM",
    "PreTrainedTokenizerFast": "write BioGptTokenizer",
    "PreTrainedModel": "write BioGptModel",
    "PretrainedConfig": "write BioGptConfig",
    "TextGenerationPipeline": "minibiogpt.pipelines.TextGenerationPipeline",
    "QuestionAnsweringPipeline": "the tasks of pipeline are",
    "PeftModel": "adapter=FOLDER",
    "AutoPeftModelForCausalLM": "adapter=FOLDER",
    "logging": "nothing is logged",
    "GPT2LMHeadModel": "the only architecture is BioGPT",
    "GPT2Tokenizer": "the only architecture is BioGPT",
    "LlamaForCausalLM": "the only architecture is BioGPT",
    "BertForCausalLM": "the only architecture is BioGPT",
    "T5Config": "the only architecture is BioGPT",
    "BioGPTForCausalLM": "did you mean BioGptForCausalLM?",
    "BioGPTTokenizer": "did you mean BioGptTokenizer?",
    "AutoModelForCasualLM": "did you mean AutoModelForCausalLM?",
    "Pipeline": "pipeline(task)",
    "pipline": "did you mean pipeline?",
}


@pytest.mark.parametrize(("name", "advice"), SAID.items())
def test_a_name_of_transformers_says_what_to_write(name: str, advice: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(f"from minibiogpt import {name}")
    message = str(caught.value)
    assert message.startswith(f"minibiogpt has no {name!r}; ")
    assert advice in message
    assert "\n" not in message


def test_most_names_of_transformers_that_are_classes_have_advice() -> None:
    transformers = pytest.importorskip("transformers")
    ends = ("Trainer", "Pipeline", "Criteria", "LogitsWarper", "ForCausalLM", "Tokenizer", "TokenizerFast", "Cache")
    names = [name for name in dir(transformers) if name.endswith(ends) and name[0].isupper()]
    assert len(names) > 300
    for name in names:
        if name not in minibiogpt.__all__:
            with pytest.raises(ImportError, match=f"minibiogpt has no '{name}'; "):
                getattr(minibiogpt, name)


@pytest.mark.parametrize(
    "name",
    ["anything_else", "x", "pytest_plugins", "setup_module", "load_tests", "transformers", "_Trainer", "__wrapped__"],
)
def test_other_names_are_absent(name: str) -> None:
    assert not hasattr(minibiogpt, name)
    assert getattr(minibiogpt, name, None) is None


def test_submodules_are_imported_as_before() -> None:
    code = (
        "import minibiogpt\n"
        "assert not hasattr(minibiogpt, 'lens')\n"
        "try: minibiogpt.view\n"
        "except AttributeError as error: assert str(error).endswith('write import minibiogpt.view'), error\n"
        "from minibiogpt import lens, golden, view\n"
        "import minibiogpt.cli\n"
        "from minibiogpt import *\n"
        "print(minibiogpt.lens.__name__, BioGptConfig.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["minibiogpt.lens", "BioGptConfig"]


def test_the_classes_of_pipelines_are_exported_and_loaded_when_used() -> None:
    for name in pipelines.__all__:
        assert getattr(pipelines, name).__name__ == name
    kind = pipelines.TextGenerationPipeline
    assert isinstance(minibiogpt.pipeline("text-generation", model="demo"), kind)
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert not hasattr(pipelines, "QuestionAnsweringPipeline")
    code = "import sys, minibiogpt; print('minibiogpt.pipelines.text_generation' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
