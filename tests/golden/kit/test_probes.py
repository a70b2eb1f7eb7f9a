"""Each probe shows the mistakes it claims to show: planted here, each changes an array by ten times the budgets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import Trace
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.rounding import run_calls
from minibiogpt.golden.kit.inputs import Call
from minibiogpt.golden.kit.limits import NO_LIMITS, Limits
from minibiogpt.golden.kit.models import CHECKPOINTS
from minibiogpt.golden.kit.probes import probes
from minibiogpt.golden.kit.writer import write_kit
from minibiogpt.model.layers import LayerNorm
from minibiogpt.model.ops import softmax
from minibiogpt.trace import Recorder

LOWEST = np.finfo(np.float64).min
Change = Callable[[str, np.ndarray, dict[str, np.ndarray]], np.ndarray]  # (name, array, earlier arrays) -> array
Planted = tuple[Any, list[Call], Change | None]
Mistake = Callable[[Any, list[Call]], Planted]  # (model, calls) -> their replacements, and the change to arrays


class ChangingRecorder(Recorder):
    """A recorder that lets a mistake replace each array."""

    def __init__(self, trace: Trace, change: Change | None) -> None:
        super().__init__(trace)
        self.change, self.before = change, dict[str, np.ndarray]()

    def intercept(self, name: str, x: np.ndarray) -> np.ndarray:
        if self.change is not None:
            x = self.change(name, x, self.before)
        self.before[name] = x
        self.record(name, x)
        return x


def config(**changes: Any) -> Mistake:
    """Use the same weights with a different config."""

    def plant(model: Any, calls: list[Call]) -> Planted:
        weights = {name.removeprefix("biogpt."): x for name, x in model.named_parameters()}
        return type(model)(model.config.changed(**changes), weights), calls, None

    return plant


def weights(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Mistake:
    """Replace some weights."""

    def plant(model: Any, calls: list[Call]) -> Planted:
        known = {name.removeprefix("biogpt."): x for name, x in model.named_parameters()}
        return type(model)(model.config, known | change(known)), calls, None

    return plant


def inputs(change: Callable[[Call], Call]) -> Mistake:
    """Replace inputs of each call; None removes one."""
    return lambda model, calls: (
        model,
        [{key: x for key, x in (call | change(call)).items() if x is not None} for call in calls],
        None,
    )


def arrays(part: str, change: Callable[..., np.ndarray]) -> Mistake:
    """Replace every array of that name, in all layers and steps; ``change(array, neighbors)`` returns the new one."""

    def plant(model: Any, calls: list[Call]) -> Planted:
        def replace(name: str, x: np.ndarray, before: dict[str, np.ndarray]) -> np.ndarray:
            path, _, last = name.rpartition(".")
            if name.partition("/")[2] == part or last == part or name == part:
                step = int(name.removeprefix("step.").partition("/")[0]) if "/" in name else 0
                return change(x, Neighbors(model, calls[step], name, path, before))
            return x

        return model, calls, replace

    return plant


class Neighbors:
    """The context of a planted array: near["scores"] is that array of the same module; also call, model and layer."""

    def __init__(self, model: Any, call: Call, name: str, path: str, before: dict[str, np.ndarray]) -> None:
        self.model, self.call, self.path, self.before = model, call, path, before
        self.layer = int(name.rpartition("layers.")[2].partition(".")[0]) if "layers." in name else -1

    def __getitem__(self, part: str) -> np.ndarray:
        return self.before[f"{self.path}.{part}" if f"{self.path}.{part}" in self.before else part]


KINDS = ("self_attn_layer_norm", "final_layer_norm", "layer_norm")


def norms(change: Callable[..., np.ndarray], kinds: tuple[str, ...] = KINDS) -> Mistake:
    """Use a different equation in every norm of these kinds: ``change(centered row, variance)``."""

    class Norm(LayerNorm):
        def __call__(self, x: np.ndarray) -> np.ndarray:
            centered = x - x.mean(-1, keepdims=True)
            return change(centered, (centered * centered).mean(-1, keepdims=True)) * self.weight + self.bias

    def plant(model: Any, calls: list[Call]) -> Planted:
        for part in (*model.biogpt.layers, model.biogpt):
            for name in kinds:
                if hasattr(part, name):
                    setattr(part, name, Norm(**vars(getattr(part, name))))
        return model, calls, None

    return plant


def unbiased(centered: np.ndarray, variance: np.ndarray) -> np.ndarray:
    D = centered.shape[-1]
    return centered / np.sqrt(variance * D / (D - 1) + 1e-5)


def tiny_eps(centered: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return centered / np.sqrt(variance + 1e-12)


def masked(change: Callable[..., np.ndarray]) -> Mistake:
    """Use different values where scores are masked, computed from the scores; only their effect is compared."""
    return arrays("scores_masked", lambda x, near: np.where(x == LOWEST, change(near["scores"]), x))


def visible(which: Callable[[int, int, Neighbors], np.ndarray]) -> Mistake:
    """Use a different mask: ``which(T, S, neighbors)`` returns which scores are visible."""

    def change(x: np.ndarray, near: Neighbors) -> np.ndarray:
        return np.where(which(*x.shape[2:], near), near["scores"], LOWEST)

    return arrays("scores_masked", change)


def causal(T: int, S: int) -> np.ndarray:
    return np.tri(T, S, S - T, dtype=bool)


def blind(x: np.ndarray, near: Neighbors, put: Any) -> np.ndarray:
    """Put ``put`` into the fully masked rows."""
    return np.where((near["scores_masked"] == LOWEST).all(-1, keepdims=True), put, x)


def uniform_up_to_t(x: np.ndarray, near: Neighbors) -> np.ndarray:
    mask = causal(*x.shape[2:])
    return blind(x, near, mask / mask.sum(-1, keepdims=True))


def without_largest(x: np.ndarray, near: Neighbors) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(near["scores_masked"])
        return e / e.sum(-1, keepdims=True)


def zeroed(x: np.ndarray, near: Neighbors) -> np.ndarray:
    return softmax(near["scores"]) * causal(*x.shape[2:])


def interleaved(x: np.ndarray, near: Neighbors) -> np.ndarray:
    B, H, T, Dh = x.shape
    return near["q_proj"].reshape(B, T, Dh, H).transpose(0, 3, 1, 2)


def head_mask_first(x: np.ndarray, near: Neighbors) -> np.ndarray:
    scores = near["scores"] * near.call["head_mask"][:, None, None]
    return softmax(np.where(near["scores_masked"] == LOWEST, LOWEST, scores))


def residual(x: np.ndarray, near: Neighbors) -> np.ndarray:
    """Return a layer's input, without the norm."""
    return near.before["embeddings" if near.layer == 0 else f"layers.{near.layer - 1}"]


