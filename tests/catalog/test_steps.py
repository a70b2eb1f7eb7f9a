"""The table of steps: its names match real traces, and its equations, run as NumPy, compute exactly these arrays."""

from __future__ import annotations

import ast
import math
import re
from functools import cache
from typing import Any

import numpy as np
import pytest

from minibiogpt import (
    BioGptConfig,
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    BioGptModel,
    Trace,
)
from minibiogpt.catalog.equations import EQUATION_FUNCTIONS
from minibiogpt.catalog.evaluate import FUNCTIONS, NUMPY, evaluate
from minibiogpt.catalog.names import kind_of_source, template_of
from minibiogpt.catalog.steps import GENERATION_ARRAYS, Step, axes_of, derived_steps, step_of, steps
from minibiogpt.catalog.table import table
from minibiogpt.errors import InputError
from tests.budgets import EQUATION
from tests.compare import assert_close, drift
from tests.support.configs import CONFIGS, HEADS
from tests.support.paths import ROOT

B, T = 2, 11
KINDS: dict[str, Any] = {
    "base": BioGptModel,
    "causal": BioGptForCausalLM,
    "sequence": BioGptForSequenceClassification,
    "token": BioGptForTokenClassification,
}
SIZES = CONFIGS | {
    "SequenceClassification": HEADS["SequenceClassification"],
    "TokenClassification": HEADS["TokenClassification"],
    "regression": HEADS["SequenceClassification"] | {"id2label": {0: "how much"}},
    "several labels": HEADS["SequenceClassification"] | {"problem_type": "multi_label_classification"},
    "no pad": HEADS["SequenceClassification"] | {"pad_token_id": None},
}


@cache
def model(name: str, head: str) -> Any:
    """Random weights, for norms and biases too, so that no symbol of an equation happens to be 1 or 0."""
    built = KINDS[head].from_config(BioGptConfig(**SIZES[name]), dtype="float64")
    rng = np.random.default_rng(5)
    for parameter in {id(x): x for _, x in built.named_parameters()}.values():
        scale = 0.3 if parameter.ndim == 1 else 1 / math.sqrt(parameter.shape[-1])
        parameter[:] = rng.normal(size=parameter.shape) * scale + (parameter.ndim == 1)
    return built


def mask(width: int = T) -> np.ndarray:
    """Left padding, with fully masked rows, and right padding."""
    m = np.ones((B, width), dtype=np.int64)
    m[0, :4] = 0
    m[1, -2:] = 0
    return m


def call_of(case: str, name: str, head: str) -> dict[str, Any]:
    rng, config = np.random.default_rng(11), BioGptConfig(**SIZES[name])
    L, H, D, V = (config.letters[letter] for letter in "LHDV")
    ids = rng.integers(3, V, (B, T))
    labels: dict[str, Any] = {
        "causal": np.where(rng.random((B, T)) < 0.3, -100, ids),
        "token": np.where(rng.random((B, T)) < 0.3, -100, ids % config.num_labels),
        "sequence": np.arange(B) % config.num_labels if config.num_labels > 1 else rng.normal(size=B),
    }
    if name == "several labels":
        labels["sequence"] = rng.integers(0, 2, (B, config.num_labels)).astype(float)
    cases: dict[str, dict[str, Any]] = {
        "plain": {},
        "labels": {"labels": labels.get(head)},
        "padding": {"attention_mask": mask(), "labels": labels.get(head)},
        "one value per head": {"head_mask": rng.random(H), "attention_mask": mask()},
        "one head mask per layer": {"head_mask": rng.random((L, H))},
        "positions": {"position_ids": rng.integers(-1, 29, (1, T))},
        "inputs_embeds": {"input_ids": None, "inputs_embeds": rng.normal(size=(B, T, D))},
        "past": {"attention_mask": mask(T + 3), "past": rng.integers(3, V, (B, 3))},
    }
    inputs = {"input_ids": ids} | cases[case]
    return {name: x for name, x in inputs.items() if x is not None}


