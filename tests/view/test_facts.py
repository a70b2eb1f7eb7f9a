"""The data of a page besides its arrays: constants, notes and labels; and what the controls pass to the stepper."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptTokenizer
from minibiogpt.config import LAYER_NORM_EPS
from minibiogpt.errors import InputError
from minibiogpt.tokenizer.tokens.labels import labels_of
from minibiogpt.view import Sampler, Stepper
from minibiogpt.view.layer import explanations
from tests.support import small
from tests.view.test_pages import TEXT, data_of, demo, unpacked


def test_the_page_computes_with_what_the_model_computed_with() -> None:
    data = data_of(Stepper(demo(), TEXT).html)
    facts = data["facts"]
    assert facts["eps"] == LAYER_NORM_EPS == 1e-5  # not the value in config.json
    assert (data["heads"], data["headSize"], facts["activation"]) == (4, 32, "gelu")
    assert (facts["scaleEmbedding"], facts["positionOffset"]) == (True, 2)


def test_every_step_has_its_note() -> None:
    stepper = Stepper(demo(), TEXT, layer=2)
    notes = [one["note"] for one in data_of(stepper.html)["steps"]]
    assert notes == [step.note for step in stepper.steps]
    assert sum(map(bool, notes)) > 5


def filled(one: Any, layer: int) -> Any:
    """A step of the template, for one layer."""
    before = f"layers.{layer - 1}" if layer else "embeddings"
    return json.loads(json.dumps(one).replace("{l}", str(layer)).replace("{x}", before))


def test_the_explanations_hold_for_every_layer() -> None:
    config = demo().config
    found = explanations(config)
    for layer in range(config.num_hidden_layers):
        want = data_of(Stepper(demo(), TEXT, layer=layer).html)["steps"]
        assert [filled(one, layer) for one in found["layer"]] == want[1:]
        masked = data_of(Stepper(demo(), TEXT, layer=layer, head_mask=[1, 0, 1, 1]).html)["steps"]
        (weights,) = [one for one in masked if one["kind"] == "headmask"]
        assert filled(found["head_mask"], layer) == weights
    names = [one["name"] for part in ("before", "after") for one in found[part]]
    assert names == ["embed_tokens", "embed_positions", "embeddings", "layer_norm", "logits"]
    assert found["before"][-1] == data_of(Stepper(demo(), TEXT).html)["steps"][0]
    assert found["after"][0]["where"]["x"] == "layers.3"


@pytest.mark.parametrize(
    ("start", "name"),
    [
        ("fc1", "layers.1.fc1"),
        ("layers.1.self_attn.q", "layers.1.self_attn.q"),
        ("input", "layers.0"),
        ("output", "layers.1"),
        ("layers.1", "layers.1"),
    ],
)
def test_a_page_opens_on_the_step_that_is_asked_for(start: str, name: str) -> None:
    stepper = Stepper(demo(), TEXT, layer=1, start=start)
    assert data_of(stepper.html)["start"] == name
    other = data_of(stepper.with_(layer=2).html)["start"]
    assert other == {"layers.0": "layers.1", "layers.1": "layers.2"}.get(name, name.replace("layers.1", "layers.2"))


def test_a_piece_that_goes_on_is_marked() -> None:
    tok = BioGptTokenizer.from_pretrained("demo")
    assert labels_of(tok.encode("Ibuprofen is"), tok) == ["</s>", "I·", "b·", "upro·", "fen", "is"]


def test_another_text_has_no_padding() -> None:
    ids, mask = small.ids(rows=1), small.left_mask(rows=1)
    stepper = Stepper(small.model(), ids, attention_mask=mask, head_mask=[1, 0, 1])
    same, other = stepper.with_(layer=1), stepper.with_(text=[3, 4, 5])
    assert data_of(same.html)["padding"] == data_of(stepper.html)["padding"]
    assert data_of(other.html)["padding"] == [False] * 3
    assert unpacked(data_of(other.html)["headMask"]).tolist() == [1, 0, 1]


def test_controls_show_errors_as_text_and_leave_ids_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    text, layer, frame = Stepper(small.model(), [3, 4, 5]).controls().children
    assert text.disabled
    layer.value = 1
    assert frame.value == Stepper(small.model(), [3, 4, 5], layer=1)._repr_html_()
    text, layer, frame = Stepper(demo(), TEXT).controls().children
    assert not text.disabled

    def refuse(*_: Any, **changes: Any) -> None:
        raise InputError("<b>must</b>", "<script>", "change it")

    monkeypatch.setattr(Stepper, "with_", refuse)
    layer.value = 1
    assert frame.value.startswith("<p>&lt;b&gt;must")
    assert "<script>" not in frame.value


def test_the_samplers_numbers_are_the_logits() -> None:
    logits = np.random.default_rng(0).normal(0, 5, 7).astype(np.float32)
    data = data_of(Sampler(logits, None).html)
    assert np.array_equal(unpacked(data["logits"]), logits)
    assert data["top"] == 7
