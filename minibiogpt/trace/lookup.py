"""``trace[name]`` for a name that is not a key: a name of another tool, or an error that says what there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array
from minibiogpt.catalog.names import STEP, checked_name
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, listed, short_repr
from minibiogpt.trace.patterns import DERIVED, Pattern, comparable, warn_of_differences


class UnknownNameError(InputError, KeyError):
    """Raised for ``trace[name]`` without such an array: an InputError, and the KeyError of a dictionary."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError shows the repr


@dataclass(frozen=True)
class Held:
    """The arrays that a trace holds, and the call that made them; the attributes are those of Trace."""

    arrays: Mapping[str, Array]
    config: BioGptConfig | None
    head: str
    inputs: Mapping[str, str]

    def lookup(self, name: Any) -> Array:
        """Return the array that a name of another tool means.

        Raises
        ------
        UnknownNameError
            If there is none, or the name is refused.
        """
        try:
            pattern = Pattern(checked_name(name))
        except InputError as error:
            raise UnknownNameError(error.must, error.found, error.remedy) from None
        if pattern.meant not in self.arrays:
            raise self._error(pattern)
        warn_of_differences([pattern], stacklevel=4)
        return self.arrays[pattern.meant]

    def names(self) -> dict[str, None]:
        """Return the names held, and all others that such a call of the model can record."""
        known = dict.fromkeys(self.arrays)
        if self.config is not None and self.head:
            from minibiogpt.catalog.steps import steps

            plain = [step.name for step in steps(self.config, self.head, {**self.inputs, "labels": "int64"})]
            plain += ["tokens", "origins"] if self.head == "generate" else []
            before = {found[0]: None for key in known if (found := STEP.match(key))} or {"": None}
            known |= dict.fromkeys(step + name for step in before for name in plain)
        return known

    def _error(self, pattern: Pattern) -> UnknownNameError:
        text = short_repr(pattern.text) + (f", here {pattern.meant}" if pattern.meant != pattern.text else "")
        holds = f"only {listed(self.arrays, 3)}"
        if pattern.meant.endswith(DERIVED):
            remedy = "compute it with minibiogpt.lens.head_out(model, trace, layer)"
            return UnknownNameError("a name must be an array that a trace records", text, remedy)
        if not self.arrays:
            return UnknownNameError(f"the trace must hold {text}", "no array", "fill it: model(ids, trace=trace)")
        known = self.names()
        if pattern.meant in known:
            remedy = "pass labels" if pattern.meant == "loss" else "record it: Trace() records all names"
            return UnknownNameError(f"the trace must hold {text}", holds, remedy)
        within = [key for key in self.arrays if key.endswith(f"/{pattern.meant}")]
        if within:
            remedy = f"write one of {listed(within, 3)}"
            return UnknownNameError("a name in the trace of generate must start with step.{n}/", text, remedy)
        if "*" in pattern.text or "{" in pattern.text:
            return UnknownNameError("trace[...] must have one name", text, "select several: trace.select(...)")
        from minibiogpt.catalog.similar import suggestion

        first = STEP.match(next(iter(self.arrays)))
        missed = pattern.meant if STEP.match(pattern.meant) or not first else first[0] + pattern.meant
        hint = suggestion(missed, comparable(missed, list(known)))
        return UnknownNameError("the name must be that of an array of this call", text, hint or f"it has {holds}")
