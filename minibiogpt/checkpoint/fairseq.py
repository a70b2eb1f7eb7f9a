"""fairseq's files in Hugging Face's terms: tensor names, the settings of a checkpoint, dict.txt and bpecodes.

Source: convert_biogpt_original_pytorch_checkpoint_to_pytorch.py in transformers 4.57, whose result this is, and
Dictionary in fairseq 0.12.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minibiogpt.checkpoint.unpickle import Inert
from minibiogpt.errors import CheckpointError
from minibiogpt.files.reading import read_text
from minibiogpt.tokenizer.bpe import END_OF_WORD

FIRST = ("<s>", "<pad>", "</s>", "<unk>")  # what a Dictionary begins with, unsaid in its file
GOES_ON = "@@"  # what a piece ends in that does not end its word
OVERWRITE = " #fairseq:overwrite"
PASSED_OVER = ("decoder.version", "decoder.embed_positions._float_tensor")  # neither is learned
ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new"}
PLAIN = {  # fields of BioGptConfig by fairseq's name
    "decoder_attention_heads": "num_attention_heads",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "activation_dropout": "activation_dropout",
    "decoder_layerdrop": "layerdrop",
    "share_decoder_input_output_embed": "tie_word_embeddings",
}


def our_name(name: str) -> str:
    """A tensor of fairseq's decoder as transformers calls it, less the leading ``biogpt.``.

    Examples
    --------
    >>> our_name("decoder.layers.0.fc1.bias"), our_name("decoder.output_projection.weight")
    ('layers.0.fc1.bias', 'output_projection.weight')
    """
    return name.removeprefix("decoder.")


def settings_of(checkpoint: dict[Any, Any]) -> dict[str, Any]:
    """The settings of the model that a checkpoint tells: cfg.model (fairseq 0.10 and later), or else args.

    They may be a dict, an argparse.Namespace or omegaconf's: of the latter two the plain values are taken.
    """
    cfg = _plain(checkpoint.get("cfg"))
    model = _plain(cfg.get("model")) if isinstance(cfg, dict) else None
    if not isinstance(model, dict):
        model = _plain(checkpoint.get("args"))
    return {key: _plain(value) for key, value in model.items()} if isinstance(model, dict) else {}


def _plain(value: Any) -> Any:
    """What an inert object holds: omegaconf keeps it below _content (a dict's) or _val, others in their attributes."""
    for _ in range(4):  # a value in a node in a dict; no more, for a file may hold a circle
        if not isinstance(value, Inert) or not isinstance(value.state, dict):
            break
        value = next((value.state[key] for key in ("_content", "_val") if key in value.state), value.state)
    return value


def config_fields(settings: dict[str, Any], file: Path) -> dict[str, Any]:
    """The fields of BioGptConfig that the settings tell, and no tensor's shape.

    Where the norms stand, and that positions are learned, is told by which tensors there are.

    Raises
    ------
    CheckpointError
        If the activation is none of BioGPT's.
    """
    fields = {ours: settings[theirs] for theirs, ours in PLAIN.items() if _is_number(settings.get(theirs))}
    if isinstance(settings.get("no_scale_embedding"), bool):
        fields["scale_embedding"] = not settings["no_scale_embedding"]
    if (activation := settings.get("activation_fn")) is not None:
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            must = f"{file} must use one of the activations {', '.join(ACTIVATIONS)}"
            found = ascii(activation)[:80] if isinstance(activation, str) else type(activation).__name__
            raise CheckpointError(must, found, "convert another checkpoint")
        fields["hidden_act"] = ACTIVATIONS[activation]
    return fields


def _is_number(value: Any) -> bool:
    """Of a size that can be printed: the file is not trusted."""
    return isinstance(value, int | float) and not abs(value) > 1 << 32


def read_dictionary(path: Path) -> dict[str, int]:
    """The vocabulary of a dict.txt: ``<s> <pad> </s> <unk>`` are 0 to 3, then one "symbol count" a line.

    ``x@@``, which does not end its word, becomes ``x``, and ``x`` becomes ``x</w>``.

    Raises
    ------
    CheckpointError
        Naming the line that is none, or repeats a piece.
    """
    vocab = {piece: i for i, piece in enumerate(FIRST)}
    for i, line in enumerate(_text(path).removesuffix("\n").split("\n")):
        words, overwrites = line.rstrip(), line.rstrip().endswith(OVERWRITE)
        symbol, _, count = words.removesuffix(OVERWRITE).rpartition(" ")
        piece = symbol.removesuffix(GOES_ON) if symbol.endswith(GOES_ON) else symbol + END_OF_WORD
        wrong = "no count" if not symbol or not count.isdecimal() else "a piece that was there before"
        if not symbol or not count.isdecimal() or (piece in vocab and not overwrites):
            must = f"{path} must hold a symbol and its count in each line, and no symbol twice"
            raise CheckpointError(must, f"{wrong} in line {i + 1}, {line[:60]!r}", "use the model's own dict.txt")
        vocab[piece] = len(FIRST) + i
    return vocab


def read_codes(path: Path) -> str:
    """The merges of a bpecodes file, as it is but for a last newline: a merges.txt without one loses its last line."""
    text = _text(path)
    return text if text.endswith("\n") else text + "\n"


def _text(path: Path) -> str:
    if not path.exists():
        must = "fairseq's checkpoint needs its dict.txt and bpecodes beside it"
        raise CheckpointError(must, f"no {path}", "name them with --dict and --bpecodes")
    return read_text(path, f"{path} must be there")
