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
    **dict.fromkeys(("quantize", "quantise"), "quantization is not here: use --dtype bfloat16 to save memory"),
    **dict.fromkeys(("serve", "server", "api"), "there is no server: use Python, pipeline('text-generation')"),
    **dict.fromkeys(
        ("list", "ls", "ps", "models", "tags"), "there is no list of models: use --model with a folder or a hub id"
    ),
    **dict.fromkeys(("login", "auth", "whoami"), "it is not a command: set the environment variable HF_TOKEN instead"),
    **dict.fromkeys(("benchmark", "bench"), "it is not a command: tools/bench.py in the repository measures speed"),
}

_GPU = "the CPU is the default; for a GPU write --backend cupy"
_HALF = "write --dtype float16"
_QUANTIZED = "quantization is not here: write --dtype bfloat16"
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
    **dict.fromkeys(("load-in-8bit", "load-in-4bit", "quantize", "quantization", "int8"), _QUANTIZED),
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
_MEAN = dict.fromkeys(("avg", "average", "mean_pooling", "mean-pooling"), "mean")
# {option: {a value of other programs: the value here}}.
VALUES: dict[str, dict[str, str]] = {
    "--backend": dict.fromkeys(("cuda", "gpu", "cuda:0"), "cupy") | dict.fromkeys(("cpu", "np"), "numpy"),
    "--dtype": _DTYPES,
    "--product": {"blas": "numpy", "onemkl": "mkl", "intel": "mkl", "scipy-openblas64": "openblas"},
    "--precision": _DTYPES,
    "--pooling": _MEAN | dict.fromkeys(("last_token", "last-token", "eos"), "last"),
    "--combine": _MEAN | {"maximum": "max"},
    "--strategy": dict.fromkeys(("avg", "mean"), "average") | {"maximum": "max", "none": "simple"},
    "--early-stopping": dict.fromkeys(_TRUE, "true") | dict.fromkeys(_FALSE, "false"),
    "--theme": dict.fromkeys(("system", "default"), "auto") | {"night": "dark", "day": "light"},
    "--head": {"lm": "causal", "classification": "sequence", "ner": "token", "none": "base"},
}
