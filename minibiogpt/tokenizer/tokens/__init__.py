"""What a tokenizer has besides encoding: its tokens, options, attributes and files.

``special_tokens`` is the table of all tokens, and ``added_tokens`` finds the added ones in a text. ``settings`` has the
options and the files that hold them, ``attributes`` puts them together, and ``names`` says what to write instead of
names that only transformers has.
"""
