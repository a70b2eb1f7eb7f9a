"""What transformers lets people read from any config: attributes with a default that BioGPT does not use.

A config.json may set them; they're kept in ``BioGptConfig.extra``.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from typing import Any

# Name: its default in transformers' PretrainedConfig. Those of generation are in generation_config.json today.
GENERATION: dict[str, Any] = {
    "max_length": 20, "min_length": 0, "do_sample": False, "early_stopping": False, "num_beams": 1, "temperature": 1.0,
    "top_k": 50, "top_p": 1.0, "typical_p": 1.0, "repetition_penalty": 1.0, "length_penalty": 1.0,
    "no_repeat_ngram_size": 0, "bad_words_ids": None, "num_return_sequences": 1, "output_scores": False,
    "return_dict_in_generate": False, "forced_bos_token_id": None, "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None, "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "_attn_implementation": None, "_commit_hash": None, "add_cross_attention": False, "architectures": None,
    "chunk_size_feed_forward": 0, "cross_attention_hidden_size": None, "decoder_start_token_id": None,
    "finetuning_task": None, "is_decoder": False, "is_encoder_decoder": False, "prefix": None, "pruned_heads": {},
    "sep_token_id": None, "task_specific_params": None, "tf_legacy_loss": False, "tie_encoder_decoder": False,
    "tokenizer_class": None, "torchscript": False, "transformers_version": None, "use_bfloat16": False,
    **GENERATION,
}  # fmt: skip
DTYPES = ("dtype", "torch_dtype")  # two names of one key; transformers 4.57 writes the first

# Names of other models' configs: what the field is called here.
ADVICE = {
    "n_embd": "write hidden_size", "d_model": "write hidden_size", "n_layer": "write num_hidden_layers",
    "num_layers": "write num_hidden_layers", "n_layers": "write num_hidden_layers",
    "n_head": "write num_attention_heads", "n_heads": "write num_attention_heads",
    "num_heads": "write num_attention_heads", "head_dim": "write head_size",
    "num_key_value_heads": "write num_attention_heads: every head has its own keys and values",
    "n_inner": "write intermediate_size", "ffn_dim": "write intermediate_size",
    "n_positions": "write max_position_embeddings", "n_ctx": "write max_position_embeddings",
    "activation_function": "write hidden_act", "dropout": "write hidden_dropout_prob",
    "push_to_hub": "write config.save_pretrained(folder) and upload the folder",
    "get_text_config": "the config itself describes the text model",
}  # fmt: skip


def warn_if_unused(name: str) -> None:
    """Warn about an option of generation that is set on a config: a model has read those when it was built."""
    if name in GENERATION:
        message = f"{name} on a config has no effect on a model that exists: set model.generation_config.{name}"
        warnings.warn(message, stacklevel=3)


def warn_if_misspelt(names: Iterable[str], fields: Iterable[str]) -> None:
    """Warn about attributes that were probably meant as a field: a slip, or another model's name for it.

    A config keeps any attribute, as in transformers, so such a name would silently have no effect.
    """
    for name in names:
        close = difflib.get_close_matches(name, list(fields), 1, cutoff=0.85)
        if advice := ADVICE.get(name) or (f"did you mean {close[0]}?" if close else None):
            warnings.warn(f"{name} is kept, but has no effect: {advice}", stacklevel=3)
