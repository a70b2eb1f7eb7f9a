"""The options of generate: which values are valid, and what transformers' other options and arguments mean here."""
