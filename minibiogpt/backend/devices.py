"""Devices as PyTorch names them: "cpu" is the NumPy backend, "cuda" or "cuda:0" the CuPy backend.

An object of another library, such as torch.device("cuda"), counts by its text. Nothing is imported for it.
"""

from __future__ import annotations

import re
from typing import Any

from minibiogpt.backend.base import Backend, get_backend
from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, short_repr, text_of

_NAME = re.compile(r"(cpu|cuda)(?::(\d+))?")


class Device(str):
    """The name of a device, "cpu" or "cuda:0", with the fields ``type`` and ``index`` of torch.device.

    Examples
    --------
    >>> device = Device("cuda:0")
    >>> device.type, device.index, device == "cuda:0"
    ('cuda', 0, True)
    """

    backend: Backend | None = None  # the one that computes there, if known

    @property
    def type(self) -> str:
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        return int(self.partition(":")[2]) if ":" in self else None


def device_of(backend: Backend) -> Device:
    """Return the device that a backend computes on.

    Examples
    --------
    >>> device_of(get_backend("numpy"))
    'cpu'
    """
    device = Device("cpu" if backend.name == "numpy" else "cuda:0")
    device.backend = backend
    return device


def backend_for(device: Any) -> Backend:
    """Return the backend that computes on a device.

    Parameters
    ----------
    device : "cpu", "cuda", "cuda:0", an object with such a text (torch.device), a number as transformers' pipelines
        take it (-1 is the CPU, 0 the first GPU), "auto" (the GPU if there is one, otherwise the CPU), or a Backend.

    Raises
    ------
    InputError
        If the device has another name or number, or CuPy or its device is missing.

    Examples
    --------
    >>> backend_for("cpu").name, backend_for(-1).name
    ('numpy', 'numpy')
    """
    if isinstance(device, Backend):
        return device
    if isinstance(device, Device) and device.backend is not None:
        return device.backend
    name = ("cpu" if device == -1 else f"cuda:{text_of(device)}") if is_integer(device) else text_of(device)
    if name == "auto":
        return _any_backend()
    match = _NAME.fullmatch(name)
    if not match or (match[2] or "0") != "0":
        must = "a device must be 'cpu', 'cuda', 'cuda:0', 'auto', or a number (-1: the CPU, 0: the GPU)"
        raise InputError(must, short_repr(device), "choose a GPU with CUDA_VISIBLE_DEVICES, and name it cuda:0")
    return get_backend("numpy" if match[1] == "cpu" else "cupy")


def _any_backend() -> Backend:
    """Return CuPy's backend if it can be used, otherwise NumPy's."""
    try:
        return get_backend("cupy")
    except InputError:
        return get_backend("numpy")
