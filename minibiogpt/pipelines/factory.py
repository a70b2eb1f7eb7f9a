"""pipeline: a task and the name of a model, or a model, to a pipeline."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minibiogpt.backend import Backend, backend_for
from minibiogpt.checkpoint.source import Source, find_source
from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, nearest, short_repr
from minibiogpt.heads import BioGptForCausalLM, BioGptForSequenceClassification, BioGptForTokenClassification
from minibiogpt.idioms import no_option
from minibiogpt.model import BioGptModel
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.tokenizer import BioGptTokenizer

if TYPE_CHECKING:
    from minibiogpt.pipelines.base import Pipeline

TASKS: dict[str, type[Pretrained]] = {
    "text-generation": BioGptForCausalLM,
    "text-classification": BioGptForSequenceClassification,
    "token-classification": BioGptForTokenClassification,
    "feature-extraction": BioGptModel,
}
CLASS_NAMES = {
    "TextGenerationPipeline": "text-generation",
    "TextClassificationPipeline": "text-classification",
    "TokenClassificationPipeline": "token-classification",
    "FeatureExtractionPipeline": "feature-extraction",
}
OTHER_NAMES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
WITH_DEMO = ("text-generation", "feature-extraction")  # tasks that the demo can do
ADAPTED = {  # task_type of an adapter: the task
    "CAUSAL_LM": "text-generation",
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
    "FEATURE_EXTRACTION": "feature-extraction",
}
HALVES = ("float16", "bfloat16", "half")


def pipeline(
    task: str | None = None,
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    feature_extractor: None = None,
    image_processor: None = None,
    processor: None = None,
    framework: str | None = None,
    revision: str | None = None,
    use_fast: bool | None = None,
    token: Any = None,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = None,
    trust_remote_code: bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    torch_dtype: Any = None,
    **options: Any,
) -> Any:
    """Return a pipeline for a task, to be called with texts.

    Parameters
    ----------
    task : "text-generation", "text-classification" ("sentiment-analysis"), "token-classification" ("ner") or
        "feature-extraction"; None: what the model's class, or the architecture in its config.json, is for.
    model : "demo", a folder, a hub id, or a loaded model. None: the demo, with a warning, for the tasks that it can do.
    tokenizer : a tokenizer, or its folder or hub id; by default that of the model.
    device : "cpu", "cuda" or a number, -1 for the CPU and 0 for the GPU; by default the CPU. As in transformers, a
        number on a machine without a usable GPU gives the CPU; here with a warning, and in float32 instead of float16
        or bfloat16.
    dtype, torch_dtype, device_map, revision, token, config : passed on to ``from_pretrained`` if they are given.
    model_kwargs : more arguments for ``from_pretrained``.
    framework, use_fast, trust_remote_code : accepted because transformers has them. There is one tokenizer, the arrays
        are those of the model's backend, and no code of a checkpoint is run.
    options : the options of every call, such as ``batch_size``, ``progress``, and those of the task's class:
        TextGenerationPipeline, TextClassificationPipeline, TokenClassificationPipeline, FeatureExtractionPipeline.

    Raises
    ------
    InputError
        If the task is unknown or does not fit the model, an option is unknown, or the model or tokenizer is of another
        library.

    Source: pipeline in transformers 4.57, whose parameters come in the same order.

    Examples
    --------
    >>> generator = pipeline("text-generation", model="demo")
    >>> generator("Ibuprofen is best used for", do_sample=False)
    [{'generated_text': 'Ibuprofen is best used for pain and inflammation.'}]
    """
    others = {"feature_extractor": feature_extractor, "image_processor": image_processor, "processor": processor}
    _check_arguments(others, framework, model, tokenizer, model_kwargs)
    if torch_dtype is not None and dtype is not None:
        raise InputError("dtype must be given once", "dtype and torch_dtype", "leave torch_dtype, the old name, out")
    if device is not None and device_map is not None:
        raise InputError("one of device and device_map may be given", "both", "leave device_map out")
    if task is None and model is None:
        raise InputError("a pipeline needs a task or a model", "neither", "try pipeline('text-generation', 'demo')")
    revision = None if isinstance(model, str | os.PathLike) and _is_local(model) else revision  # as in transformers
    given = {"revision": revision, "token": token, "config": config, "device_map": device_map}
    given |= {"dtype": dtype, "torch_dtype": torch_dtype}
    loading = {name: x for name, x in given.items() if x is not None} | dict(model_kwargs or {})
    if task is not None:
        _check_task(task)
    _check_options(task, options)
    if model is None:
        model = _default_model(task)
    source: Any
    if isinstance(model, Pretrained):
        task = task or _task_of_class(model)
        source, model = model.name_or_path, _checked_model(task, model, device, loading)
    else:
        files = find_source(model, None if _is_local(model) else revision)
        task, source = task or _task_of_files(files), files.tokenizer_folder or files.folder
        model = TASKS[OTHER_NAMES.get(task, task)].from_pretrained(model, **_with_backend(device, loading))
    tokenizer = _tokenizer(tokenizer, source, {"revision": revision if tokenizer is not None else None, "token": token})
    return class_of_task(OTHER_NAMES.get(task, task))(task, model, tokenizer, options)


PARAMETERS = [name for name in inspect.signature(pipeline).parameters if name != "options"]


def _check_arguments(others: dict[str, Any], framework: Any, model: Any, tokenizer: Any, model_kwargs: Any) -> None:
    """Check the arguments that need nothing else: what is not supported, and the kinds of the others."""
    for name, value in others.items():
        if value is not None:
            raise InputError(f"{name} must be None", short_repr(value), "leave it out: only texts are supported")
    if framework not in (None, "pt", "np"):
        raise InputError("framework must be None", short_repr(framework), "leave it out: the arrays are the backend's")
    if model is None and tokenizer is not None:
        raise InputError("a tokenizer must come with its model", "no model", "name the model too")
    if not isinstance(model, str | os.PathLike | Pretrained | None):
        must = "model must be the name of a model or a model of minibiogpt"
        raise InputError(must, _class_of(model), "pass the name or the folder that it was loaded from")
    if not isinstance(model_kwargs, Mapping | None):
        raise InputError("model_kwargs must be a dict", short_repr(model_kwargs), "write {'dtype': 'float64'}")


def class_of_task(task: str) -> type[Pipeline]:
    """Import the class of a task, only now: most programs that import the package make no pipeline."""
    from minibiogpt.pipelines.feature_extraction import FeatureExtractionPipeline
    from minibiogpt.pipelines.text_classification import TextClassificationPipeline
    from minibiogpt.pipelines.text_generation import TextGenerationPipeline
    from minibiogpt.pipelines.token_classification import TokenClassificationPipeline

    classes: tuple[type[Pipeline], ...]
    classes = TextGenerationPipeline, TextClassificationPipeline, TokenClassificationPipeline, FeatureExtractionPipeline
    return dict(zip(TASKS, classes, strict=True))[task]


def _check_options(task: str | None, options: Mapping[str, Any]) -> None:
    """Raise for a misspelt argument before anything is loaded; unknown ones with advice of their own are left."""
    tasks = TASKS if task is None else [OTHER_NAMES.get(task, task)]
    of_calls = set().union(*(class_of_task(one).known_options() for one in tasks))
    for name in options:
        close = nearest(name, [*PARAMETERS, *of_calls], 1)
        if close and name not in of_calls and not _has_advice(name, tasks):
            raise no_option("pipeline", name, [*PARAMETERS, *of_calls], {})


def _has_advice(name: str, tasks: Iterable[str]) -> bool:
    """Return whether a name has an error of its own in these tasks."""
    from minibiogpt.generation.options import foreign
    from minibiogpt.pipelines.base import ADVICE

    generates = "text-generation" in tasks and (foreign.exists(name) or name in foreign.ADVICE)
    return generates or name in ADVICE or any(name in class_of_task(task).advice for task in tasks)


def _check_task(task: Any) -> None:
    known = [*TASKS, *OTHER_NAMES]
    if not isinstance(task, str) or task not in known:
        raise InputError(f"a task must be one of {', '.join(known)}", short_repr(task), "choose one of these")


def _default_model(task: str | None) -> str:
    if task not in WITH_DEMO:
        must = f"{task} must be given a model"
        raise InputError(must, "none", "name a checkpoint that was trained for it; the demo has no such head")
    what = "no model is named, so the demo is used, which knows only invented texts"
    warnings.warn(f"{what}; name one, such as microsoft/biogpt", stacklevel=3)
    return "demo"


def _task_of_class(model: Pretrained) -> str:
    return next(task for task, kind in TASKS.items() if isinstance(model, kind))


def _is_local(name: Any) -> bool:
    return name == "demo" or Path(name).exists()


def _task_of_files(files: Source) -> str:
    """Return the task that the task_type of an adapter, or a checkpoint's architecture, is for."""
    if files.adapter is not None:
        found = [ADAPTED.get(str(files.adapter.config.values.get("task_type")))]
    else:
        names = files.base_config.extra.get("architectures")
        names = names if isinstance(names, list) else []
        found = [task for task, kind in TASKS.items() if kind.__name__ in names]
    if not found or found[0] is None:
        must = f"the task of {files} must be in its config.json, as architectures"
        raise InputError(must, "none that is known", f"pass the task: {', '.join(TASKS)}")
    return found[0]


