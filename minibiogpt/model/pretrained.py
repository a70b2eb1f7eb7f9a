"""The base class of all models: build, load, convert, resize and save them, and count their parameters."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Self

import numpy as np

from minibiogpt.backend import Backend, get_backend
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.catalog.parameters import HEAD, Shapes
from minibiogpt.checkpoint.given import IncompatibleKeys, as_weights, read_given
from minibiogpt.checkpoint.initialization import random_weights
from minibiogpt.checkpoint.source import find_source
from minibiogpt.checkpoint.weights import load_weights, save_weights
from minibiogpt.checks import checked_integer
from minibiogpt.config import BioGptConfig, local_folder, revision_of
from minibiogpt.files.safetensors import FLOATS, stored_tensors
from minibiogpt.idioms import no_attribute
from minibiogpt.model.layers import Linear, ScaledEmbedding, Weights
from minibiogpt.model.loading_options import (
    as_config,
    check_save_options,
    checked_attention,
    chosen_backend,
    chosen_dtype,
    chosen_quantization,
    config_changes,
)
from minibiogpt.model.module import Module
from minibiogpt.model.resize import resized, target_rows
from minibiogpt.model.transformers_names import ATTRIBUTES, OF_A_LANGUAGE_MODEL
from minibiogpt.quantization import format_of


class Pretrained(Module):
    """A model with a config, a backend, and named weights.

    Parameters
    ----------
    config : the sizes; a BioGptConfig (or a config object of transformers).
    weights : {name: array} with the checkpoint's names, with or without the leading ``biogpt.``, all of one dtype, such
        as ``model.state_dict()``. None: untrained weights, drawn as transformers draws them.
    attn_implementation : see BioGptModel.
    seed, dtype : of untrained weights. The numbers differ from PyTorch's; their distribution is the same.
    """

    config: BioGptConfig
    backend: Backend
    name_or_path: str = ""  # the argument of from_pretrained, as in transformers; the tokenizer is there too
    head: tuple[str, ...] = ()  # tensors that are initialized at random if the checkpoint lacks them
    base_model_prefix = "biogpt"

    def __init__(
        self,
        config: BioGptConfig,
        weights: Weights | None = None,
        backend: str | Backend = "numpy",
        attn_implementation: str = "auto",
        *,
        seed: int | None = 0,
        dtype: Any = "float32",
    ) -> None:
        self.config, self.backend = as_config(config), get_backend(backend)
        if weights is None:
            dtype = chosen_dtype(dtype, None, self.backend, lambda: self.config.dtype)
            weights = random_weights(self.config, self.shapes_of(self.config), seed, self.backend, dtype)
        else:
            weights = as_weights(weights, self.shapes_of(self.config), self.backend, self.config.tie_word_embeddings)
            dtype = chosen_dtype(next(iter(weights.values())).dtype, None, self.backend, lambda: None)
            weights = {name: x.astype(dtype, copy=False) for name, x in weights.items()}
        if attn_implementation == "auto":  # config._attn_implementation = "eager" is how transformers' users set it
            attn_implementation = self.config._attn_implementation
        self._build(weights, checked_attention(attn_implementation))

    @abstractmethod
    def _build(self, weights: Weights, attn_implementation: str) -> None:
        """Create the modules from their weights."""

    @staticmethod
    @abstractmethod
    def shapes_of(config: BioGptConfig) -> Shapes:
        """Return {name: shape} of every tensor of the model, without the leading ``biogpt.``."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        backend: str | Backend = "numpy",
        dtype: Any = None,
        attn_implementation: str = "auto",
        *,
        seed: int | None = 0,
        torch_dtype: Any = None,
        device: Any = None,
        device_map: Any = None,
        adapter: Any = None,
        product: str | None = None,
        quantization: Any = None,
        double_quant: bool = True,
        skip: Collection[str] = (),
        outlier_threshold: float | None = None,
        ignore_mismatched_sizes: bool = False,
        **changes: Any,
    ) -> Self:
        """Load "demo", a folder in Hugging Face layout, or a hub id.

        Tensors are read one by one, directly into their final buffer, and checked for NaN and infinity; float16 and
        bfloat16 are widened to ``dtype``. At most one tensor is in memory twice.

        Parameters
        ----------
        dtype, torch_dtype : the dtype to compute in, default "float32"; a name, or an object of NumPy or PyTorch.
            "auto" is the checkpoint's, or float32 where the backend doesn't compute in it; on NumPy float32 or float64.
            float16 and bfloat16 keep weights and cache in 16 bits; bfloat16 on NumPy needs the package ml_dtypes.
        attn_implementation : see BioGptModel. transformers' names ("sdpa", "flash_attention_2" ...) are allowed.
        seed : for the weights of a classification head that the checkpoint lacks, drawn with the config's
            ``initializer_range``; a warning names them. None: such a checkpoint is an error.
        device, device_map : another way to choose the backend: "cpu", "cuda", 0, "auto" (the GPU if there is one),
            {"": 0}. The whole model is on one device.
        product : where matrix products on the CPU come from: "auto", "numpy", "mkl", "openblas" or "onednn";
            see get_backend.
        adapter : the folder or hub id of a LoRA adapter to merge into the weights. ``name`` may also be an adapter,
            whose settings name its base model.
        quantization : quantize the matrices of the layers while they are read: "nf4" or "fp4" (as
            bitsandbytes), "int8" (8 bits, a scale a row), "int8-dynamic" (activations in 8 bits, too), "q8_0" or "q4_0"
            (as GGUF). None: as they are in the file; files of bitsandbytes are read. transformers' ``load_in_4bit``,
            ``load_in_8bit`` and ``quantization_config`` say the same.
        double_quant, skip, outlier_threshold : see ``minibiogpt.quantization.Quantization``.
        ignore_mismatched_sizes : draw tensors of another shape from ``seed``, such as a head of other classes, with a
            warning, instead of an error.
        changes : fields of the config to change, such as ``num_labels=3`` or ``id2label={0: "no", 1: "yes"}``, or
            ``config=``, a config to use instead of the file's. transformers' other keywords are allowed where they
            make no difference (``low_cpu_mem_usage``, ``use_safetensors=True`` ...), and refused by name elsewhere.

        Raises
        ------
        CheckpointError
            If tensors are missing or have the wrong shape (all are listed), or a file is invalid.
        InputError
            If the model is not found, or a keyword argument is unknown or cannot be honored.
        """
        given, name = name, local_folder(name, changes)
        place = chosen_backend(backend, device, device_map, product)
        attention = checked_attention(attn_implementation)
        source = revision_of(changes)
        packing = chosen_quantization(
            quantization, changes, double_quant=double_quant, skip=skip, threshold=outlier_threshold
        )
        changes = config_changes(changes)
        source |= {} if adapter is None else {"adapter": adapter}
        dtype = chosen_dtype(dtype, torch_dtype, place, lambda: _stored_dtype(find_source(name, **source).folder))
        options = source | changes | {"ignore_mismatched_sizes": bool(ignore_mismatched_sizes)}
        options["quantization"] = packing
        config, weights = load_weights(name, cls.shapes_of, place, dtype, head=cls.head, seed=seed, **options)
        model = cls(config, weights, place, attention)
        model.name_or_path = config.name_or_path = os.fspath(given)
        model._read_more(lambda: find_source(name, **source).folder)
        return model

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> IncompatibleKeys:
        """Replace the weights by arrays of the same names and shapes, converted to the model's backend and dtype.

        Parameters
        ----------
        state_dict : {name: array} as ``state_dict`` returns it; PyTorch's tensors on the CPU are converted. The leading
            ``biogpt.`` is optional. A tied head may be left out.
        strict : whether missing and unexpected names are an error.
        assign : use arrays that need no conversion as they are, without a copy.

        Returns
        -------
        The missing and the unexpected names.

        Raises
        ------
        InputError
            If shapes differ, or with ``strict`` names; all are listed, and no weight is changed.

        Source: load_state_dict of PyTorch's Module. There, a tied head that differs from the embedding replaces both;
        here it is ignored with a warning.

        Examples
        --------
        >>> from minibiogpt import BioGptForCausalLM
        >>> model = BioGptForCausalLM.from_pretrained("demo")
        >>> model.load_state_dict(model.state_dict())
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])
        """
        own = {name.removeprefix("biogpt."): (name, x) for name, x in self.named_parameters()}
        shapes = {name: x.shape for name, (_, x) in own.items()}
        given = read_given(
            state_dict, shapes, self.backend, HEAD not in own and self.get_output_embeddings() is not None
        )
        given.check(len(shapes), strict=strict)
        with self.backend.memory_errors():
            new = {id(own[name][1]): x.astype(self.dtype, copy=not assign) for name, x in given.arrays.items()}
            for old in (x for _, x in own.values() if isinstance(x, PackedWeight) and id(x) in new):
                if not isinstance(new[id(old)], PackedWeight):
                    new[id(old)] = self.backend.asarray(old.quantized(self.backend.to_numpy(new[id(old)])))
        self._replace_weights(lambda old: new.get(id(old), old))
        return IncompatibleKeys([own[name][0] for name in given.missing], given.unexpected)

    def _read_more(self, folder: Callable[[], Path]) -> None:
        """Read what a class needs besides config and weights."""
        return

    @classmethod
    def from_config(
        cls,
        config: BioGptConfig,
        seed: int | None = 0,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        attn_implementation: str = "auto",
    ) -> Self:
        """Return an untrained model of these sizes, with random weights drawn from ``seed``."""
        return cls(config, None, backend, attn_implementation, seed=seed, dtype=dtype)

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, max_shard_size: int | str | None = None, **options: Any
    ) -> None:
        """Write config.json and model.safetensors to ``folder`` as transformers reads them, each file atomically.

        The weights of an older save there are removed afterwards, whether they were in one file or in several.

        Parameters
        ----------
        max_shard_size : the most bytes in a file, a number or such as "5GB": a larger model is split into several files
            and their index, as transformers splits it. None: one file (in transformers "5GB").
        options : transformers' other keywords, where they make no difference to what is read back;
            ``push_to_hub=True`` and the like are refused.
        """
        check_save_options(options)
        weights = dict(self.named_parameters())
        save_weights(folder, self.config, weights, self.backend, type(self).__name__, max_shard_size)

    def set_attn_implementation(self, attn_implementation: str) -> None:
        """Choose the implementation of attention; see BioGptModel."""
        self.base_model.attn_implementation = checked_attention(attn_implementation)

    def can_generate(self) -> bool:
        """Whether the class has ``generate``."""
        return hasattr(type(self), "generate")

    def get_input_embeddings(self) -> ScaledEmbedding:
        """Return the token embedding."""
        return self.base_model.embed_tokens

    def get_output_embeddings(self) -> Linear | None:
        """Return the head of a language model, otherwise None."""
        return self.__dict__.get("output_projection")

    def tie_weights(self) -> None:
        """Make the head of a language model the token embedding again, if the config ties them."""
        head = self.get_output_embeddings()
        if head is not None and self.config.tie_word_embeddings:
            head.weight = self.get_input_embeddings().weight

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
        seed: int | None = 0,
    ) -> ScaledEmbedding:
        """Change the vocabulary size, and return the token embedding. A language model's head follows.

        Parameters
        ----------
        new_num_tokens : the new V; rows are added or cut at the end. None: the old V.
        pad_to_multiple_of : round the new V up to a multiple of this.
        mean_resizing : see ``minibiogpt.model.resize.resized``, for how new rows are drawn, from ``seed``.

        Source: resize_token_embeddings in transformers 4.57. Here a size that cuts a special token's row is an error.

        Examples
        --------
        >>> from minibiogpt import BioGptForCausalLM
        >>> model = BioGptForCausalLM.from_pretrained("demo")
        >>> model.resize_token_embeddings(1880).weight.shape, model.config.vocab_size
        ((1880, 128), 1880)
        """
        embedding, head = self.get_input_embeddings(), self.get_output_embeddings()
        rows = target_rows(len(embedding.weight), new_num_tokens, pad_to_multiple_of)
        self.config.changed(vocab_size=rows)  # raises if the special tokens would be cut, or it is too large
        rng = np.random.default_rng(None if seed is None else checked_integer("seed", seed, 0))
        own_head = head is not None and head.weight is not embedding.weight
        for module in [embedding, head] if own_head else [embedding]:
            if module is not None and len(module.weight) != rows:
                module.weight = resized(module.weight, rows, mean_resizing, self.config.initializer_range, rng)
        self.config.vocab_size = rows
        self.tie_weights()
        return embedding

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(self, name, OF_A_LANGUAGE_MODEL | ATTRIBUTES)

    def __repr__(self) -> str:
        c = self.config
        sizes = f"L={c.num_hidden_layers}, D={c.hidden_size}, H={c.num_attention_heads}, F={c.intermediate_size}"
        sizes += f", V={c.vocab_size}, N={c.max_position_embeddings}"
        kinds = sorted({format_of(x) for x in self.parameters() if isinstance(x, PackedWeight)})
        details = ", ".join([f"{self.num_parameters():,} parameters", self.dtype, *kinds, self.backend.name])
        return f"<{type(self).__name__} {sizes}; {details}>"


def _stored_dtype(folder: Path) -> str | None:
    """Return the dtype in config.json, otherwise that of the first tensor of floats."""
    dtype = BioGptConfig.from_pretrained(folder).dtype
    kinds = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    stored = (kinds[tensor.dtype] for tensor in stored_tensors(folder).values() if tensor.dtype in FLOATS)
    return dtype or next(stored, None)
