"""Options and input handling shared by several commands."""

from __future__ import annotations

import argparse
import math
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minibiogpt.backend import get_backend
from minibiogpt.cli.batch.lines import check_standard_output, is_blank, one_text, status_of
from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.json_text import SURROGATE, json_text
from minibiogpt.quantization import FORMATS
from minibiogpt.tokenizer import BioGptTokenizer

if TYPE_CHECKING:
    from minibiogpt.checkpoint.source import Source


CLASSES = {
    "causal": "BioGptForCausalLM",
    "sequence": "BioGptForSequenceClassification",
    "token": "BioGptForTokenClassification",
    "base": "BioGptModel",
}


def add_model(parser: argparse.ArgumentParser, *, runs: bool = False, texts: bool = True) -> None:
    """Add --model and --revision; --tokenizer for a command that reads texts; what a command needs to run the model."""
    parser.add_argument(
        "--model",
        metavar="M",
        help="demo (default), a folder, the folder of a LoRA adapter, or a Hugging Face hub id; with --adapter, the "
        "default is the model that the adapter names",
    )
    parser.add_argument(
        "--revision",
        metavar="R",
        help="branch, tag or commit of a hub id (default for Microsoft's models: the one with safetensors)",
    )
    if texts:
        parser.add_argument(
            "--tokenizer", metavar="T", help="folder or hub id of the tokenizer, if the model has none of its own"
        )
    if runs:
        add_adapter(parser)
        parser.add_argument("--backend", default="numpy", help="numpy (default) or cupy")
        parser.add_argument("--dtype", default="float32", help="float32 (default), float64, float16 or bfloat16")
        about = "what multiplies matrices on the CPU: auto (default), numpy, mkl, openblas or onednn"
        parser.add_argument("--product", metavar="P", help=about)
        about = f"quantize the weights of the layers while they are read: {', '.join(FORMATS)}"
        parser.add_argument("--quantization", choices=FORMATS, metavar="FORMAT", help=about)
        about = "with int8-dynamic: multiply columns with a number of at least X as floats, as LLM.int8 does with 6"
        parser.add_argument("--outlier-threshold", type=float, metavar="X", help=about)
        about = "if NumPy's OpenBLAS uses kernels for an older processor (see info), start again with the right ones"
        parser.add_argument("--fast-blas", action="store_true", help=about)


def add_names(parser: argparse.ArgumentParser) -> None:
    about = 'only arrays that match, such as "layers.{0..3}.*"; repeatable'
    parser.add_argument("--names", action="append", metavar="PATTERN", help=about)


def check_backend(options: argparse.Namespace) -> None:
    """Refuse a --product that can't be used, and a --dtype that the --backend does not compute in."""
    if "backend" in options and "dtype" in options:
        backend = get_backend(options.backend, getattr(options, "product", None))
        try:
            backend.dtype(options.dtype)
        except InputError as error:
            remedy = f"write --quantization {options.dtype}" if options.dtype in FORMATS else error.remedy
            raise InputError(error.must, error.found, remedy) from None


def check_outlier_threshold(options: argparse.Namespace) -> None:
    x = getattr(options, "outlier_threshold", None)
    if x is not None and not (math.isfinite(x) and x >= 0):
        raise InputError(
            "--outlier-threshold must be a number that is not negative", str(x), "write 6, or leave it out"
        )


def decode_texts(options: argparse.Namespace) -> None:
    """Read the texts on the command line as UTF-8, in every command and locale. A path may be any bytes.

    Raises
    ------
    InputError
        If one is not UTF-8.
    """
    for name in ("text", "words", "stop", "bad_word", "name", "about"):
        value = getattr(options, name, None)
        if isinstance(value, list):
            setattr(options, name, [_decoded(name, text) for text in value])
        elif isinstance(value, str):
            setattr(options, name, _decoded(name, value))


def _decoded(name: str, text: str) -> str:
    """Return a text; a byte that Python could not decode, perhaps only because of the locale, is a lone surrogate."""
    if not SURROGATE.search(text):
        return text
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        what = "a text" if name in ("text", "words") else f"--{name.replace('_', '-')}"
        raise InputError(f"{what} must be UTF-8", ascii(text)[:200], "convert it first") from None


def add_adapter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--adapter", metavar="A", help="folder or hub id of a LoRA adapter to merge into the model")


def source_of(options: argparse.Namespace) -> Source:
    """Find the model and its adapter, once per command. Warn if the adapter was trained on a different model."""
    from minibiogpt.checkpoint.source import find_source, other_base

    if not hasattr(options, "source"):
        name, adapter = options.model, getattr(options, "adapter", None)
        if name is None and adapter is None:
            name = "demo"
        options.source = source = find_source(name, options.revision, adapter)
        if name is not None and adapter is not None and (base := other_base(name, source)):
            remedy = "leave --model out to use that model"
            warnings.warn(f"{adapter} was trained on {base}, and is merged into {name}: {remedy}", stacklevel=2)
    return options.source


