"""Trace: every named array of a forward pass, in the order it was made; and the tap that records it."""

from __future__ import annotations

from minibiogpt.backend import Array


class Trace(dict[str, Array]):
    """An ordered {name: array} that a model call fills: ``model(ids, trace=trace)``.

    The arrays are copies: changing one changes no number of the model, and a later step does not change them.
    Each call starts the trace anew. The names are those of the module paths in transformers (see the README);
    when an array inside attention is wanted, attention runs in its "eager" form.

    Examples
    --------
    >>> from minibiogpt import BioGptForCausalLM
    >>> trace = Trace()
    >>> output = BioGptForCausalLM.from_pretrained("demo")([[2, 5, 9]], trace=trace)
    >>> trace["layers.0.self_attn.probs"].shape
    (1, 4, 3, 3)
    >>> list(trace)[:4]
    ['position_ids', 'embed_tokens', 'embed_positions', 'embeddings']
    """

    def __repr__(self) -> str:
        size = sum(x.nbytes for x in self.values())
        ends = f", {next(iter(self))} ... {next(reversed(self))}" if self else ""
        return f"<Trace of {len(self)} arrays, {size / 1e6:.1f} MB{ends}>"


class Tap:
    """``x = tap("scores", x)``: hands x on, and records it under this tap's path if somebody looks."""

    def __init__(self, trace: Trace | None = None, path: str = "") -> None:
        self.trace, self.path = trace, path

    def __call__(self, name: str, x: Array) -> Array:
        """Record x as ``path.name`` (as ``path`` itself when the name is empty), and return it."""
        if self.trace is not None:
            self.trace[".".join(part for part in (self.path, name) if part)] = x.copy()
        return x

    def under(self, path: str) -> Tap:
        """The tap of a module within this one; without a trace, this very tap."""
        return self if self.trace is None else Tap(self.trace, f"{self.path}.{path}" if self.path else path)
