"""Commands, options and values of other programs, and what to type here.

A name is written without its dashes and with hyphens: ``--num_beams`` is looked up as "num-beams".
"""

from __future__ import annotations

# {a command of other programs: the command line here, or a sentence}.
COMMANDS = {
    **dict.fromkeys(("run", "chat", "complete", "continue", "text-generation", "infer"), "generate TEXT"),
    **dict.fromkeys(("predict", "classification", "sequence-classification", "text-classification"), "classify TEXT"),
    **dict.fromkeys(("ner", "entities", "extract", "token-classification", "label"), "tag TEXT"),
    **dict.fromkeys(("eval", "evaluate", "perplexity", "ppl", "likelihood", "logprob", "loss"), "score TEXT"),
    **dict.fromkeys(("embeddings", "embedding", "feature-extraction", "vectors"), "embed --output vectors.npy TEXT"),
    "encode": "write minibiogpt tokenize TEXT for ids, or minibiogpt embed --output vectors.npy TEXT for vectors",
    **dict.fromkeys(("decode", "detokenize"), "use Python: BioGptTokenizer.from_pretrained('demo').decode(ids)"),
    **dict.fromkeys(("tokens", "ids", "tokenise"), "tokenize TEXT"),
    **dict.fromkeys(("show", "inspect", "describe", "config", "summary", "stats"), "info"),
    **dict.fromkeys(("visualize", "visualise", "plot", "html", "attention"), "view TEXT"),
    **dict.fromkeys(("dump", "activations", "hidden-states"), "trace TEXT"),
    **dict.fromkeys(("pull", "fetch", "get", "install"), "download HUB_ID FOLDER"),
    **dict.fromkeys(("export", "import"), "convert SOURCE FOLDER"),
    "explain": "trace TEXT --explain NAME",
    **dict.fromkeys(("verify", "compare", "check", "diff"), "golden check CASE THEIRS"),
    **dict.fromkeys(("test", "selftest"), "golden selftest"),
    **dict.fromkeys(("record",), "golden record --text TEXT -o FILE"),
    **dict.fromkeys(("kit",), "golden kit FOLDER"),
    **dict.fromkeys(("diagnose", "diagnosis", "why", "debug"), "golden diagnose CASE THEIRS"),
    **dict.fromkeys(("map", "mapping"), "golden map CASE THEIRS"),
    **dict.fromkeys(("version",), "--version"),
    **dict.fromkeys(("man", "usage", "commands", "?", "/?", "/h", "/help"), "--help"),
    **dict.fromkeys(("completion", "completions", "shell-completion"), "--print-completion bash"),
    **dict.fromkeys(
        ("train", "finetune", "fine-tune", "fit"),
        "training is not here: train in PyTorch, and name the checkpoint with --model",
    ),
    **dict.fromkeys(("quantise", "quant", "llama-quantize", "compress", "shrink"), "quantize SOURCE FOLDER --to nf4"),
    **dict.fromkeys(("serve", "server", "api"), "there is no server: use Python, pipeline('text-generation')"),
    **dict.fromkeys(
        ("list", "ls", "ps", "models", "tags"), "there is no list of models: use --model with a folder or a hub id"
    ),
    **dict.fromkeys(("login", "auth", "whoami"), "it is not a command: set the environment variable HF_TOKEN instead"),
    **dict.fromkeys(("benchmark", "bench"), "it is not a command: tools/bench.py in the repository measures speed"),
}

