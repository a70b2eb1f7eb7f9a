"""transformers' options and arguments of generate that do not exist here: when they change nothing, what to write.

Three tables. ``OFF`` holds the options that change the result: they are accepted only if they are off. ``HARMLESS``
holds those that change speed, memory or nothing at all here: every value is accepted. ``ADVICE`` says what to write
instead of a name that is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Number
from typing import Any

from minibiogpt.checks import plain
from minibiogpt.errors import InputError, short_repr
from minibiogpt.idioms import no_option

_BEAMS = "for several different texts use num_beams with do_sample=True, or num_return_sequences"
_ALLOW = "choose the allowed tokens with prefix_allowed_tokens_fn, or raise them with sequence_bias"
_ASSISTANT = "leave it out: it only changes the speed"
_ENCODER = "BioGPT has no encoder; use the option of this name without 'encoder_'"
# {name: (the values that mean off, what to do)}; the first value is transformers' default.
OFF: dict[str, tuple[tuple[Any, ...], str]] = {
    "num_beam_groups": ((1, None), f"group beam search does not exist here: {_BEAMS}"),
    "diversity_penalty": ((0.0, None), f"group beam search does not exist here: {_BEAMS}"),
    "constraints": ((None,), f"constrained beam search does not exist here: {_ALLOW}"),
    "force_words_ids": ((None,), f"constrained beam search does not exist here: {_ALLOW}"),
    "penalty_alpha": ((None, 0.0), "contrastive search does not exist here: use repetition_penalty or do_sample=True"),
    "dola_layers": ((None,), "DoLa decoding does not exist here: leave it out"),
    "guidance_scale": ((None, 1), "guidance does not exist here: pass a logits_processor of your own"),
    "negative_prompt_ids": ((None,), "guidance does not exist here: pass a logits_processor of your own"),
    "negative_prompt_attention_mask": ((None,), "guidance does not exist here: leave it out"),
    "watermarking_config": ((None,), "watermarks do not exist here: pass a logits_processor of your own"),
    "encoder_repetition_penalty": ((1.0, None), _ENCODER),
    "encoder_no_repeat_ngram_size": ((0, None), _ENCODER),
    "prompt_lookup_num_tokens": ((None,), _ASSISTANT),
    "assistant_model": ((None,), _ASSISTANT),
    "assistant_tokenizer": ((None,), _ASSISTANT),
    "assistant_early_exit": ((None,), _ASSISTANT),
    "is_assistant": ((False, None), _ASSISTANT),
    "low_memory": ((None, False), "leave it out; transformers 4.57 refuses it too"),
    "token_healing": ((False, None), "leave it out, and end the prompt with a whole word"),
    "synced_gpus": ((None, False), "generation runs on one device: leave it out"),
    "custom_generate": ((None,), "call your own function instead, or pass logits_processor or stopping_criteria"),
}  # fmt: skip
# These change speed or memory, describe where a file comes from, or belong to options that are off.
HARMLESS: dict[str, Any] = {
    "cache_config": None, "prefill_chunk_size": None, "compile_config": None, "disable_compile": False,
    "decoder_start_token_id": None, "num_assistant_tokens": 20, "num_assistant_tokens_schedule": "constant",
    "assistant_confidence_threshold": 0.4, "max_matching_ngram_size": None, "assistant_lookbehind": 10,
    "target_lookbehind": 10, "trust_remote_code": None, "transformers_version": None, "_from_model_config": False,
    "_commit_hash": None,
}  # fmt: skip
# A cache of each of these kinds gives the same text. A quantized one does not.
CACHES = (
    None, "dynamic", "dynamic_full", "static", "offloaded", "offloaded_static", "hybrid", "hybrid_chunked",
    "sliding_window", "offloaded_hybrid", "offloaded_hybrid_chunked",
)  # fmt: skip
_DROP = "generate takes no {}: drop it, for example with enc.pop({!r})"
ADVICE: dict[str, str] = {
    **{name: advice for name, (_, advice) in OFF.items()},
    "labels": "labels belong to the loss: drop them, or call model(input_ids, labels=...)",
    "position_ids": "positions follow from attention_mask: pass that instead",
    "return_dict": "write return_dict_in_generate=True",
    "logits_to_keep": "drop it: generate computes the logits of the last position only",
    "token_type_ids": "BioGPT has no token types: drop it, for example with enc.pop('token_type_ids')",
    **{
        name: _DROP.format(name, name)
        for name in (
            "offset_mapping", "special_tokens_mask", "length", "overflowing_tokens", "num_truncated_tokens", "overflow",
            "overflow_to_sample_mapping", "word_ids",
        )
    },
    "return_tensors": "drop it: generate returns arrays of the model's backend",
    "skip_special_tokens": "pass it to tokenizer.decode",
    "max_tokens": "write max_new_tokens=...",
    "n": "write num_return_sequences=...",
    "stop": "write stop_strings=... and tokenizer=...",
    "random_state": "write seed=...",
    "generator": "write seed=...",
    **dict.fromkeys(
        ("encoder_outputs", "encoder_hidden_states", "encoder_attention_mask", "encoder_input_ids"),
        "BioGPT has no encoder: drop it",
    ),
    "decoder_input_ids": "BioGPT is a decoder: write input_ids",
    "decoder_attention_mask": "BioGPT is a decoder: write attention_mask",
    "decoder_inputs_embeds": "BioGPT is a decoder: write inputs_embeds",
    "decoder_head_mask": "BioGPT is a decoder: write head_mask",
    "cross_attn_head_mask": "BioGPT has no encoder: drop it",
    "logits_warper": "write logits_processor=...",
    "return_legacy": "write return_legacy_cache=True",
    "generate_kwargs": "pass the options themselves, such as max_new_tokens=20",
    "prompt": "tokenize it first: enc = tokenizer(text), then generate(**enc)",
    "text": "tokenize it first: enc = tokenizer(text), then generate(**enc)",
    "stop_sequence": "write stop_strings=... and tokenizer=...",
    "stop_token_ids": "write eos_token_id=[...]",
    "min_tokens": "write min_new_tokens=...",
    "best_of": "write num_beams=... and num_return_sequences=...",
    "stream": "write streamer=TextStreamer(tokenizer)",
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), "write repetition_penalty=..., or a logits_processor"),
    **dict.fromkeys(("forced_decoder_ids", "prefix_ids"), "write prefix_allowed_tokens_fn=..., or extend the prompt"),
    **dict.fromkeys(("lang", "src_lang", "tgt_lang", "language"), "BioGPT has one language, English: drop it"),
    **dict.fromkeys(("device", "dtype"), "it is chosen when the model is loaded"),
    # methods and attributes of transformers' GenerationConfig
    "to_json_file": "write save_pretrained(folder), or to_json_string()",
    "push_to_hub": "write save_pretrained(folder), and upload the folder with huggingface_hub",
    "get_generation_mode": "do_sample and num_beams decide it",
    "dict_dtype_to_str": "no option is a dtype",
    "extra_output_flags": "read output_scores, output_logits, output_attentions and output_hidden_states",
    "is_greedy_gen_mode": "read do_sample and num_beams",
}  # fmt: skip


def is_off(name: str, value: Any) -> bool:
    """Return whether ``value`` means that the option ``name`` of transformers is off, or changes nothing here."""
    if name in HARMLESS or (value is None and name in ADVICE):
        return True
    value = plain(value)
    if name == "cache_implementation":
        return value is None or (isinstance(value, str) and value in CACHES)
    number = isinstance(value, Number) and not isinstance(value, bool)  # an array is never off
    return name in OFF and any(value is off or (number and value == off) for off in OFF[name][0])


def exists(name: str) -> bool:
    """Return whether transformers has this option or argument of generate, and this package does not."""
    return name in HARMLESS or name in OFF or name == "cache_implementation"


def default_of(name: str) -> Any:
    """Return transformers' default of an option for which ``exists`` holds."""
    return HARMLESS[name] if name in HARMLESS else OFF[name][0][0] if name in OFF else None


def refused(where: str, name: str, value: Any, known: Iterable[str]) -> InputError:
    """Return the error for an option of transformers that is on, or for a name that nobody knows."""
    if exists(name):
        advice = OFF[name][1] if name in OFF else "quantized caches do not exist here: leave it out"
        found = f"{name}={short_repr(plain(value))}, which it does not"
        return InputError(f"{where} must support the option", found, advice)
    return no_option(where, name, known, ADVICE)
