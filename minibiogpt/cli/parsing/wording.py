"""Say what the package's messages say to Python's users in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable

# {what a message of the package says, as whole words: what to say instead}; of two that begin alike, the longer first.
ON_THE_COMMAND_LINE = {
    "set do_sample=True, or num_beams to at least": "use --sample, or --num-beams of at least",
    "set do_sample=True": "use --sample",
    "do_sample=True": "--sample",
    "for greedy decoding write do_sample=False": "for greedy decoding leave --sample out",
    "do_sample=False": "no --sample",
    "shorten it (truncation=True)": "shorten it",
    "load the model with dtype='float64'": "use --dtype float64",
    "or try dtype float64": "or use --dtype float64",
    "bad_words_ids or sequence_bias": "--bad-word",
    "scoring 'fairseq' needs beam search": "--scoring fairseq needs beam search",
    "set num_beams; Microsoft used 5": "add --num-beams 5, as Microsoft did",
    "leave product out": "leave --product out",
    "seed must be None or an integer": "seed must be an integer",
    "a streamer needs a batch of 1 without beams": "--stream needs one text, one result and no beam search",
    "stream one text at a time": "leave --stream out, or stream one text with --num-beams 1",
    "call model.resize_token_embeddings(len(tokenizer))": "use a model that was trained with them",
    "or leave names out to record all": "or leave --names out for all of them",
    "; the loss needs labels": "; this command passes no labels",
}
PATTERNS = [
    *((re.escape(said), instead) for said, instead in ON_THE_COMMAND_LINE.items()),
    (r"adapter=(['\"])(.*?)\1, or --adapter", r"--adapter \2"),
]


def worded(message: str, names: Iterable[str] = ()) -> str:
    """Return a message with options as they are typed on the command line.

    Parameters
    ----------
    names : of options of the package that the command has, too: ``num_beams`` becomes ``--num-beams``. A name without
        an underscore may be a word. It is changed only at the start ("layer must be") or the end ("correct window").

    Examples
    --------
    >>> worded("without do_sample=True these options have no effect: top_k", ["top_k"])
    'without --sample these options have no effect: --top-k'
    >>> worded("layer must be an integer from 0 to 3; found 9; count the layers from 0", ["layer"])
    '--layer must be an integer from 0 to 3; found 9; count the layers from 0'
    """
    for pattern, instead in PATTERNS:
        message = re.sub(rf"(?:(?=\W)|(?<![\w-])){pattern}(?!\w)", instead, message)
    for name in names:
        option = f"--{name.replace('_', '-')}"
        message = re.sub(rf"(?<![\w.'\"/-]){name}=(?=\d)", f"{option} ", message)
        message = re.sub(rf"^{name} must (?=be )", f"{option} must ", message)
        message = re.sub(rf"; correct {name}$", f"; correct {option}", message)
        if "_" in name:
            message = re.sub(rf"(?<![\w.'\"/-]){name}(?![\w.'\"/=-])", option, message)
    return message
