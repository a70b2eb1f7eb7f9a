"""Text as BioGPT-Large was trained on it, and back: digits separated by spaces, and tags.

BioGPT-Large (not the base model) was trained on "1 0 0 mg" instead of "100 mg" and on documents in tags, and it
generates such text: "1 0 0 mg were given. < / FREETEXT > < / ABSTRACT > ▃". Nothing here happens by default, and the
tokenizer does not know about it: split digits before encoding, and clean up after decoding.

The exact preprocessing is unpublished. This version follows the published vocabulary: of its 57,717 pieces one joins
two digits, and no frequent one joins a digit, a point or comma, and a digit, whereas "IC5", "CD4" and "p5" (of p53) are
pieces of their own.
"""

from __future__ import annotations

import re

_WITHIN_A_NUMBER = re.compile(r"(?<=[0-9])([.,]?)(?=[0-9])")
# split_digits writes " ", " . " and " , "; Moses turns the latter two into ". " and ", "
_SEPARATED_DIGITS = re.compile(r"(?<![0-9])[0-9](?:(?: | ?\. | , |, (?=[0-9] [0-9] [0-9](?! ?[0-9])))[0-9])+(?![0-9])")
# It starts at the first of several spaces: else a long run of them would be read again from each.
_TAGS = re.compile(r"(?<! )(?: *(?:< ?/? ?(?:FREETEXT|PARAGRAPH|ABSTRACT|TITLE) ?>|▃))+ *")


def split_digits(text: str) -> str:
    """Put spaces between the digits of every number, and around a point or comma within it.

    Afterwards, two adjacent numbers ("in 2020 12 died") look like one: "2 0 2 0 1 2".

    Examples
    --------
    >>> split_digits("IC50 was 12.5 nM in 1,024 cells")
    'IC5 0 was 1 2 . 5 nM in 1 , 0 2 4 cells'
    """
    return _WITHIN_A_NUMBER.sub(lambda match: f" {match[1]} " if match[1] else " ", text)


def join_digits(text: str) -> str:
    """Join single digits that are separated by one space, and the point or comma of such a number.

    This is a guess, and for some texts it is wrong. Two one-digit numbers look like one two-digit number: "in 1 2
    patients were men" may mean 12 patients, or 2 in group 1. So do a sentence that ends in a digit and one that begins
    with a digit: "of grade 1. 2 died" becomes "of grade 1.2 died". After a comma and a space only three digits are
    joined: "1, 0 2 4" is a number (or "1, 024" was meant), "1, 2 or 3" a list. Numbers of several digits are left
    unchanged.

    Examples
    --------
    >>> join_digits("1 0 0 mg; IC5 0 was 1 2. 5 nM in 1, 0 2 4 cells (P = 0. 0 5)")
    '100 mg; IC50 was 12.5 nM in 1,024 cells (P = 0.05)'
    >>> join_digits("grades 1, 2 and 3; in 2020 12 died")
    'grades 1, 2 and 3; in 2020 12 died'
    >>> join_digits(split_digits("by 2020-03-11: 118,319 cases (7.5%)"))
    'by 2020-03-11: 118,319 cases (7.5%)'
    """
    return _SEPARATED_DIGITS.sub(lambda match: match[0].replace(" ", ""), text)


def remove_tags(text: str) -> str:
    """Remove BioGPT-Large's tags (FREETEXT, PARAGRAPH, ABSTRACT, TITLE, opening or closing) and its ▃.

    Examples
    --------
    >>> remove_tags("It is safe. < / FREETEXT > < / ABSTRACT > ▃")
    'It is safe.'
    >>> remove_tags("< TITLE > Aspirin < / TITLE > < PARAGRAPH > It helps (P < 0.05).")
    'Aspirin It helps (P < 0.05).'
    """

    def gap(match: re.Match[str]) -> str:
        return "" if match.start() == 0 or match.end() == len(text) else " "

    return _TAGS.sub(gap, text)


def clean_large(text: str) -> str:
    """Turn BioGPT-Large's output into ordinary text: remove tags and join digits (a guess, see ``join_digits``).

    Examples
    --------
    >>> clean_large("The dose was 1 0 0 mg. < / FREETEXT > < / ABSTRACT > ▃")
    'The dose was 100 mg.'
    """
    return join_digits(remove_tags(text))
