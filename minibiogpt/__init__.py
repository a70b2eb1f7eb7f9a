"""BioGPT as explicit NumPy or CuPy operations: a reference to step through and to check other implementations with."""

from minibiogpt import interrupts as interrupts  # before the others, which take a moment that Ctrl-C may interrupt

# isort: split
from minibiogpt.backend import get_backend
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import CheckpointError, DeviceMemoryError, InputError
from minibiogpt.generation import GenerationConfig, TextIteratorStreamer, TextStreamer
from minibiogpt.heads import BioGptForCausalLM, BioGptForSequenceClassification, BioGptForTokenClassification
from minibiogpt.idioms import no_name
from minibiogpt.model import BioGptModel
from minibiogpt.model.cache import KVCache
from minibiogpt.pipelines import pipeline, set_seed
from minibiogpt.tokenizer import AddedToken, BatchEncoding, BioGptTokenizer
from minibiogpt.trace import Trace

__version__ = "0.1.0"

# The names of transformers' Auto classes, which choose a class by the checkpoint's config. Here there is one choice.
AutoConfig = BioGptConfig
AutoTokenizer = BioGptTokenizer
AutoModel = BioGptModel
AutoModelForCausalLM = BioGptForCausalLM
AutoModelForSequenceClassification = BioGptForSequenceClassification
AutoModelForTokenClassification = BioGptForTokenClassification

__all__ = [
    "AddedToken",
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "BatchEncoding",
    "BioGptConfig",
    "BioGptForCausalLM",
    "BioGptForSequenceClassification",
    "BioGptForTokenClassification",
    "BioGptModel",
    "BioGptTokenizer",
    "CheckpointError",
    "DeviceMemoryError",
    "GenerationConfig",
    "InputError",
    "KVCache",
    "TextIteratorStreamer",
    "TextStreamer",
    "Trace",
    "get_backend",
    "pipeline",
    "set_seed",
]


def __getattr__(name: str) -> object:
    raise no_name(name, __all__)