CASES = [
    "plain",
    "labels",
    "padding",
    "one value per head",
    "one head mask per layer",
    "positions",
    "inputs_embeds",
    "past",
]
MODELS = [(name, "causal") for name in CONFIGS] + [
    ("gelu", "base"), ("SequenceClassification", "sequence"), ("TokenClassification", "token"),
    ("regression", "sequence"), ("several labels", "sequence"), ("no pad", "sequence"), ("selu", "token"),
]  # fmt: skip


class Run:
    """One traced call: its arrays, inputs and parameters, and its steps according to the table."""

    def __init__(self, name: str, head: str, case: str) -> None:
        lm, call = model(name, head), call_of(case, name, head)
        past = call.pop("past", None)
        if past is not None:
            base = getattr(lm, "biogpt", lm)
            call["past_key_values"] = base(past, call["attention_mask"][:, : past.shape[1]]).past_key_values
        if head == "base":
            call.pop("labels", None)
        self.trace, self.config = Trace(), lm.config
        lm(**call, trace=self.trace)
        self.inputs = {name: x for name, x in call.items() if name != "past_key_values"}
        for layer, pair in enumerate(call.get("past_key_values") or ()):
            self.inputs |= {f"past_key_values.{layer}.{x}": array for x, array in zip("kv", pair, strict=True)}
        self.parameters = {name.removeprefix("biogpt."): x for name, x in lm.named_parameters()}
        self.steps = steps(lm.config, head, self.trace.inputs)
        self.head = head

    def source(self, source: str) -> np.ndarray:
        kind = kind_of_source(source)
        if kind == "input":
            return self.inputs[source.removeprefix("inputs/")]
        return self.parameters[source] if kind == "parameter" else self.trace[source]

    def value(self, step: Step) -> Any:
        """Evaluate the text of the equation."""
        symbols = {symbol: self.source(source) for symbol, source in step.where.items()}
        return evaluate(step, symbols, self.trace.letters)


def check(run: Run, step: Step) -> float:
    got, want = np.asarray(run.value(step)), run.trace[step.name]
    if step.name == "position_ids":
        assert np.array_equal(got, want)
        return 0.0
    return assert_close(step.name, got, want, EQUATION)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "head"), MODELS)
def test_each_equation_makes_the_array_of_its_name(name: str, head: str, case: str) -> None:
    run = Run(name, head, case)
    assert [step.name for step in run.steps] == list(run.trace), "the table lists the names in order"
    assert ("loss" in run.trace) is ("labels" in run.trace.inputs)
    computed: set[str] = set()
    for step in run.steps:
        check(run, step)
        assert set(step.sources) <= computed, "each is computed from the arrays before it"
        computed.add(step.name)
        sizes = {**run.trace.letters, "1": 1}
        assert run.trace[step.name].shape == tuple(sizes[x] for x in step.axes.split()), step.name
        assert axes_of(step.name, head) == step.axes


@pytest.mark.parametrize("name", CONFIGS)
def test_what_each_head_adds_sums_to_what_attention_adds(name: str) -> None:
    run = Run(name, "causal", "one head mask per layer")
    for step in derived_steps(run.config):
        assert step.derived
        assert step.name not in run.trace
        path = step.name.removesuffix(".head_out")
        got = run.value(step)
        sizes = run.trace.letters
        assert got.shape == tuple(sizes[x] for x in step.axes.split())
        want = run.trace[f"{path}.out_proj"]
        assert_close(step.name, got.sum(axis=2) + run.parameters[f"{path}.out_proj.bias"], want, EQUATION)
        last = run.trace[f"{path}.context"].copy()
        last[..., : -run.config.head_size] = 0
        assert_close(step.name, got[:, :, -1], last @ run.parameters[f"{path}.out_proj.weight"].T, EQUATION)


