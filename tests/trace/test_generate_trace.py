"""Tracing and editing a generation: each step has the arrays of a forward pass, and tracing changes no token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import InputError, Trace
from tests.budgets import LANE_A
from tests.compare import assert_close
from tests.support.small import NAMES, H, L, V, ids, left_mask, model, same, traced

STEPS = 4
FORWARD = NAMES["CausalLM"][:-2]  # a step has the logits of the last position only
PADDED: dict[str, Any] = {"attention_mask": left_mask()}
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "padded": PADDED,
    "no cache": {"use_cache": False} | PADDED,
    "processors": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 2, "eos_token_id": 7},
    "a custom processor": {"logits_processor": [lambda ids, logits: logits / 2]},
    "sampling": {"do_sample": True, "temperature": 0.7, "top_k": 9, "seed": 3, "num_return_sequences": 2} | PADDED,
    "beams": {"num_beams": 3, "repetition_penalty": 1.2} | PADDED,
    "beams, several": {"num_beams": 3, "num_return_sequences": 2, "use_cache": False},
    "beam sampling": {"num_beams": 2, "do_sample": True, "seed": 5, "temperature": 1.5},
    "fairseq": {"num_beams": 2, "scoring": "fairseq", "eos_token_id": 7},
}
every_way = pytest.mark.parametrize("way", WAYS)


def generated(way: str, names: Any = None, **more: Any) -> tuple[Any, Trace]:
    trace = Trace(names)
    outputs = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    options = {"eos_token_id": None, "max_new_tokens": STEPS} | WAYS[way] | outputs | more
    return model().generate(ids(), trace=trace, **options), trace


def processors_of(trace: Trace, step: int) -> list[str]:
    """The logits processors of a step, ``processors.{i}.{name}``, in order."""
    within = [name.partition("/")[2] for name in trace if name.startswith(f"step.{step}/processors.")]
    assert within[1::2] == [name.removesuffix(".before") + ".after" for name in within[::2]]
    return [name.removesuffix(".before") for name in within[::2]]


@every_way
def test_each_step_has_the_arrays_of_a_forward_pass_its_processors_and_what_was_chosen(way: str) -> None:
    out, trace = generated(way)
    beams = "num_beams" in WAYS[way]
    want = []
    for step in range(len(out.scores)):
        processors = [f"{name}.{end}" for name in processors_of(trace, step) for end in ("before", "after")]
        names = [*FORWARD, "logits", *processors, *(["origins"] if beams else []), "tokens"]
        want += [f"step.{step}/{name}" for name in names]
    assert list(trace) == want
    assert len(out.scores) == STEPS or "eos_token_id" in WAYS[way]


def test_processors_are_called_by_index_and_name() -> None:
    _, trace = generated("processors")
    assert processors_of(trace, 0) == [
        f"processors.{i}.{x}" for i, x in enumerate(("RepetitionPenalty", "NoRepeatNGram", "MinLength"))
    ]
    _, trace = generated("a custom processor")
    assert processors_of(trace, 0) == ["processors.0.<lambda>"]
    assert processors_of(generated("greedy")[1], 0) == []


@every_way
def test_the_processors_are_a_chain_from_the_logits_to_the_scores(way: str) -> None:
    from minibiogpt.model.ops import log_softmax

    out, trace = generated(way)
    chains = 0
    for step, (logits, scores) in enumerate(zip(out.logits, out.scores, strict=True)):
        own = trace[f"step.{step}/logits"]
        repeats = logits.shape[0] // own.shape[0]
        assert np.array_equal(np.repeat(own, repeats, axis=0), logits)
        at = log_softmax(logits) if "num_beams" in WAYS[way] else logits
        for name in processors_of(trace, step):
            assert np.array_equal(trace[f"step.{step}/{name}.before"], at), name
            at, chains = trace[f"step.{step}/{name}.after"], chains + 1
        assert np.array_equal(at, scores)
    assert chains or way in ("greedy", "padded", "no cache", "beams, several")


@pytest.mark.parametrize("way", [way for way in WAYS if "num_beams" not in WAYS[way]])
def test_the_tokens_are_the_generated_ids(way: str) -> None:
    out, trace = generated(way)
    for step in range(len(out.scores)):
        assert np.array_equal(trace[f"step.{step}/tokens"], out.sequences[:, 5 + step]), step
        assert trace[f"step.{step}/tokens"].dtype == np.int64


def test_the_tokens_of_a_row_that_has_ended_are_pads() -> None:
    first = generated("greedy")[0].sequences[0, 5]
    out, trace = generated("greedy", eos_token_id=int(first), pad_token_id=1)
    assert out.sequences[0, 5:].tolist() == [first, 1, 1, 1]
    assert [int(trace[f"step.{step}/tokens"][0]) for step in range(STEPS)] == [first, 1, 1, 1]


@pytest.mark.parametrize("way", ["beams", "beams, several", "beam sampling"])
def test_the_origins_are_the_beam_indices(way: str) -> None:
    """Traced backwards: the next token of a hypothesis was chosen in the row where its previous one placed it."""
    out, trace = generated(way)
    for tokens, rows in zip(out.sequences[:, 5:], out.beam_indices, strict=True):
        for step in range(STEPS - 1):
            left_in = rows[step + 1]
            assert trace[f"step.{step}/origins"][left_in] == rows[step]
            assert trace[f"step.{step}/tokens"][left_in] == tokens[step]
    assert any((trace[f"step.{step}/origins"] != np.arange(len(trace["step.1/tokens"]))).any() for step in range(STEPS))


@pytest.mark.parametrize("way", ["no cache", "greedy", "padded"])
def test_each_step_is_a_forward_pass_on_the_text_so_far(way: str) -> None:
    out, trace = generated(way)
    for step in range(STEPS):
        mask = np.concatenate([left_mask(), np.ones((2, step), dtype=np.int64)], axis=1)
        want = traced(model(), out.sequences[:, : 5 + step], None if way == "greedy" else mask)
        assert_close("logits", trace[f"step.{step}/logits"], want["logits"][:, -1], LANE_A)
        for name in FORWARD:
            got, whole = trace[f"step.{step}/{name}"], want[name]
            part = name.rpartition(".")[2]
            if way == "no cache" or step == 0:
                assert np.array_equal(got, whole), name
                continue
            if part not in ("k", "v"):  # k and v include the past; the others have only the newest position
                whole = whole[:, :, -1:] if whole.ndim == 4 else whole[:, -1:]
            if way == "padded" and part in ("k", "v", "scores"):  # padding depends on how many positions it attends to
                got, whole = got[1:], whole[1:]
            assert_close(name, got, whole, LANE_A)


def test_the_letters_are_those_of_the_last_step() -> None:
    letters = generated("greedy")[1].letters
    assert (letters["B"], letters["T"], letters["S"], letters["L"]) == (2, 1, 5 + STEPS - 1, L)


# Selected by name.

CHOSEN: dict[str, list[str]] = {
    "tokens": [f"step.{step}/tokens" for step in range(STEPS)],
    "step.1/logits": ["step.1/logits"],
    "step.{1..2}/layers.{0..1}": [f"step.{step}/layers.{layer}" for step in (1, 2) for layer in range(2)],
    "step.*/tokens": [f"step.{step}/tokens" for step in range(STEPS)],
    "layers.1.self_attn.probs": [f"step.{step}/layers.1.self_attn.probs" for step in range(STEPS)],
    "processors.*.after": [
        f"step.{s}/processors.{i}.{x}.after" for s in range(STEPS) for i, x in enumerate(("Temperature", "TopK"))
    ],
}  # fmt: skip


@pytest.mark.parametrize("names", CHOSEN)
def test_only_what_is_chosen_is_kept(names: str) -> None:
    whole, part = generated("sampling")[1], generated("sampling", names)[1]
    assert list(part) == CHOSEN[names]
    same(part, whole.select(names))


def test_blocked_attention_is_kept_in_the_steps_without_requested_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    from minibiogpt.model import layers

    calls: list[str] = []
    for kind in ("blocked", "eager"):
        original = getattr(layers, f"attend_{kind}")
        monkeypatch.setattr(
            layers, f"attend_{kind}", lambda *a, kind=kind, original=original: calls.append(kind) or original(*a)
        )
    options: dict[str, Any] = {"eos_token_id": None, "max_new_tokens": 3}
    model(attention="auto").generate(ids(), trace=Trace(["tokens", "step.1/layers.0.self_attn.probs"]), **options)
    assert calls == ["blocked"] * L + ["eager"] * L + ["blocked"] * L


@pytest.mark.parametrize("names", ["step.9/logits", "tokenz", ["tokens", "step.0/layers.0.fc3"], "loss", "origins"])
def test_a_name_that_no_step_has_is_an_error(names: Any) -> None:
    with pytest.raises(InputError, match="every name of the trace must match an array; found none called") as error:
        generated("greedy", names)
    assert len(str(error.value)) < 400
    with pytest.raises(InputError, match="trace must be a Trace; found dict"):
        model().generate(ids(), trace={})


# Tracing changes nothing.

rows = st.integers(1, 3)
options_of = st.fixed_dictionaries(
    {},
    optional={
        "do_sample": st.booleans(),
        "num_beams": st.integers(1, 3),
        "num_return_sequences": st.just(1) | st.integers(1, 3),
        "use_cache": st.booleans(),
        "repetition_penalty": st.floats(1.1, 2.0),
        "no_repeat_ngram_size": st.integers(1, 3),
        "min_new_tokens": st.integers(1, 4),
        "temperature": st.floats(0.5, 2.0),
        "top_p": st.floats(0.1, 0.9),
        "eos_token_id": st.none() | st.integers(3, V - 1) | st.lists(st.integers(3, V - 1), min_size=1, max_size=20),
        "suppress_tokens": st.lists(st.integers(3, V - 1), min_size=1),
    },
)
names_of = st.sampled_from([None, "tokens", "layers.*", "step.0/*", "*.probs", ["logits", "layers.1.fc1"]])


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # random options may combine into ones without effect
@given(st.integers(0, 1000), rows, st.integers(0, 2), options_of, names_of, st.booleans())
def test_whatever_the_options_a_traced_generation_is_the_untraced_one(
    seed: int, rows: int, pads: int, options: dict[str, Any], names: Any, whole: bool
) -> None:
    if options.get("num_return_sequences", 1) > 1 and options.get("num_beams", 1) < options["num_return_sequences"]:
        options |= {"num_beams": 1, "do_sample": True}
    mask = np.ones((rows, 6), dtype=np.int64)
    mask[0, :pads] = 0
    options |= {"attention_mask": mask, "max_new_tokens": 6, "seed": seed}
    want = model().generate(ids(seed, rows, 6), **options)
    trace = Trace(names)
    got = model().generate(ids(seed, rows, 6), trace=trace, edits={"*": lambda x: x} if whole else None, **options)
    assert np.array_equal(got, want)
    assert trace
    if names == "tokens" and options.get("num_beams", 1) == 1:
        assert np.array_equal(np.stack(list(trace.values()), axis=1), want[:, 6:])


# Edits.


def plus(logits: np.ndarray) -> np.ndarray:
    logits[:, 11] += 1e6
    return logits


def test_a_steering_edit_changes_the_tokens() -> None:
    want = generated("greedy")[0].sequences
    got, trace = generated("greedy", edits={"logits": plus})
    assert (got.sequences[:, 5:] == 11).all()
    assert (trace["step.2/tokens"] == 11).all()
    got, _ = generated("greedy", edits={"layers.1": lambda x: x + 9 * np.arange(x.shape[-1])})
    assert not np.array_equal(got.sequences, want)
    got, _ = generated("beams", edits={"logits": plus})
    assert (got.sequences[:, 5:] == 11).all()


def test_an_edit_of_one_step_holds_in_that_step_alone() -> None:
    want, without = generated("greedy")
    got, trace = generated("greedy", edits={"step.1/logits": plus})
    assert np.array_equal(got.sequences[:, 5], want.sequences[:, 5])
    assert (got.sequences[:, 6] == 11).all()
    same(trace.select("step.0/*"), without.select("step.0/*"))
    assert [bool((trace[f"step.{step}/logits"] > 1e5).any()) for step in range(STEPS)] == [False, True, False, False]


def test_what_the_processors_are_given_and_return_and_the_tokens_can_be_edited() -> None:
    got, trace = generated("processors", edits={"processors.0.*.before": plus})
    assert trace["step.0/processors.0.RepetitionPenalty.after"][0, 11] > 1e5
    assert not (trace["step.0/logits"] > 1e5).any()
    got, _ = generated("processors", edits={"step.0/processors.2.*.after": plus})
    assert (got.sequences[:, 5] == 11).all()
    got, trace = generated("greedy", edits={"step.2/tokens": lambda x: 0 * x + 13})
    assert got.sequences[:, 7].tolist() == [13, 13] == trace["step.2/tokens"].tolist()
    want = model()(got.sequences[:, :8]).logits[:, -1].argmax(axis=-1)
    assert np.array_equal(got.sequences[:, 8], want), "the next step continues from the edited token"


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("token", [-1, V])
def test_a_token_that_is_no_id_cannot_be_put_in(step: int, token: int) -> None:
    with pytest.raises(InputError, match=rf"edited tokens must lie in \[0, {V}\); found {token}"):
        generated("greedy", edits={f"step.{step}/tokens": lambda x: 0 * x + token})


def test_ablating_in_a_generation_is_ablating_in_each_pass() -> None:
    pairs = [*np.ndindex(L, H)][::2]
    out, trace = generated("no cache", ablate=pairs, attention_mask=None)
    for step in range(STEPS):
        want = traced(model(), out.sequences[:, : 5 + step], ablate=pairs)
        assert np.array_equal(trace[f"step.{step}/layer_norm"], want["layer_norm"])
    assert not np.array_equal(trace["step.0/layer_norm"], traced(model(), ids())["layer_norm"])


UNREACHED: dict[str, tuple[str, dict[str, Any]]] = {
    "a typo": ("greedy", {"logitz": plus}),
    "a step too many": ("greedy", {f"step.{STEPS}/logits": plus}),
    "no such processor": ("greedy", {"processors.0.*.before": plus}),
    "one of two": ("greedy", {"logits": plus, "step.1/layers.2": plus}),
    "tokens of beams": ("beams", {"tokens": lambda x: x}),
    "origins": ("beams", {"origins": lambda x: x}),
}


@pytest.mark.parametrize("case", UNREACHED)
def test_an_edit_that_no_step_reaches_is_an_error(case: str) -> None:
    way, edits = UNREACHED[case]
    with pytest.raises(
        InputError, match="every edit or patch must match an editable array; found none called"
    ) as error:
        generated(way, edits=edits)
    assert "\n" not in str(error.value)
    assert not any(f"nearest: {name}" in str(error.value) for name in edits), "only editable arrays are suggested"


def test_logits_that_an_edit_corrupts_are_an_error() -> None:
    with pytest.raises(InputError, match="logits must be finite to choose a token; found NaN or infinity"):
        generated("greedy", edits={"layers.0": lambda x: x * np.nan})
    with pytest.raises(InputError, match=r"an edit of step.0/logits must return an array of numpy, shape \(2, 67\)"):
        generated("greedy", edits={"logits": lambda x: x[:1]})
