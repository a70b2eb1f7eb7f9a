"""What transformers' tokenizers have and this one does not: {its name: what to write here}."""

from __future__ import annotations

_NO_CHAT = "BioGPT has no chat template: pass the text itself to the tokenizer"
_NO_FAST = "there is no fast tokenizer for BioGPT: use the tokenizer itself"
_UPLOAD = "write save_pretrained(folder), and upload the folder with huggingface_hub"
_NO_TARGETS = "BioGPT has no separate target texts: call the tokenizer itself"
_CACHED = "words are cached by the tokenizer itself"
_OPTIONS = "each option is an attribute, such as padding_side"

ATTRIBUTE_ADVICE = {
    "apply_chat_template": _NO_CHAT,
    "chat_template": _NO_CHAT,
    "get_chat_template": _NO_CHAT,
    "encode_message_with_chat_template": _NO_CHAT,
    "save_chat_templates": _NO_CHAT,
    "push_to_hub": _UPLOAD,
    "register_for_auto_class": "call BioGptTokenizer itself; no class is chosen by a file",
    "as_target_tokenizer": _NO_TARGETS,
    "prepare_seq2seq_batch": _NO_TARGETS,
    "backend_tokenizer": _NO_FAST,
    "convert_to_native_format": _NO_FAST,
    "train_new_from_iterator": "this tokenizer cannot be trained: train one elsewhere and load its files",
    "sp_model": "BioGPT's tokenizer is byte-pair encoding: see ranks (the merges) and vocab",
    "encoder": "write vocab",
    "decoder": "write pieces",
    "bpe_ranks": "write ranks",
    "bpe": "write minibiogpt.tokenizer.bpe.merge_word(word, tokenizer.ranks)",
    "cache": _CACHED,
    "cache_moses_tokenizer": _CACHED,
    "cache_moses_detokenizer": _CACHED,
    "sm": "write import sacremoses",
    "moses_tokenize": "write tokenize(text), which also splits the words",
    "moses_detokenize": "write convert_tokens_to_string(pieces)",
    "lang": "it is always English",
    "do_lower_case": "BioGPT's vocabulary has capitals: write text.lower() if you want none",
    "do_lowercase": "BioGPT's vocabulary has capitals: write text.lower() if you want none",
    "init_kwargs": _OPTIONS,
    "init_inputs": _OPTIONS,
    "prepare_for_tokenization": "nothing is prepared: pass the text itself to the tokenizer",
    "convert_added_tokens": "write str(token) for the text of an AddedToken, or token.as_dict()",
    "pretrained_vocab_files_map": "pass a hub id such as microsoft/biogpt to from_pretrained",
    "total_vocab_size": "write len(tokenizer)",
    "verbose": "write warnings.filterwarnings to choose which warnings are shown",
    "deprecation_warnings": "write warnings.filterwarnings to choose which warnings are shown",
    "max_model_input_sizes": "write model_max_length",
    "max_len": "write model_max_length",
    "max_length": "write model_max_length",
    "sanitize_special_tokens": "write add_tokens(tokenizer.all_special_tokens, special_tokens=True)",
    "slow_tokenizer_class": "this is the only tokenizer class",
    "tokens_trie": "write add_tokens(...): added tokens are found in every text",
    "word_tokenizer": "write minibiogpt.tokenizer.moses.splitter()",
}

OPTION_ADVICE = {
    "gguf_file": "convert the model to safetensors with transformers first",
    "tokenizer_type": "leave it out: there is one tokenizer class",
    "config": "leave it out: the tokenizer reads its own files",
    "chat_template": _NO_CHAT,
    "do_lower_case": "BioGPT's vocabulary has capitals: write text.lower() if you want none",
    "add_bos_token": "leave it out: </s> precedes every text; write encode(text, add_special_tokens=False) for none",
    "add_eos_token": "append tokenizer.eos_token to the text",
    "add_prefix_space": "leave it out: spaces only separate words",
    "return_token_type_ids": "pass it in each call",
}
