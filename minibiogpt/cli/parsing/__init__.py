"""The command line itself: what is wrong with its words and what to type instead, examples, completion, kernels."""
