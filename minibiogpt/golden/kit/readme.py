"""The kit's README, for implementers who have never seen this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import minibiogpt
from minibiogpt.golden.kit.limits import NO_LIMITS, PIECES, Limits
from minibiogpt.golden.kit.models import CHECKPOINTS
from minibiogpt.golden.kit.needs import equal_letters, limits_text, needs_table, wrapped
from minibiogpt.golden.kit.probes import Probe


def readme(
    chosen: Sequence[Probe],
    models: Mapping[str, Mapping[str, str]],
    seed: int,
    limits: Limits = NO_LIMITS,
    *,
    left_out: Mapping[str, str] | None = None,
    own_weights: bool = False,
    pieces: int = PIECES,
) -> str:
    """Return the whole README, in Markdown.

    Parameters
    ----------
    chosen : the kit's cases. models : {folder: {file: sha256}}.
    limits : those that the kit was written for. left_out : {case: why} of what they leave out.
    own_weights : whether the weights are given ones. pieces : number of pieces of the vocabulary.
    """
    names = [name.removeprefix("models/") for name in models]
    table = "\n".join(
        f"| `models/{name}` | {CHECKPOINTS[name].model_class.__name__} | {CHECKPOINTS[name].about} |" for name in names
    )
    cases = "\n".join(f"| `{p.name}` | {p.model} | {p.about} | {'; '.join(p.exposes)} |" for p in chosen)
    letters = limits.sizes.letters
    width = letters.pop("Dh")
    sizes = ", ".join(f"{letter} {size}" for letter, size in letters.items())
    equal = equal_letters(letters | {"Dh": width})
    return _PAGE.format(
        made=f"minibiogpt {minibiogpt.__version__}, seed {seed}",
        sizes=wrapped(
            f"{sizes}; Dh, the width of a head, is D / H. "
            + (_EQUAL.format(equal="; ".join(equal)) if equal else _DIFFER)
            + _EXACT * (not own_weights)
        ),
        models=table,
        cases=cases,
        needs=needs_table(chosen),
        limits=limits_text(chosen, limits, left_out or {}, own_weights, pieces),
        first=chosen[0].name,
        count=len(chosen),
    )


_DIFFER = "All these sizes differ, so a misplaced axis shows in the shape."
_EQUAL = "{equal}: an axis in place of another one of its size does not show in the shape."
_EXACT = (
    " No weight is 0 or 1, and no gain of a norm is 1. Every weight has at most 8 significant bits, so float32,"
    " bfloat16 and float16 represent it exactly."
)
_PAGE = """# A conformance kit for BioGPT

Made by {made}.

