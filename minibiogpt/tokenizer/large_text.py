"""Text as BioGPT-Large was trained on it, and back: digits set apart, and tags.

BioGPT-Large (not the base model) saw "100 mg" as "1 0 0 mg" and documents in tags, and it writes so too:
"1 0 0 mg were given. < / FREETEXT > < / ABSTRACT > ▃". Nothing here is done unless it is asked for, and the tokenizer
knows nothing of it: set digits apart before encoding, and clean up after decoding.

The exact rule is unpublished. This one follows the published vocabulary: of its 57,717 pieces one joins two digits,
no frequent one a digit, a point or comma, and a digit, whereas "IC5", "CD4" and "p5" (of p53) are pieces of their own.
"""

from __future__ import annotations

import re

_WITHIN_A_NUMBER = re.compile(r"(?<=[0-9])([.,]?)(?=[0-9])")
# " ", " . " and " , " are what split_digits writes; ". " and ", " are what Moses makes of the latter two
_SET_APART = re.compile(r"(?<![0-9])[0-9](?:(?: | ?\. | , |, (?=[0-9] [0-9] [0-9](?! ?[0-9])))[0-9])+(?![0-9])")
_TAGS = re.compile(r"(?: *(?:< ?/? ?(?:FREETEXT|PARAGRAPH|ABSTRACT|TITLE) ?>|▃))+ *")


def split_digits(text: str) -> str:
    """Set every digit of a number apart, and the point or comma within it.

    Two numbers side by side ("in 2020 12 died") cannot be told from one afterwards: "2 0 2 0 1 2".

    Examples
    --------
    >>> split_digits("IC50 was 12.5 nM in 1,024 cells")
    'IC5 0 was 1 2 . 5 nM in 1 , 0 2 4 cells'
    """
    return _WITHIN_A_NUMBER.sub(lambda found: f" {found[1]} " if found[1] else " ", text)


def join_digits(text: str) -> str:
    """Join single digits with one blank between them, and the point or comma of a number set apart so.

    This guesses, and for some texts guesses wrongly: two numbers of one digit look like one of two ("in 1 2 patients
    were men" may mean 12 patients, or that in group 1 there were 2), and so do a sentence that ends in a digit and one
    that begins with a digit ("of grade 1. 2 died" becomes "of grade 1.2 died"). After a comma and a blank only three
    digits are joined: "1, 0 2 4" is a number (or "1, 024" was meant), "1, 2 or 3" a list. Numbers of several digits
    stay as they are.

    Examples
    --------
    >>> join_digits("1 0 0 mg; IC5 0 was 1 2. 5 nM in 1, 0 2 4 cells (P = 0. 0 5)")
    '100 mg; IC50 was 12.5 nM in 1,024 cells (P = 0.05)'
    >>> join_digits("grades 1, 2 and 3; in 2020 12 died")
    'grades 1, 2 and 3; in 2020 12 died'
    >>> join_digits(split_digits("by 2020-03-11: 118,319 cases (7.5%)"))
    'by 2020-03-11: 118,319 cases (7.5%)'
    """
    return _SET_APART.sub(lambda found: found[0].replace(" ", ""), text)


def remove_tags(text: str) -> str:
    """Take out BioGPT-Large's tags (FREETEXT, PARAGRAPH, ABSTRACT, TITLE, opening or closing) and its ▃.

    Examples
    --------
    >>> remove_tags("It is safe. < / FREETEXT > < / ABSTRACT > ▃")
    'It is safe.'
    >>> remove_tags("< TITLE > Aspirin < / TITLE > < PARAGRAPH > It helps (P < 0.05).")
    'Aspirin It helps (P < 0.05).'
    """

    def gap(found: re.Match[str]) -> str:
        return "" if found.start() == 0 or found.end() == len(text) else " "

    return _TAGS.sub(gap, text)


def clean_large(text: str) -> str:
    """What BioGPT-Large wrote as a person would write it: no tags, and digits joined (see ``join_digits``: a guess).

    Examples
    --------
    >>> clean_large("The dose was 1 0 0 mg. < / FREETEXT > < / ABSTRACT > ▃")
    'The dose was 100 mg.'
    """
    return join_digits(remove_tags(text))
