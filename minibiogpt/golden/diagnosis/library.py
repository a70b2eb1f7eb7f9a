"""Every cause that a diagnosis knows, in words: what the candidate does instead, and the trap behind it.

In a sentence, {name} stands for a parameter of the attempt, and a part in brackets is left out if it has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class CauseInfo(NamedTuple):
    """One cause.

    Attributes
    ----------
    id : its name, stable: "norm-eps".
    sentence : what the candidate does instead of the equation; {eps} is a parameter.
    trap : why ports get it wrong, or what to do.
    """

    id: str
    sentence: str
    trap: str


_TABLE = [
    # inputs and embeddings
    ("inputs-differ", "it ran on other input ids [({ids} of them; at {first at} {theirs} instead of {case})]",
     "run it on the inputs of the case; a tokenizer of its own, a clipped id or a leading </s> changes them"),
    ("embed-scale", "the token embeddings are multiplied by {factor}[ instead of {instead of}]",
     "scale_embedding multiplies them by sqrt(D), and only what is looked up: inputs_embeds are scaled already"),
    ("embed-row-offset", "the rows of the token embedding are taken {rows} too early",
     "ids start at 0, and the four special tokens are the first rows"),
    ("embed-pad-row", "the embedding of <pad> is a row of zeros",
     "padding_idx stops the gradient of that row; the row is in the checkpoint and is used"),
    ("position-offset", "[the position table is read at an offset of {offset}][ instead of {instead of}]"
     "[{added} is added to the positions]",
     "the table has two rows more than positions: position 0 is row 2, and padding, at -1, is row 1"),
    ("position-ids-ignored", "given position_ids are not used", "position_ids override the counted positions"),
    ("positions-ignore-mask", "positions count padding too",
     "positions are cumsum(mask) * mask - 1, so they start behind left padding"),
    ("positions-restart", "positions start at 0 again in each call", "a call with a cache counts from its length"),
    ("positions-pad-value", "padding has the position {value}",
     "it is -1, which is row 1 of the table; another row changes what padding contributes"),
    ("positions-clipped", "positions are cut at {largest}", "the table has N + 2 rows; the last position is N - 1"),
    ("positions-missing", "position embeddings are not added", "they are learned, and added to the scaled embeddings"),
    ("positions-scaled", "the position embeddings are multiplied by {factor}",
     "only the token embeddings are multiplied by sqrt(D)"),
    ("positional-other", "positions are encoded in another way: {kind}", "BioGPT's positions are a learned table"),
    ("mask-from-ids", "the mask or the positions are made from the ids",
     "the id of <pad> may stand in a text: attention_mask alone says what padding is"),
    # norms
    ("norm-eps", "eps is {eps} instead of 1e-05",
     "the config says layer_norm_eps = 1e-12, but the norms use PyTorch's default, 1e-5"),
    ("norm-eps-outside-root", "eps is added to the root: / (sqrt(var) + {eps})",
     "it is under the root: sqrt(var + eps)"),
    ("norm-variance-unbiased", "the variance is divided by D - 1", "a norm divides by D"),
    ("norm-no-mean", "the mean is not subtracted", "it is LayerNorm, not RMSNorm"),
    ("norm-gain-missing", "the norm's weight is not multiplied", "each norm has a weight and a bias"),
    ("norm-bias-missing", "the norm's bias is not added", "each norm has a weight and a bias"),
    ("norm-gain-other", "[{added} is added to the norm's weight][the norm's weight is multiplied by {factor}]"
     "[the norm's weight is {weights}]", "use the weight as it is stored; the norms of Gemma add 1 to theirs"),
    ("norm-bias-other", "[the norm's bias is multiplied by {factor}][the norm's bias is {weights}]",
     "each norm has a bias of its own, added once"),
    ("norm-axis", "the mean and the variance are over {axis}", "they are over D, for each token by itself"),
    ("norm-weights", "it uses weight and bias of {weights}",
     "self_attn_layer_norm is before attention, final_layer_norm "
     "before the feed-forward network, layer_norm after all layers"),
    ("norms-swapped", "the two norms of the layer are exchanged",
     "self_attn_layer_norm is before attention, final_layer_norm before the feed-forward network"),
    ("norm-post", "the norms come after the residual sums", "BioGPT is pre-norm: x + f(norm(x))"),
    ("norm-missing", "there is no norm[ {norm}] before it", "each sublayer reads a normalized copy of the residual"),
    ("norm-twice", "the norm is applied twice", "once is enough"),
    ("norm-final-missing", "the last norm is missing", "layer_norm is between the last layer and the head"),
    ("norm-final-early", "the last norm is applied before the last layer", "it comes after all layers"),
    # activation
    ("gelu-tanh", "GELU is the tanh approximation", "hidden_act is gelu, with erf; gelu_new is the approximation"),
    ("gelu-sigmoid", "GELU is x sigmoid(1.702 x)", "hidden_act is gelu, with erf"),
    ("gelu-erf", "erf is an approximation, {formula} of Abramowitz and Stegun",
     "7.1.25 is 2.5e-5 off and 7.1.26 1.5e-7; math libraries have erf to the last digit"),
    ("activation-other", "the activation is {function}", "hidden_act is gelu, with erf"),
    ("activation-missing", "there is no activation", "it is between fc1 and fc2"),
    ("bias-after-activation", "the bias of fc1 is added behind the activation", "it is added before"),
    # attention
    ("qkv-order", "its weights are those of another projection[: {weights}]",
     "a fused weight must hold q, k and v in the order it is cut in"),
    ("qkv-layout", "the fused weight of q, k and v is read as ({order})", "cut it into three blocks of D rows"),
    ("heads-split", "heads are split differently[ ({order})][: {heads} head]",
     "head h has the columns h Dh to (h + 1) Dh"),
    ("heads-merge", "heads are merged in another order ({order})", "move the heads behind T before you merge them"),
    ("heads-shared", "heads share keys and values[, in {groups} groups]", "every head has its own"),
    ("attention-scale", "scores are multiplied by {scale}[, {that is},][ instead of {instead of}]",
     "the scale is 1 / sqrt(Dh), where Dh is the width of one head"),
    ("causal-mask-missing", "there is no causal mask", "a token sees itself and those before it"),
    ("causal-mask-offset", "token t sees all positions up to t + {offset}", "it sees itself and those before it"),
    ("causal-mask-ignores-past", "the causal mask counts from the first key", "with a cache, query t is at S - T + t"),
    ("window", "only the last {width} positions are visible", "BioGPT attends to all positions before"),
    ("padding-mask-missing", "padding is not hidden", "hide the keys at which attention_mask is 0, also cached ones"),
    ("padding-mask-inverted", "padding is visible and the rest hidden", "attention_mask is 1 at real tokens"),
    ("padding-mask-on-queries", "padding hides queries instead of keys", "it hides keys"),
    ("padding-mask-batch", "the rows of the batch have the wrong padding mask", "each row has its own, with any holes"),
    ("mask-finite", "hidden scores get {constant} {how}",
     "the number must be lower than any score by far: finfo.min, not -1e4"),
    ("mask-infinite", "rows that see nothing become {rows that see nothing}",
     "transformers fills with the lowest finite number, so such rows are uniform over all S positions"),
    ("mask-multiplied", "hidden scores are multiplied by 0", "a score of 0 is visible: fill with the lowest number"),
    ("mask-after-softmax", "the mask is applied after the softmax", "hidden scores must not be in the softmax's sum"),
    ("softmax-axis", "the softmax is over {axis}", "it is over S, the keys"),
    ("softmax-no-max", "the softmax does not take the largest score away, and overflows",
     "exp(88.8) overflows in float32"),
    ("head-mask-missing", "the head mask is not used", "probabilities are multiplied by it, after the softmax"),
    ("head-mask-before-softmax", "the head mask is applied before the softmax", "it multiplies the probabilities"),
    ("head-mask-wrong", "the head mask is read as {how}", "(H,) holds one number for each head, (L, H) also by layer"),
    # weights and sums
    ("weight-transposed", "the weight is transposed", "PyTorch's Linear holds (out, in): x W^T"),
    ("bias-missing", "the bias is not added", "q, k, v, out_proj, fc1, fc2 and the token classifier have one"),
    ("bias-other", "[the bias is multiplied by {factor}][the bias is {weights}]",
     "each product has a bias of its own, added once"),
    ("layer-weights", "it uses the weights of layer {layer}", "layers.{l} of the checkpoint is layer l"),
    ("weights-of-another", "it uses the weights of {weights}", "check which tensor is loaded under which name"),
    ("residual-missing", "the residual of {of} is not added", "x + attention, then + feed-forward"),
    ("residual-from-norm", "the residual is taken behind the norm", "it is what the norm reads, not what it returns"),
    ("parallel-layers", "attention and the feed-forward network run in parallel", "the second reads the first's sum"),
    ("layer-skipped", "the result of {part} is not used", "each layer's result is the input of the next"),
    # heads and losses
    ("logits-scale", "the logits are multiplied by {factor}", "the tied head is the embedding as stored, not scaled"),
    ("logits-weights", "the head has another weight[: {weights}][, {rows} rows off]",
     "it is embed_tokens.weight if tie_word_embeddings, else output_projection.weight"),
    ("label-shift", "[labels are shifted by {shift}][the labels are {labels}]",
     "the language model's loss shifts by 1 inside; that of tokens does not"),
    ("loss-reduction", "the loss is reduced by {reduction}", "it is the mean over the counted labels"),
    ("loss-over-padding", "padding counts in the loss", "tokens with attention_mask 0 do not count"),
    ("loss-ignore-index", "labels of -100 are {-100 is}", "they count neither in the sum nor in the divisor"),
    ("loss-other", "it is another loss: {loss}",
     "problem_type decides: cross-entropy, binary cross-entropy or squares"),
    ("pooling-index", "the class is read at {position}", "it is read at the last token that is neither pad nor masked"),
    # cache
    ("cache-offset", "cached positions are {rows} late", "append new keys behind the cached ones"),
    ("cache-order", "new keys come before the cached ones", "append them"),
    ("cache-overwritten", "cached position {position} holds {holds}", "the cache must not be written over"),
    ("cache-layer", "the cached positions are those of layer {layer}", "each layer has a cache of its own"),
    ("cache-batch", "the rows of the batch are mixed in the cache", "reorder it only in beam search"),
    # arithmetic
    ("dropout-active", "dropout is active, with p = {p}", "switch to evaluation"),
    ("precision-bfloat16", "bfloat16 is used[ in {of}]", "compute in float32, or check with --precision bfloat16"),
    ("precision-float16", "float16 is used[ in {of}]", "compute in float32, or check with --precision float16"),
    ("precision-tf32", "products are computed in TF32", "turn it off: torch.set_float32_matmul_precision('highest')"),
    ("table-float16", "{of} is looked up in a float16 table[ of {function}]", "ggml does this; compute it in float32"),
    ("weights-int8", "the weight is rounded to 8 bits ({kind}, {block})",
     "quantized weights need golden values of their own: golden record --quantization, or golden kit --weights"),
    ("weights-int4", "the weight is rounded to 4 bits ({kind}, {block})",
     "quantized weights need golden values of their own: golden record --quantization, or golden kit --weights"),
    ("weights-dequantized", "the weight is dequantized wrongly: {mistake}",
     "docs/golden-format.md says how; golden record --weights stores rows to compare"),
    ("weights-float16", "the weight is rounded to {kind}", "read the checkpoint in float32"),
    # the rest
    ("factor", "the result is {factor} times as large", "look for a scale that is applied twice or not at all"),
    ("columns-moved", "the columns are in another order: column {first moved} holds {holds}", "check how it is cut"),
    ("rows-moved", "the rows of the batch are in another order: {rows}", "check the batch"),
    ("array-misnamed", "what is saved under this name is [{saved}, ]not what the port goes on with",
     "copy arrays when you save them, since buffers are reused; some tools save the last hidden state after the norm"),
    ("checkpoint-differs", "the weights are another checkpoint's", "load the weights that the case names"),
    ("convention", "it is another convention, no mistake: {which}", "see docs/verify-a-port.md"),
]  # fmt: skip
CAUSES: dict[str, CauseInfo] = {item[0]: CauseInfo(*item) for item in _TABLE}
PRIORITY = {cause: i for i, cause in enumerate(CAUSES)}
OPTIONAL = re.compile(r"\[([^\]]*)\]")
PARAMETER = re.compile(r"\{([^}]*)\}")


def sentence(cause: str, parameters: Mapping[str, Any]) -> str:
    """Return the sentence of a cause with its parameters.

    Examples
    --------
    >>> sentence("embed-scale", {"factor": 1.0}), sentence("norm-eps", {"eps": 1e-12})
    ('the token embeddings are multiplied by 1', 'eps is 1e-12 instead of 1e-05')
    """

    def part(found: re.Match[str]) -> str:
        names = PARAMETER.findall(found[1])
        return found[1] if all(name in parameters for name in names) else ""

    text = OPTIONAL.sub(part, CAUSES[cause].sentence)
    text = PARAMETER.sub(lambda found: format_value(parameters.get(found[1], "another")), text)
    return f"{text}, only {parameters['only']}" if "only" in parameters else text


def described() -> list[str]:
    """Return two lines for each cause: its id and sentence, and its trap."""
    width = max(map(len, CAUSES))
    lines = []
    for info in CAUSES.values():
        always = OPTIONAL.sub("", info.sentence).strip() or ", or ".join(OPTIONAL.findall(info.sentence))
        lines += [f"{info.id:{width}}  {always}", f"{'':{width}}  {info.trap}"]
    return lines


def format_value(x: Any) -> str:
    """Return a parameter as the report shows it: numbers with 5 significant digits."""
    if isinstance(x, bool) or not isinstance(x, float):
        return str(x)
    return f"{x:.5g}"
