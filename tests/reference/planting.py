"""Plant mistakes in a transformers model: in a parameter, a module's forward, a stage of attention, or a loss.

Each function returns a ``Plant``. Calling it with a model gives a context manager that undoes the change at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from transformers.models.biogpt import modeling_biogpt as modeling

from tools.dump_torch import replaced

Plant = Callable[[Any], AbstractContextManager[None]]
Find = Callable[[Any], Iterable[Any]]


def base(model: Any) -> Any:
    return getattr(model, "biogpt", model)


def layers(part: str, every: bool = False) -> Find:
    """Find a submodule of the first layer, or of every layer."""
    return lambda model: [one.get_submodule(part) for one in (base(model).layers if every else base(model).layers[:1])]


def modules(kind: type, last_name: str = "") -> Find:
    """Find every module of a type, or those whose names end with ``last_name``."""
    return lambda model: [x for name, x in model.named_modules() if isinstance(x, kind) and name.endswith(last_name)]


def named(*names: str) -> Find:
    """Find modules by their names; names the model lacks are ignored."""
    return lambda model: [x for name, x in model.named_modules() if name.removeprefix("biogpt.") in names]


def attribute(find: Find, name: str, value: Callable[[Any], Any]) -> Plant:
    """Replace an attribute by ``value(module)``."""

    @contextmanager
    def plant(model: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for module in list(find(model)):
                new = value(module)
                if hasattr(type(module), name) and name not in vars(module):  # a method: uncover it afterwards
                    stack.callback(delattr, module, name)
                    setattr(module, name, new)
                else:
                    stack.enter_context(replaced(module, name, new))
            yield

    return plant


def parameter(find: Find, name: str, change: Callable[[Any], Any]) -> Plant:
    """Replace a parameter by ``change(tensor)``; parameters tied to it stay unchanged."""
    return attribute(find, name, lambda module: torch.nn.Parameter(change(getattr(module, name).detach()).clone()))


def forward(find: Find, new: Callable[..., Any]) -> Plant:
    """Replace a module's forward by ``new(module, original forward, *arguments)``."""

    def value(module: Any) -> Any:
        original = module.forward
        return lambda *arguments, **options: new(module, original, *arguments, **options)

    return attribute(find, "forward", value)


def only(condition: Callable[[Any], bool], inner: Plant) -> Plant:
    """Apply a plant only to models for which the condition holds."""
    return lambda model: inner(model) if condition(model) else nullcontext()