WRONG = {
    "layers.0.self_attn_layer_norm": ("1e-5", "1e-12"),
    "layers.1.activation_fn": ("erf(x / sqrt(2))", "tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))"),
    "layers.0.self_attn.scores": ("sqrt(Dh)", "sqrt(D)"),
    "embed_positions": ("+ 2", "+ 1"),
    "embed_tokens": ("sqrt(D)", "1"),
    "layers.1.self_attn.q": ("(B, T, H, Dh).swapaxes(1, 2)", "(B, H, T, Dh)"),
    "layers.1.fc2": ("+ b", "- b"),
    "loss": ("counted.sum()", "counted.size"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_equation_is_noticed(name: str) -> None:
    run = Run("gelu", "causal", "labels")
    (step,) = [step for step in run.steps if step.name == name]
    right, wrong = WRONG[name]
    assert right in step.equation
    check(run, step)
    planted = Step(step.name, step.axes, step.equation.replace(right, wrong), step.where, step.terms)
    with pytest.raises(AssertionError, match="exceeds"):
        check(run, planted)
    assert drift(run.value(planted), run.trace[name]) > 10 * EQUATION


def test_a_wrong_source_and_a_wrong_mask_are_noticed() -> None:
    run = Run("gelu", "causal", "padding")
    found = {step.name: step for step in run.steps}
    step = found["layers.1.self_attn_layer_norm"]
    planted = Step(step.name, step.axes, step.equation, step.where | {"x": "embeddings"})
    with pytest.raises(AssertionError, match="exceeds"):
        check(run, planted)
    step = found["layers.0.self_attn.scores_masked"]
    causal = step.terms | {"visible": "arange(S) <= arange(S - T, S)[:, newaxis]"}
    with pytest.raises(AssertionError, match="exceeds"):
        check(run, Step(step.name, step.axes, step.equation, step.where, causal))


def test_the_equations_say_no_more_than_they_explain() -> None:
    """Each name is a symbol, a term, a letter, a function of the table or of NumPy; every symbol is used."""
    for name, head in MODELS:
        for case in CASES:
            config = BioGptConfig(**SIZES[name])
            call = [{"past": "past_key_values"}.get(x, x) for x in call_of(case, name, head)]
            inputs = dict.fromkeys(call, "int64")
            for step in [*steps(config, head, inputs), *derived_steps(config)]:
                nodes = [n for text in (step.equation, *step.terms.values()) for n in ast.walk(ast.parse(text))]
                used = {node.id for node in nodes if isinstance(node, ast.Name)}
                defined = set(step.where) | set(step.terms)
                letters = {*config.letters, "B", "T", "S"}
                assert defined <= used, step.name
                assert used - defined <= letters | set(EQUATION_FUNCTIONS) | set(vars(np)), step.name
                assert not defined & (letters | set(EQUATION_FUNCTIONS)), step.name
                assert step.what, step.name
    assert set(FUNCTIONS) - set(NUMPY) == set(EQUATION_FUNCTIONS)


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 2, "min_length": 5}, {"do_sample": True, "top_k": 3, "use_cache": False}]
)
def test_a_generation_has_the_names_of_its_steps(options: dict[str, Any]) -> None:
    trace, lm = Trace(), model("gelu", "causal")
    lm.generate([[1, 1, 5, 9], [5, 6, 7, 8]], max_new_tokens=3, trace=trace, seed=0, **options)
    assert trace.head == "generate"
    forward = [step.name for step in steps(lm.config, "generate")]
    for n in range(3):
        here = [name for name in trace if name.startswith(f"step.{n}/")]
        plain = [name.partition("/")[2] for name in here]
        assert plain[: len(forward)] == forward
        templates = [template_of(name) for name in here[len(forward) :]]
        assert [t for t in templates if "processors" not in t] == (
            ["origins", "tokens"] if "num_beams" in options else ["tokens"]
        )
        assert set(templates) <= set(GENERATION_ARRAYS)
        for name in here:
            assert len(axes_of(name, "generate").split()) == trace[name].ndim, name
            assert step_of(name, lm.config, "generate").name == name


