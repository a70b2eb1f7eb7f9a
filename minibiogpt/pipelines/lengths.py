"""How many tokens a pipeline generates for each text, from the options that limit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from minibiogpt.checks import checked_integer
from minibiogpt.errors import InputError
from minibiogpt.generation import GenerationConfig

DEFAULT_NEW_TOKENS = 256  # as in transformers' pipeline
ANY_LENGTH = 20  # a max_length of 20 is transformers' default, which means that none is set


@dataclass(frozen=True)
class Limits:
    """The limits of the generated text; those that count the prompt become numbers of new tokens for each prompt.

    In ``generate``, ``max_length`` counts the padding of a batch too, so that a text would depend on the others.

    Attributes
    ----------
    N : the model's positions. extra : the tokens of the prefix, which ``max_length`` and ``min_length`` do not count.
    strict, strict_minimum : whether the call itself sets the largest and the smallest length. Only then is it an error
        if they do not fit.
    """

    N: int
    extra: int
    max_new_tokens: int | None
    max_length: int | None
    min_new_tokens: int | None
    min_length: int
    strict: bool
    strict_minimum: bool

    names: ClassVar[tuple[str, ...]] = ("max_new_tokens", "max_length", "min_new_tokens", "min_length")

    @classmethod
    def of(cls, options: Mapping[str, Any], config: GenerationConfig, extra: int, N: int, with_default: bool) -> Limits:
        """Return the limits that the options of a call set, or else the config, or else the default of pipelines.

        Parameters
        ----------
        with_default : whether the pipeline's 256 new tokens precede those of the config, as in transformers.
        """
        given = {name: options[name] for name in cls.names if options.get(name) is not None}
        for name, value in given.items():
            checked_integer(name, value, 0 if name.startswith("min") else 1)
        strict = "max_new_tokens" in given or "max_length" in given
        new, total = given.get("max_new_tokens"), given.get("max_length")
        if not strict:
            total = None if config.max_length in (None, ANY_LENGTH) else config.max_length
            new = config.max_new_tokens if not with_default else DEFAULT_NEW_TOKENS if total is None else None
        fewest, least = given.get("min_new_tokens"), given.get("min_length")
        strict_minimum = fewest is not None or least is not None
        if not strict_minimum:
            fewest, least = config.min_new_tokens, config.min_length
        return cls(N, extra, new, total, fewest, least or 0, strict or not with_default, strict_minimum)

    def for_prompt(self, n: int, name: str) -> tuple[int, int | None]:
        """Return the largest and the smallest number of new tokens for a prompt of n tokens.

        Raises
        ------
        InputError
            If the prompt does not fit, or leaves no room for what the call requests. ``name`` says which text it is.
        """
        n = max(n, 1)  # an empty prompt becomes bos_token_id
        fits = self.N - n + 1  # the last new token needs no position
        remedy = "shorten it, or pass truncation=True or handle_long_generation='hole'"
        if fits < 1:
            raise InputError(f"{name} must have at most N = {self.N} tokens", str(n), remedy)
        new = self.max_new_tokens
        if new is None and self.max_length is not None:
            new = self.max_length + self.extra - n
            if new < 1:
                must = f"max_length includes the prompt and must exceed it ({name})"
                raise InputError(must, f"{self.max_length} for {n} tokens", "give max_new_tokens")
        if new is not None and new > fits and self.strict:
            must = f"{name} and its new tokens must fit into N = {self.N} positions (the last new token needs none)"
            raise InputError(must, f"{n} and {new}", f"request at most {fits} new tokens, or {remedy}")
        new = min(ANY_LENGTH if new is None else new, fits)
        fewest = self.min_new_tokens
        if fewest is None and self.min_length:
            fewest = max(self.min_length + self.extra - n, 0)
        return new, fewest if fewest is None or self.strict_minimum else min(fewest, new)

    def with_hole(self, row: list[int], known: int, name: str) -> list[int]:
        """Return the last ids of the prompt that leave room for the new tokens among ``known`` positions."""
        new = self.max_new_tokens if self.strict else None
        if self.strict and new is None and self.max_length is not None:
            new = max(self.max_length + self.extra - len(row), 1)
        if new is None:
            if len(row) <= known:
                return row  # as many tokens as fit are generated
            must = f"to shorten {name}, handle_long_generation='hole' must know the number of new tokens"
            raise InputError(must, f"{len(row)} tokens and no max_new_tokens", "pass max_new_tokens")
        if len(row) + new <= known:
            return row
        if known <= new:
            must = f"handle_long_generation='hole' must leave a token of {name}"
            raise InputError(must, f"max_new_tokens {new} of {known}", "request fewer new tokens")
        return row[new - known :]