def model_class(options: argparse.Namespace, head: str | None = None) -> Any:
    """Return the model class of ``head``, else the one that the adapter or config.json names, else the causal LM."""
    import minibiogpt

    source = source_of(options)
    architectures = source.base_config.extra.get("architectures")
    head = head or (source.adapter.head if source.adapter else None)
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    name = CLASSES[head] if head else first if first in CLASSES.values() else CLASSES["causal"]
    return getattr(minibiogpt, str(name))


def load_model(options: argparse.Namespace, kind: Any, **more: Any) -> Any:
    """Load the model with its adapter as the class ``kind``; ``more`` are further arguments of ``from_pretrained``."""
    source = source_of(options)
    adapter = {"adapter": source.adapter.folder} if source.adapter else {}
    settings = {name: getattr(options, name) for name in ("backend", "dtype", "product") if hasattr(options, name)}
    return kind.from_pretrained(source.folder, **settings | quantization_of(options) | adapter | more)


def quantization_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return --quantization and --outlier-threshold as arguments of ``from_pretrained``; none without them."""
    if getattr(options, "quantization", None) is None:
        return {}
    dynamic = options.quantization == "int8-dynamic"
    threshold = getattr(options, "outlier_threshold", None) if dynamic else None  # golden record has no such option
    return {"quantization": options.quantization} | ({} if threshold is None else {"outlier_threshold": threshold})


def tokenizer_folder(options: argparse.Namespace) -> Path:
    """Return the folder of --tokenizer, else the model's or its adapter's, whichever has a vocabulary.

    Raises
    ------
    CheckpointError
        If none has one.
    """
    from minibiogpt.files.hub import find_model

    if options.tokenizer is not None:
        return find_model(options.tokenizer, what="a tokenizer")
    source = source_of(options)
    if source.tokenizer_folder is None:
        source.base_config  # noqa: B018 (a folder that holds no model at all is the first error)
        remedy = "name a tokenizer, such as --tokenizer microsoft/biogpt if the model was made from it"
        raise CheckpointError("a tokenizer needs vocab.json", f"no file {source.folders[0] / 'vocab.json'}", remedy)
    return source.tokenizer_folder


def load_tokenizer(options: argparse.Namespace) -> BioGptTokenizer:
    """Load the tokenizer of the command's model; ids beyond its pieces are those of a soft prompt.

    Raises
    ------
    CheckpointError
        If there is none, or it has more pieces than the model has embeddings.
    """
    source, folder = source_of(options), tokenizer_folder(options)
    tokenizer = BioGptTokenizer.from_pretrained(folder)
    if folder == source.folder and source.adapter is None:
        return tokenizer  # compared with config.json beside it
    rows, pieces = source.config().vocab_size, max(tokenizer.pieces) + 1
    if pieces > rows:
        must = f"the tokenizer in {folder} must not have more pieces than the model has embeddings (vocab_size {rows})"
        raise CheckpointError(must, f"ids up to {pieces - 1}", "name the tokenizer that belongs to the model")
    tokenizer.match_embeddings(rows)
    return tokenizer


def add_windows(parser: argparse.ArgumentParser) -> None:
    """Add --window and --stride, for texts longer than the model's maximum."""
    parser.add_argument(
        "--window", type=int, metavar="N", help="tokens the model sees at once (default: the model's maximum)"
    )
    parser.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help="for texts longer than a window: distance between the starts of two windows, not their overlap (default: "
        "half a window)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(printable_json(value, indent=1))


def printable_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON, with escapes for what standard output's encoding lacks, so that nothing is lost."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return json_text(value, ascii_only=not encoding.lower().startswith("utf"), indent=indent)


def texts_of(arguments: list[str]) -> list[str]:
    """Return the texts on the command line. If there are none, or only "-", read one text from standard input.

    Raises
    ------
    InputError
        If there is no text, or a blank one.
    """
    check_dash(arguments)
    if arguments and arguments != ["-"]:
        for text in arguments:
            check_text(text)
        return arguments
    if not arguments and not standard_input_given():
        raise InputError("a text must be given", "none", "type it in quotes, or pipe it in")
    if sys.stdin is not None:
        check_standard_output(status_of(sys.stdin), "standard input")
    data = sys.stdin.buffer.read() if sys.stdin is not None else b""
    text = one_text(data, "standard input")
    check_text(text, "standard input")
    return [text]


def check_text(text: str, source: str | None = None) -> None:
    """Refuse a text without a token, which no command can use."""
    if is_blank(text):
        found = short_repr(text) + (f" on {source}" if source else "")
        raise InputError("a text must contain a word", found, "type one")


def check_dash(arguments: list[str]) -> None:
    """Refuse "-", which means standard input, beside texts."""
    if "-" in arguments and len(arguments) > 1:
        must = "-, which reads standard input, must be alone"
        raise InputError(must, f"{len(arguments)} arguments", "leave - or the other texts out")


def standard_input_given() -> bool:
    return sys.stdin is None or not sys.stdin.isatty()
