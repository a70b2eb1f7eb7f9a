"""generate: the options settled, the rules listed, then one token a step: greedy, sampled, or by beam search."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError
from minibiogpt.generation.beam import beam_search
from minibiogpt.generation.config import GenerationConfig, listed_ids
from minibiogpt.generation.outputs import GenerateOutput
from minibiogpt.generation.processors import LogitsProcessor, apply
from minibiogpt.generation.prompt import check_against_model, check_numbers, new_tokens_that_fit, prompt_mask
from minibiogpt.generation.protocols import LanguageModel, Streamer
from minibiogpt.generation.random_draws import RandomDraws
from minibiogpt.generation.rules import logits_processors
from minibiogpt.generation.state import DecodingState, GenerationRequest
from minibiogpt.generation.stopping import EndToken, StoppingCriterion, StopStrings, any_of
from minibiogpt.model import inputs
from minibiogpt.tokenizer import BioGptTokenizer
from minibiogpt.trace import Edit, Trace
from minibiogpt.trace.edits import make_tap

LONG_RUN = 50  # new tokens from which a progress bar is worth its line


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
    attention_mask : (B, T); by default what is not padding, as in transformers.
    generation_config, options : see GenerationConfig, which lists every option and says which holds.
    logits_processor : rules of your own, (ids, logits) -> logits; they come after the built-in ones and before those of
        sampling.
    stopping_criteria : (ids, scores) -> (rows,) booleans: a row that meets one has ended.
    prefix_allowed_tokens_fn : (row of the prompt, ids so far) -> the ids that may come next.
    tokenizer : for stop_strings.
    seed : of the draws, which are made on the host: a seed gives the same draws on every backend. None: a fresh one.
    streamer : is told the ids of a single row as they come. progress : a bar on stderr; None: on long runs.
    trace : is filled with every named array of every step, ``step.{n}/`` in front: those of the forward pass, where
        ``logits`` (rows, V) are those after the last position; what each rule is given and what it returns,
        ``processors.{i}.{its name}.before`` and ``.after`` (rows, V); and the ``tokens`` (rows,) that are chosen, pads
        where a row has ended. In beam search the rules work on log-probabilities, the tokens are those of the
        hypotheses that go on, and ``origins`` (rows,) tells which row each goes on from; no edit can replace these.
    edits, ablate : as in a model call, in every step; an edit called ``step.{n}/...`` in that step alone.

    Returns
    -------
    (B num_return_sequences, T + new) int64, the prompt included, on the model's backend; a GenerateOutput with
    ``return_dict_in_generate=True``.

    Raises
    ------
    InputError
        If an option cannot be, the prompt is empty or padded on the right, or more is asked for than N positions.

    Source: GenerationMixin.generate in transformers 4.57 (greedy, sampling, beam search, beam sampling).
    """
    config = _settled(model.generation_config, generation_config, options)
    prompt = _prompt(model, input_ids, config.bos_token_id)
    check_against_model(config, model.config.vocab_size)
    ends = listed_ids(config.eos_token_id)
    mask = prompt_mask(attention_mask, prompt, config.pad_token_id, ends)
    new = new_tokens_that_fit(model.config.max_position_embeddings, mask, prompt.shape[1], config)
    check_numbers(config, options, prompt, new, model.config.vocab_size, streamer)
    stops: list[StoppingCriterion] = [EndToken(ends)] if ends else []
    stops += [StopStrings(config.stop_strings, tokenizer, prompt)] if config.stop_strings is not None else []
    pad = config.pad_token_id if config.pad_token_id is not None else (*ends, 0)[0]  # as in transformers
    own_rules = _functions("logits_processor", logits_processor)
    rules = logits_processors(config, prompt.shape[1], new, prefix_allowed_tokens_fn, own_rules)
    bar = _progress_bar(progress, new, streamer)
    stops += _functions("stopping_criteria", stopping_criteria)
    request = GenerationRequest(prompt, mask, config, rules, stops, new, pad, RandomDraws(seed), streamer, bar)
    tap = make_tap(model.config, model.backend, trace, edits, ablate)
    state = DecodingState(model, request, tap)
    try:
        output = beam_search(state, request) if config.num_beams > 1 else greedy_or_sample(state, request)
    finally:
        bar.close()
    tap.finish()
    return output if config.return_dict_in_generate else output.sequences


def _settled(own: GenerationConfig, given: GenerationConfig | None, options: dict[str, Any]) -> GenerationConfig:
    """The options of the call over those of a config handed over, over the model's own."""
    if not isinstance(given, GenerationConfig | None):
        must = "generation_config must be a GenerationConfig"
        raise InputError(must, type(given).__name__, "use GenerationConfig.from_dict, or give its keys as options")
    config = (given.over(own) if given else own).updated(options)
    config.warn_of_what_is_passed_over()
    config.warn_of_what_has_no_effect(options)
    return config


def _functions(name: str, given: Any) -> list[Any]:
    """One function, or several, as a list."""
    functions = [given] if callable(given) else list(given) if isinstance(given, list | tuple) else given or []
    if not isinstance(functions, list) or not all(map(callable, functions)):
        raise InputError(f"{name} must be a list of functions", repr(given)[:80], "give functions of ids and logits")
    return functions


def _prompt(model: LanguageModel, input_ids: Any, bos: int | None) -> Array:
    """(B, T) ids on the model's backend."""
    if input_ids is None:
        if bos is None:
            raise InputError("there must be a prompt, or a bos_token_id to begin with", "neither", "give input_ids")
        input_ids = [[bos]]
    return inputs.as_integers("input_ids", input_ids, model.backend, 0, model.config.vocab_size)


def greedy_or_sample(state: DecodingState, request: GenerationRequest) -> GenerateOutput:
    """Greedy decoding, or sampling: at each step a token is chosen for good."""
    backend = backend_of(request.prompt)
    xp, config = backend.xp, request.config
    length = request.prompt.shape[1]
    prompt = xp.repeat(request.prompt, config.num_return_sequences, axis=0)
    ids = xp.full((prompt.shape[0], length + request.new), request.pad, dtype="int64")
    ids[:, :length] = prompt
    ended = xp.zeros((ids.shape[0],), dtype=bool)
    logits = state.repeated(state.logits(request.prompt), config.num_return_sequences)
    request.stream(prompt)
    try:
        while True:
            request.record_logits(logits)
            scores = request.record_scores(apply(request.processors, ids[:, :length], logits, state.step))
            tokens = request.draw.one(scores) if config.do_sample else xp.argmax(scores, axis=-1)
            ids[:, length] = state.chosen(xp.where(ended, request.pad, tokens))
            length += 1
            request.stream(ids[:, length - 1 : length])
            ended = ended | any_of(request.stops, ids[:, :length], request.scores)
            if length == ids.shape[1] or bool(ended.all()):
                break
            logits = state.logits(ids[:, :length])
    finally:
        if request.streamer:
            request.streamer.end()
    return GenerateOutput(ids[:, :length], None, request.scores, request.logits, None, state.cache)


def _progress_bar(progress: bool | None, new: int, streamer: Streamer | None) -> Any:
    """A bar on standard error, or one that shows nothing."""
    from tqdm import tqdm

    terminal = sys.stderr is not None and sys.stderr.isatty()
    wanted = terminal and new > LONG_RUN and streamer is None if progress is None else progress
    return tqdm(total=new, unit="token", file=sys.stderr, disable=not wanted)
