"""minibiogpt view: write one layer, step by step, as an HTML page that works offline.

With --sampler, the page shows how the logits after the text become the next token: temperature, top-k, top-p and draws.
"""

from __future__ import annotations

import argparse
import warnings
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from minibiogpt.cli.batch.fitting import fitted
from minibiogpt.cli.batch.inputs import add_truncate
from minibiogpt.cli.options import add_model, load_model, load_tokenizer, model_class, texts_of
from minibiogpt.cli.outputs import check_output, inputs_of
from minibiogpt.errors import InputError

if TYPE_CHECKING:
    from minibiogpt.view import Sampler, Stepper

STEP = "self_attn.probs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", help="one text; none or - reads standard input")
    add_model(parser, runs=True)
    add_truncate(parser, "keep only as many first tokens of the text as the model's maximum N")
    parser.add_argument("--layer", type=int, metavar="N", help="index of the layer (default: 0)")
    parser.add_argument("--step", metavar="NAME", help=f"the step that the page opens on (default: {STEP})")
    parser.add_argument("--sampler", action="store_true", help="show how the logits become the next token instead")
    parser.add_argument("--output", metavar="FILE", help="HTML file to write (default: layer-N.html or sampler.html)")
    add_page_options(parser)


def add_page_options(parser: argparse.ArgumentParser, most: float | None = 30, default: str = "30") -> None:
    """Add the options that all pages share."""
    parser.add_argument("--open", action="store_true", help="open the page in the web browser")
    parser.add_argument(
        "--theme", default="auto", metavar="T", help="auto (default: follow the system setting), light or dark"
    )
    parser.add_argument(
        "--max-megabytes", type=float, default=most, metavar="M",
        help=f"size limit of the page in megabytes (default: {default})",
    )  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Run the model once and write the page."""
    for name in ("layer", "step"):
        if options.sampler and getattr(options, name) is not None:
            raise InputError("a page must show a layer or the next token", f"--{name} and --sampler", "leave one out")
    texts = texts_of(options.text)
    if len(texts) != 1:
        raise InputError("a page must show exactly one text", f"{len(texts)}", "put the text in quotes")
    default = "sampler.html" if options.sampler else f"layer-{options.layer or 0}.html"
    output = default if options.output is None else options.output
    check_output(output, "--output", inputs_of(options))
    from minibiogpt.view.page import page_file

    page_file(output, "the page of --output")
    page = (_sampler if options.sampler else _stepper)(options, texts)
    opened(page.save(Path(output)), options.open)


def _stepper(options: argparse.Namespace, texts: list[str]) -> Stepper:
    from minibiogpt.view import Stepper

    tokenizer = load_tokenizer(options)
    (text,) = fitted(options, tokenizer, texts)
    return Stepper(
        load_model(options, model_class(options)),
        text,
        tokenizer=tokenizer,
        layer=options.layer or 0,
        start=STEP if options.step is None else options.step,
        theme=options.theme,
        max_megabytes=options.max_megabytes,
    )


def _sampler(options: argparse.Namespace, texts: list[str]) -> Sampler:
    from minibiogpt import BioGptForCausalLM
    from minibiogpt.view import Sampler
    from minibiogpt.view.page import check_theme

    check_theme(options.theme)
    tokenizer = load_tokenizer(options)
    (text,) = fitted(options, tokenizer, texts)
    ids = tokenizer.encode(text) if isinstance(text, str) else text
    logits = load_model(options, BioGptForCausalLM)([ids], use_cache=False).logits[0, -1]
    return Sampler(logits, tokenizer, theme=options.theme, text=texts[0])


def opened(file: Path, in_browser: bool) -> None:
    """Print the path of a page, and open it in the web browser on request."""
    print(file)
    if in_browser and not webbrowser.open(file.resolve().as_uri()):
        warnings.warn(f"no web browser was found: open {file} yourself", stacklevel=2)
