"""BioGPT itself, and nothing else."""

from minibiogpt.model.biogpt import BioGptModel

__all__ = ["BioGptModel"]
