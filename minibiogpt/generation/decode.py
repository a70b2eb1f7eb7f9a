"""generate: the options settled, the rules listed, then one token a step: greedy, sampled, or by beam search."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minibiogpt import inputs
from minibiogpt.backend import backend_of
from minibiogpt.generation.beam import beam_search
from minibiogpt.generation.config import GenerationConfig, listed_ids
from minibiogpt.generation.draw import Draw
from minibiogpt.generation.outputs import GenerateOutput
from minibiogpt.generation.processors import LogitsProcessor, apply
from minibiogpt.generation.prompt import check_against_model, check_numbers, prompt_mask, room
from minibiogpt.generation.rules import logits_processors
from minibiogpt.generation.stopping import EndToken, StoppingCriterion, StopStrings, any_of
from minibiogpt.generation.task import Feed, Streamer, Task

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForCausalLM
    from minibiogpt.tokenizer import BioGptTokenizer

LONG_RUN = 50  # new tokens from which a progress bar is worth its line


def generate(
    model: BioGptForCausalLM,
    input_ids: Any = None,
    *,
    attention_mask: Any = None,
    generation_config: GenerationConfig | None = None,
    logits_processor: Sequence[LogitsProcessor] = (),
    stopping_criteria: Sequence[StoppingCriterion] = (),
    prefix_allowed_tokens_fn: Callable[[int, Any], Sequence[int]] | None = None,
    tokenizer: BioGptTokenizer | None = None,
    seed: int | None = 0,
    streamer: Streamer | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Any:
    """Continue each row of ``input_ids``.

    Parameters
    ----------
    input_ids : (B, T) integers; rows of unequal length are padded on the **left**. None: one row of bos_token_id.
    attention_mask : (B, T); by default what is not padding, as in transformers.
    generation_config, options : see GenerationConfig, which lists every option and says which holds.
    logits_processor : rules of your own, (ids, logits) -> logits; they come after the built-in ones and before those of
        sampling.
    stopping_criteria : (ids, scores) -> (rows,) booleans: a row that meets one has ended.
    prefix_allowed_tokens_fn : (row of the prompt, ids so far) -> the ids that may come next.
    tokenizer : for stop_strings.
    seed : of the draws, which are made on the host: a seed gives the same draws on every backend. None: a fresh one.
    streamer : is told the ids of a single row as they come. progress : a bar on stderr; None: on long runs.

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
    own = model.generation_config
    config = (generation_config.over(own) if generation_config else own).updated(options)
    config.warn_of_what_is_passed_over()
    start = [[config.bos_token_id]] if input_ids is None and config.bos_token_id is not None else input_ids
    prompt = inputs.as_integers("input_ids", start, model.backend, 0, model.config.vocab_size)
    check_against_model(config, model.config.vocab_size)
    ends = listed_ids(config.eos_token_id)
    mask = prompt_mask(attention_mask, prompt, config.pad_token_id, ends)
    new = room(model.config.max_position_embeddings, mask, prompt.shape[1], config)
    check_numbers(config, options, prompt, new, streamer)
    stops: list[StoppingCriterion] = [EndToken(ends)] if ends else []
    stops += [StopStrings(config.stop_strings, tokenizer, prompt)] if config.stop_strings is not None else []
    pad = config.pad_token_id if config.pad_token_id is not None else (*ends, 0)[0]  # as in transformers
    rules = logits_processors(config, prompt.shape[1], new, prefix_allowed_tokens_fn, logits_processor)
    bar = _progress_bar(progress, new, streamer)
    task = Task(prompt, mask, config, rules, [*stops, *stopping_criteria], new, pad, Draw(seed), streamer, bar)
    feed = Feed(model, task)
    try:
        output = beam_search(feed, task) if config.num_beams > 1 else one_by_one(feed, task)
    finally:
        bar.close()
    return output if config.return_dict_in_generate else output.sequences


def one_by_one(feed: Feed, task: Task) -> GenerateOutput:
    """Greedy decoding, or sampling: at each step a token is chosen for good."""
    backend = backend_of(task.prompt)
    xp, config = backend.xp, task.config
    length = task.prompt.shape[1]
    prompt = xp.repeat(task.prompt, config.num_return_sequences, axis=0)
    ids = xp.full((prompt.shape[0], length + task.new), task.pad, dtype="int64")
    ids[:, :length] = prompt
    ended = xp.zeros((ids.shape[0],), dtype=bool)
    logits = feed.repeated(feed.logits(task.prompt), config.num_return_sequences)
    task.tell(prompt)
    try:
        while True:
            scores = task.note(logits, apply(task.processors, ids[:, :length], logits))
            tokens = task.draw.one(scores) if config.do_sample else xp.argmax(scores, axis=-1)
            ids[:, length] = xp.where(ended, task.pad, tokens)
            length += 1
            task.tell(ids[:, length - 1 : length])
            ended = ended | any_of(task.stops, ids[:, :length], task.scores)
            if length == ids.shape[1] or bool(ended.all()):
                break
            logits = feed.logits(ids[:, :length])
    finally:
        if task.streamer:
            task.streamer.end()
    return GenerateOutput(ids[:, :length], None, task.scores, task.logits, None, feed.cache)


def _progress_bar(progress: bool | None, new: int, streamer: Streamer | None) -> Any:
    """A bar on standard error, or one that shows nothing."""
    from tqdm import tqdm

    terminal = sys.stderr is not None and sys.stderr.isatty()
    wanted = terminal and new > LONG_RUN and streamer is None if progress is None else progress
    return tqdm(total=new, unit="token", file=sys.stderr, disable=not wanted)
