"""What sits on top of the base model."""

from minibiogpt.heads.causal_lm import (
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
)

__all__ = ["BioGptForCausalLM", "BioGptForSequenceClassification", "BioGptForTokenClassification"]
