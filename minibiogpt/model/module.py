"""What a model has of PyTorch's nn.Module: devices, dtypes, modes, and lists of its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from typing import Any, Self

import numpy as np

from minibiogpt.backend import Array, Backend, Device, backend_for, device_of, ignore_overflow
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.catalog.parameters import EMBEDDING, HEAD
from minibiogpt.config import dtype_text
from minibiogpt.errors import InputError, listed
from minibiogpt.model.layers import MODULE_TYPES, Linear, unpacked
from minibiogpt.model.loading_options import chosen_dtype
from minibiogpt.quantization import as_quantization

_TRAINING = "train in PyTorch, and load the checkpoint"


class Module(ABC):
    """A model with a backend and named weights. Source: Module in PyTorch, whose names these are."""

    backend: Backend
    training = False  # evaluation mode is the only one

    @abstractmethod
    def __call__(self, *args: Any, **options: Any) -> Any: ...

    @abstractmethod
    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Yield (name in a checkpoint, array) of every weight. A tied head is not listed twice."""

    @abstractmethod
    def get_output_embeddings(self) -> Linear | None:
        """Return the head of a language model, otherwise None."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """The dtype of weights and computation: "float32", "float64", "float16" or "bfloat16"."""

    @property
    @abstractmethod
    def base_model(self) -> Any:
        """The BioGptModel: of a model with a head its ``biogpt``, otherwise the model itself."""

    def forward(self, *args: Any, **options: Any) -> Any:
        """Run the model, as a call does."""
        return self(*args, **options)

    @property
    def device(self) -> Device:
        """The device that the model computes on, "cpu" or "cuda:0", with torch.device's ``type`` and ``index``."""
        return device_of(self.backend)

    def to(self, *places: Any, device: Any = None, dtype: Any = None, **ignored: Any) -> Self:
        """Move the model to a device, or convert it to a dtype, in place, and return it.

        Parameters
        ----------
        places : a device ("cpu", "cuda", 0, torch.device) or a dtype ("float64", np.float64, torch.float64), or both.
        ignored : ``non_blocking``, ``copy`` and ``memory_format`` make no difference.
        """
        if unknown := sorted(ignored.keys() - {"non_blocking", "copy", "memory_format"}):
            raise InputError("to must get a device or a dtype", ", ".join(unknown), "write model.to('cpu')")
        for place in places:
            if _is_dtype(place):
                dtype = place
            elif not isinstance(place, bool):  # PyTorch's third positional argument, non_blocking
                device = place
        backend = self.backend if device is None else backend_for(device)
        if backend.name == self.backend.name and not isinstance(device, Backend):
            backend = self.backend  # with the product that it has
        name = self.dtype if dtype is None else chosen_dtype(dtype, None, backend, lambda: None)
        name = chosen_dtype(name, None, backend, lambda: None)
        if backend is not self.backend or name != self.dtype:
            with backend.memory_errors():
                self._replace_weights(lambda x: backend.asarray(x).astype(name, copy=False))
        self.backend = self.base_model.backend = backend
        return self

    def cpu(self) -> Self:
        """Move the model to the CPU (NumPy)."""
        return self.to("cpu")

    def cuda(self, device: Any = 0) -> Self:
        """Move the model to the GPU (CuPy)."""
        return self.to(0 if device is None else device)

    def float(self) -> Self:
        """Convert the weights to float32."""
        return self.to(dtype="float32")

    def double(self) -> Self:
        """Convert the weights to float64."""
        return self.to(dtype="float64")

    def half(self) -> Self:
        """Convert the weights to float16."""
        return self.to(dtype="float16")

    def bfloat16(self) -> Self:
        """Convert the weights to bfloat16."""
        return self.to(dtype="bfloat16")

    @ignore_overflow  # an error halfway would leave weights of two dtypes
    def _replace_weights(self, change: Callable[[Array], Array]) -> None:
        """Replace every weight by ``change(weight)``. An array that two modules share stays shared."""
        changed: dict[int, tuple[Array, Array]] = {}  # by identity, with the old array, so that no id is reused
        for module, name in _weights_of(self):
            old = getattr(module, name)
            if id(old) not in changed:
                changed[id(old)] = old, change(old)
            setattr(module, name, changed[id(old)][1])

    def quantize(self, quantization: Any, double_quant: bool = True, skip: Collection[str] = ()) -> Self:
        """Quantize the matrices of the layers in place, as ``from_pretrained`` does, and return the model.

        Raises
        ------
        InputError
            If one of them is quantized already.
        """
        settings = as_quantization(quantization, double_quant, skip)
        named = {name.removeprefix("biogpt."): x for name, x in self.named_parameters()}
        names = settings.chosen(named) if settings else []
        if packed := [name for name in names if isinstance(named[name], PackedWeight)]:
            remedy = "load the original; or call dequantize() first, and the errors of both formats add up"
            raise InputError("the weights to quantize must be floats", f"quantized ones: {listed(packed, 2)}", remedy)
        chosen = {id(named[name]) for name in names}
        narrow = np.float32 if self.dtype == "float64" else self.dtype

        def change(x: Any) -> Any:
            if id(x) not in chosen or settings is None:
                return x
            return self.backend.asarray(settings.pack(self.backend.to_numpy(x).astype(narrow), self.dtype))

        self._replace_weights(change)
        return self

    def dequantize(self) -> Self:
        """Replace quantized weights by arrays of the values that they stand for, in place, and return the model."""
        self._replace_weights(lambda x: unpacked(x, self.backend))
        return self

    def eval(self) -> Self:
        """Return the model: evaluation mode is the only one."""
        return self

    def train(self, mode: bool = True) -> Self:
        """Return the model if ``mode`` is False; training is not here yet."""
        if mode:
            raise InputError("a model must stay in evaluation mode", "train()", _TRAINING)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Return the model if ``requires_grad`` is False; training is not here yet."""
        if requires_grad:
            raise InputError("weights must need no gradients", "requires_grad_(True)", _TRAINING)
        return self

    def named_values(self) -> Iterator[tuple[str, Array]]:
        """Yield (name in a checkpoint, array) of every weight; each quantized one is unpacked when its turn comes."""
        return ((name, unpacked(x, self.backend)) for name, x in self.named_parameters())

    def parameters(self) -> Iterator[Array]:
        """Yield every weight. A tied head is not listed twice."""
        return (x for _, x in self.named_parameters())

    def state_dict(self) -> dict[str, Array]:
        """Return {name: array} of every tensor, named as PyTorch names them; a tied head is listed too."""
        head = self.get_output_embeddings()
        tied = {} if head is None else {HEAD: head.weight}
        return dict(self.named_parameters()) | tied

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Return the number of learned parameters; ``only_trainable`` changes nothing, as in evaluation all are."""
        tables = (EMBEDDING, "embed_positions.weight") if exclude_embeddings else ()
        return sum(x.size for name, x in self.named_parameters() if name.removeprefix("biogpt.") not in tables)

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Return the bytes that the weights take."""
        return sum(x.nbytes for x in self.parameters())


def _weights_of(module: Any) -> Iterator[tuple[Any, str]]:
    """Yield (module, "weight" or "bias") for each array of a module and of those inside it."""
    for name, value in vars(module).items():
        if name in ("weight", "bias"):
            if value is not None:
                yield module, name
        elif isinstance(value, (Module, list, *MODULE_TYPES)):
            for part in value if isinstance(value, list) else [value]:
                yield from _weights_of(part)


def _is_dtype(place: Any) -> bool:
    return not isinstance(place, bool | int | Device | Backend) and (
        isinstance(place, type | np.dtype) or dtype_text(place).startswith(("float", "bfloat", "int", "uint"))
    )
