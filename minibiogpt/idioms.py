"""Names that users of transformers type and that are called something else here, or do not exist here.

Each class looks an unknown attribute up in its table, so that the error says what to write instead. The table of names
that are imported from the package itself is here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from minibiogpt.errors import InputError, nearest

_TRAINING = "models here are not trained: train in PyTorch, and load the checkpoint"
_PROCESSOR = "pass functions of (ids, logits) to generate: logits_processor=[f]"
_CRITERION = "pass functions of (ids, scores) that return one bool per row to generate: stopping_criteria=[f]"
_BUILT_IN = "write its option in generate, such as temperature=0.7; minibiogpt.generation has the functions"
_CACHE = "the cache is a KVCache: a model call returns it as past_key_values, and the first call needs none"
_QUANTIZED = "write Class.from_pretrained(name, quantization='nf4'), or 'int8' for 8 bits"
_BITSANDBYTES = f"{_QUANTIZED}; quantization_config= takes the object of transformers, too"
_HEADS = "the heads are BioGptForCausalLM, BioGptForSequenceClassification and BioGptForTokenClassification"
_ADAPTER = "a LoRA adapter is merged on loading: Class.from_pretrained(base, adapter=FOLDER)"

# What to write instead of ``from minibiogpt import NAME``.
IMPORTS = {
    "PreTrainedTokenizer": "write BioGptTokenizer",
    "PreTrainedTokenizerFast": "write BioGptTokenizer",
    "PreTrainedTokenizerBase": "write BioGptTokenizer",
    "BioGptTokenizerFast": "write BioGptTokenizer",
    "AutoProcessor": "write AutoTokenizer",
    "PreTrainedModel": "write BioGptModel or BioGptForCausalLM; minibiogpt.model.pretrained has their base class",
    "BioGptPreTrainedModel": "write BioGptModel or BioGptForCausalLM; minibiogpt.model.pretrained has their base class",
    "PretrainedConfig": "write BioGptConfig",
    "PreTrainedConfig": "write BioGptConfig",
    "Pipeline": "write pipeline(task); minibiogpt.pipelines has the classes",
    "logging": "nothing is logged: turn warnings off with Python's warnings module",
    "AsyncTextIteratorStreamer": "write TextIteratorStreamer, and read it in a thread",
    "GenerationMixin": "write BioGptForCausalLM, which has generate",
    "EvalPrediction": _TRAINING,
    "AdamW": _TRAINING,
    "Adafactor": _TRAINING,
    "get_scheduler": _TRAINING,
    "default_data_collator": "write tokenizer(texts, padding=True): its result is a batch",
    "StopStringCriteria": "write generate(..., stop_strings=[...], tokenizer=tokenizer)",
    "MaxLengthCriteria": "write generate(..., max_length=N)",
    "MaxTimeCriteria": "write generate(..., max_time=SECONDS)",
    "EosTokenCriteria": "write generate(..., eos_token_id=ID)",
    "HfArgumentParser": "write argparse.ArgumentParser",
    "enable_full_determinism": "write set_seed(seed): there is nothing else to fix",
}
PIPELINES = "|".join(("TextGeneration", "TextClassification", "TokenClassification", "FeatureExtraction"))
FAMILIES = {
    rf"({PIPELINES})Pipeline": "write pipeline(task, model=model); the class is minibiogpt.pipelines.{name}",
    r"[A-Z]\w+Pipeline": "the tasks of pipeline are text-generation, text-classification, token-classification and "
    "feature-extraction",
    r"\w*Trainer(Callback|Control|State)?|\w*TrainingArguments|[A-Z]\w+Callback": _TRAINING,
    r"get_\w+_schedule(_with_\w+)?": _TRAINING,
    r"DataCollator\w*": "write tokenizer(texts, padding=True), or import it from transformers and pass it "
    "return_tensors='np'",
    r"LogitsProcessor(List)?": _PROCESSOR,
    r"StoppingCriteria(List)?|[A-Z]\w+Criteria": _CRITERION,
    r"[A-Z]\w+(LogitsProcessor|LogitsWarper)": _BUILT_IN,
    r"([A-Z]\w+)?Cache": _CACHE,
    r"BitsAndBytesConfig": _BITSANDBYTES,
    r"(GPTQ|Awq|Quanto|Hqq|Torchao|TorchAo|EETQ|Aqlm|Mxfp4|FineGrainedFP8)Config": _QUANTIZED,
    r"(Auto)?Peft\w+|(LoraConfig|LoraModel|PromptTuningConfig|PrefixTuningConfig|get_peft_model)": _ADAPTER,
    r"BioGpt(Attention|SdpaAttention|DecoderLayer|ScaledWordEmbedding|LearnedPositionalEmbedding)": "the layers are in "
    "minibiogpt.model.layers and minibiogpt.model.attention",
    r"[A-Z]\w*Output(With\w+)?": "the outputs are in minibiogpt.model.outputs",
    r"AutoModelFor\w+|AutoModelWithLMHead|(Auto)?BioGptFor\w+": _HEADS,
    r"is_\w+_available": "leave it out: write get_backend('cupy') to ask for a GPU",
    r"(Auto)?\w*(FeatureExtractor|ImageProcessor)": "BioGPT reads text: write BioGptTokenizer",
    r"([A-Z]\w*)(Model|Config|Tokenizer|TokenizerFast|LMHeadModel|For(CausalLM|MaskedLM|PreTraining|Sequence"
    r"Classification|TokenClassification|QuestionAnswering|ConditionalGeneration|MultipleChoice))": "the only "
    "architecture is BioGPT: write BioGptForCausalLM, BioGptModel, BioGptTokenizer or BioGptConfig",
}
NOT_LOADED = ("cli", "golden", "lens", "view")  # subpackages and modules that ``import minibiogpt`` leaves out


def no_attribute(owner: object, name: str, advice: Mapping[str, str]) -> AttributeError:
    """Return the error for an attribute that ``owner`` does not have; an AttributeError, as ``hasattr`` needs.

    Parameters
    ----------
    advice : {name in transformers: what to write here}. Without an entry, the closest existing names are suggested.

    Examples
    --------
    >>> print(no_attribute(1, "imagg", {}))
    int has no attribute 'imagg'; did you mean imag?
    >>> print(no_attribute(1, "half", {"half": "write float(x)"}))
    int has no attribute 'half'; write float(x)
    """
    message = f"{type(owner).__name__} has no attribute {name!r}"
    if name.startswith("__"):
        return AttributeError(message)
    public = [known for known in {*dir(type(owner)), *vars_of(owner)} if not known.startswith("_")]
    return AttributeError(f"{message}; {advice.get(name) or did_you_mean(name, public, 'see its documentation')}")


def no_option(where: str, name: str, known: Iterable[str], advice: Mapping[str, str]) -> InputError:
    """Return the error for a keyword argument that ``where`` does not take; ``advice`` as in ``no_attribute``.

    Examples
    --------
    >>> print(no_option("generate", "num_beam", ["num_beams", "top_k"], {}))
    generate must be called with known arguments; found num_beam; did you mean num_beams?
    """
    remedy = advice.get(name) or did_you_mean(name, known, "see its documentation")
    return InputError(f"{where} must be called with known arguments", name, remedy)


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return a question with the closest known name, or ``otherwise`` if none is close."""
    close = nearest(name, sorted(known), 1)
    return f"did you mean {close[0]}?" if close else otherwise


