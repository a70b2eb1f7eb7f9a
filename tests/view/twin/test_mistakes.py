"""Mistakes planted in the JavaScript: the check of the kit finds each, and names the array where it was made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.result import Options
from minibiogpt.golden.format.case import Case
from minibiogpt.view.modules import STATIC
from tests.view.twin.running import KIT_TOOL, node

ATTN = "layers.0.self_attn"


@dataclass(frozen=True)
class Mistake:
    """One expression replaced in one file, a case of the kit that shows it, and the array that must differ first."""

    name: str
    file: str
    old: str
    new: str
    case: str
    first: str


MISTAKES = [
    Mistake("eps of the config", "traps.js", "eps: 1e-5", "eps: config.layer_norm_eps", "nearly_constant",
            "layers.0.self_attn_layer_norm"),
    Mistake("eps outside the root", "ops.js", "Math.sqrt(squares / degrees + eps)",
            "(Math.sqrt(squares / degrees) + eps)", "nearly_constant", "layers.0.self_attn_layer_norm"),
    Mistake("mean not subtracted again", "ops.js", "(numbers[start + d] - mean) * scale", "numbers[start + d] * scale",
            "ordinary", "layers.0.self_attn_layer_norm"),
    Mistake("erf ends at 3", "activations.js", "if (!(size < 6))", "if (!(size < 3))", "inputs_embeds",
            "layers.0.activation_fn"),
    Mistake("too few terms of erf", "activations.js", "term > 1e-17 * sum", "term > 1e-7 * sum", "ordinary",
            "layers.0.activation_fn"),
    Mistake("tanh GELU", "activations.js", "gelu: (x) => x * (1 + errorFunction(x * Math.SQRT1_2)) / 2",
            "gelu: (x) => ACTIVATION_FUNCTIONS.gelu_new(x)", "ordinary", "layers.0.activation_fn"),
    Mistake("square linear layers without bias", "ops.js", "if (bias) addToRows",
            "if (bias && inner !== outer) addToRows", "ordinary", f"{ATTN}.q_proj"),
    Mistake("sums without their last term", "ops.js", "for (let i = 0; i < inner; i++) {",
            "for (let i = 0; i < inner - 1; i++) {", "ordinary", f"{ATTN}.q_proj"),
    Mistake("remaining columns left out", "ops.js", "for (; j < outer; j++) {", "for (; j < outer - 1; j++) {",
            "ordinary", f"{ATTN}.q_proj"),
    Mistake("keys of the last head for all heads", "attention.js", "const key = (head * S + s) * Dh",
            "const key = ((B * H - 1) * S + s) * Dh", "ordinary", f"{ATTN}.scores"),
    Mistake("rows of T for rows of S", "attention.js", "value = (head * S + s) * Dh", "value = (head * T + s) * Dh",
            "cache_steps", f"step.1/{ATTN}.context"),
    Mistake("largest score not subtracted", "ops.js", "Math.exp(numbers[start + i] - most);",
            "Math.exp(numbers[start + i]);", "loud_future", f"{ATTN}.probs"),
    Mistake("masked scores are -10,000", "ops.js", "const lowestOf = (dtype) => LOWEST_NUMBER[dtype]",
            "const lowestOf = (dtype) => -1e4", "loud_future", f"{ATTN}.scores_masked"),
    Mistake("masked scores are -inf", "ops.js", "const lowestOf = (dtype) => LOWEST_NUMBER[dtype]",
            "const lowestOf = (dtype) => -Infinity", "left_pad", f"{ATTN}.probs"),
    Mistake("causal mask from the first key", "inputs.js", "S - T + t + 1 : S", "t + 1 : S", "cache_steps",
            f"step.1/{ATTN}.scores_masked"),
    Mistake("mask of the first row for all", "inputs.js", "mask && paddingMask ? mask.numbers[b * S + s] : 1",
            "mask && paddingMask ? mask.numbers[s] : 1", "batch_rows", f"{ATTN}.scores_masked"),
    Mistake("padding has position 0", "inputs.js", "real ? count - 1 : -1", "Math.max(count - 1, 0)", "left_pad",
            "position_ids"),
    Mistake("positions are columns of the call", "inputs.js", "real ? count - 1 : -1", "real ? s - (S - T) : -1",
            "cache_steps", "step.1/position_ids"),
    Mistake("head mask of the first layer for all", "attention.js", "headMask.numbers[l * H + h]",
            "headMask.numbers[h]", "head_mask_layers", "layers.1.self_attn.weights"),
    Mistake("new keys before the cached ones", "cache.js", "row * (P + T) * Dh);\n",
            "(row * (P + T) + T) * Dh % both.numbers.length);\n", "cache_steps", f"step.1/{ATTN}.k"),
    Mistake("offset of the position table", "traps.js", "positionOffset: 2", "positionOffset: 1", "ordinary",
            "embed_positions"),
    Mistake("embeddings scaled by the fourth root of D", "model.js",
            "rules.scaleEmbedding ? Math.sqrt(config.hidden_size) : 1",
            "rules.scaleEmbedding ? config.hidden_size ** 0.25 : 1", "ordinary", "embed_tokens"),
    Mistake("inputs_embeds scaled again", "model.js", ", scale) : tokens)",
            ", scale) : { ...tokens, numbers: tokens.numbers.map((one) => one * scale) })",
            "inputs_embeds", "embed_tokens"),
    Mistake("no residual of the feed-forward", "layers.js",
            "return tap.take(path, addArrays(x, h));\n}\n\n/** Widen", "return tap.take(path, h);\n}\n\n/** Widen",
            "ordinary", "layers.0"),
    Mistake("head tied where it is not", "heads.js", "config.tie_word_embeddings ?",
            "config.tie_word_embeddings !== 0 ?", "untied", "logits"),
    Mistake("loss without the shift", "heads.js", "labels.numbers[i + 1]", "labels.numbers[i]", "lm_loss", "loss"),
    Mistake("loss divided by all positions", "heads.js", "return total / count", "return total * width / x.length",
            "lm_loss", "loss"),
    Mistake("pooled at the last position", "heads.js", "return t;\n", "return T - 1;\n", "sequence_right_pad",
            "logits"),
    Mistake("loss of tokens counts padding", "heads.js", "isPadding(i) ? IGNORED : labels", "false ? IGNORED : labels",
            "token_labels", "loss"),
    Mistake("bytes of float64 in reverse", "safetensors.js", "view.getFloat64(8 * i, true)", "view.getFloat64(8 * i)",
            "inputs_embeds", "embed_tokens"),
]  # fmt: skip


def planted(mistake: Mistake, folder: Path) -> Path:
    """Copy the implementation with the mistake in it; return the tool."""
    static = folder / "minibiogpt" / "view" / "static"
    shutil.copytree(STATIC, static)
    (folder / "tools").mkdir()
    shutil.copy(KIT_TOOL, folder / "tools")
    file = static / "biogpt" / mistake.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mistake.old) == 1, f"{mistake.name}: {text.count(mistake.old)} places"
    file.write_text(text.replace(mistake.old, mistake.new), encoding="utf-8")
    return folder / "tools" / KIT_TOOL.name


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_the_check_finds_it_where_it_was_made(mistake: Mistake, kit: Path, tmp_path: Path) -> None:
    done = node(planted(mistake, tmp_path / "copy"), kit, tmp_path / "theirs", "float64")
    assert done.returncode == 0, done.stderr
    file = f"{mistake.case}.safetensors"
    result = check(Case.read(kit / "cases" / file), tmp_path / "theirs" / file, Options())
    first = result.first_difference
    assert first is not None
    assert first.name == mistake.first
    assert first.measured is not None
    marks = first.measured.wrong_marks + first.measured.hidden_marks
    assert first.measured.nan or marks or (first.times or 0) > 10


def test_there_are_twenty_and_no_two_are_the_same() -> None:
    assert len(MISTAKES) >= 20
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)
    assert len({(mistake.file, mistake.new) for mistake in MISTAKES}) == len(MISTAKES)
