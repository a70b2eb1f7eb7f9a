"""Logits to text: greedy decoding, sampling and beam search, logits processors, stopping, streaming.

Read ``decode`` first (``generate``, and greedy decoding and sampling), then ``beam``. ``processors`` and ``sampling``
change logits, ``processor_list`` chooses and orders them, ``stopping`` ends rows, ``state`` runs the model on the
newest tokens. This subpackage uses models through the protocol in ``protocols`` and doesn't import the heads.
"""

from minibiogpt.generation.config import GENERATION_CONFIG, GenerationConfig
from minibiogpt.generation.decode import generate
from minibiogpt.generation.outputs import GenerateOutput, transition_scores
from minibiogpt.generation.processor_list import logits_processors
from minibiogpt.generation.processors import (
    ExponentialDecay,
    ForcedEnd,
    ForcedFirst,
    LogitsProcessor,
    MinLength,
    NoRepeatNGram,
    OnlyEnd,
    PrefixConstraint,
    RepetitionPenalty,
    SequenceBias,
    Suppress,
    bad_words,
    remove_invalid_values,
    renormalize,
)
from minibiogpt.generation.sampling import EpsilonCutoff, EtaCutoff, MinP, Temperature, TopK, TopP, TypicalP
from minibiogpt.generation.stopping import EndToken, MaxTime, StoppingCriterion, StopStrings
from minibiogpt.generation.streaming import TextIteratorStreamer, TextStreamer

__all__ = [
    "GENERATION_CONFIG",
    "EndToken",
    "EpsilonCutoff",
    "EtaCutoff",
    "ExponentialDecay",
    "ForcedEnd",
    "ForcedFirst",
    "GenerateOutput",
    "GenerationConfig",
    "LogitsProcessor",
    "MaxTime",
    "MinLength",
    "MinP",
    "NoRepeatNGram",
    "OnlyEnd",
    "PrefixConstraint",
    "RepetitionPenalty",
    "SequenceBias",
    "StopStrings",
    "StoppingCriterion",
    "Suppress",
    "Temperature",
    "TextIteratorStreamer",
    "TextStreamer",
    "TopK",
    "TopP",
    "TypicalP",
    "bad_words",
    "generate",
    "logits_processors",
    "remove_invalid_values",
    "renormalize",
    "transition_scores",
]
