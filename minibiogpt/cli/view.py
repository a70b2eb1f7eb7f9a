"""minibiogpt view: write one layer, step by step, as an HTML page that works offline."""

from __future__ import annotations

import argparse
import warnings
import webbrowser
from pathlib import Path

from minibiogpt.cli.batch.fitting import fitted
from minibiogpt.cli.batch.inputs import add_truncate
from minibiogpt.cli.options import add_model, load_model, load_tokenizer, model_class, texts_of
from minibiogpt.cli.outputs import check_output, inputs_of
from minibiogpt.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", help="one text; none or - reads standard input")
    add_model(parser, runs=True)
    add_truncate(parser, "keep only as many first tokens of the text as the model's maximum N")
    parser.add_argument("--layer", type=int, default=0, metavar="N", help="index of the layer (default: 0)")
    parser.add_argument("--output", metavar="FILE", help="HTML file to write (default: layer-N.html)")
    add_page_options(parser)


def add_page_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all pages share."""
    parser.add_argument("--open", action="store_true", help="open the page in the web browser")
    parser.add_argument(
        "--theme", default="auto", metavar="T", help="auto (default: follow the system setting), light or dark"
    )
    parser.add_argument(
        "--max-megabytes", type=float, default=30, metavar="M", help="size limit of the page in megabytes (default: 30)"
    )


def run(options: argparse.Namespace) -> None:
    """Run the model once and write the page."""
    texts = texts_of(options.text)
    if len(texts) != 1:
        raise InputError("a page must show exactly one text", f"{len(texts)}", "put the text in quotes")
    output = f"layer-{options.layer}.html" if options.output is None else options.output
    check_output(output, "--output", inputs_of(options))
    from minibiogpt.view import Stepper
    from minibiogpt.view.page import page_file

    page_file(output, "the page of --output")
    tokenizer = load_tokenizer(options)
    (text,) = fitted(options, tokenizer, texts)
    model = load_model(options, model_class(options))
    stepper = Stepper(
        model,
        text,
        tokenizer=tokenizer,
        layer=options.layer,
        theme=options.theme,
        max_megabytes=options.max_megabytes,
    )
    opened(stepper.save(Path(output)), options.open)


def opened(file: Path, in_browser: bool) -> None:
    """Print the path of a page, and open it in the web browser on request."""
    print(file)
    if in_browser and not webbrowser.open(file.resolve().as_uri()):
        warnings.warn(f"no web browser was found: open {file} yourself", stacklevel=2)