_GPU = "the CPU is the default; for a GPU write --backend cupy"
_HALF = "write --dtype float16"
_FOUR_BITS, _EIGHT_BITS = "write --quantization nf4", "write --quantization int8"
_DOUBLE = "leave it out: nf4 and fp4 are double quantized unless minibiogpt quantize writes --no-double-quant"
_FLOAT_HEAD = "leave it out: the embeddings, norms, biases and the head keep their floats"
_QUIET = "leave it out: only warnings and errors go to standard error, and 2>/dev/null hides them"
_VERBOSE = "leave it out: there is nothing more to print"
_THREADS = "set the environment variable OMP_NUM_THREADS instead"
_CACHE = "set the environment variable HF_HUB_CACHE instead"
_TOKEN = "set the environment variable HF_TOKEN instead"
_OFFLINE = "set the environment variable HF_HUB_OFFLINE=1 instead"
_DROP = "leave it out: it is not needed here"
_FILES = "leave it out: the files that are needed are chosen here"
_NO_SERVER = "there is no server: use Python, pipeline('text-generation')"
_NO_CHAT = "leave it out: this is no conversation, and each text is continued once"
_AT_ONCE = "leave it out: a file or a pipe gets the whole text at once, as with | cat"
_GREEDY = "leave it out: without --sample decoding is greedy"
_CACHED = "leave it out: keys and values are cached unless you add --no-cache"
TEXT = "TEXT"  # stands for advice that repeats the text that was typed