def vars_of(owner: object) -> Iterable[str]:
    """Return the names of the instance's own attributes; none for an object without a ``__dict__``."""
    return getattr(owner, "__dict__", ())


def no_name(name: str, public: Iterable[str]) -> ImportError | AttributeError:
    """Return the error for a name that the package does not have.

    Python drops the text of an AttributeError in ``from minibiogpt import name``. So it is an ImportError for a name of
    transformers, and for one that is close to a public name; for all others an AttributeError, as ``hasattr`` needs.

    Examples
    --------
    >>> print(no_name("BioGPTForCausalLM", ["BioGptForCausalLM"]))
    minibiogpt has no 'BioGPTForCausalLM'; did you mean BioGptForCausalLM?
    >>> no_name("anything_else", ["pipeline"])
    AttributeError("module 'minibiogpt' has no attribute 'anything_else'")
    """
    plain = f"module 'minibiogpt' has no attribute {name!r}"
    if name.startswith("_"):
        return AttributeError(plain)
    if name in NOT_LOADED:
        return AttributeError(f"{plain}; write import minibiogpt.{name}")
    by_lower = {known.lower(): known for known in public}
    close = difflib.get_close_matches(name.lower(), by_lower, 1, 0.92)
    if name in IMPORTS:
        advice = IMPORTS[name]
    elif close:
        advice = f"did you mean {by_lower[close[0]]}?"
    else:
        advice = next((text for family, text in FAMILIES.items() if re.fullmatch(family, name)), "")
    if not advice:
        return AttributeError(plain)
    return ImportError(f"minibiogpt has no {name!r}; {advice.replace('{name}', name)}", name="minibiogpt")
