"""A golden case on disk: recorded from a run, with the rounding noise measured on that run, written and read again."""
