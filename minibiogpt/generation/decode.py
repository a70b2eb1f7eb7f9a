"""generate: resolve the options, build the logits processors, then decode: greedy, sampling, or beam search."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError
from minibiogpt.generation.beam import beam_search
from minibiogpt.generation.config import GenerationConfig, ids_as_tuple
from minibiogpt.generation.outputs import GenerateOutput
from minibiogpt.generation.processor_list import logits_processors
from minibiogpt.generation.processors import LogitsProcessor, apply
from minibiogpt.generation.prompt import check_options, check_token_ids, prompt_mask, resolve_max_new_tokens
from minibiogpt.generation.protocols import LanguageModel, Streamer
from minibiogpt.generation.random_draws import RandomDraws
from minibiogpt.generation.state import DecodingState, GenerationRequest
from minibiogpt.generation.stopping import EndToken, StoppingCriterion, StopStrings, any_criterion_met
from minibiogpt.model import inputs
from minibiogpt.tokenizer import BioGptTokenizer
from minibiogpt.trace import Edit, Trace
from minibiogpt.trace.edits import make_tap

PROGRESS_BAR_ABOVE = 50  # new tokens


def generate(
    model: LanguageModel,
    input_ids: Any = None,
    *,
    attention_mask: Any = None,
    generation_config: GenerationConfig | None = None,
    logits_processor: Sequence[LogitsProcessor] | None = None,
    stopping_criteria: Sequence[StoppingCriterion] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, Any], Sequence[int]] | None = None,
    tokenizer: BioGptTokenizer | None = None,
    seed: int | None = 0,
    streamer: Streamer | None = None,
    progress: bool | None = None,
    trace: Trace | None = None,
    edits: Mapping[str, Edit] | None = None,
    ablate: Iterable[tuple[int, int]] | None = None,
    **options: Any,
) -> Any:
    """Continue each row of ``input_ids``.

    Parameters
    ----------
    input_ids : (B, T) integers; texts of unequal length must be padded on the **left** (``padding_side="left"`` of the
        tokenizer). None: one row of bos_token_id.
    attention_mask : (B, T); by default 1 wherever the id is not pad_token_id (all ones if that is None or an end
        token), as in transformers.
    generation_config, options : see GenerationConfig, which lists every option and their precedence.
    logits_processor : your own logits processors, (ids, logits) -> logits. They run after the built-in ones and before
        those of sampling.
    stopping_criteria : (ids, scores) -> (rows,) booleans; a row ends when it meets one.
    prefix_allowed_tokens_fn : (row of the prompt, ids so far) -> the ids that may come next.
    tokenizer : needed for stop_strings.
    seed : for the random draws, which are made on the host, so that a seed gives the same draws on every backend. None:
        a fresh seed.
    streamer : receives the ids of a single row as they are generated.
    progress : whether to show a progress bar on stderr; None: on long runs only.
    trace : filled with the named arrays of every step, with ``step.{n}/`` in front: all arrays of the forward pass,
        where ``logits`` (rows, V) are those of the last position; the input and output of each logits processor,
        ``processors.{i}.{its name}.before`` and ``.after`` (rows, V); and the chosen ``tokens`` (rows,), pads in rows
        that have ended. In beam search the processors work on log-probabilities, ``tokens`` are those of the running
        hypotheses, and ``origins`` (rows,) is the row that each one continues; neither can be edited in beam
        search.
    edits, ablate : as in a model call, applied in every step; an edit named ``step.{n}/...`` applies to that step only.

    Returns
    -------
    (B * num_return_sequences, T + new) int64, the prompt included, on the model's backend; a GenerateOutput with
    ``return_dict_in_generate=True``.

    Raises
    ------
    InputError
        If an option is invalid, the prompt is empty or padded on the right, or more than N positions are needed.

    Source: GenerationMixin.generate in transformers 4.57 (greedy, sampling, beam search, beam sampling).
    """
    config = _resolve_config(model.generation_config, generation_config, options)
    prompt = _prompt(model, input_ids, config.bos_token_id)
    check_token_ids(config, model.config.vocab_size)
    eos = ids_as_tuple(config.eos_token_id)
    mask = prompt_mask(attention_mask, prompt, config.pad_token_id, eos)
    new = resolve_max_new_tokens(model.config.max_position_embeddings, mask, prompt.shape[1], config)
    check_options(config, options, prompt, new, model.config.vocab_size, streamer)
    criteria: list[StoppingCriterion] = [EndToken(eos)] if eos else []
    criteria += [StopStrings(config.stop_strings, tokenizer, prompt)] if config.stop_strings is not None else []
    pad = config.pad_token_id if config.pad_token_id is not None else (*eos, 0)[0]  # as in transformers
    user_processors = _list_of_functions("logits_processor", logits_processor)
    processors = logits_processors(config, prompt.shape[1], new, prefix_allowed_tokens_fn, user_processors)
    bar = _progress_bar(progress, new, streamer)
    criteria += _list_of_functions("stopping_criteria", stopping_criteria)
    draws = RandomDraws(seed)
    request = GenerationRequest(prompt, mask, config, processors, criteria, new, pad, draws, streamer, bar)
    tap = make_tap(model.config, model.backend, trace, edits, ablate)
    state = DecodingState(model, request, tap)
    try:
        output = beam_search(state, request) if config.num_beams > 1 else greedy_or_sample(state, request)
    finally:
        bar.close()
    tap.finish()
    return output if config.return_dict_in_generate else output.sequences


def _resolve_config(
    model_config: GenerationConfig, call_config: GenerationConfig | None, options: dict[str, Any]
) -> GenerationConfig:
    """Merge the options of the call over its generation_config over the model's."""
    if not isinstance(call_config, GenerationConfig | None):
        must = "generation_config must be a GenerationConfig"
        raise InputError(
            must, type(call_config).__name__, "use GenerationConfig.from_dict, or pass its keys as options"
        )
    config = (call_config.over(model_config) if call_config else model_config).updated(options)
    config.warn_of_what_is_passed_over()
    config.warn_of_what_has_no_effect(options)
    return config


