"""generate: resolve the options, build the logits processors, then decode: greedy, sampling, or beam search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from minibiogpt.backend import backend_of
from minibiogpt.errors import InputError
from minibiogpt.generation.beam import beam_search
from minibiogpt.generation.config import GenerationConfig, ids_as_tuple
from minibiogpt.generation.options.arguments import (
    check_function,
    check_streamer,
    list_of_functions,
    pad_of,
    resolve_config,
)
from minibiogpt.generation.outputs import GenerateOutput
from minibiogpt.generation.processor_list import logits_processors
from minibiogpt.generation.processors import LogitsProcessor, apply
from minibiogpt.generation.prompt import (
    Prompt,
    check_options,
    check_token_ids,
    read_prompt,
    resolve_max_new_tokens,
    without_embeddings_in_lengths,
)
from minibiogpt.generation.protocols import LanguageModel, Streamer
from minibiogpt.generation.random_draws import RandomDraws
from minibiogpt.generation.state import DecodingState, GenerationRequest
from minibiogpt.generation.stopping import EndToken, MaxTime, StoppingCriterion, StopStrings, any_criterion_met
from minibiogpt.progress import errors_on_terminal, progress_bar
from minibiogpt.tokenizer import BioGptTokenizer
from minibiogpt.trace import Edit, Trace
from minibiogpt.trace.edits import make_tap

PROGRESS_BAR_ABOVE = 50  # new tokens


def generate(
    model: LanguageModel,
    input_ids: Any = None,
    generation_config: GenerationConfig | Mapping[str, Any] | None = None,
    *,
    inputs: Any = None,
    attention_mask: Any = None,
    inputs_embeds: Any = None,
    past_key_values: Any = None,
    head_mask: Any = None,
    cache_position: Any = None,
    logits_processor: Sequence[LogitsProcessor] | None = None,
    stopping_criteria: Sequence[StoppingCriterion] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, Any], Sequence[int]] | None = None,
    tokenizer: BioGptTokenizer | None = None,
    seed: int | None = 0,
    streamer: Streamer | None = None,
    use_model_defaults: bool | None = None,
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
        tokenizer). None: one row of bos_token_id. Lists, NumPy or CuPy arrays, or PyTorch tensors on the CPU.
    generation_config, options : see GenerationConfig, which lists every option and their precedence. A dict of options
        is accepted too.
    inputs : another name of ``input_ids``, as in transformers.
    attention_mask : (B, T); by default 1 wherever the id is not pad_token_id (all ones if that is None or an end
        token), as in transformers. It covers the positions of a cache too.
    inputs_embeds : (B, P, D) floats that the model reads instead of ``input_ids``, already scaled. Without input_ids,
        only the new ids are returned, the logits processors see only those, and ``max_length`` counts the embeddings
        too (20 by default). With input_ids, these are returned in front of the new ids.
    past_key_values : the cache of the first positions of the prompt, from a model call or an earlier ``generate``. The
        prompt still holds the ids of all positions, and only those after the cache are computed. A cache of one row
        serves all rows, and each row is repeated for beams and num_return_sequences. It is not changed; the longer
        one is in the output.
    head_mask : (H,) or (L, H), as in a model call.
    cache_position : the positions after the cache, which are what is computed anyway.
    logits_processor : your own logits processors, (ids, logits) -> logits. They run after the built-in ones and before
        those of sampling.
    stopping_criteria : (ids, scores) -> (rows,) booleans; a row ends when it meets one.
    prefix_allowed_tokens_fn : (row of the prompt, ids so far) -> the ids that may come next.
    tokenizer : needed for stop_strings.
    seed : for the random draws, which are made on the host, so that a seed gives the same draws on every backend. None:
        a fresh seed.
    streamer : receives the ids of a single row as they are generated, as NumPy arrays: the prompt (1, T), then (1,)
        each. Its ``end`` is called at the end, and also after an error.
    use_model_defaults : False takes only the special ids from the model's own config if ``generation_config`` is
        given.
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

    Source: GenerationMixin.generate in transformers 4.57 (greedy, sampling, beam search, beam sampling). There a given
    cache is changed in place, and is not repeated for beams.
    """
    check_streamer(streamer)
    try:
        check_function("prefix_allowed_tokens_fn", prefix_allowed_tokens_fn)
        config = resolve_config(model.generation_config, generation_config, options, use_model_defaults)
        prompt = read_prompt(
            model, config, _one_input(input_ids, inputs), attention_mask, inputs_embeds, past_key_values,
            cache_position, head_mask,
        )  # fmt: skip
        check_token_ids(config, model.config.vocab_size)
        config = without_embeddings_in_lengths(config, prompt)
        new = resolve_max_new_tokens(model.config.max_position_embeddings, prompt, config)
        check_options(config, options, prompt, new, model.config.vocab_size, streamer)
        user_processors = list_of_functions("logits_processor", logits_processor)
        T = prompt.ids.shape[1]
        processors = logits_processors(config, T, new, prefix_allowed_tokens_fn, user_processors)
        criteria = _criteria(config, tokenizer, prompt) + list_of_functions("stopping_criteria", stopping_criteria)
        bar = _progress_bar(progress, new, streamer)
        draws = RandomDraws(seed)
        request = GenerationRequest(prompt, config, processors, criteria, new, pad_of(config), draws, streamer, bar)
        tap = make_tap(model.config, model.backend, trace, edits, ablate)
        state = DecodingState(model, request, tap)
        with bar:
            output = beam_search(state, request) if config.num_beams > 1 else greedy_or_sample(state, request)
        tap.finish()
    finally:
        if streamer is not None:
            streamer.end()
    return output if config.return_dict_in_generate else output.sequences


def _one_input(input_ids: Any, inputs: Any) -> Any:
    """Return whichever of the two names of the prompt is used."""
    if input_ids is not None and inputs is not None:
        raise InputError("the prompt must be given once", "input_ids and inputs", "leave one out")
    return inputs if input_ids is None else input_ids


def _criteria(config: GenerationConfig, tokenizer: BioGptTokenizer | None, prompt: Prompt) -> list[StoppingCriterion]:
    """Return the stopping criteria that the options require."""
    eos = ids_as_tuple(config.eos_token_id)
    criteria: list[StoppingCriterion] = [EndToken(eos)] if eos else []
    criteria += [StopStrings(config.stop_strings, tokenizer, prompt.ids)] if config.stop_strings is not None else []
    return criteria + ([MaxTime(config.max_time)] if config.max_time is not None else [])


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
    while True:
        request.record_logits(logits)
        scores = request.record_scores(apply(request.processors, ids[:, :length], logits, state.step))
        tokens = request.draws.sample(scores) if config.do_sample else xp.argmax(scores, axis=-1)
        ids[:, length] = state.record_tokens(xp.where(ended, request.pad_token_id, tokens))
        length += 1
        request.stream(ids[:, length - 1])
        ended = ended | any_criterion_met(request.stopping_criteria, ids[:, :length], request.scores)
        if length == ids.shape[1] or bool(ended.all()):
            break
        logits = state.next_logits(ids[:, :length])
    return state.output(request, ids[:, :length])


def _progress_bar(progress: bool | None, new: int, streamer: Streamer | None) -> Any:
    """Return a progress bar on stderr, disabled if it should not be shown."""
    show = errors_on_terminal() and new > PROGRESS_BAR_ABOVE and streamer is None if progress is None else progress
    return progress_bar(show, total=new, unit="token")
