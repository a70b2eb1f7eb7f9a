"""The keyword arguments of a model's ``from_pretrained``, as users of transformers type them."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from minibiogpt.backend import HALVES, Backend, backend_for, get_backend
from minibiogpt.config import GENERATION_DEFAULTS, BioGptConfig, dtype_text
from minibiogpt.errors import InputError, short_repr
from minibiogpt.idioms import no_option
from minibiogpt.quantization import Quantization, as_quantization, from_config

# Several names of one thing: blocked attention, unless an array inside attention is wanted, which eager computes.
FUSED = ("sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
ATTN_IMPLEMENTATIONS = ("auto", "eager", "blocked", *FUSED)
ANY_DEVICE = ("auto", "balanced", "balanced_low_0", "sequential")  # values of device_map: choose a device for me

# What would change the result, and is not here (yet): what to do instead. None, False and {} leave the default.
_REFUSED = {
    "output_loading_info": "leave it out: what is missing is an error or a warning",
    "state_dict": "pass the arrays to the class itself: Class(config, weights)",
    "variant": "rename its file to model.safetensors, in a folder of its own",
    "gguf_file": "convert a checkpoint of PyTorch: minibiogpt convert FOLDER NEW",
    "from_tf": "save it from transformers first, as safetensors",
    "from_flax": "save it from transformers first, as safetensors",
    "max_memory": "leave it out: the model is on one device",
    "tp_plan": "leave it out: the model is on one device",
    "tp_size": "leave it out: the model is on one device",
    "device_mesh": "leave it out: the model is on one device",
    "distributed_config": "leave it out: the model is on one device",
    "key_mapping": "rename the tensors in the file",
    "use_kernels": "leave it out: the backend chooses its kernels",
    "adapter_kwargs": "write adapter=FOLDER",
    "adapter_name": "write adapter=FOLDER",
    "generation_config": "set it afterwards: model.generation_config = ...",
}
_ADVICE = {
    "output_attention": "did you mean output_attentions?",
    "label_names": "write id2label={0: NAME, ...}",
    "labels": "write id2label={0: NAME, ...}",
    "head_mask": "pass it to a model call",
    **dict.fromkeys((*GENERATION_DEFAULTS, "max_new_tokens"), "pass it to generate"),
}
_KNOWN = (
    "backend", "product", "dtype", "torch_dtype", "device", "device_map", "attn_implementation", "seed", "config",
    "revision", "adapter", "ignore_mismatched_sizes", "use_safetensors", "low_cpu_mem_usage", "trust_remote_code",
    "subfolder", "quantization", "double_quant", "skip", "outlier_threshold", "quantization_config", "load_in_4bit",
    "load_in_8bit",
)  # fmt: skip

_SAVE = {
    "safe_serialization": True, "push_to_hub": False, "is_main_process": True, "token": "any",
    "state_dict": None, "variant": None, "save_function": None, "save_peft_format": "any",
}  # fmt: skip
_SAVE_ADVICE = {
    "push_to_hub": "write model.save_pretrained(folder) and upload the folder",
    "state_dict": "build a model from these arrays: type(model)(config, weights)",
}


def config_changes(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the config to change, from the keyword arguments that are left, and from ``config=``.

    Raises
    ------
    InputError
        If a keyword argument is unknown, or is one that cannot be honored; the message names it.
    """
    if options.pop("use_safetensors", None) is False:
        remedy = "leave it out; convert a pickle first with minibiogpt convert"
        raise InputError("weights must be read from safetensors", "use_safetensors=False", remedy)
    for name, remedy in _REFUSED.items():
        if (value := options.pop(name, None)) not in (None, False, {}):
            must = f"from_pretrained must be called without {name}"
            raise InputError(must, f"{name}={short_repr(value)}", remedy)
    given = options.pop("config", None)
    if isinstance(given, str | os.PathLike):
        given = BioGptConfig.from_pretrained(given)
    base = {} if given is None else _as_changes(as_config(given))
    fields = [f.name for f in dataclasses.fields(BioGptConfig)]
    for name in options:
        if name in _ADVICE or not (name in fields or BioGptConfig().has(name)):
            raise no_option("from_pretrained", name, (*fields, *_KNOWN), _ADVICE)
    return base | options


def chosen_quantization(quantization: Any, options: dict[str, Any], **more: Any) -> Quantization | None:
    """Return how to quantize, from ``quantization=`` or from transformers' keywords, which leave ``options``.

    Parameters
    ----------
    more : ``double_quant``, ``skip`` and ``threshold`` of ``as_quantization``.

    Raises
    ------
    InputError
        If it is given twice, or there is no such format.

    Examples
    --------
    >>> chosen_quantization(None, {"load_in_4bit": True})
    Quantization(format='fp4', double_quant=False, skip=(), threshold=0.0)
    """
    names = ("quantization_config", "load_in_4bit", "load_in_8bit")
    given = {name: value for name in names if (value := options.pop(name, None)) not in (None, False, {})}
    if not given:
        return as_quantization(quantization, **more)
    if quantization is not None or len(given) > 1:
        found = ", ".join([*given, *(["quantization"] if quantization is not None else [])])
        raise InputError("quantization must be given once", found, "write quantization='nf4' alone")
    config = given.pop("quantization_config", given)
    values = config.to_dict() if callable(getattr(config, "to_dict", None)) else config
    found_settings = from_config(values)
    if found_settings is None:
        must = "quantization_config must be one of bitsandbytes, with load_in_4bit or load_in_8bit"
        raise InputError(must, short_repr(values), "write quantization='nf4'")
    return found_settings


