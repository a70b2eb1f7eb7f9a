"""The kit's page for an implementer who has never seen this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import minibiogpt
from minibiogpt.golden.kit.models import CHECKPOINTS, SIZES
from minibiogpt.golden.kit.probes import Probe


def readme(chosen: Sequence[Probe], models: Mapping[str, Mapping[str, str]], seed: int) -> str:
    """The whole page, in Markdown."""
    names = [name.removeprefix("models/") for name in models]
    table = "\n".join(
        f"| `models/{name}` | {CHECKPOINTS[name].kind.__name__} | {CHECKPOINTS[name].about} |" for name in names
    )
    cases = "\n".join(f"| `{p.name}` | {p.model} | {p.about} | {'; '.join(p.exposes)} |" for p in chosen)
    sizes = ", ".join(f"{letter} {SIZES[key]}" for letter, key in _LETTERS.items())
    made = f"minibiogpt {minibiogpt.__version__}, seed {seed}"
    first = chosen[0].name
    return _PAGE.format(made=made, sizes=sizes, models=table, cases=cases, first=first, count=len(chosen))


_LETTERS = {
    "V": "vocab_size", "D": "hidden_size", "L": "num_hidden_layers", "H": "num_attention_heads",
    "F": "intermediate_size", "N": "max_position_embeddings",
}  # fmt: skip

_PAGE = """# A conformance kit for BioGPT

Made by {made}.

It is for anyone who writes BioGPT in another language or for other hardware: {count} cases with all inputs, every
intermediate array in float64, and for each array how far rounding alone can move it. Ordinary inputs hide many
mistakes; each case here is made to show some of them (the last table).

- `models/NAME/`: tiny checkpoints as Hugging Face has them: config.json, model.safetensors, vocab.json, merges.txt.
- `cases/NAME.safetensors`: one case each.
- `tokenizer.json`: texts with their pieces, ids and offsets.
- `manifest.json`: what there is, with the sha256 of each file.

## In short

1. Load the case's model from `models/`. Run it on the case's inputs.
2. Keep your arrays under the names of the case, in one file for each case: `THEIRS/{first}.safetensors`, or
   `THEIRS/{first}.npz`, or a folder `THEIRS/{first}/` of .npy files.
3. `minibiogpt golden check THIS_FOLDER THEIRS` compares, and says which array is the first to differ.

Exit codes: 0 all agree, 1 something differs or is missing, 2 something cannot be read or nothing was compared.
`golden check cases/{first}.safetensors THEIRS.safetensors` compares one case; `--subset` compares the arrays that both
have, so you can begin with `logits`.

## The models

{sizes}; Dh, the width of a head, is D / H; all different, so an axis
in another place is noticed by its size. No weight is 0 or 1, no gain of a norm is 1. Every number has at most 8
significant bits: float32, bfloat16 and float16 hold it exactly.

| folder | class | what is special |
|---|---|---|
{models}

config.json says `layer_norm_eps` 1e-12, as that of the real BioGPT does; the norms use **1e-5**, as the real ones
do. The head of a language model is the token embedding unless `tie_word_embeddings` is false. merges.txt has three
columns; the third, a count, means nothing.

## A case file

Safetensors: 8 bytes, the length n of the header as a little-endian unsigned integer; n bytes of JSON; then the
numbers. The JSON maps each tensor's name to its `dtype` (F64 or I64), its `shape`, and `data_offsets`: [begin, end)
in bytes from the end of the header. Numbers are little-endian, the last axis runs fastest. Any safetensors library
reads it.

The header's `__metadata__` holds texts; those marked JSON are to be parsed once more:

| key | |
|---|---|
| `case`, `about` | its name, and what it shows |
| `architecture`, `config` (JSON) | the class and the config of the model |
| `model` (JSON) | sha256 of the weights: manifest.json says which folder has them |
| `inputs` (JSON) | names of the tensors that are inputs |
| `arrays` (JSON) | in the order of execution: `name`, `shape`, `axes`, `largest`, `budgets` |

Inputs are `inputs/input_ids`, `inputs/attention_mask`, `inputs/position_ids`, `inputs/head_mask`,
`inputs/inputs_embeds` (scaled already) and `inputs/labels`. What is not there is not given. A case of several calls
has `step.0/`, `step.1/` ... in front of every name: each call continues the key-value cache of the one before, and
its attention_mask covers past and new positions.

