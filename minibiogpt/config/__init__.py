"""BioGptConfig: the hyperparameters of a BioGPT model, as stored in config.json.

``biogpt_config`` is the class; ``fields`` says which values each field takes; ``labels`` holds the names of classes;
``common`` what transformers lets people read from any config; ``keywords`` the keyword arguments of every
``from_pretrained`` that are about files.
"""

from minibiogpt.config.biogpt_config import BioGptConfig
from minibiogpt.config.common import GENERATION as GENERATION_DEFAULTS
from minibiogpt.config.fields import (
    ACTIVATIONS,
    LAYER_NORM_EPS,
    MAX_LAYERS,
    MAX_WEIGHTS,
    POSITION_OFFSET,
    PROBLEM_TYPES,
    dtype_text,
)
from minibiogpt.config.keywords import local_folder, revision_of
from minibiogpt.config.labels import DEFAULT_LABELS, MAX_LABELS, inverse_labels, resolve_labels

__all__ = [
    "ACTIVATIONS",
    "DEFAULT_LABELS",
    "GENERATION_DEFAULTS",
    "LAYER_NORM_EPS",
    "MAX_LABELS",
    "MAX_LAYERS",
    "MAX_WEIGHTS",
    "POSITION_OFFSET",
    "PROBLEM_TYPES",
    "BioGptConfig",
    "dtype_text",
    "inverse_labels",
    "local_folder",
    "resolve_labels",
    "revision_of",
]
