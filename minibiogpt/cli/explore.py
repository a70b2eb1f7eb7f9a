"""minibiogpt explore: write the whole model as an HTML page to type into, which works offline."""

from __future__ import annotations

import argparse
from pathlib import Path

from minibiogpt.cli.batch.fitting import fitted
from minibiogpt.cli.batch.inputs import add_truncate
from minibiogpt.cli.options import add_model, load_model, load_tokenizer, texts_of
from minibiogpt.cli.outputs import check_output, inputs_of
from minibiogpt.cli.view import add_page_options, opened
from minibiogpt.errors import InputError

TEXT = "Ibuprofen is best used for"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="text", help="the text that the page starts with; - reads standard input"
    )
    parser.add_argument("--text", action="append", metavar="TEXT", help=f'the same, as an option (default: "{TEXT}")')
    add_model(parser, runs=True)
    add_truncate(parser, "keep only as many first tokens of the text as the model's maximum N")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="explore.html",
        help="HTML file to write (default: explore.html); printed, it has every view on its own page",
    )
    add_page_options(parser, None, "30 for a recorded page; a live one has the size of its model")


def run(options: argparse.Namespace) -> None:
    """Run the model once and write the page."""
    if options.words and options.text is not None:
        raise InputError("a page must start with one text", "an argument and --text", "leave out one of them")
    texts = texts_of(options.words or options.text or [TEXT])
    if options.text and len(texts) > 1:
        raise InputError("a page must start with one text", f"--text {len(texts)} times", "make a page for each")
    if len(texts) != 1:
        raise InputError("a page must show exactly one text", f"{len(texts)}", "put the text in quotes")
    check_output(options.output, "--output", inputs_of(options))
    from minibiogpt import BioGptForCausalLM
    from minibiogpt.view import Explorer
    from minibiogpt.view.page import page_file

    page_file(options.output, "the page of --output")
    tokenizer = load_tokenizer(options)
    fitted(options, tokenizer, texts)  # a text that is too long is an error, or with --truncate a warning
    model, megabytes, cut = load_model(options, BioGptForCausalLM), options.max_megabytes, options.truncate
    page = Explorer(model, texts[0], tokenizer=tokenizer, theme=options.theme, max_megabytes=megabytes, truncate=cut)
    opened(page.save(Path(options.output)), options.open)
