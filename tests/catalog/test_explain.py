"""Trace.explain: actual sizes, the line that ran, the equation of the run; and what a trace stores about its call."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from minibiogpt import BioGptConfig, BioGptForCausalLM, Trace
from minibiogpt.catalog.explain import PACKAGE, explain
from minibiogpt.errors import InputError
from minibiogpt.files.safetensors import read_header
from minibiogpt.trace import Tap
from tests.catalog.test_steps import Run, model
from tests.support.configs import CONFIGS


def demo_trace(**options: Any) -> Trace:
    trace = Trace()
    BioGptForCausalLM.from_pretrained("demo")([[2, 5, 9]], trace=trace, **options)
    return trace


def row(text: str, label: str) -> str:
    (found,) = re.findall(rf"^{re.escape(label)} +(.*)$", text, re.M)
    return str(found)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """{name: "file:line"} of the code that passed each array to a tap."""
    found: dict[str, str] = {}

    def spied(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Tap, name: str, x: Any) -> Any:
            frame = sys._getframe(1)
            path = Path(frame.f_code.co_filename)
            found[self._full_name(name)] = f"minibiogpt/{path.relative_to(PACKAGE)}:{frame.f_lineno}"
            return method(self, name, x)

        return call

    monkeypatch.setattr(Tap, "__call__", spied(Tap.__call__))
    monkeypatch.setattr(Tap, "record", spied(Tap.record))
    return found


@pytest.mark.parametrize(
    ("name", "head"),
    [("gelu", "base"), ("gelu", "causal"), ("SequenceClassification", "sequence"), ("TokenClassification", "token")],
)
def test_every_name_is_explained_with_the_line_that_ran(lines: dict[str, str], name: str, head: str) -> None:
    run = Run(name, head, "labels")
    lines_of_run = {x: line for x, line in lines.items() if x in run.trace}
    assert len(lines_of_run) == len(run.trace) > 40
    for step in run.steps:
        text = explain(run.trace.facts(), step.name)
        assert text.startswith(f"{step.name}: {step.what}\n")
        assert row(text, "equation") == step.equation
        line, _, code = row(text, "source line").partition(": ")
        assert line == lines_of_run[step.name]
        file, _, number = line.partition(":")
        assert (PACKAGE.parent / file).read_text().splitlines()[int(number) - 1].strip() == code
        assert "tap(" in code
        sizes = dict(zip(step.axes.split(), run.trace[step.name].shape, strict=True))
        letters = ", ".join(f"{letter} {size}" for letter, size in sizes.items())
        assert row(text, "shape") == f"({letters}), float64".replace(
            "float64", "int64" if step.name == "position_ids" else "float64"
        )
        for symbol, source in step.where.items():
            shape = run.source(source).shape
            source_text = row(text, f"  {symbol}")
            assert source_text.startswith(source.removeprefix("inputs/"))
            if source != "inputs/labels":
                assert tuple(map(int, re.findall(r"\d+", source_text.partition("(")[2]))) == shape


@pytest.mark.parametrize("options", [{"min_length": 6}, {"num_beams": 2}])
def test_every_name_of_a_generation_is_explained(lines: dict[str, str], options: dict[str, Any]) -> None:
    trace = Trace()
    model("gelu", "causal").generate([[2, 5, 9], [7, 8, 9]], max_new_tokens=3, trace=trace, **options)
    for name, x in trace.items():
        text = explain(trace.facts(), name)
        assert row(text, "source line").partition(": ")[0] == lines[name], name
        assert tuple(map(int, re.findall(r" (\d+)", row(text, "shape")))) == x.shape, name
    assert "concatenate" in explain(trace.facts(), "step.2/layers.0.self_attn.k")
    assert "concatenate" not in explain(trace.facts(), "step.0/layers.0.self_attn.k")
    assert row(explain(trace.facts(), "step.0/position_ids"), "  letters") == "S 3, B 2, T 3"
    rows = 2 * options.get("num_beams", 1)
    assert row(explain(trace.facts(), "step.2/position_ids"), "  letters") == f"S 5, B {rows}, T 1"
    assert row(explain(trace.facts(), "step.1/logits"), "equation") == "h[:, -1] @ E.T"


def test_the_page_of_one_array() -> None:
    trace = demo_trace(attention_mask=[[0, 1, 1]])
    assert explain(trace.facts(), "layers.1.self_attn.scores_masked").splitlines()[:8] == [
        "layers.1.self_attn.scores_masked: attention scores after the mask; masked entries are finfo(dtype).min",
        "shape            (B 1, H 4, T 3, S 3), float32",
        "equation         where(visible, scores, lowest)",
        "  visible        (arange(S) <= arange(S - T, S)[:, newaxis]) & (mask[:, newaxis, newaxis, :] == 1)",
        "  lowest         finfo(scores.dtype).min",
        "  scores         layers.1.self_attn.scores (B 1, H 4, T 3, S 3)",
        "  mask           attention_mask, input of the call (B 1, S 3)",
        "  letters        S 3, T 3",
    ]
    text = explain(trace.facts(), "layers.0.final_layer_norm")
    assert "  g              layers.0.final_layer_norm.weight, parameter (128,)" in text
    assert "BEFORE the feed-forward" in " ".join(text.split())
    assert "1e-5" in row(text, "equation")
    assert row(text, "transformers") == "biogpt.layers.0.final_layer_norm"
    assert max(map(len, text.splitlines())) <= 130
    q = explain(trace.facts(), "layers.3.self_attn.q")
    assert row(q, "TransformerLens") == "blocks.3.attn.hook_q, shape (B, T, H, Dh)"
    assert "Unscaled" in q
    assert row(explain(trace.facts(), "embed_tokens"), "TransformerLens") == "hook_embed"


def test_explain_prints(capsys: pytest.CaptureFixture[str]) -> None:
    trace = demo_trace()
    trace.explain("embeddings")
    assert capsys.readouterr().out == explain(trace.facts(), "embeddings") + "\n"


def test_the_equations_are_those_of_the_run() -> None:
    for name, activation in (("gelu", "erf"), ("gelu_new", "tanh"), ("relu", "maximum"), ("selu", "expm1")):
        assert activation in row(
            explain(Run(name, "causal", "plain").trace.facts(), "layers.0.activation_fn"), "equation"
        )
    assert row(explain(Run("unscaled", "causal", "plain").trace.facts(), "embed_tokens"), "equation") == "E[ids]"
    assert row(explain(Run("untied", "causal", "plain").trace.facts(), "logits"), "  W").startswith(
        "output_projection.weight"
    )
    assert row(explain(Run("gelu", "causal", "past").trace.facts(), "layers.0.self_attn.k"), "  past").startswith(
        "k of the cached positions"
    )
    masked = Run("gelu", "causal", "one value per head").trace
    assert row(explain(masked.facts(), "layers.1.self_attn.weights"), "equation").endswith("[1, :, newaxis, newaxis]")


def test_what_a_trace_does_not_hold_is_explained_too() -> None:
    trace = Trace(names="logits")
    BioGptForCausalLM.from_pretrained("demo")([[2, 5, 9]], trace=trace)
    text = explain(trace.facts(), "layers.0.self_attn.probs")
    assert row(text, "shape") == "(B 1, H 4, T 3, S 3), not in this trace"
    text = explain(trace.facts(), "layers.0.self_attn.head_out")
    assert row(text, "source line") == "none: computed on request"
    assert row(text, "shape") == "(B 1, T 3, H 4, D 128), not in this trace"


def test_unknown_names_and_empty_traces_are_refused() -> None:
    trace = demo_trace()
    near = "layers.0.self_attn.probs, layers.1.self_attn.probs, layers.2.self_attn.probs"
    with pytest.raises(InputError, match=f"found 'layers.0.self_attn.probz'; nearest: {near}"):
        trace.explain("layers.0.self_attn.probz")
    with pytest.raises(
        InputError, match="found 'l_out-9', here layers.9; nearest: layers.3, .*; the layers are 0 to 3"
    ):
        trace.explain("l_out-9")
    with pytest.raises(InputError, match="found 'loss'; only a call with labels has one$"):
        trace.explain("loss")
    with pytest.raises(InputError, match="found 'tokens'; only a generate call has one$"):
        trace.explain("tokens")
    with pytest.raises(InputError, match="must be filled by a call before it can explain"):
        Trace().explain("logits")


def test_a_trace_remembers_its_call_saved_and_selected(tmp_path: Path) -> None:
    run = Run("unscaled", "causal", "labels")
    trace = run.trace
    assert trace.config == BioGptConfig(**CONFIGS["unscaled"])
    assert (trace.head, trace.inputs) == ("causal", {"input_ids": "int64", "labels": "int64"})
    trace.save(tmp_path / "trace.safetensors")
    for other in (Trace.load(tmp_path / "trace.safetensors"), trace.select("*")):
        assert (other.head, other.inputs) == (trace.head, trace.inputs)
        assert other.config is not None
        assert other.config.to_dict() == trace.config.to_dict()
        for name in trace:
            assert explain(other.facts(), name) == explain(trace.facts(), name)
    model("gelu", "base")([[2, 3]], trace=trace)  # another call replaces the first
    assert (trace.head, trace.inputs) == ("base", {"input_ids": "int64"})
    model("gelu", "base")([[2, 3]], np.array([[False, True]]), trace=trace)
    assert trace.inputs == {"input_ids": "int64", "attention_mask": "bool"}


def test_a_file_without_a_call_is_read_and_an_invalid_one_refused(tmp_path: Path) -> None:
    trace, file = demo_trace(), tmp_path / "trace.safetensors"
    trace.save(file)
    metadata = read_header(file)[0]
    arrays = {name: np.ascontiguousarray(x) for name, x in trace.items()}
    older = {key: value for key, value in metadata.items() if key not in ("config", "head", "inputs")}
    save_file(arrays, file, metadata=older)
    assert Trace.load(file).config is None
    for key, value in (("config", "[]"), ("config", '{"hidden_size": 0}'), ("inputs", "7"), ("config", "x")):
        save_file(arrays, file, metadata=metadata | {key: value})
        with pytest.raises(InputError, match="must be a trace written by Trace.save"):
            Trace.load(file)
    save_file(arrays, file, metadata=metadata | {"head": "another"})
    with pytest.raises(InputError, match="head must be one of"):
        Trace.load(file).explain("logits")
