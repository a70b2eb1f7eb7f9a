"""``trace[name]`` for a name that is not a key: a name of another tool, or an error that says what there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minibiogpt.backend import Array
from minibiogpt.catalog.names import STEP, checked_name
from minibiogpt.checks import is_integer
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError, listed, short_repr
from minibiogpt.trace.missing import check_all_matched, how_to_record, in_lists, reason, suggested
from minibiogpt.trace.patterns import Pattern, warn_of_differences


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
        if isinstance(name, tuple | list) and name and isinstance(name[0], str):
            raise UnknownNameError("trace[...] must have one name", short_repr(name), _names_in(name))
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
        if not self.arrays:
            return UnknownNameError(f"the trace must hold {text}", "no array", "fill it: model(ids, trace=trace)")
        known = self.names()
        if pattern.meant in known:
            return UnknownNameError(f"the trace must hold {text}", holds, how_to_record(pattern.meant))
        within = [key for key in self.arrays if key.endswith(f"/{pattern.meant}")]
        if within:
            remedy = f"write one of {listed(within, 3)}"
            return UnknownNameError("a name in the trace of generate must start with step.{n}/", text, remedy)
        if "*" in pattern.text or "{" in pattern.text:
            return UnknownNameError("trace[...] must have one name", text, "select several: trace.select(...)")
        if why := reason(pattern, known):
            return UnknownNameError("a name must be an array that a trace records", text, why)
        first = STEP.match(next(iter(self.arrays)))
        missed = pattern.meant if STEP.match(pattern.meant) or not first else first[0] + pattern.meant
        hint = suggested(missed, list(known))
        return UnknownNameError("the name must be that of an array of this call", text, hint or f"it has {holds}")


def check_selected(patterns: list[Pattern], held: Held) -> None:
    """Check that every pattern has matched an array of the trace.

    Raises
    ------
    InputError
        If one has not; the message says how to record it, or what the caller may have meant.
    """
    missed = [pattern for pattern in in_lists(patterns, held.arrays) if not pattern.matched]
    if not missed:
        return
    must, known = "select must name arrays that the trace holds", held.names()
    if not held.arrays:
        raise InputError(must, "no array", "fill the trace: model(ids, trace=trace)")
    for pattern in missed:
        could = next((name for name in known if pattern.matches(name)), "")
        if could:
            found = f"none called {short_repr(pattern.text)}; it has only {listed(held.arrays, 3)}"
            raise InputError(must, found, how_to_record(could))
    check_all_matched(missed, held.arrays, must, made=known)


def _names_in(names: tuple[Any, ...] | list[Any]) -> str:
    """Return the advice for several names in brackets, or for TransformerLens' ("pattern", 0)."""
    if len(names) in (2, 3) and is_integer(names[1]):
        from minibiogpt.catalog.descriptions import HOOKS

        word = names[0].removeprefix("hook_")
        hook = next((hook for hook, _ in HOOKS.values() if hook.rpartition("hook_")[2] == word), "")
        hook = "blocks.{l}.hook_resid_pre" if word == "resid_pre" else hook
        if hook and names[1] >= 0:
            return f'write trace["{hook.replace("{l}", str(names[1]))}"]'
        return 'write the name in full, such as trace["blocks.0.attn.hook_pattern"]'
    return "select several: trace.select(...)"