It is for anyone who implements BioGPT in another language or on other hardware. Each of its {count} cases has all
inputs, the intermediate arrays in float64 (in some cases only the main ones), and for each array the largest error that
rounding alone explains. Ordinary inputs hide many mistakes; each case is designed to expose some of them (see [the
cases](#the-cases)).

- `models/NAME/`: tiny checkpoints in Hugging Face layout: config.json, model.safetensors, vocab.json, merges.txt.
- `cases/NAME.safetensors`: one file per case.
- `tokenizer.json`: texts with their pieces, ids and offsets.
- `manifest.json`: the list of all files, with the sha256 of each.

## In short

1. For each case, load its model from `models/` and run it on the case's inputs.
2. Save your arrays under the names used in the case, one file per case: `THEIRS/{first}.safetensors`,
   `THEIRS/{first}.npz`, or a folder `THEIRS/{first}/` of .npy files. You can save all arrays of the model for each
   case: those that the case doesn't have are counted, but not compared. An array that isn't in the table below makes
   a case incomplete, because its name may be misspelled.
3. Run `minibiogpt golden check THIS_FOLDER THEIRS`. It compares them and reports the first array that differs.
   `minibiogpt golden diagnose THIS_FOLDER THEIRS` says why.

Exit codes: 0 if all agree, 1 if something differs or is missing, 2 if a file cannot be read or nothing was compared.
To compare a single case: `golden check cases/{first}.safetensors THEIRS.safetensors`. With `--subset`, only the arrays
that both sides have are compared, so you can begin with `logits`.

If your implementation cannot run a case, see [what the cases need](#what-the-cases-need). A kit can be written for its
limits: `minibiogpt golden kit --help` lists them.

{limits}## The models

{sizes}
| folder | class | description |
|---|---|---|
{models}

config.json has `layer_norm_eps` 1e-12, as in the published checkpoints, but every norm must use **1e-5**, as the
published model does. The head of a language model is the token embedding unless `tie_word_embeddings` is false.
If merges.txt has three columns, ignore the third, a count.

## A case file

A case is a safetensors file: 8 bytes with the length n of the header, as a little-endian unsigned integer; n bytes of
JSON; then the values. The JSON maps each tensor's name to its `dtype` (F64 or I64), its `shape`, and `data_offsets`:
[begin, end) in bytes from the end of the header. Values are little-endian in row-major (C) order. Any safetensors
library reads the file.

The header's `__metadata__` maps keys to strings. Those marked JSON must be parsed again:

| key | value |
|---|---|
| `case`, `about` | the case's name, and what it shows |
| `architecture`, `config` (JSON) | the class and the config of the model |
| `model` (JSON) | sha256 of the weights; manifest.json lists the folder of each case's model |
| `inputs` (JSON) | names of the tensors that are inputs |
| `arrays` (JSON) | in the order of execution: `name`, `shape`, `axes`, `largest`, `budgets` |

Inputs are `inputs/input_ids`, `inputs/attention_mask`, `inputs/position_ids`, `inputs/head_mask`,
`inputs/inputs_embeds` (already scaled) and `inputs/labels`. If one is absent, call the model without it. In a case of
several calls, every name is prefixed with `step.0/`, `step.1/` and so on. Each call continues the key-value cache of
the previous one, and its attention_mask covers past and new positions.

An array **agrees** in a precision if no element is further from the reference than `budgets[precision]`. This is an
absolute error, measured by running the model in that precision with sums in different orders. `null` means that the
precision cannot represent this array. Arrays of integers must be equal.

## The arrays

B: batch rows. T: new positions. S: positions attended to (past + T). P: the position embedding table. E: the token
embedding table. W and b: the weight (out, in) and the bias of the module an array is named after. Norm: (x - mean) /
sqrt(variance + 1e-5) * weight + bias over D, where the variance divides by D. The query at position S - T + t can see
the key s if s <= S - T + t and attention_mask is 1 at s.

| name | axes | value |
|---|---|---|
| `position_ids` | B T | from 0; -1 for padding. If not given: cumsum(mask) * mask - 1, the last T columns |
| `embed_tokens` | B T D | E[ids] * sqrt(D) (not scaled if `scale_embedding` is false) |
| `embed_positions` | B T D | P[position_ids + 2] |
| `embeddings` | B T D | embed_tokens + embed_positions |
| `layers.l.self_attn_layer_norm` | B T D | the norm before attention, of the layer's input |
| `layers.l.self_attn.q_proj`, `k_proj`, `v_proj` | B T D | self_attn_layer_norm W^T + b |
| `layers.l.self_attn.q` | B H T Dh | q_proj split into heads, not scaled; head h has columns h Dh to (h + 1) Dh |
| `layers.l.self_attn.k`, `v` | B H S Dh | k_proj and v_proj split into heads, preceded by the cached ones |
| `layers.l.self_attn.scores` | B H T S | q k^T / sqrt(Dh), before the mask |
| `layers.l.self_attn.scores_masked` | B H T S | scores, with float64's lowest finite number where masked |
| `layers.l.self_attn.probs` | B H T S | softmax over S; 1 / S everywhere in a fully masked row |
| `layers.l.self_attn.weights` | B H T S | probs * head mask |
| `layers.l.self_attn.context` | B T D | weights @ v (matrix product), heads merged |
| `layers.l.self_attn.out_proj` | B T D | context W^T + b |
| `layers.l.attn_residual` | B T D | the layer's input + out_proj |
| `layers.l.final_layer_norm` | B T D | despite its name, the norm before the feed-forward, of attn_residual |
| `layers.l.fc1` | B T F | final_layer_norm W^T + b |
| `layers.l.activation_fn` | B T F | GELU, the exact form: x (1 + erf(x / sqrt(2))) / 2 |
| `layers.l.fc2` | B T D | activation_fn W^T + b |
| `layers.l` | B T D | attn_residual + fc2 |
| `layer_norm` | B T D | the norm after the last layer |
| `score` | B T labels | sequence classification: layer_norm W^T, at each position |
| `logits` | B T V | layer_norm E^T, with E unscaled; for `untied`, layer_norm W^T with W of output_projection |
| `logits` (token classification) | B T labels | layer_norm W^T + b |
| `logits` (sequence classification) | B labels | `score` at the last token that is not padding |
| `loss` | (none) | a scalar |

In `gelu_range`, `fc1` goes from -8 to 8, so erf is used from -6 to 6; the other cases hardly reach beyond 4. In float32
its budget hides errors of erf below about 1e-6: test an erf of your own in float64, too.

Padding positions are compared like all others. In `scores_masked` a masked score may be -inf, or any number more than
800 below the largest of its row. In a fully masked row, all scores may be one number below -60,000.

Losses. Language model: the mean of -ln p over labels[:, 1:] given logits[:, :-1]. Token classification: the mean of
-ln p where the mask is 1. Both ignore labels of -100. Sequence classification: integer labels (B,): the mean of -ln p;
float labels (B, labels): binary cross-entropy, averaged over all elements; one label: mean squared error.

## The tokenizer

tokenizer.json is a list of objects with `text` (and `text_pair`), `pieces`, `ids`, `offsets` ([start, end) in code
points of the text) and `decoded` (the ids decoded, without special tokens). Use vocab.json and merges.txt of
`models/base`. The text is tokenized by Moses (English, aggressive dash splits, escaping), the merges are applied, and
`</s>` is put in front. Merging can make pieces that vocab.json lacks. These become `<unk>`, but only after all merges.

To check your tokenizer, write a JSON list in the same order. Its items are lists of ids, or objects like these with
`ids` and any of the other keys. Or write one object {{text: ids}}, where the key of a pair is text, tab, text_pair.
Then run `minibiogpt golden check THIS_FOLDER/tokenizer.json THEIRS.json`.

## The cases

| case | model | what it is | mistakes it shows |
|---|---|---|---|
{cases}

## What the cases need

Besides `input_ids`, and a language model whose head is the token embedding. "Rows x positions" is B x T of each call.

| case | rows x positions | needs |
|---|---|---|
{needs}
"""
