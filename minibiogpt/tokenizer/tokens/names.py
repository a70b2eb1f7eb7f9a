"""What transformers' tokenizers have and this one does not: {its name: what to write here}."""

from __future__ import annotations

from minibiogpt.tokenizer.tokens import chat

_NO_FAST = "there is no fast tokenizer for BioGPT: use the tokenizer itself"
_UPLOAD = "write save_pretrained(folder), and upload the folder with huggingface_hub"
_NO_TARGETS = "BioGPT has no separate target texts: call the tokenizer itself"
_CACHED = "words are cached by the tokenizer itself"
_ENGLISH = "BioGPT has one language, English: leave it out"
_OPTIONS = "each option is an attribute, such as padding_side"

ATTRIBUTE_ADVICE = {
    **dict.fromkeys(chat.METHODS, chat.advice(None)),
    "get_chat_template": "write tokenizer.chat_template",
    "save_chat_templates": "write save_pretrained(folder), which writes the templates too",
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
    **dict.fromkeys(("src_lang", "tgt_lang", "set_src_lang_special_tokens", "set_tgt_lang_special_tokens"), _ENGLISH),
    "encode_batch": "call the tokenizer itself with a list of texts",
    "decode_batch": "write batch_decode(rows)",
    "token_to_id": "write convert_tokens_to_ids(token)",
    "id_to_token": "write convert_ids_to_tokens(id)",
    "get_vocab_size": "write len(tokenizer)",
    "enable_padding": "pass padding=True to each call",
    "enable_truncation": "pass truncation=True and max_length to each call",
    "merges": "write ranks",
    "vocab_file": "write save_vocabulary(folder), which returns the paths of the files it writes",
    "merges_file": "write save_vocabulary(folder), which returns the paths of the files it writes",
    "unique_no_split_tokens": "write get_added_vocab()",
    "framework": "every array of an encoding is NumPy's",
    "main_input_name": "it is input_ids",
    "device": "move the result: tokenizer(text).to(device)",
    "to": "move the result: tokenizer(text).to(device)",
    "save": "write save_pretrained(folder)",
    "generate": "it is a method of the model",
    "processor": "write the tokenizer itself",
    "tokenizer": "write the tokenizer itself",
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
    **dict.fromkeys(("lang", "src_lang", "tgt_lang", "language"), _ENGLISH),
    **dict.fromkeys(("max_length", "truncation", "padding", "return_tensors"), "pass it in each call"),
    "device": "move the result of a call: tok(text).to(device)",
    "dtype": "ids are int64; leave it out",
    "do_lower_case": "BioGPT's vocabulary has capitals: write text.lower() if you want none",
    "add_bos_token": "leave it out: </s> precedes every text; write encode(text, add_special_tokens=False) for none",
    "add_eos_token": "append tokenizer.eos_token to the text",
    "add_prefix_space": "leave it out: spaces only separate words",
    "return_token_type_ids": "pass it in each call",
}
