"""The heads on top of the base model: language modeling and two kinds of classification, with their losses.

``scoring`` computes log-probabilities and perplexity of texts, ``labelling`` runs a classification head over texts of
any length, ``words`` tells which pieces are one word, and ``tagging`` turns token labels into labeled spans.
"""

from minibiogpt.heads.causal_lm import BioGptForCausalLM
from minibiogpt.heads.sequence_classification import BioGptForSequenceClassification
from minibiogpt.heads.token_classification import BioGptForTokenClassification

__all__ = ["BioGptForCausalLM", "BioGptForSequenceClassification", "BioGptForTokenClassification"]