def moved(names: list[str], by: int) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    return lambda known: {name: np.roll(known[name], by, axis=0) for name in names}


def exchanged(*pairs: tuple[str, str]) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    return lambda known: {a: known[b] for pair in pairs for a, b in (pair, pair[::-1])}


def put(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Mistake:
    return weights(lambda known: {name: change(known[name].copy())})


def rows(**replacements: tuple[Any, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Replace rows of a table; each pair is (row, other row as an int, or a float value)."""

    def change(table: np.ndarray) -> np.ndarray:
        for row, by in replacements.values():
            table[row] = table[by] if isinstance(by, int) else by
        return table

    return change


def arange(call: Call, start: int = 0) -> np.ndarray:
    B, T = call["input_ids"].shape
    past = call["attention_mask"].shape[1] - T if "attention_mask" in call else 0
    return np.tile(np.arange(past, past + T), (B, 1)) + start


def from_mask(mask: np.ndarray) -> np.ndarray:
    return np.cumsum(mask, axis=1) * mask - 1


def counted(mask: np.ndarray) -> np.ndarray:
    return (np.arange(mask.shape[1]) < mask.sum(1, keepdims=True)).astype(int)


def nll(logits: np.ndarray, labels: np.ndarray, divisor: int | None = None) -> np.ndarray:
    """Return the mean of -ln p over the labels that aren't -100."""
    p = softmax(logits.reshape(-1, logits.shape[-1]))[np.arange(labels.size), np.maximum(labels.reshape(-1), 0)]
    real = labels.reshape(-1) != -100
    return np.asarray(-np.log(p[real]).sum() / (divisor or real.sum()))


def lm_loss(change: Callable[[np.ndarray, Call], np.ndarray], shift: int = 1, divisor: int | None = None) -> Mistake:
    def loss(x: np.ndarray, near: Neighbors) -> np.ndarray:
        labels = change(near.call["labels"], near.call)[:, shift:]
        return nll(near["logits"][:, : labels.shape[1]], labels, divisor and labels.size)

    return arrays("loss", loss)


def pooled(position: Callable[[Call], Any]) -> Mistake:
    """Use the logits at a different position of each row."""

    def change(x: np.ndarray, near: Neighbors) -> np.ndarray:
        scores = near["score"]
        return scores[np.arange(len(scores)), position(near.call)]

    return arrays("logits", change)


def soft_cross_entropy(x: np.ndarray, near: Neighbors) -> np.ndarray:
    return np.asarray(-(near.call["labels"] * np.log(softmax(near["logits"]))).sum(-1).mean())


ERF = np.vectorize(math.erf)


def gelu(erf: Callable[[np.ndarray], np.ndarray]) -> Mistake:
    """Use a different erf."""
    return arrays("activation_fn", lambda x, near: near["fc1"] * (1 + erf(near["fc1"] / math.sqrt(2))) / 2)


def erf_by_series(x: np.ndarray) -> np.ndarray:
    """Return 40 terms of the power series, which float32 cannot tell from erf up to x = 3."""
    terms = ((-1) ** n * x ** (2 * n + 1) / (math.factorial(n) * (2 * n + 1)) for n in range(40))
    return 2 / math.sqrt(math.pi) * sum(terms)


NORM = "layers.1.final_layer_norm"
QK = [(f"layers.0.self_attn.q_proj.{x}", f"layers.0.self_attn.k_proj.{x}") for x in ("weight", "bias")]
NORMS = [(f"layers.0.self_attn_layer_norm.{x}", f"layers.0.final_layer_norm.{x}") for x in ("weight", "bias")]
E, P = "embed_tokens.weight", "embed_positions.weight"
MISTAKES: dict[str, Mistake] = {
    "erf taken as 1 too early": gelu(lambda x: np.where(np.abs(x) > 2.8, np.sign(x), ERF(x))),
    "erf by a series that ends too early": gelu(erf_by_series),
    "tanh GELU instead of erf": config(hidden_act="gelu_new"),
    "token embeddings not scaled by sqrt(D)": config(scale_embedding=False),
    "embeddings scaled by sqrt(D) anyway": config(scale_embedding=True),
    "position offset 1 instead of 2": weights(moved([P], 1)),
    "scores not divided by sqrt(Dh)": arrays("scores", lambda x, near: x * math.sqrt(near["q"].shape[-1])),
    "no causal mask": visible(lambda T, S, near: np.ones((T, S), dtype=bool)),
    "a token cannot see itself": visible(lambda T, S, near: causal(T, S) & ~np.eye(T, S, S - T, dtype=bool)),
    "variance divided by D - 1": norms(unbiased),
    "gain of a norm left out": put(f"{NORM}.weight", np.ones_like),
    "bias of k_proj left out": put("layers.1.self_attn.k_proj.bias", np.zeros_like),
    "q_proj and k_proj exchanged": weights(exchanged(*QK)),
    "column d belongs to head d mod H": arrays("q", interleaved),
    "the norms of a layer exchanged": weights(exchanged(*NORMS)),
    "norm not before attention": arrays("self_attn_layer_norm", residual),
    "final norm left out": arrays("layer_norm", lambda x, near: near["layers.1"]),
    "logits multiplied by sqrt(D) too": arrays("logits", lambda x, near: x * math.sqrt(near.model.config.hidden_size)),
    "norm eps 1e-12, as the config says": norms(tiny_eps),
    "norm eps 1e-12 in final_layer_norm alone": norms(tiny_eps, ("final_layer_norm",)),
    "norm eps 1e-12 in the last norm alone": norms(tiny_eps, ("layer_norm",)),
    "eps added to the root, not under it": norms(lambda x, variance: x / (np.sqrt(variance) + 1e-5)),
    "hidden scores get -1e4 added": masked(lambda scores: scores - 1e4),
    "hidden scores get -1e9 added": masked(lambda scores: scores.astype(np.float32) - np.float32(1e9)),  # steps of 64
    "softmax without taking the largest away": arrays("probs", without_largest),
    "future zeroed after the softmax": arrays("probs", zeroed),
    "position_ids not honoured": inputs(lambda call: {"position_ids": None}),
    "positions left out": put(P, np.zeros_like),
    "positions multiplied by sqrt(D) too": put(P, lambda table: table * math.sqrt(table.shape[-1])),
    "padding has positions": inputs(lambda call: {"position_ids": arange(call)}),
    "padding not hidden": visible(lambda T, S, near: causal(T, S)),
    "embedding of the pad taken as 0": put(E, rows(pad=(1, 0.0))),
    "mask taken as a number of real tokens": inputs(lambda call: {"attention_mask": counted(call["attention_mask"])}),
    "rows that see nothing are 0": arrays("probs", lambda x, near: blind(x, near, 0.0)),
    "rows that see nothing are NaN": arrays("probs", lambda x, near: blind(x, near, np.nan)),
    "rows that see nothing are uniform up to t": arrays("probs", uniform_up_to_t),
    "mask made from the ids": inputs(lambda call: {"attention_mask": (call["input_ids"] != 1).astype(int)}),
    "positions made from the ids": inputs(lambda call: {"position_ids": from_mask(call["input_ids"] != 1)}),
    "mask of the first row used for all": inputs(
        lambda call: {"attention_mask": np.tile(call["attention_mask"][:1], (len(call["attention_mask"]), 1))}
    ),
    "batch and time exchanged": inputs(
        lambda call: {"input_ids": call["input_ids"].T.reshape(call["input_ids"].shape)}
    ),
    "softmax over the heads, an axis of size 1 being dropped": arrays(
        "probs", lambda x, near: softmax(near["scores"].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    ),
    "positions start at 1": inputs(lambda call: {"position_ids": arange(call, 1)}),
    "position table cut at N rows": put(P, rows(a=(-2, -3), b=(-1, -3))),
    "position -1 taken as 0": put(P, rows(pad=(1, 2))),
    "position -1 taken as the last": put(P, rows(pad=(1, -1))),
    "positions start at 0 again in each call": inputs(lambda call: {"position_ids": arange(call)}),
    "new tokens see those after them": visible(lambda T, S, near: np.ones((T, S), dtype=bool)),
    "causal mask counts from the first key": visible(lambda T, S, near: np.tri(T, S, dtype=bool)),
    "mask of the past forgotten": visible(
        lambda T, S, near: causal(T, S) & ((np.arange(S) < S - T) | (near.call["attention_mask"] == 1)[:, None, None])
    ),
    "head mask not honoured": inputs(lambda call: {"head_mask": None}),
    "head mask (H) taken as one number a layer": arrays(
        "weights", lambda x, near: near["probs"] * near.call["head_mask"][near.layer]
    ),
    "head mask before the softmax": arrays("probs", head_mask_first),
    "head mask of the first layer used for all": inputs(lambda call: {"head_mask": call["head_mask"][0]}),
    "head mask taken as 0 or 1": inputs(lambda call: {"head_mask": (call["head_mask"] != 0) * 1.0}),
    "inputs_embeds scaled again": inputs(
        lambda call: {"inputs_embeds": call["inputs_embeds"] * math.sqrt(call["inputs_embeds"].shape[-1])}
    ),
    "first id taken for <unk>": put(E, rows(first=(0, 3))),
    "last row of the embedding lacking": put(E, rows(last=(-1, -2))),
    "ids off by one": inputs(lambda call: {"input_ids": np.maximum(call["input_ids"] - 1, 0)}),
    "labels not shifted": lm_loss(lambda labels, call: labels, shift=0),
    "loss divided by all positions": lm_loss(lambda labels, call: labels, divisor=1),
    "-100 counted as class 0": lm_loss(lambda labels, call: np.maximum(labels, 0)),
    "ids used as labels": lm_loss(lambda labels, call: call["input_ids"]),
    "head tied to the embedding": arrays(
        "logits", lambda x, near: near["layer_norm"] @ near.model.biogpt.embed_tokens.weight.T
    ),
    "pooled at the last position": pooled(lambda call: -1),
    "pooled at the first position": pooled(lambda call: 0),
    "pooled at the number of tokens - 1": pooled(lambda call: (call["input_ids"] != 1).sum(1) - 1),
    "pooled before the first pad": pooled(lambda call: (call["input_ids"] == 1).argmax(1) - 1),
    "loss summed over the classes": arrays("loss", lambda x, near: x * 5),
    "softmax instead of a sigmoid for each class": arrays("loss", soft_cross_entropy),
    "absolute error instead of its square": arrays(
        "loss", lambda x, near: np.abs(near["logits"][:, 0] - near.call["labels"]).mean()
    ),
    "half of the square": arrays("loss", lambda x, near: x / 2),
    "padding counted in the loss": arrays("loss", lambda x, near: nll(near["logits"], near.call["labels"])),
    "bias of the classifier left out": put("classifier.bias", np.zeros_like),
}
PROBES = probes()
CLAIMS = [(name, words) for name, probe in PROBES.items() for words in probe.exposes]


SEEDS = (0, 7)  # users may choose any seed
# The claims that bfloat16 is too coarse to show: 0.006, 0.66 and 0.001 budgets with seed 0.
TOO_FINE = {
    ("ordinary", "tanh GELU instead of erf"), ("lm_loss", "-100 counted as class 0"),
    ("gelu_range", "erf taken as 1 too early"),
}  # fmt: skip


@dataclass(frozen=True)
class Kit:
    seed: int
    folder: Path
    limits: Limits = NO_LIMITS

    def case(self, name: str) -> Case:
        return Case.read(self.folder / "cases" / f"{name}.safetensors")


@pytest.fixture(scope="module", params=SEEDS)
def kit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("made") / "kit"
    write_kit(folder, seed=request.param)
    return Kit(request.param, folder)


def errors(kit: Kit, name: str, mistake: Mistake | None) -> dict[str, float]:
    """Return {array: largest absolute error} with the mistake planted; masked scores count only by their effect."""
    probe, case = probes(kit.seed, kit.limits)[name], kit.case(name)
    kind, folder = CHECKPOINTS[probe.model].model_class, kit.folder / "models" / probe.model
    loaded: Any = kind.from_pretrained(folder, dtype="float64", attn_implementation="eager")
    calls = [{key: np.asarray(x) for key, x in call.items()} for call in probe.calls]
    model, calls, change = (loaded, calls, None) if mistake is None else mistake(loaded, calls)
    trace = Trace(probe.arrays)
    run_calls(model, calls, ChangingRecorder(trace, change))
    assert [entry.name for entry in case.entries] == list(trace)
    found = {}
    for entry in case.entries:
        reference, x = case.array(entry.name), trace[entry.name]
        assert x.shape == entry.shape, entry.name
        off = np.abs(np.where(reference == LOWEST, 0, x) - np.where(reference == LOWEST, 0, reference))
        found[entry.name] = float(np.where(np.isnan(off), np.inf, off).max())
    return found


def budgets_off(kit: Kit, name: str, found: dict[str, float], precision: str) -> dict[str, float]:
    """Return {array: error in budgets of the precision}; integers, whose budget is 0, are left out."""
    budgets = {entry.name: entry.budgets[precision] for entry in kit.case(name).entries}
    assert None not in budgets.values(), "every precision can represent every case"
    return {key: error / budgets[key] for key, error in found.items() if budgets[key]}  # type: ignore[operator]


def first_shown(kit: Kit, name: str, mistake: Mistake) -> tuple[str | None, float]:
    """Return the first array that differs in float64, and its error in budgets of float64 or float32: the smaller."""
    found = errors(kit, name, mistake)
    double, single = (budgets_off(kit, name, found, precision) for precision in ("float64", "float32"))
    first = next((key for key, times in double.items() if not times <= 1), None)
    return first, 0.0 if first is None else min(double[first], single[first])


def most(kit: Kit, name: str, words: str, precision: str) -> float:
    """Return the largest error of all arrays, in budgets of the precision."""
    return max(budgets_off(kit, name, errors(kit, name, MISTAKES[words]), precision).values())


@pytest.mark.parametrize("name", PROBES)
def test_without_a_mistake_nothing_moves(kit: Kit, name: str) -> None:
    found = errors(kit, name, None)
    assert len(found) >= 4
    assert all(error == 0 for key, error in found.items() if "position_ids" in key)
    assert max(budgets_off(kit, name, found, "float64").values()) <= 1


def test_every_claim_is_planted_and_nothing_else() -> None:
    assert {words for _, words in CLAIMS} == set(MISTAKES)
    assert len(PROBES) >= 20
    assert all(probe.exposes and len(set(probe.exposes)) == len(probe.exposes) for probe in PROBES.values())
    assert set(CLAIMS) > TOO_FINE


@pytest.mark.parametrize(("name", "words"), CLAIMS)
def test_a_probe_shows_what_it_claims_by_ten_budgets(kit: Kit, name: str, words: str) -> None:
    """At the first array that changes at all, in float64 and float32; with seed 0, somewhere in bfloat16 too."""
    found = errors(kit, name, MISTAKES[words])
    double, single = (budgets_off(kit, name, found, precision) for precision in ("float64", "float32"))
    first = next((key for key, times in double.items() if not times <= 1), None)
    assert first is not None, "not noticed"
    assert min(double[first], single[first]) >= 10, f"{first}: {double[first]}, {single[first]}"
    if kit.seed == 0 and (name, words) not in TOO_FINE:
        assert max(budgets_off(kit, name, found, "bfloat16").values()) > 1


@pytest.mark.parametrize("words", ["norm eps 1e-12, as the config says", "eps added to the root, not under it"])
def test_ordinary_rows_hide_the_eps_that_nearly_constant_ones_show(kit: Kit, words: str) -> None:
    for precision in ("bfloat16", "float16"):
        assert most(kit, "ordinary", words, precision) < 1 / 10
        assert most(kit, "nearly_constant", words, precision) > 10


@pytest.mark.parametrize(
    ("words", "plain", "loud"),
    [
        ("hidden scores get -1e4 added", "ordinary", "loud_future"),
        ("hidden scores get -1e9 added", "left_pad", "loud_left_pad"),
    ],
)
def test_small_scores_hide_the_additive_mask_that_loud_ones_show(kit: Kit, words: str, plain: str, loud: str) -> None:
    for precision in ("float64", "float32", "bfloat16", "float16"):
        assert most(kit, plain, words, precision) <= 1, precision
        assert most(kit, loud, words, precision) > 10, precision


def test_ordinary_fc1_hides_the_end_of_an_erf_that_the_whole_range_shows(kit: Kit) -> None:
    """In float64 even an erf that is 1 from 5 on shows; in float32, a series that ends too early."""
    ends_at_5 = gelu(lambda x: np.where(np.abs(x) > 5, np.sign(x), ERF(x)))
    for mistake, precision in ((ends_at_5, "float64"), (gelu(erf_by_series), "float32")):
        within = budgets_off(kit, "ordinary", errors(kit, "ordinary", mistake), precision)
        beyond = budgets_off(kit, "gelu_range", errors(kit, "gelu_range", mistake), precision)
        assert max(within.values()) <= 1 < 10 < max(beyond.values())
    fc1 = kit.case("gelu_range").array("layers.0.fc1") / math.sqrt(2)
    assert np.histogram(fc1, np.linspace(-6, 6, 25))[0].min() > 0, "a value in each half unit"
