"""Recompute the arrays of a candidate: each from the candidate's own sources, by the catalogue's equation or otherwise.

A ``Pass`` is a short forward of its own, evaluated on request. Where the candidate has an array, the arrays after it
are computed from the candidate's, so that an error shows only where it is made. Where it has none, it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np

from minibiogpt.catalog.evaluate import evaluate
from minibiogpt.catalog.names import LAYER, kind_of_source, template_of
from minibiogpt.catalog.steps import Step, steps_of_call
from minibiogpt.config import BioGptConfig
from minibiogpt.golden.check.calls import inputs_of_call
from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.diagnosis.ways.conditions import CONDITIONS
from minibiogpt.golden.diagnosis.ways.precision import reduced
from minibiogpt.golden.diagnosis.weights import Weights
from minibiogpt.golden.format.case import INPUT, Case

KEPT_BYTES = 1 << 20  # of an array of the candidate that stays in memory; a larger one is read again
Site = tuple[str, int | None]  # template of a step, and its layer
Knobs = Mapping[str, Any]  # how a step is done otherwise: {"eps": 1e-12}
Changes = Mapping[Site, Knobs]
Way = Callable[..., np.ndarray]  # (at, **knobs) -> array


class CannotComputeError(ValueError):
    """An array cannot be computed: a source is missing, or shapes do not fit."""


def site_of(name: str) -> Site:
    """Return the template and the layer of an array's name.

    Examples
    --------
    >>> site_of("step.1/layers.2.fc1"), site_of("logits")
    (('layers.{l}.fc1', 2), ('logits', None))
    """
    found = LAYER.search(name)
    return template_of(name), int(found[1]) if found else None


@dataclass
class Known:
    """An array that the candidate has.

    Attributes
    ----------
    read : function that returns it in the case's shape, float64 or int64; in its own shape if it has another size.
    precision : the precision it is judged by; "exact" for integers.
    budgets : {precision: largest error that rounding explains}; None where there is none.
    largest : the largest absolute value of the case's array.
    keep : False where nothing is compared, broadcastable; None if all is.
    """

    read: Callable[[], np.ndarray]
    precision: str
    budgets: Mapping[str, float | None]
    largest: float
    keep: np.ndarray | None = None
    _value: np.ndarray | None = field(default=None, repr=False)

    @property
    def value(self) -> np.ndarray:
        if self._value is not None:
            return self._value
        found = self.read()
        if found.nbytes <= KEPT_BYTES:
            self._value = found
        return found

    @property
    def budget(self) -> float | None:
        return 0.0 if self.precision == "exact" else self.budgets.get(self.precision)


@dataclass(frozen=True)
class Call:
    """One call of a case: its steps and inputs; ``prefix`` is "" or "step.{n}/"."""

    number: int
    prefix: str
    config: BioGptConfig
    steps: dict[str, Step]
    inputs: dict[str, np.ndarray]
    letters: dict[str, int]


class CaseRun:
    """A case, the candidate's arrays for it, and the weights.

    Attributes
    ----------
    steps : {full name: (call, step)} of every array of all calls, in the order of execution.
    known : {full name: Known}. forgotten : those that are no longer known.
    agreeing : the names of the candidate's arrays that agree with the case.
    widened : whether they hold float32 numbers in float64, and are judged as float32.
    """

    def __init__(
        self,
        name: str,
        case: Case,
        known: Mapping[str, Known],
        weights: Weights,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """``inputs`` are those that the candidate ran on, where they are not the case's: {full name: array}."""
        self.other_inputs = dict(inputs or {})
        self.agreeing, self.forgotten, self.widened = set[str](), dict[str, Known](), False
        self.name, self.case, self.weights, self.known = name, case, weights, dict(known)
        self.config = BioGptConfig.from_dict(case.config)
        self.calls = self._calls()
        self.steps = {full: (call, step) for call in self.calls for full, step in call.steps.items()}
        self.known = {full: self.known[full] for full in self.steps if full in self.known}
        self.order = {full: i for i, full in enumerate(self.steps)}

    def _calls(self) -> list[Call]:
        names = [entry.name for entry in self.case.entries] + self.case.input_names
        prefixes = sorted({_prefix_of(name) for name in names}, key=lambda p: int(p[5:-1]) if p else 0)
        found: list[Call] = []
        past = 0
        for n, prefix in enumerate(prefixes):
            facts = inputs_of_call(self.case, prefix)
            inputs = {x: self._input(f"{prefix}{INPUT}{x}") for x in facts if x != "past_key_values"}
            head = self.case.architecture
            full = steps_of_call(prefix, self.config, head, facts)
            letters = _letters(self.config, inputs, past)
            past = letters["S"]
            found.append(Call(n, prefix, self.config, full, inputs, letters))
        return found

    def _input(self, name: str) -> np.ndarray:
        return self.other_inputs[name] if name in self.other_inputs else self.case.array(name)

    @cached_property
    def spans(self) -> dict[str, tuple[str, ...]]:
        """{known array: the steps computed between the nearest known arrays and it, itself included}."""
        return {name: self._span(name) for name in self.known}

    def sources_of(self, span: Iterable[str]) -> set[str]:
        """Return the arrays that the steps of a span are computed from."""
        return {source for name in span for source in self.steps[name][1].sources}

    def forget(self, names: Iterable[str]) -> None:
        """Treat arrays as such that the candidate does not have."""
        self.forgotten |= {name: self.known.pop(name) for name in names}
        self.__dict__.pop("spans", None)

    def _span(self, name: str) -> tuple[str, ...]:
        found, waiting = {name}, [name]
        while waiting:
            _, step = self.steps[waiting.pop()]
            for source in step.sources:
                if source in self.steps and source not in self.known and source not in found:
                    found.add(source)
                    waiting.append(source)
        return tuple(sorted(found, key=self.order.__getitem__))