def _checked_model(task: str, model: Pretrained, device: Any, loading: Mapping[str, Any]) -> Pretrained:
    """Check a loaded model against the task, and against what only loading could change."""
    kind = TASKS[OTHER_NAMES.get(task, task)]
    if not isinstance(model, kind) and (kind is not BioGptModel):
        must = f"{task} needs a {kind.__name__}"
        raise InputError(must, type(model).__name__, f"load it with {kind.__name__}.from_pretrained")
    if unused := sorted(set(loading) - {"revision", "token", "device_map", "dtype", "torch_dtype"}):
        raise InputError("a loaded model takes no options of loading", ", ".join(unused), "pass the model's name")
    wanted = str(loading.get("dtype") or loading.get("torch_dtype") or model.dtype).removeprefix("torch.")
    if wanted in HALVES and (model.backend.name, model.dtype) == ("numpy", "float32"):
        warnings.warn(f"a loaded model keeps its dtype: {wanted} is ignored, it is computed in float32", stacklevel=3)
    elif wanted not in ("auto", model.dtype):
        must = "a loaded model keeps its dtype"
        raise InputError(must, f"{model.dtype} and the dtype {wanted}", "pass the model's name, or leave dtype out")
    place = loading.get("device_map")
    device = place if device is None and isinstance(place, str) and place != "auto" else device
    if device is None:
        return model
    backend = _with_backend(device, {})["backend"]
    if backend.name != model.backend.name:
        must = f"the model must be on the pipeline's device, {short_repr(device)}"
        raise InputError(must, f"the {model.backend.name} backend", "pass the model's name, or load it on that device")
    return model