def _list_of_functions(name: str, value: Any) -> list[Any]:
    """Return one function or several as a list; an empty one for None."""
    functions = [value] if callable(value) else list(value) if isinstance(value, list | tuple) else value or []
    if not isinstance(functions, list) or not all(map(callable, functions)):
        raise InputError(f"{name} must be a list of functions", repr(value)[:80], "pass functions of ids and logits")
    return functions


def _prompt(model: LanguageModel, input_ids: Any, bos: int | None) -> Array:
    """Return the prompt ids, (B, T), on the model's backend."""
    if input_ids is None:
        if bos is None:
            raise InputError("there must be a prompt, or a bos_token_id to start with", "neither", "pass input_ids")
        input_ids = [[bos]]
    return inputs.as_integers("input_ids", input_ids, model.backend, 0, model.config.vocab_size)


def greedy_or_sample(state: DecodingState, request: GenerationRequest) -> GenerateOutput:
    """Append one token to each row per step: the most probable one, or one drawn at random."""
    backend = backend_of(request.prompt)
    xp, config = backend.xp, request.config
    length = request.prompt.shape[1]
    prompt = xp.repeat(request.prompt, config.num_return_sequences, axis=0)
    ids = xp.full((prompt.shape[0], length + request.max_new_tokens), request.pad_token_id, dtype="int64")
    ids[:, :length] = prompt
    ended = xp.zeros((ids.shape[0],), dtype=bool)
    logits = state.repeat_rows(state.next_logits(request.prompt), config.num_return_sequences)
    request.stream(prompt)
    try:
        while True:
            request.record_logits(logits)
            scores = request.record_scores(apply(request.processors, ids[:, :length], logits, state.step))
            tokens = request.draws.sample(scores) if config.do_sample else xp.argmax(scores, axis=-1)
            ids[:, length] = state.record_tokens(xp.where(ended, request.pad_token_id, tokens))
            length += 1
            request.stream(ids[:, length - 1 : length])
            ended = ended | any_criterion_met(request.stopping_criteria, ids[:, :length], request.scores)
            if length == ids.shape[1] or bool(ended.all()):
                break
            logits = state.next_logits(ids[:, :length])
    finally:
        if request.streamer:
            request.streamer.end()
    return GenerateOutput(ids[:, :length], None, request.scores, request.logits, None, state.cache)


def _progress_bar(progress: bool | None, new: int, streamer: Streamer | None) -> Any:
    """Return a progress bar on stderr, disabled if it should not be shown."""
    from tqdm import tqdm

    terminal = sys.stderr is not None and sys.stderr.isatty()
    show = terminal and new > PROGRESS_BAR_ABOVE and streamer is None if progress is None else progress
    return tqdm(total=new, unit="token", file=sys.stderr, disable=not show)