def _prefix_of(name: str) -> str:
    return name.partition("/")[0] + "/" if name.startswith("step.") else ""


def _letters(config: BioGptConfig, inputs: Mapping[str, np.ndarray], past: int) -> dict[str, int]:
    tokens = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"]
    B, T = tokens.shape[:2]
    D, H = config.hidden_size, config.num_attention_heads
    found = {"B": B, "T": T, "S": past + T, "D": D, "H": H, "Dh": D // H, "F": config.intermediate_size}
    found |= {"V": config.vocab_size, "L": config.num_hidden_layers, "N": config.max_position_embeddings}
    return found | {"labels": config.num_labels}


class Pass:
    """The arrays of a case, computed on request with some steps done otherwise."""

    def __init__(self, run: CaseRun, changes: Changes, ways: Mapping[str, Way], precision: str | None = None) -> None:
        """With ``precision``, each computed array is rounded to it, to see what rounding does."""
        self.run, self.changes, self.ways, self.precision = run, changes, ways, precision
        self.computed: dict[str, np.ndarray] = {}
        self._busy: set[str] = set()

    def value(self, name: str) -> np.ndarray:
        """Return the candidate's array, or the computed one if it has none."""
        known = self.run.known.get(name)
        return self.predicted(name) if known is None else known.value

    def knobs_at(self, at: At) -> dict[str, Any]:
        """Return how a step is done otherwise in its call; empty if it is not."""
        knobs = dict(self.changes.get(at.site, {}))
        when = knobs.pop("when", None)
        if at.template == "logits":  # pooled or not, they have ways of their own
            knobs = {key: value for key, value in knobs.items() if key in AFTER or self._takes(at.family, key)}
        return knobs if when is None or CONDITIONS[when](at) else {}

    def _takes(self, family: str, knob: str) -> bool:
        return family in self.ways and knob in signature(self.ways[family]).parameters

    def predicted(self, name: str) -> np.ndarray:
        """Return the array computed from its sources.

        Raises
        ------
        CannotComputeError
            If a source is missing, or the shapes do not fit.
        """
        if name in self.computed:
            return self.computed[name]
        if name in self._busy or name not in self.run.steps:
            raise CannotComputeError(name)
        self._busy.add(name)
        call, step = self.run.steps[name]
        at = At(self, call, step)
        knobs = self.knobs_at(at)
        try:
            with np.errstate(all="ignore"):
                after = {key: knobs.pop(key) for key in AFTER if key in knobs}
                way = self.ways.get(at.family) if knobs else None
                if knobs and way is None:
                    raise CannotComputeError(f"{name} with {sorted(knobs)}")
                x = way(at, **knobs) if way else evaluate(step, at.symbols(), call.letters)
                for key, value in after.items():
                    x = AFTER[key](at, x, value)
        except (ValueError, IndexError, KeyError, TypeError, MemoryError) as error:
            raise CannotComputeError(f"{name}: {error}") from None
        finally:
            self._busy.discard(name)
        if self.precision is not None and x.dtype.kind == "f":
            x = np.where(x == LOWEST, x, reduced(x, self.precision))
        self.computed[name] = x
        return x


class At:
    """One step of a pass: its symbols, and everything else that a way of doing it may read."""

    def __init__(self, within: Pass, call: Call, step: Step) -> None:
        self.within, self.call, self.step = within, call, step
        self.site = site_of(step.name)
        self.template, self.layer = self.site
        self.letters, self.config = call.letters, call.config

    @property
    def family(self) -> str:
        """The kind of step: its template, and for logits whether they are pooled."""
        pooled = self.template == "logits" and self.step.axes == "B labels"
        return "pooled" if pooled else self.template

    def __getitem__(self, symbol: str) -> np.ndarray:
        return self.source(self.step.where[symbol])

    def source(self, source: str) -> np.ndarray:
        """Return the array, parameter or input of this full name."""
        kind = kind_of_source(source)
        if kind == "parameter":
            return self.within.run.weights[source]
        if kind == "input":
            return self.call.inputs[source.rpartition(INPUT)[2]]
        return self.within.value(source)

    def symbols(self) -> dict[str, Any]:
        return {symbol: self.source(source) for symbol, source in self.step.where.items()}

    def name(self, template: str) -> str:
        """Return the full name of an array of the same call; {l} is this layer, {x} the input of the layer."""
        if template == "{x}":
            template = f"layers.{self.layer - 1}" if self.layer else "embeddings"
        return self.call.prefix + template.replace("{l}", str(self.layer))

    def array(self, template: str | tuple[str, ...]) -> np.ndarray:
        """Return an array of the same call, or the sum of several."""
        if isinstance(template, tuple):
            return np.sum([self.array(one) for one in template], axis=0)
        return self.within.value(self.name(template))

    def weight(self, name: str) -> np.ndarray:
        """Return a parameter; {l} is this layer, {reverse} counts from the last, {after} and {before} are beside."""
        if self.layer is not None:
            L, layer = self.config.num_hidden_layers, self.layer
            others = {"l": layer, "reverse": L - 1 - layer, "after": (layer + 1) % L, "before": (layer - 1) % L}
            for word, number in others.items():
                name = name.replace(f"{{{word}}}", str(number))
        return self.within.run.weights[name]

    def input(self, name: str) -> np.ndarray | None:
        return self.call.inputs.get(name)

    def mask(self) -> np.ndarray:
        """Return the attention mask, (B, S); ones if there is none."""
        mask = self.input("attention_mask")
        return np.ones((self.letters["B"], self.letters["S"]), np.int64) if mask is None else mask


def _held(at: At, x: np.ndarray, precision: str) -> np.ndarray:
    return np.where(x == LOWEST, x, reduced(x, precision))


AFTER: dict[str, Callable[[At, np.ndarray, Any], np.ndarray]] = {
    "factor": lambda at, x, factor: x * factor,
    "columns": lambda at, x, order: x[..., list(order)],
    "rows": lambda at, x, order: x[list(order)],
    "kept": lambda at, x, kept: x * kept,
    "held": _held,
}
"""Changes of any step's result, by the name of their knob."""
