"""Devices by PyTorch's names."""

from __future__ import annotations

import pickle

import pytest
import torch

from minibiogpt.backend import Device, backend_for, device_of, get_backend, register_backend
from minibiogpt.errors import InputError
from tests.support.strict import StrictBackend


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), -1, Device("cpu"), get_backend("numpy")])
def test_the_cpu_is_the_numpy_backend(device: object) -> None:
    assert backend_for(device) is get_backend("numpy")


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:1", 1, -2, 1.0, None, True, "cpu:3"])
def test_another_device_is_refused_by_name(device: object) -> None:
    with pytest.raises(InputError, match="a device must be 'cpu'"):
        backend_for(device)


def test_a_device_has_the_fields_of_torch_device() -> None:
    for name in ("cpu", "cuda:0"):
        ours, theirs = Device(name), torch.device(name)
        assert (str(ours), ours.type, ours.index) == (str(theirs), theirs.type, theirs.index)
    assert pickle.loads(pickle.dumps(Device("cpu"))) == device_of(get_backend("numpy"))


def test_the_device_of_another_backend_is_the_first_gpu() -> None:
    register_backend("strict", StrictBackend)
    device, theirs = device_of(get_backend("strict")), torch.device("cuda", 0)
    assert (str(device), device.type, device.index) == (str(theirs), theirs.type, theirs.index)