An array **agrees** in a precision if no element is further from the reference than `budgets[precision]`, an
absolute number measured by running the model in that precision with sums in other orders. `null`: that precision
cannot hold this case. Arrays of integers must be equal.

## The arrays

B rows, T new positions, S positions attended to (past + T). P = the table of positions, E of tokens. W and b are the
weight (out, in) and the bias of the module that gives an array its name. Norm: (x - mean) / sqrt(variance + 1e-5) *
weight + bias over D, the variance divided by D. The query at position S - T + t may look at the key s if s is not
later and attention_mask is 1 at s.

| name | axes | |
|---|---|---|
| `position_ids` | B T | from 0; -1 for padding. Without position_ids: cumsum(mask) * mask - 1, the new ones of it |
| `embed_tokens` | B T D | E[ids] * sqrt(D) (not scaled if `scale_embedding` is false) |
| `embed_positions` | B T D | P[position_ids + 2] |
| `embeddings` | B T D | their sum |
| `layers.l.self_attn_layer_norm` | B T D | the norm before attention, of what goes into the layer |
| `layers.l.self_attn.q_proj`, `k_proj`, `v_proj` | B T D | self_attn_layer_norm W^T + b |
| `layers.l.self_attn.q` | B H T Dh | q_proj in heads, not scaled; head h has the columns h Dh to (h + 1) Dh |
| `layers.l.self_attn.k`, `v` | B H S Dh | with the past |
| `layers.l.self_attn.scores` | B H T S | q k^T / sqrt(Dh), before the mask |
| `layers.l.self_attn.scores_masked` | B H T S | hidden ones hold float64's lowest number |
| `layers.l.self_attn.probs` | B H T S | softmax over S; a row that sees nothing is 1 / S throughout |
| `layers.l.self_attn.weights` | B H T S | probs * head mask |
| `layers.l.self_attn.context` | B T D | weights @ v (matrix product), heads merged |
| `layers.l.self_attn.out_proj` | B T D | context W^T + b |
| `layers.l.attn_residual` | B T D | the layer's input + out_proj |
| `layers.l.final_layer_norm` | B T D | the norm of attn_residual, before the feed-forward, despite its name |
| `layers.l.fc1` | B T F | final_layer_norm W^T + b |
| `layers.l.activation_fn` | B T F | GELU, the exact form: x (1 + erf(x / sqrt(2))) / 2 |
| `layers.l.fc2` | B T D | activation_fn W^T + b |
| `layers.l` | B T D | attn_residual + fc2 |
| `layer_norm` | B T D | the norm after the last layer |
| `score` | B T labels | sequence classification: layer_norm W^T, at each position |
| `logits` | B T V | layer_norm E^T, E as it is, unscaled; of `untied` the matrix output_projection |
| `logits` of token classes | B T labels | layer_norm W^T + b |
| `logits` of a sequence | B labels | `score` at the last token that is no padding |
| `loss` | (none) | a scalar |

Rows of padding are arrays like the others, and compared. In `scores_masked` a hidden score may be -inf, or any number
at least 800 below the largest of its row; a row that sees nothing may hold one number below -60,000 throughout.

Losses: language model, the mean of -ln p over labels[:, 1:] given logits[:, :-1]; token classes, the mean of -ln p
where the mask is 1; both pass over -100. A sequence's labels: (B) integers, the mean of -ln p; (B, labels) floats,
binary cross entropy, its mean over all elements; with one label in the config, the mean squared error.

## The tokenizer

tokenizer.json is a list of objects: `text` (and `text_pair`), `pieces`, `ids`, `offsets` ([start, end) in code
points of the text) and `decoded` (the ids back to text, special tokens left out). Use vocab.json and merges.txt of
`models/base`. Text goes through Moses (English, aggressive dash splits, escaping), then through the merges, and
`</s>` stands in front. Merging can make pieces that vocab.json lacks: they are `<unk>`, but only when merging is
done.

Write a list in the same order, of lists of ids or of such objects with `ids` and what else you have, or one object
{{text: ids}} (a pair is text, tab, text_pair). Then: `minibiogpt golden check THIS_FOLDER/tokenizer.json
THEIRS.json`.

## The cases

| case | model | what it is | mistakes it shows |
|---|---|---|---|
{cases}
"""