def _as_changes(config: BioGptConfig) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name != "name_or_path"}


def as_config(config: Any) -> BioGptConfig:
    """Return a config from a BioGptConfig, or from transformers' object, which has ``to_dict`` too.

    Raises
    ------
    InputError
        If it is anything else. The message says what to call instead.
    """
    if isinstance(config, BioGptConfig):
        config.check()
        return config
    if isinstance(config, str | os.PathLike):
        remedy = f"load the checkpoint with from_pretrained({os.fspath(config)!r})"
    elif isinstance(config, Mapping):
        remedy = "write BioGptConfig.from_dict(values)"
    elif callable(values := getattr(config, "to_dict", None)) and not isinstance(config, type):
        converted: BioGptConfig = BioGptConfig.from_dict(values())
        return converted
    else:
        remedy = "write Class(BioGptConfig())"
    raise InputError("a model must be built from a BioGptConfig", short_repr(config), remedy)


def chosen_backend(backend: str | Backend, device: Any, device_map: Any, product: str | None = None) -> Backend:
    """Return the backend of ``backend=``, ``device=`` or ``device_map=``; they must not contradict each other.

    ``product`` is where its matrix products come from, see ``get_backend``.

    Examples
    --------
    >>> chosen_backend("numpy", None, {"": "cpu"})
    <backend numpy>
    """
    found = get_backend(backend, product)
    places = [] if device is None else [device]
    if isinstance(device_map, Mapping):
        places += device_map.values()
    elif device_map is not None:
        places.append("auto" if isinstance(device_map, str) and device_map in ANY_DEVICE else device_map)
    chosen = {backend_for(place).name: backend_for(place) for place in places}
    if found.name != "numpy" or found.name in chosen:  # not the default, so it was chosen; or with its product
        chosen[found.name] = found
    if len(chosen) > 1:
        raise InputError("a model must be on one device", ", ".join(chosen), "name one device or one backend")
    return next(iter(chosen.values()), found)


def chosen_dtype(dtype: Any, torch_dtype: Any, backend: Backend, stored: Callable[[], str | None]) -> str:
    """Return the dtype to compute in, of ``dtype=`` or transformers' older ``torch_dtype=``.

    Parameters
    ----------
    stored : returns the dtype of the checkpoint, which "auto" asks for. On NumPy, where 16 bits save memory but hardly
        time, "auto" is float32 or float64.
    """
    if torch_dtype is not None:
        if dtype is not None and dtype_text(dtype) != dtype_text(torch_dtype):
            found = f"dtype {dtype_text(dtype)} and torch_dtype {dtype_text(torch_dtype)}"
            raise InputError("dtype and torch_dtype must be the same", found, "pass dtype alone")
        dtype = torch_dtype
    if dtype is None:
        return "float32"
    name = dtype_text(dtype)
    if name == "auto":
        of_file = stored()
        halves = backend.name == "numpy" and of_file in HALVES
        return of_file if of_file in backend.float_dtypes and not halves else "float32"
    if name == "bfloat16" and name not in backend.float_dtypes and backend.name == "numpy":
        how = "bfloat16 needs the package ml_dtypes (pip install ml_dtypes)"
        warnings.warn(f"{how}: the model is computed in float32", stacklevel=4)
        return "float32"
    return str(backend.dtype(name))


def check_save_options(options: Mapping[str, Any]) -> None:
    """Refuse keyword arguments of ``save_pretrained`` that would change what is written."""
    for name, value in options.items():
        if name not in _SAVE:
            raise no_option("save_pretrained", name, (*_SAVE, "max_shard_size"), {})
        if _SAVE[name] != "any" and value not in (None, _SAVE[name]):
            must = f"save_pretrained must be called with {name}={_SAVE[name]}"
            raise InputError(must, f"{name}={short_repr(value)}", _SAVE_ADVICE.get(name, f"leave {name} out"))


def checked_attention(name: Any) -> str:
    """Return the name of an implementation of attention; None is "auto"."""
    if name is None:
        return "auto"
    if name not in ATTN_IMPLEMENTATIONS:
        must = f"attn_implementation must be one of {', '.join(ATTN_IMPLEMENTATIONS)}"
        raise InputError(must, short_repr(name), "choose one of these")
    return str(name)