def _with_backend(device: Any, loading: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of from_pretrained, with the backend of the device if one is given."""
    if device is None:
        return dict(loading)
    try:
        return {**loading, "backend": backend_for(device)}
    except InputError as error:
        if not is_integer(device) or _gpu() is not None:
            raise
        halves = [name for name in ("dtype", "torch_dtype") if str(loading.get(name)).removeprefix("torch.") in HALVES]
        what = f"device {device}: there is no GPU to use, so the model runs on the CPU{', in float32' * bool(halves)}"
        warnings.warn(f"{what} ({error.found})", stacklevel=3)
        kept = {name: x for name, x in loading.items() if name not in halves}
        return {**kept, "backend": backend_for("cpu")}


def _gpu() -> Backend | None:
    backend = backend_for("auto")
    return None if backend.name == "numpy" else backend


def _tokenizer(tokenizer: Any, source: Any, options: Mapping[str, Any]) -> BioGptTokenizer:
    """Return the tokenizer that is given, or load it; without one, that of the model."""
    if isinstance(tokenizer, BioGptTokenizer):
        return tokenizer
    given = {name: x for name, x in options.items() if x is not None}
    if isinstance(tokenizer, tuple) and len(tokenizer) == 2 and isinstance(tokenizer[1], dict):
        tokenizer, given = tokenizer[0], {name: x for name, x in tokenizer[1].items() if name != "use_fast"}
    if tokenizer is None:
        tokenizer = source
    if not isinstance(tokenizer, str | os.PathLike):
        must = "tokenizer must be a BioGptTokenizer of minibiogpt, or a name"
        raise InputError(must, _class_of(tokenizer), "pass the name or the folder that it was loaded from")
    if _is_local(tokenizer):
        given.pop("revision", None)
    if not os.fspath(tokenizer):
        must = "a model that was not loaded by name needs its tokenizer"
        raise InputError(must, "none", "pass tokenizer=BioGptTokenizer.from_pretrained(...)")
    return BioGptTokenizer.from_pretrained(tokenizer, **given)


def _class_of(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{'the class ' * (kind is value)}{kind.__module__}.{kind.__name__}"
