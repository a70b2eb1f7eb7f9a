"""Names wherever one is taken: those of other tools select the same arrays, and nonsense is one clear line."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import InputError, Trace
from minibiogpt.trace.patterns import patterns_of
from tests.support.small import D, H, ids, model, same, traced

BIG = 10**5000
SAME_AXES = {
    "blocks.{0..1}.attn.hook_pattern": "layers.{0..1}.self_attn.probs",
    "blocks.*.attn.hook_pattern": "layers.*.self_attn.probs",
    "blocks.*.hook_resid_post": "layers.{0..1}",
    "blocks.{0..1}.hook_resid_pre": "{embeddings,layers.0}",
    "blocks.1.mlp.*": "layers.1.{fc1,activation_fn}",
    "hidden_states.*": "{embeddings,layers.0,layers.1}",
    "hidden_states[1]": "layers.0",
    "attentions[*]": "layers.*.self_attn.weights",
    "l_out-*": "layers.{0..1}",
    "KQ_soft_max-{0,1}": "layers.*.self_attn.probs",
    "biogpt.layers.*.fc1": "layers.*.fc1",
    "model.biogpt.layers.{0..1}.fc1": "layers.*.fc1",
    "layers.*.self_attn": "layers.*.self_attn.out_proj",
    "output_projection": "logits",
    "{logits,blocks.0.hook_mlp_out}": "{layers.0.fc2,logits}",
}
OTHER_AXES = {"blocks.*.attn.hook_q": "layers.*.self_attn.q", "blocks.1.attn.hook_z": "layers.1.self_attn.context"}


@pytest.mark.parametrize(("theirs", "ours"), SAME_AXES.items())
def test_a_name_of_another_tool_selects_the_same_arrays(theirs: str, ours: str) -> None:
    want = traced(model(), ids(), names=ours)
    same(traced(model(), ids(), names=theirs), want)
    same(traced(model(attention="auto"), ids(), names=theirs), traced(model(attention="auto"), ids(), names=ours))
    whole = traced(model(), ids())
    same(whole.select(theirs), want)
    got = Trace()
    model()(ids(), trace=got, edits={theirs: lambda x: 0 * x})
    assert [name for name in want if not got[name].any()] == list(want)


@pytest.mark.parametrize(("theirs", "ours"), OTHER_AXES.items())
def test_other_axes_are_a_warning_once_and_no_edit(theirs: str, ours: str) -> None:
    want = traced(model(), ids(), names=ours)
    with pytest.warns(
        UserWarning, match=r"is layers.\d.self_attn.\w+ here, with the axes .* instead of \(B, T, H, Dh\)"
    ) as w:
        trace = Trace(theirs)
    assert len(w) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model()(ids(), trace=trace)
    same(trace, want)
    with pytest.raises(
        InputError, match="an edit must name an array with the axes it has here; found .*; edit it by our"
    ):
        model()(ids(), edits={theirs: lambda x: x})
    with pytest.raises(InputError, match="an edit must name an array with the axes it has here"):
        model()(ids(), patch_from={theirs.replace("*", "0"): np.zeros((2, 5, H, D // H))})


def test_names_of_other_tools_in_a_generation() -> None:
    got, want = Trace(["blocks.*.hook_mlp_out", "step.1/l_out-0"]), Trace(["layers.*.fc2", "step.1/layers.0"])
    for trace in (got, want):
        model().generate(ids(), max_new_tokens=2, eos_token_id=None, trace=trace)
    same(got, want)
    assert "step.1/layers.0" in got
    assert "step.0/layers.0" not in got


def test_a_key_of_the_trace_wins_over_every_other_meaning() -> None:
    trace = traced(model(), ids())
    trace["l_out-0"] = np.ones(3)
    assert trace["l_out-0"].tolist() == [1, 1, 1]
    assert trace["l_out-1"] is trace["layers.1"]


def test_a_trace_is_looked_up_by_names_of_other_tools() -> None:
    trace = traced(model(), ids())
    assert trace["blocks.1.hook_mlp_out"] is trace[np.str_("layers.1.fc2")]
    assert "blocks.1.hook_mlp_out" not in trace
    assert trace.get("blocks.1.hook_mlp_out") is None
    with pytest.warns(UserWarning, match="with the axes"):
        assert trace["blocks.1.attn.hook_q"] is trace["layers.1.self_attn.q"]


LOOKUPS: dict[Any, str] = {
    "layers.0.self_attn.probz": "nearest: layers.0.self_attn.probs, ",
    "layers.99.fc1": "nearest: layers.1.fc1, .*; the layers are 0 to 1",
    "layers.0.atention": "nearest: layers.0.self_attn.q_proj, ",
    "layers.0.fc1": "the trace must hold 'layers.0.fc1'; found only logits; record it: Trace",
    "blocks.0.hook_mlp_out": "the trace must hold 'blocks.0.hook_mlp_out', here layers.0.fc2; found only logits; ",
    "blocks.0.attn.hook_result": "compute head_out with minibiogpt.lens.head_out",
    "blocks.0.ln1.hook_normalized": "holds the norm before its gain",
    "loss": "the trace must hold 'loss'; found only logits; pass labels",
    "layers.*.fc1": "must have one name; .*trace.select",
    "step.0/logits": "nearest: logits",
    "": "found ''",
    "tokens": "found 'tokens'; only a generate call has one$",
    "processors.0.Temperature.before": "; only a generate call has one$",
    "layers.0.self_attn.probs": "found only logits; record it: .* need attn_implementation 'auto' or 'eager'$",
    ("pattern", 1): r'one name; found \(.pattern., 1\); write trace\["blocks.1.attn.hook_pattern"\]$',
    ("resid_pre", 1, "x"): r'write trace\["blocks.1.hook_resid_pre"\]$',
    ("nothing", 1): "write the name in full",
    ("logits", "layers.0"): r"must have one name; found .*; select several: trace.select\(",
    5: "a name or pattern must be a string; found 5; pass names such as",
    BIG: "found an integer with thousands of digits",
    None: "must be a string; found None",
    b"logits": "must be a string; found b'logits'",
    (): r"found \(\)",
    "x" * 1_000_000: "at most 10,000 characters; found 1,000,000",
}


@pytest.mark.parametrize(("name", "message"), LOOKUPS.items(), ids=lambda x: str(x)[:30] if x is not BIG else "big")
def test_a_failed_lookup_is_a_key_error_with_advice(name: Any, message: str) -> None:
    trace = traced(model(), ids(), names="logits")
    with pytest.raises(KeyError, match=message) as error:
        trace[name]
    assert isinstance(error.value, InputError)
    assert "\n" not in str(error.value)
    assert not str(error.value).startswith(("'", '"')), "the message itself, not its repr"
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_unhashable_names_and_empty_traces() -> None:
    for name in ([], {}, {1}, np.array([1])):
        with pytest.raises(InputError, match="a name or pattern must be a string"):
            traced(model(), ids(), names="logits")[name]
    with pytest.raises(KeyError, match="the trace must hold 'logits'; found no array; fill it"):
        Trace()["logits"]


def test_a_lookup_in_a_generation_says_which_steps() -> None:
    trace = Trace("logits")
    model().generate(ids(), max_new_tokens=2, eos_token_id=None, trace=trace)
    with pytest.raises(
        KeyError, match=r"must start with step.{n}/; found 'logits'; write one of step.0/logits, step.1/logits"
    ):
        trace["logits"]
    with pytest.raises(KeyError, match="nearest: step.1/layers.0.fc1, "):
        trace["step.1/layers.0.fcc1"]
    with pytest.raises(KeyError, match="nearest: step.0/layers.0.fc1, "):
        trace["layers.0.fcc1"]
    with pytest.raises(KeyError, match="found 'step.7/logits'; nearest: step.1/logits, .*; the steps are 0 to 1$"):
        trace["step.7/logits"]
    with pytest.raises(KeyError, match="the trace must hold 'step.0/origins'; .*; only beam search has them"):
        trace["step.0/origins"]
    with pytest.raises(InputError, match=r"'step.7/\*' \(the steps are 0 to 1\); correct the name$"):
        trace.select("step.7/*")


def test_select_says_how_to_record_what_the_trace_lacks() -> None:
    few = traced(model(), ids(), names="logits")
    for name in ("layers.0.fc1", "layers.*.fc1", "blocks.0.mlp.hook_pre"):
        with pytest.raises(
            InputError, match=r"none called .*; it has only logits; record it: Trace\(\) records all names$"
        ):
            few.select("logits", name)
    with pytest.raises(InputError, match="need attn_implementation 'auto' or 'eager'$"):
        traced(model(attention="blocked"), ids()).select("*.probs")
    with pytest.raises(InputError, match="holds; found no array; fill the trace"):
        Trace().select("logits")
    with pytest.raises(InputError, match=r"names one by one; found \['logits'\]; put a \* before the list"):
        few.select(["logits"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        ("layers.0.self_attn.probs", "arrays inside attention need attn_implementation 'auto' or 'eager'"),
        ("blocks.*.attn.hook_pattern", "arrays inside attention need attn_implementation 'auto' or 'eager'"),
        ("*.head_out", r"compute head_out with minibiogpt.lens.head_out\(model, trace, layer\)"),
        ("blocks.*.attn.hook_result", r"compute head_out with minibiogpt.lens.head_out\(model, trace, layer\)"),
        ("loss", "the loss needs labels"),
        ("score", "only a sequence classifier has one; those of attention are layers.{l}.self_attn.scores"),
        ("tokens", "only a generate call has one"),
        ("processors.*", "only a generate call has one"),
    ],
)
def test_a_right_name_is_not_to_be_corrected(names: str, remedy: str) -> None:
    with pytest.raises(InputError, match=rf"found none called '{re.escape(names)}'; {remedy}$"):
        model(attention="blocked")(ids(), trace=Trace(names))


def test_a_right_name_in_a_generation_is_not_to_be_corrected() -> None:
    for names, remedy in {
        "loss": "generate computes no loss",
        "origins": "only beam search has one",
        "processors.*": "this generate call has no logits processors",
    }.items():
        with pytest.raises(InputError, match=rf"found none called '{re.escape(names)}'; {remedy}$"):
            model().generate(ids(), max_new_tokens=1, trace=Trace(names))
    with pytest.raises(InputError, match="none called 'origins'; it can be recorded, but not replaced$"):
        model().generate(ids(), max_new_tokens=2, num_beams=2, edits={"origins": abs})
    with pytest.raises(InputError, match="none called 'logits'; only a model with a head computes it$"):
        model().biogpt(ids(), trace=Trace("logits"))


def test_every_entry_of_a_list_must_match_but_a_range_may_go_too_far() -> None:
    trace = traced(model(), ids())
    assert len(trace.select("layers.{0..9}.{fc1,fc2}")) == 4
    for call in (
        lambda name: trace.select(name),
        lambda name: model()(ids(), trace=Trace(name)),
        lambda name: model()(ids(), edits={name: np.zeros_like}),
    ):
        with pytest.raises(InputError, match=r"none called 'layers.\*.fc3' \(nearest: layers.\*.fc1, "):
            call("layers.*.{fc1,fc3}")
    with pytest.raises(InputError, match=r"none called 'layers.\*.self_attn.probs'; arrays inside attention need"):
        model(attention="blocked")(ids(), trace=Trace("layers.*.self_attn.{q,probs}"))
    steps = Trace("step.{0..5}/{logits,tokens}")
    model().generate(ids(), max_new_tokens=2, eos_token_id=None, trace=steps)
    assert list(steps) == ["step.0/logits", "step.0/tokens", "step.1/logits", "step.1/tokens"]


def test_an_attribute_that_a_trace_lacks_says_what_to_write() -> None:
    trace = traced(model(), ids())
    for name, advice in {
        "logits": r'write trace\["logits"\]',
        "stack_head_results": "write minibiogpt.lens.head_out",
        "selct": "did you mean select",
        "quux": "see its documentation",
    }.items():
        with pytest.raises(AttributeError, match=f"Trace has no attribute '{name}'; {advice}"):
            getattr(trace, name)
        assert not hasattr(Trace(), name)


def test_a_trace_is_still_a_dictionary() -> None:
    trace = traced(model(), ids())
    for other in (copy.copy(trace), copy.deepcopy(trace), pickle.loads(pickle.dumps(trace)), dict(trace), {**trace}):
        same(other, trace)
        assert getattr(other, "letters", trace.letters) == trace.letters
    assert trace.pop("nothing", 5) == 5
    assert trace.setdefault("own", trace["logits"]) is trace["logits"]


@pytest.mark.parametrize("attention", ["auto", "blocked"])
def test_what_the_call_did_not_make_is_suggested_too(attention: str) -> None:
    one = model(attention=attention)
    for where in ({"trace": Trace("layers.0.self_attn.probz")}, {"edits": {"layers.0.self_attn.probz": abs}}):
        with pytest.raises(InputError, match=r"'layers.0.self_attn.probz' \(nearest: layers.0.self_attn.probs, "):
            one(ids(), **where)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layers.9.fc1", r"'layers.9.fc1' \(nearest: layers.1.fc1, .*; the layers are 0 to 1\)"),
        ("l_out-9", r"'l_out-9' \(here layers.9; nearest: layers.1, .*; the layers are 0 to 1\)"),
        ("layers.*.self_atn.*", r"\(nearest: layers.\*.self_attn.\*, "),
        ("layers.0.self_attn.head_out", "; (compute head_out with minibiogpt.lens.head_out.*|edit context, .*)$"),
        ("blocks.*.ln1.hook_normalized", "holds the norm before its gain"),
        ("*" * 20_000, "at most 10,000 characters"),
        ("{0..9999}*", "at most 1,000 patterns with a"),
        ("{0..999999999}", "at most 10,000 names"),
        ("{a," * 2000 + "}" * 2000, "at most 10,000 names"),
        ("{..}", r"none called '{..}'; correct"),
        ("[", r"none called '\['"),
        ("layers.٣.fc1", "nearest: layers"),
        ("\ud800\n", "none called '.ud800.n'"),
    ],
)
@pytest.mark.parametrize("where", ["names", "edits", "select"])
def test_a_wrong_pattern_is_one_line_everywhere(where: str, name: str, message: str) -> None:
    calls: dict[str, Any] = {
        "names": lambda: traced(model(), ids(), names=name),
        "edits": lambda: model()(ids(), edits={name: abs}),
        "select": lambda: traced(model(), ids()).select(name),
    }
    with pytest.raises(InputError, match=message) as error:
        calls[where]()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "value",
    [5, BIG, 1.5, True, b"logits", bytearray(b"x"), Path("x"), np.array(1), object(), [None], [BIG], [b"x"], [[]]],
    ids=lambda value: "big" if value is BIG or value == [BIG] else type(value).__name__,
)  # fmt: skip
def test_what_is_no_name_is_one_line(value: Any) -> None:
    for call in (
        lambda: Trace(value),
        lambda: traced(model(), ids()).select(value),
        lambda: traced(model(), ids()).explain(value),
    ):
        with pytest.raises(InputError, match="must be a") as error:
            call()
        assert "\n" not in str(error.value)


def test_strings_of_numpy_and_any_collection_of_names() -> None:
    want = traced(model(), ids(), names=["logits", "layers.0"])
    for names in ({"logits", "layers.0"}, dict.fromkeys(["logits", "layers.0"]), np.array(["logits", "layers.0"]),
                  [np.str_("logits"), "layers.0"], want):  # fmt: skip
        same(traced(model(), ids(), names=names), want)
    assert all(type(text) is str for text in Trace(np.array(["logits"])).names or ())
    assert [pattern.text for pattern in patterns_of(np.array("logits"))] == ["logits"]
    with pytest.raises(InputError, match="at most 100,000 names; found more"):
        patterns_of("x" for _ in iter(int, 1))


def test_an_npz_of_a_trace_is_read_by_numpy(tmp_path: Path) -> None:
    trace = Trace()
    model().generate(ids(), max_new_tokens=2, eos_token_id=None, trace=trace)
    trace.save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as back:
        same(dict(back), trace)
    with pytest.raises(InputError, match="must read a safetensors file; found .*t.npz; read it with numpy.load"):
        Trace.load(tmp_path / "t.npz")
    with pytest.raises(
        InputError, match="the file of a trace must end in .safetensors or .npz; found '.pt'; write t.safe"
    ):
        trace.save(tmp_path / "t.pt")
    for path in (None, 5, b"x", ""):
        with pytest.raises(InputError, match="the file of a trace must be a path"):
            trace.save(path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the file of a trace must be a path"):
        Trace.load(5)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["t.npz"]