# {an option of other programs: options here, of which a command has at most one, or a sentence}.
OPTIONS = {
    **dict.fromkeys(
        (
            "m", "model-name-or-path", "model-name", "model-path", "model-id", "model-dir", "pretrained",
            "pretrained-model-name-or-path", "checkpoint", "checkpoint-path", "ckpt", "hf-repo", "hf", "model-file",
            "repo-id",
        ),
        "--model",
    ),
    **dict.fromkeys(("tokenizer-name", "tokenizer-name-or-path", "tokenizer-path"), "--tokenizer"),
    **dict.fromkeys(("lora", "lora-path", "peft", "peft-model", "adapter-path", "adapter-name-or-path"), "--adapter"),
    **dict.fromkeys(("model-revision", "branch", "commit", "tag"), "--revision"),
    **dict.fromkeys(("device", "device-map", "cuda", "gpu", "gpus", "use-gpu", "use-cuda", "n-gpu-layers", "gpu-layers",
                     "ngl"), _GPU),
    **dict.fromkeys(("cpu", "no-cuda", "no-gpu"), "leave it out: the CPU is the default"),
    **dict.fromkeys(("torch-dtype", "data-type", "precision", "dtype"), "--dtype --precision"),
    **dict.fromkeys(("fp16", "half", "float16"), _HALF),
    **dict.fromkeys(("bf16", "bfloat16"), "write --dtype bfloat16"),
    **dict.fromkeys(("fp32", "float32", "float"), "leave it out: float32 is the default"),
    **dict.fromkeys(("fp64", "float64", "double"), "write --dtype float64"),
    **dict.fromkeys(
        (
            "quantization", "quantize", "quantise", "quant", "qtype", "quant-type", "quant-method",
            "quantization-method", "quantization-type", "bnb-4bit-quant-type", "outtype", "to", "bits", "wbits",
            "compute-type",
        ),
        "--quantization --to",
    ),
    **dict.fromkeys(("load-in-4bit", "4bit", "int4", "nf4", "bnb-4bit"), _FOUR_BITS),
    **dict.fromkeys(("load-in-8bit", "8bit", "int8"), _EIGHT_BITS),
    **{key: f"write --quantization {key.replace('-', '_')}" for key in ("fp4", "q8-0", "q4-0")},
    **dict.fromkeys(("bnb-4bit-use-double-quant", "use-double-quant", "double-quant"), _DOUBLE),
    **dict.fromkeys(("llm-int8-threshold", "int8-threshold"), "--outlier-threshold"),
    **dict.fromkeys(("llm-int8-skip-modules", "modules-to-not-convert", "skip-modules", "exclude-modules"), "--skip"),
    **dict.fromkeys(("leave-output-tensor", "output-tensor-type", "token-embedding-type", "pure"), _FLOAT_HEAD),
    "bnb-4bit-compute-dtype": "--dtype",
    **dict.fromkeys(("cache-dir", "download-dir"), _CACHE),
    **dict.fromkeys(("token", "hf-token", "use-auth-token"), _TOKEN),
    **dict.fromkeys(("local-files-only", "offline"), _OFFLINE),
    **dict.fromkeys(("threads", "t", "num-threads", "n-threads", "num-workers", "j"), _THREADS),
    **dict.fromkeys(("q", "quiet", "silent", "no-progress"), _QUIET),
    **dict.fromkeys(("v", "verbose", "debug", "log-level"), _VERBOSE),
    **dict.fromkeys(("version", "V"), "write minibiogpt --version"),
    **dict.fromkeys((
            "trust-remote-code", "no-trust-remote-code", "color", "no-color", "seq2seq", "repo-type", "resume-download",
            "skip-special-tokens", "tensor-parallel-size", "pipeline-parallel-size", "gpu-memory-utilization",
            "enforce-eager", "mmap", "no-mmap", "mlock", "flash-attn", "fa",
        ),
        _DROP,
    ),
    **dict.fromkeys(("include", "exclude", "allow-patterns", "ignore-patterns"), _FILES),
    **dict.fromkeys(("host", "port"), _NO_SERVER),
    **dict.fromkeys(("interactive", "interactive-first", "cnv", "conversation", "no-cnv", "chat"), _NO_CHAT),
    **dict.fromkeys(("man", "usage", "?", "help-all"), "write --help"),
    "json": "leave it out: this command prints no JSON",
    "layer": "write --names 'layers.0.*' for layer 0",
    **dict.fromkeys(
        ("i", "input", "input-file", "infile", "in", "f", "texts", "text-file", "prompt-file", "prompts", "data"),
        "--file --inputs",
    ),
    **dict.fromkeys(
        ("o", "out", "outfile", "output", "output-file", "output-path", "output-dir", "save", "save-to",
         "local-dir"),
        "--output --save",
    ),
    **dict.fromkeys(("p", "prompt", "text", "input-text", "sentence", "query"), TEXT),
    **dict.fromkeys(("b", "bs", "batch", "batch-size", "per-device-eval-batch-size"), "--batch-size --batch-tokens"),
    **dict.fromkeys(("format", "output-format", "as-json", "json-output", "jsonlines", "json-lines"), "--json"),
    **dict.fromkeys(("json-input", "input-jsonl"), "--jsonl"),
    **dict.fromkeys(("column", "key", "text-column", "text-field"), "--field"),
    **dict.fromkeys(("force", "yes", "y", "replace", "force-download"), "--overwrite"),
    "truncation": "--truncate",
    **dict.fromkeys(
        ("max-seq-length", "max-seq-len"),
        "write --truncate, which cuts a text to the model's maximum: a shorter limit is not here",
    ),
    "ignore-eos": "write --min-new-tokens N with the N of --max-new-tokens",
    **dict.fromkeys(
        ("context", "ctx-size", "c", "n-ctx", "context-length", "block-size", "window-size", "max-model-len"),
        "--window",
    ),
    "doc-stride": "write --stride: the distance between the starts of two windows, not their overlap",
    "overlap": "write --stride: the distance between the starts of two windows, not their overlap",
    **dict.fromkeys(("aggregation", "aggregation-strategy"), "--strategy"),
    **dict.fromkeys(("pool", "pooling-mode", "pooling-strategy"), "--pooling"),
    **dict.fromkeys(("no-special-tokens", "no-add-special-tokens", "no-parse-special"), "--no-special"),
    **dict.fromkeys(("browser", "show"), "--open"),
    **dict.fromkeys(("pattern", "filter", "only"), "--names"),
    **dict.fromkeys(("mapping", "name-map"), "--map"),
    **dict.fromkeys(("ignore", "omit", "without", "skip-names"), "--skip"),
    **dict.fromkeys(("tool", "framework", "profile"), "--names-of"),
    # generation
    **dict.fromkeys(
        (
            "n", "n-predict", "max-tokens", "max-new", "max-gen-len", "length", "new-tokens", "num-tokens",
            "max-output-tokens", "max-tokens-to-sample",
        ),
        "--max-new-tokens",
    ),
    **dict.fromkeys(("min-tokens", "min-new"), "--min-new-tokens"),
    **dict.fromkeys(("beam", "beams", "beam-size", "beam-width", "n-beams", "beam-search"), "--num-beams"),
    **dict.fromkeys(("do-sample", "sampling"), "--sample"),
    **dict.fromkeys(("greedy", "no-sample", "no-do-sample"), _GREEDY),
    **dict.fromkeys(("temp",), "--temperature"),
    **dict.fromkeys(("topk", "k"), "--top-k"),
    **dict.fromkeys(("topp", "nucleus"), "--top-p"),
    **dict.fromkeys(("typical",), "--typical-p"),
    **dict.fromkeys(("repeat-penalty", "rep-pen", "presence-penalty", "frequency-penalty"), "--repetition-penalty"),
    **dict.fromkeys(("ngram-size", "no-repeat-ngram", "ngram"), "--no-repeat-ngram-size"),
    **dict.fromkeys(("num-samples", "n-samples", "samples", "best-of", "num-return", "nbest",
                     "n-best"), "--num-return-sequences"),
    **dict.fromkeys(("stop-string", "stop-strings", "stop-sequence", "stop-sequences", "stop-word", "stop-words",
                     "reverse-prompt"), "--stop"),
    **dict.fromkeys(("bad-words", "bad-words-ids", "banned-words"), "--bad-word"),
    **dict.fromkeys(("lenpen",), "--length-penalty"),
    **dict.fromkeys(("s", "random-seed", "random-state"), "--seed"),
    **dict.fromkeys(("use-cache", "cache", "kv-cache"), _CACHED),
    **dict.fromkeys(("no-use-cache", "no-kv-cache"), "--no-cache"),
    **dict.fromkeys(("streaming", "streamer"), "--stream"),
    "no-stream": _AT_ONCE,
}  # fmt: skip

