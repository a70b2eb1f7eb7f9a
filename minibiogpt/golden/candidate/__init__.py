"""Read a candidate, another implementation's arrays, from the files that porters have. Start with ``reader``."""
