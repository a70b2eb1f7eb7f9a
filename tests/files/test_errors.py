"""A value in a message is one short line, whatever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from minibiogpt import BioGptForCausalLM, InputError
from minibiogpt.errors import short_repr


class Odd:
    def __repr__(self) -> str:
        return "two\n  lines\rand\x0bmore"


@pytest.mark.parametrize(
    "value",
    [
        np.ones((3, 4)),
        {str(i): np.ones((30, 40)) for i in range(99)},
        [torch.eye(3)] * 3,
        torch.nn.Sequential(torch.nn.Linear(2, 3)),
        Odd(),
        "text\nof two lines",
        10**9999,
    ],
    ids=["array", "dict", "list", "module", "object", "text", "integer"],
)
def test_a_value_is_one_short_line(value: Any) -> None:
    text = short_repr(value)
    assert len(text.splitlines()) == 1
    assert len(text) < 1500


def test_a_state_dict_that_is_refused_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        BioGptForCausalLM.from_pretrained("demo", state_dict={"a": np.eye(3), "b": np.eye(4)})
    assert len(str(caught.value).splitlines()) == 1