_NO_PICTURE = "leave it out: the page is HTML, and its buttons save pictures as SVG and PNG"
# {an option of other programs: what to do instead, for the commands that write a page}.
PAGES = {
    **dict.fromkeys(("host", "port", "serve", "server"), "leave it out: the page is a file, and --open opens it"),
    **dict.fromkeys(("share", "public"), "leave it out: the page is one file that you can send to others"),
    **dict.fromkeys(("html", "html-file"), "write --output"),
    **dict.fromkeys(("png", "svg", "pdf", "image", "picture", "format"), _NO_PICTURE),
    **dict.fromkeys(
        ("file", "i", "input", "input-file", "infile", "in", "f", "text-file", "prompt-file", "prompts"),
        "to read the text of a file, write - < FILE",
    ),
    **dict.fromkeys(("dark", "dark-mode", "night"), "write --theme dark"),
    **dict.fromkeys(("light", "light-mode"), "write --theme light"),
}
# The same for explore.
_PLACE = (
    "leave it out: the page shows all, and its address leads to a place, as page.html#view=attention&layer=1&head=0"
)
EXPLORE = {
    **dict.fromkeys(("layer", "head", "view", "tab", "step"), _PLACE),
    **dict.fromkeys(
        ("seed", "s", "temperature", "temp", "top-k", "top-p", "sample", "max-new-tokens"),
        "leave it out: it is set in the page, in Generation",
    ),
    **dict.fromkeys(("live", "recorded", "no-live", "static"), "use Python: Explorer(model, text, live=False)"),
    "t": "write --text",
}

