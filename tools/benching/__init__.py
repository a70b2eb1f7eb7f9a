"""minibiogpt beside transformers on one machine: the cases, the workers that run them, the limits, the table."""
