"""Translate fairseq's files for transformers: tensor names, the settings of a checkpoint, dict.txt and bpecodes.

Sources: convert_biogpt_original_pytorch_checkpoint_to_pytorch.py in transformers 4.57, which gives the same result, and
Dictionary in fairseq 0.12.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minibiogpt.checkpoint.unpickle import Inert
from minibiogpt.errors import CheckpointError
from minibiogpt.files.reading import read_text
from minibiogpt.tokenizer.bpe import END_OF_WORD

SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")  # a Dictionary starts with these; its file omits them
CONTINUATION = "@@"  # the end of a piece that does not end its word
OVERWRITE = " #fairseq:overwrite"
IGNORED_TENSORS = ("decoder.version", "decoder.embed_positions._float_tensor")  # neither is learned
ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new"}
FIELDS = {  # {fairseq's setting: field of BioGptConfig}
    "decoder_attention_heads": "num_attention_heads",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "activation_dropout": "activation_dropout",
    "decoder_layerdrop": "layerdrop",
    "share_decoder_input_output_embed": "tie_word_embeddings",
}


def hf_name(name: str) -> str:
    """Return transformers' name of a tensor in fairseq's decoder, without the prefix ``biogpt.``.

    Examples
    --------
    >>> hf_name("decoder.layers.0.fc1.bias"), hf_name("decoder.output_projection.weight")
    ('layers.0.fc1.bias', 'output_projection.weight')
    """
    return name.removeprefix("decoder.")


def model_settings(checkpoint: dict[Any, Any]) -> dict[str, Any]:
    """Return the model settings in a checkpoint: cfg.model (fairseq 0.10 and later), or else args.

    They may be a dict, an argparse.Namespace or an omegaconf object. From the latter two the plain values are taken.
    """
    cfg = _plain(checkpoint.get("cfg"))
    model = _plain(cfg.get("model")) if isinstance(cfg, dict) else None
    if not isinstance(model, dict):
        model = _plain(checkpoint.get("args"))
    return {key: _plain(value) for key, value in model.items()} if isinstance(model, dict) else {}


def _plain(value: Any) -> Any:
    """Return the content of an inert object: omegaconf's _content (a dict's) or _val, or else its attributes."""
    for _ in range(4):  # a value in a node in a dict; bounded, because a file may hold a cycle
        if not isinstance(value, Inert) or not isinstance(value.state, dict):
            break
        value = next((value.state[key] for key in ("_content", "_val") if key in value.state), value.state)
    return value


def config_fields(settings: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return the fields of BioGptConfig that are in the settings and in no tensor's shape.

    The tensor names already show where the norms are, and that positions are learned.

    Raises
    ------
    CheckpointError
        If the activation is not one of BioGPT's.
    """
    fields = {ours: settings[theirs] for theirs, ours in FIELDS.items() if _is_number(settings.get(theirs))}
    if isinstance(settings.get("no_scale_embedding"), bool):
        fields["scale_embedding"] = not settings["no_scale_embedding"]
    if (activation := settings.get("activation_fn")) is not None:
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            must = f"{file} must use one of the activations {', '.join(ACTIVATIONS)}"
            found = ascii(activation)[:80] if isinstance(activation, str) else type(activation).__name__
            raise CheckpointError(must, found, "convert a different checkpoint")
        fields["hidden_act"] = ACTIVATIONS[activation]
    return fields


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a number small enough to be printed: the file is not trusted."""
    return isinstance(value, int | float) and not abs(value) > 1 << 32


def read_dictionary(path: Path) -> dict[str, int]:
    """Return the vocabulary of a dict.txt: ``<s> <pad> </s> <unk>`` are 0 to 3, then one "symbol count" per line.

    ``x@@``, which does not end its word, becomes ``x``, and ``x`` becomes ``x</w>``.

    Raises
    ------
    CheckpointError
        If a line is malformed or repeats a piece; the message names the line.
    """
    vocab = {piece: i for i, piece in enumerate(SPECIAL_SYMBOLS)}
    for i, line in enumerate(_text(path).removesuffix("\n").split("\n")):
        words, overwrites = line.rstrip(), line.rstrip().endswith(OVERWRITE)
        symbol, _, count = words.removesuffix(OVERWRITE).rpartition(" ")
        piece = symbol.removesuffix(CONTINUATION) if symbol.endswith(CONTINUATION) else symbol + END_OF_WORD
        wrong = "no count" if not symbol or not count.isdecimal() else "a repeated piece"
        if not symbol or not count.isdecimal() or (piece in vocab and not overwrites):
            must = f"{path} must hold a symbol and its count in each line, and no symbol twice"
            raise CheckpointError(must, f"{wrong} in line {i + 1}, {line[:60]!r}", "use the model's own dict.txt")
        vocab[piece] = len(SPECIAL_SYMBOLS) + i
    return vocab


def read_codes(path: Path) -> str:
    """Return the merges of a bpecodes file, with a final newline: without it, merges.txt loses its last line."""
    text = _text(path)
    return text if text.endswith("\n") else text + "\n"


def _text(path: Path) -> str:
    if not path.exists():
        must = "a fairseq checkpoint must have its dict.txt and bpecodes beside it"
        raise CheckpointError(must, f"no {path}", "give their paths with --dict and --bpecodes")
    return read_text(path, f"{path} must exist")