_TRUE, _FALSE = ("yes", "1", "on"), ("no", "0", "off")
_DTYPES = {
    **dict.fromkeys(("fp16", "half", "f16", "torch.float16"), "float16"),
    **dict.fromkeys(("fp32", "single", "float", "f32", "torch.float32"), "float32"),
    **dict.fromkeys(("fp64", "double", "f64", "torch.float64"), "float64"),
    **dict.fromkeys(("bf16", "torch.bfloat16"), "bfloat16"),
}
_OTHER_BLOCKS = (
    *(f"q{bits}_k{size}" for bits in range(2, 7) for size in ("", "_s", "_m", "_l")), "q4_1", "q5_0", "q5_1", "q8_1",
    "q8_k", "iq4_nl", "iq4_xs", "mxfp4",
)  # fmt: skip
_FOUR_OR_EIGHT = "of 4 bits there are nf4 (the best), fp4 and q4_0; of 8 bits int8, int8-dynamic and q8_0"
# Formats as other programs and their models call them.
FORMATS = {
    **dict.fromkeys(
        ("4", "4bit", "4-bit", "4bits", "int4", "i4", "bnb-nf4", "bnb_nf4", "nf4-dq", "normal_float4", "q4", "w4",
         "bnb", "bnb4", "bnb-4bit", "bitsandbytes", "qlora", "load-in-4bit"),
        "nf4",
    ),
    **dict.fromkeys(("bnb-fp4", "bnb_fp4", "float4", "e2m1"), "fp4"),
    **dict.fromkeys(
        ("8", "8bit", "8-bit", "8bits", "i8", "llm.int8", "llm_int8", "bnb-int8", "bnb-8bit", "w8", "w8a16",
         "int8_float32", "load-in-8bit"),
        "int8",
    ),
    **dict.fromkeys(("dynamic", "int8_dynamic", "w8a8", "dynamic-int8", "qint8"), "int8-dynamic"),
    **dict.fromkeys(("q8", "q8-0", "q80", "gguf", "gguf-q8_0"), "q8_0"),
    **dict.fromkeys(("q4-0", "q40", "gguf-q4_0"), "q4_0"),
}  # fmt: skip
# {a value of --quantization in other programs: a sentence}.
NO_FORMATS = {
    **dict.fromkeys((*_OTHER_BLOCKS, "fp8", "int3", "3bit", "2bit", "int2", "5bit", "6bit"), _FOUR_OR_EIGHT),
    **dict.fromkeys(("gptq", "awq", "hqq", "aqlm", "eetq", "quanto", "torchao"), _FOUR_OR_EIGHT),
    **dict.fromkeys(("none", "no", "false", "off"), "leave it out for weights as they are in the file"),
    **dict.fromkeys(("float16", "fp16", "f16", "half"), "for 16 bits write --dtype float16"),
    **dict.fromkeys(("bfloat16", "bf16"), "for 16 bits write --dtype bfloat16"),
    **dict.fromkeys(("float32", "fp32", "f32"), "leave it out, and write --dtype float32"),
}
_MEAN = dict.fromkeys(("avg", "average", "mean_pooling", "mean-pooling"), "mean")
# {option: {a value of other programs: the value here}}.
VALUES: dict[str, dict[str, str]] = {
    "--backend": dict.fromkeys(("cuda", "gpu", "cuda:0"), "cupy") | dict.fromkeys(("cpu", "np"), "numpy"),
    "--dtype": _DTYPES,
    "--quantization": FORMATS,
    "--to": FORMATS,
    "--product": {"blas": "numpy", "onemkl": "mkl", "intel": "mkl", "scipy-openblas64": "openblas", "dnnl": "onednn"},
    "--precision": _DTYPES,
    "--pooling": _MEAN | dict.fromkeys(("last_token", "last-token", "eos"), "last"),
    "--combine": _MEAN | {"maximum": "max"},
    "--strategy": dict.fromkeys(("avg", "mean"), "average") | {"maximum": "max", "none": "simple"},
    "--early-stopping": dict.fromkeys(_TRUE, "true") | dict.fromkeys(_FALSE, "false"),
    "--theme": dict.fromkeys(("system", "default"), "auto") | {"night": "dark", "day": "light"},
    "--head": {"lm": "causal", "classification": "sequence", "ner": "token", "none": "base"},
}
# {option: {a value of other programs: a sentence}}.
SENTENCES = {"--quantization": NO_FORMATS, "--to": NO_FORMATS}
