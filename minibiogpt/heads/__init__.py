"""What sits on the base model: the language-modelling head and two classification heads, with their losses.

``scoring`` and ``tagging`` turn their output into scores of texts and labelled spans of text.
"""

from minibiogpt.heads.causal_lm import BioGptForCausalLM
from minibiogpt.heads.sequence_classification import BioGptForSequenceClassification
from minibiogpt.heads.token_classification import BioGptForTokenClassification

__all__ = ["BioGptForCausalLM", "BioGptForSequenceClassification", "BioGptForTokenClassification"]