def test_a_step_of_several_calls_goes_on_from_the_call_before() -> None:
    config = BioGptConfig(**CONFIGS["gelu"])
    k = step_of("step.2/layers.1.self_attn.k", config)
    assert k.where == {"x": "step.2/layers.1.self_attn.k_proj", "past": "step.1/layers.1.self_attn.k"}
    first = step_of("step.0/layers.1.self_attn.k", config)
    assert first.where == {"x": "step.0/layers.1.self_attn.k_proj"}
    norm = step_of("step.1/layers.0.self_attn_layer_norm", config)
    assert norm.where["x"] == "step.1/embeddings"
    assert norm.where["g"] == "layers.0.self_attn_layer_norm.weight"
    assert step_of("step.1/embed_tokens", config).where["ids"] == "step.1/inputs/input_ids"
    assert (
        step_of("step.1/layers.0.self_attn.v", config, "generate").where["past"] == "step.1/inputs/past_key_values.0.v"
    )
    inputs = {"input_ids": "int64", "attention_mask": "int64"}
    masked = step_of("step.1/layers.0.self_attn.scores_masked", config, inputs=inputs)
    assert masked.where["mask"] == "step.1/inputs/attention_mask"


def test_an_unknown_name_and_an_unknown_head_are_refused() -> None:
    config = BioGptConfig(**CONFIGS["gelu"])
    with pytest.raises(InputError, match=r"'layers.0.self_attn.score'; nearest: layers.0.self_attn.scores"):
        step_of("layers.0.self_attn.score", config)
    with pytest.raises(InputError, match="layers.2.fc1"):  # there are two layers
        step_of("layers.2.fc1", config)
    with pytest.raises(InputError, match=r"nearest: layers.\{l\}.fc1"):
        axes_of("layers.0.fc")
    with pytest.raises(InputError, match="nearest: none"):
        axes_of("")
    with pytest.raises(InputError, match="head must be one of base, causal"):
        steps(config, "qa")
    assert steps(config, "BioGptForTokenClassification")[-1].axes == "B T labels"


def test_a_name_of_a_layer_is_no_other() -> None:
    assert template_of("layers.10") == "layers.{l}"
    assert template_of("layers.1x.fc1") == "layers.1x.fc1"
    assert template_of("step.1/step.2/logits") == "step.2/logits"


PAGE = (ROOT / "docs" / "trace.md").read_text(encoding="utf-8")


def test_the_page_has_the_table() -> None:
    (shown,) = re.findall(r"<!-- names: .* -->\n(.*)\n<!-- end -->", PAGE, re.S)
    command = 'python -c "from minibiogpt.catalog.table import table; print(table())"'
    assert shown == table(), f"the page is out of date: {command}"
    config = BioGptConfig(**CONFIGS["gelu"])
    for head in ("causal", "sequence", "token"):
        for step in [*steps(config, head, {"input_ids": "int64", "labels": "int64"}), *derived_steps(config)]:
            assert f"| `{step.template}` | {step.axes.replace(' ', ', ')} |" in shown, step.name
    assert all(name in PAGE for name in ("processors.{i}.{rule}.before", "origins", "tokens"))


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)
    assert len(blocks) == PAGE.count("```python") == 11
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/trace.md", "exec"), scope)
    assert "layers.0.self_attn.context: weighted sums of the values" in capsys.readouterr().out
    assert scope["trace"].letters["T"] == 9, "as the page says"


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", PAGE)
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)


@pytest.mark.parametrize("text", ["x.tofile('x')", "[y for y in x]", "lambda: x", "x if x else x"])
def test_an_equation_can_have_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="an equation cannot have"):
        evaluate(Step("x", "T", text, {}), {"x": np.ones(2)}, {})