@contextmanager
def removing(*handles: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def options(change: Callable[[dict[str, Any]], None]) -> Plant:
    """Change the base model's keyword arguments in place: {"input_ids": ..., "past_key_values": ...}."""

    def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        kwargs = kwargs | ({"input_ids": args[0]} if args else {})
        change(kwargs)
        return (), kwargs

    return lambda model: removing(base(model).register_forward_pre_hook(hook, with_kwargs=True))


def positions(new: Callable[..., Any]) -> Plant:
    """Replace the position_ids (B, T) by ``new(position_ids, attention_mask (B, S))``."""

    def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | {"position_ids": new(kwargs["position_ids"], args[0])}

    return lambda model: removing(base(model).embed_positions.register_forward_pre_hook(hook, with_kwargs=True))


def past(keys: Callable[[Any], Any] = lambda x: x, values: Callable[[Any], Any] = lambda x: x) -> Plant:
    """Change the cached keys and values before each call."""

    def change(kwargs: dict[str, Any]) -> None:
        cache = kwargs.get("past_key_values")
        if cache is not None and cache.get_seq_length():
            for layer in cache.layers:
                layer.keys, layer.values = keys(layer.keys.clone()), values(layer.values.clone())

    return options(change)


def mask(change: Callable[[Any, Any], Any]) -> Plant:
    """Replace the additive mask by ``change(additive mask (B, 1, T, S), attention_mask (B, S))``."""
    original = modeling.BioGptPreTrainedModel._update_causal_mask

    def update(self: Any, attention_mask: Any, *rest: Any) -> Any:
        return change(original(self, attention_mask, *rest), attention_mask)

    return lambda model: replaced(modeling.BioGptPreTrainedModel, "_update_causal_mask", update)


def _weigh(probs: Any, heads: Any, module: Any) -> Any:
    return probs if heads is None else probs * heads.view(1, -1, 1, 1)


def attention(
    split: Callable[..., Any] = lambda q, k, v: (q, k, v),
    score: Callable[..., Any] = lambda q, k, scaling: torch.matmul(q, k.transpose(2, 3)) * scaling,
    hide: Callable[..., Any] = lambda scores, mask, heads: scores + mask,
    normalise: Callable[..., Any] = lambda masked: F.softmax(masked, dim=-1),
    weigh: Callable[..., Any] = _weigh,
    mix: Callable[..., Any] = torch.matmul,
    merge: Callable[..., Any] = lambda mixed: mixed.transpose(1, 2),
) -> Plant:
    """Replace stages of transformers' eager attention; all other operations stay bitwise the same."""

    def attend(
        module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float, head_mask: Any = None, **rest: Any
    ) -> Any:
        note = rest.get("note", lambda name, x: None)
        q, k, v = split(q, k, v)
        for name, x in (("q", q), ("k", k), ("v", v)):
            note(name, x)
        scores = score(q, k, scaling)
        note("scores", scores)
        masked = hide(scores, mask, head_mask)
        note("scores_masked", masked)
        probs = normalise(masked)
        note("probs", probs)
        weights = weigh(probs, head_mask, module)
        return merge(mix(weights, v)).contiguous(), weights

    return lambda model: replaced(modeling, "eager_attention_forward", attend)


def decoder_layer(order: Callable[..., Any]) -> Plant:
    """Replace a layer's steps by ``order(layer, x, attend, feed)``; ``attend`` returns the weights too."""

    def new(self: Any, hidden_states: Any, output_attentions: bool = False, **rest: Any) -> Any:
        def attend(x: Any) -> Any:
            return self.self_attn(hidden_states=x, **rest)

        def feed(x: Any) -> Any:
            return self.fc2(self.activation_fn(self.fc1(x)))

        return order(self, hidden_states, attend, feed)

    return lambda model: replaced(modeling.BioGptDecoderLayer, "forward", new)


def lm_loss(new: Callable[..., Any]) -> Plant:
    """Replace the language model's loss by ``new(logits (B, T, V), labels (B, T))``."""

    def loss(logits: Any, labels: Any, vocab_size: int, **rest: Any) -> Any:
        return new(logits, labels)

    plant: Plant = lambda model: replaced(model, "loss_function", loss)  # noqa: E731
    return only(lambda model: hasattr(model, "output_projection"), plant)


def head_loss(head: str, new: Callable[..., Any]) -> Plant:
    """Replace a classifier's loss by ``new(logits, labels)``; None leaves it unchanged."""

    def hook(model: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if kwargs.get("labels") is not None and (loss := new(output.logits, kwargs["labels"])) is not None:
            output.loss = loss

    plant: Plant = lambda model: removing(model.register_forward_hook(hook, with_kwargs=True))  # noqa: E731
    return only(lambda model: hasattr(model, head), plant)


def sequence_loss(problem: str, logits: Any, labels: Any) -> Any:
    """Return a sequence classifier's loss as transformers computes it from the pooled logits, by problem type."""
    if problem == "regression":
        return F.mse_loss(logits.reshape(labels.shape), labels)
    if problem == "single_label_classification":
        return F.cross_entropy(logits, labels.reshape(-1))
    return F.binary_cross_entropy_with_logits(logits, labels)


def pooled(position: Callable[[Any, Any], Any]) -> Plant:
    """Pool a sequence's logits at ``position(is no pad (B, T), attention_mask or None)``, and compute its loss."""
    kept: dict[str, Any] = {}

    def read(model: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if (ids := kwargs.get("input_ids")) is None:
            return
        at = position(ids != model.config.pad_token_id, kwargs.get("attention_mask"))
        output.logits = kept["scores"][torch.arange(len(ids)), at]
        if kwargs.get("labels") is not None:
            output.loss = sequence_loss(model.config.problem_type, output.logits, kwargs["labels"])

    def plant(model: Any) -> Any:
        keep = model.score.register_forward_hook(lambda _, __, scores: kept.update(scores=scores))
        return removing(keep, model.register_forward_hook(read, with_kwargs=True))

    return only(lambda model: hasattr(model, "score"), plant)


def _rightmost_real(no_pad: Any, attention_mask: Any) -> Any:
    if attention_mask is not None:
        no_pad = no_pad & (attention_mask[:, -no_pad.shape[1] :] != 0)
    return torch.where(no_pad, torch.arange(no_pad.shape[1]), -1).amax(dim=-1)


corrected = pooled(_rightmost_real)
"""transformers 4.57 with its one known error fixed: the correct model against which mistakes are measured."""
