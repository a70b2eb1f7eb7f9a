"""Each mistake on a command line is one line that says what to type instead, and that advice works."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibiogpt.cli import main, parsed, parser
from minibiogpt.cli.parsing import foreign
from minibiogpt.cli.parsing.advice import option_like
from minibiogpt.cli.parsing.check import check, is_text
from minibiogpt.cli.parsing.commands import every_command, options_of, subcommands
from minibiogpt.errors import InputError

# A command line, and how its error ends.
ROWS = [
    ("", "found none; the commands are generate, tokenize, score"),
    ("genrate x", "found 'genrate'; did you mean minibiogpt generate?"),
    ("GENERATE x", "; write minibiogpt generate"),
    ("'Ibuprofen is'", "; for a text write minibiogpt generate 'Ibuprofen is'; see minibiogpt --help"),
    ("Ibuprofen is", "; for a text write minibiogpt generate 'Ibuprofen is'; see minibiogpt --help"),
    ("run x", "; write minibiogpt generate TEXT"),
    ("ner", "; write minibiogpt tag TEXT"),
    ("train", "; training is not here: train in PyTorch, and name the checkpoint with --model"),
    ("selftest", "; write minibiogpt golden selftest"),
    ("version", "; write minibiogpt --version"),
    ("golden", "the commands are record, kit, check, diagnose, map, selftest, inspect; see minibiogpt golden --help"),
    ("golden chek a b", "found 'chek'; did you mean minibiogpt golden check?"),
    ("help generat", "found 'generat'; did you mean minibiogpt generate?"),
    ("--model demo generate x", "; write --model after the command: minibiogpt generate --model"),
    ("--model demo score x", "; write --model after the command: minibiogpt score --model"),
    ("-v", "; write minibiogpt --version"),
    ("--vers", "; did you mean --version?"),
    ("generate x --modle demo", "found '--modle'; did you mean --model?"),
    ("generate x --num_beams 2", "found '--num_beams'; write --num-beams"),
    ("generate x --numBeams=2", "found '--numBeams'; write --num-beams"),
    ("generate x -model demo", "found '-model'; write --model"),
    ("generate x –model demo", "found '–model'; write --model with plain hyphens"),
    ("generate x —top-k=3", "; write --top-k with plain hyphens"),
    ("generate x --max_new_tokens 2", "; write --max-new-tokens"),
    ("generate x -m demo", "; write --model"),
    (f"generate x --seed {'9' * 5000}", "at most 1,000 digits; found 5000 digits; write --seed 2"),
    ("generate x --model_name_or_path demo", "; write --model"),
    ("generate --prompt 'a drug'", "; give the text as an argument: minibiogpt generate 'a drug'"),
    ("generate -p a", "; give the text as an argument: minibiogpt generate a"),
    ("generate '--prompt=a drug'", "; give the text as an argument: minibiogpt generate 'a drug'"),
    ("golden record --prompt a -o F", "; write --text"),
    ("generate x --device cuda", "; the CPU is the default; for a GPU write --backend cupy"),
    ("tokenize x --device cuda", "found '--device'; see minibiogpt tokenize --help"),
    ("generate x --fp16", "; write --dtype float16"),
    ("generate x --max-tokens 3", "; write --max-new-tokens"),
    ("generate x --do_sample", "; write --sample"),
    ("generate x --greedy", "; leave it out: without --sample decoding is greedy"),
    ("generate x --verbose", "; leave it out: there is nothing more to print"),
    ("generate x --output_file f", "; the result goes to standard output: add > FILE"),
    ("golden kit -o f", "; write minibiogpt golden kit FOLDER"),
    ("trace x --output f", "; write --save"),
    ("generate x --input f", "; write --file"),
    ("golden record --input f -o g", "; write --inputs"),
    ("generate x --batch_size 3", "; write --batch-size"),
    ("score x --batch_size 3", "; write --batch-tokens"),
    ("score x --num-beams 2", "found '--num-beams'; --num-beams is an option of minibiogpt generate"),
    ("score x --temp 2", "; --temperature is an option of minibiogpt generate"),
    ("generate x --max 3", "; write it in full: --max-new-tokens or --max-length"),
    ("generate x --max-new 3", "; write --max-new-tokens"),
    ("generate x --nonsense", "found '--nonsense'; see minibiogpt generate --help"),
    ("tag -omics", "; for a text that begins with a dash write minibiogpt tag -- -omics; see minibiogpt tag --help"),
    ("generate x --version", "; write minibiogpt --version"),
    ("generate x --num-beams", "--num-beams must have a value; found none; write --num-beams N"),
    ("generate x --num-beams --json", "found '--json'; write --num-beams N --json"),
    ("generate x --stop --x", "found '--x'; write --stop=--x"),
    ("generate x --temperature -1e-5", "found '-1e-5'; write --temperature=-1e-5"),
    ("generate x --sample=true", "--sample must have no value; found '--sample=true'; write --sample"),
    ("generate x --sample=false", "; leave it out"),
    ("generate x --num-beams two", "--num-beams must be an integer; found 'two'; write digits, such as --num-beams 2"),
    ("generate x --num-beams 2.0", "; write --num-beams 2"),
    ("generate x --num-beams=", "must be an integer; found ''; write digits, such as --num-beams 2"),
    ("generate x --top-p 0,9", "--top-p must be a number; found '0,9'; write --top-p 0.9"),
    ("generate x --top-p 90%", "; write --top-p 0.9"),
    ("generate x --batch-size 1,000", "; write --batch-size 1000"),
    ("embed x --pooling avg", "--pooling must be one of last, mean; found 'avg'; write --pooling mean"),
    ("embed x --pooling Mean", "; write --pooling mean"),
    ("embed x --pooling maen", "; did you mean --pooling mean?"),
    ("tag x --strategy mean", "; write --strategy average"),
    ("golden check a b --precision fp32", "; write --precision float32"),
    ("generate x --backend cuda", "--backend must have a known value; found 'cuda'; write --backend cupy"),
    ("generate x --dtype fp16", "; write --dtype float16"),
    ("generate x --model=", "--model must have a value; found ''; write --model demo, or leave --model out"),
    ("generate x --model ''", "; write --model demo, or leave --model out"),
    ("generate x --model “demo”", "--model must have no typographic quotes; found '“demo”'; write --model demo"),
    ("generate “Ibuprofen is”", "must be in straight quotes; found '“Ibuprofen'; write 'Ibuprofen is'"),
    ("generate '--num-beams 2' x", "; write --num-beams 2 without quotes, or for a text put -- before it"),
    ("generate '--num_beams 2' x", "found '--num_beams'; write --num-beams"),
    ("generate a --num-beams 2 b", "found 'b' after an option; write them together: minibiogpt generate a b"),
    ("golden diagnose", "found no CASE and no THEIRS; write minibiogpt golden diagnose CASE THEIRS"),
    ("golden diagnose --list=all", "--list must have no value; found '--list=all'; write --list"),
    ("golden check --help=all", "--help must have no value; found '--help=all'; write --help"),
    ("golden check", "found no CASE and no THEIRS; write minibiogpt golden check CASE THEIRS"),
    ("golden check a", "found no THEIRS; write minibiogpt golden check a THEIRS"),
    ("golden check a b c", "must be called with 2 arguments; found 'c'; see minibiogpt golden check --help"),
    ("golden record --text x", "must be called with --output FILE; found none; add --output FILE"),
    ("info --", "-- must be followed by a text or a file; found nothing; leave -- out"),
    ("info demo", "must be called with options only; found 'demo'; for a model write --model demo"),
    ("download microsoft/biogpt --local-dir f", "; write minibiogpt download REPOSITORY FOLDER"),
    ("download --model microsoft/biogpt f", "; write minibiogpt download REPOSITORY FOLDER"),
    ("download a f --force-download", "; choose a new FOLDER: an old one is never overwritten"),
    ("download a f --include x", "; leave it out: the files that are needed are chosen here"),
    ("generate x --load-in-4bit", "; write --quantization nf4"),
    ("generate x --load_in_4bit", "; write --quantization nf4"),
    ("generate x --load-in-8bit", "; write --quantization int8"),
    ("generate x --int8", "; write --quantization int8"),
    ("generate x --q4-0", "; write --quantization q4_0"),
    ("generate x -q int8", "found '-q'; write --quantization int8"),
    ("generate x -q", "; leave it out: only warnings and errors go to standard error, and 2>/dev/null hides them"),
    ("generate x --quantize Q8_0", "; write --quantization q8_0"),
    ("generate x --quant=nf4", "; write --quantization nf4"),
    ("generate x --quant foo", "; write --quantization"),
    ("generate x --bits 4", "; write --quantization nf4"),
    ("generate x --bnb_4bit_quant_type fp4", "; write --quantization fp4"),
    ("generate x --bnb-4bit-use-double-quant", "unless minibiogpt quantize writes --no-double-quant"),
    ("generate x --no-double-quant", "; --no-double-quant is an option of minibiogpt golden record, quantize"),
    ("generate x --llm_int8_threshold 6", "; write --outlier-threshold"),
    ("generate x --quantization", "--quantization must have a value; found none; write --quantization FORMAT"),
    ("generate x --quantization NF4", "found 'NF4'; write --quantization nf4"),
    ("generate x --quantization Q4_0", "found 'Q4_0'; write --quantization q4_0"),
    ("generate x --quantization bnb-nf4", "; write --quantization nf4"),
    ("generate x --quantization int4", "; write --quantization nf4"),
    ("generate x --quantization 4bit", "; write --quantization nf4"),
    ("generate x --quantization 8bit", "; write --quantization int8"),
    ("generate x --quantization q4_k_m",
     "--quantization must be one of nf4, fp4, int8, int8-dynamic, q8_0, q4_0; found 'q4_k_m'; of 4 bits there are "
     "nf4 (the best), fp4 and q4_0; of 8 bits int8, int8-dynamic and q8_0"),
    ("generate x --quantization int88", "found 'int88'; did you mean --quantization int8?"),
    ("generate x --quantization none", "; leave it out for weights as they are in the file"),
    ("generate x --quantization fp16", "; for 16 bits write --dtype float16"),
    ("generate x --dtype nf4", "found 'nf4'; write --quantization nf4"),
    ("generate x --outlier-threshold -1", "is not negative; found -1.0; write 6, or leave it out"),
    ("generate x --outlier-threshold nan", "is not negative; found nan; write 6, or leave it out"),
    ("--load-in-4bit generate x", "; write --quantization nf4"),
    ("info --load-in-4bit", "; write --quantization nf4"),
    ("tokenize x --load-in-4bit", "found '--load-in-4bit'; see minibiogpt tokenize --help"),
    ("quantise demo f", "; write minibiogpt quantize SOURCE FOLDER --to nf4"),
    ("quantize demo f", "must be called with --to FORMAT; found none; add --to FORMAT"),
    ("quantize demo --to nf4", "found no FOLDER; write minibiogpt quantize demo FOLDER"),
    ("quantize demo f Q4_0", "must be called with 2 arguments; found 'Q4_0'; write --to q4_0"),
    ("quantize demo f x --to nf4", "found 'x'; see minibiogpt quantize --help"),
    ("quantize demo f --quantization nf4", "; write --to nf4"),
    ("quantize demo f --load-in-8bit", "; write --to int8"),
    ("quantize demo f --to q5_0", "and q4_0; of 8 bits int8, int8-dynamic and q8_0"),
    ("quantize demo f --to 4bit", "; write --to nf4"),
    ("quantize demo f --to nf4 --overwrite", "; choose a new FOLDER: an old one is never overwritten"),
    ("quantize --model demo f --to nf4", "; write minibiogpt quantize SOURCE FOLDER"),
    ("quantize demo f --to nf4 --output g", "; write minibiogpt quantize SOURCE FOLDER"),
    ("quantize demo f --to nf4 --dtype int8", "float32, float16, bfloat16; found 'int8'; choose one of these"),
    ("quantize demo f --to nf4 --modules-to-not-convert fc2", "; write --skip"),
    ("convert --input a b", "; write minibiogpt convert SOURCE FOLDER"),
    ("convert a b --overwrite", "; choose a new FOLDER: an old one is never overwritten"),
    ("convert demo f", "found 'demo'; write --model demo: that model is included, and has safetensors"),
    ("convert microsoft/biogpt f", "not converted: minibiogpt download microsoft/biogpt FOLDER"),
    ("completion bash", "; write minibiogpt --print-completion bash"),
    ("--print-completion", "found none; write --print-completion bash"),
    ("ls", "; there is no list of models: use --model with a folder or a hub id"),
    ("login", "; it is not a command: set the environment variable HF_TOKEN instead"),
    ("/?", "; write minibiogpt --help"),
    ("-?", "; write --help"),
    ("—help", "; write --help with plain hyphens"),
    ("helpp", "found 'helpp'; did you mean minibiogpt help?"),
    ("golden check a b --dtype fp32", "; write --precision"),
    ("generate x --model biogpt:latest", "; check the path; did you mean microsoft/biogpt?"),
    ("gen x", "found 'gen'; did you mean minibiogpt generate?"),
    ("golden-check a b", "; write minibiogpt golden check"),
    ("goldencheck a b", "; write minibiogpt golden check"),
    ("golden verify a b", "; write minibiogpt golden check CASE THEIRS"),
    ("golden why a b", "; write minibiogpt golden diagnose CASE THEIRS"),
    ("diagnose a b", "; write minibiogpt golden diagnose CASE THEIRS"),
    ("golden record help", "; write minibiogpt golden record --help"),
    ("golden check help", "found 'help'; write minibiogpt golden check --help"),
    ("golden record 'a drug' -o f", "; for a text write --text 'a drug'"),
    ("info model=demo", "; for a model write --model demo"),
    ("a drug --sample", "; for a text write minibiogpt generate 'a drug' --sample; see minibiogpt --help"),
    ("-m demo -p x", "; write --model after the command: minibiogpt generate --model"),
    ("-p x", "; write minibiogpt generate TEXT"),
    ("--cache-dir f info", "; set the environment variable HF_HUB_CACHE instead"),
    ("--device cuda generate x", "; the CPU is the default; for a GPU write --backend cupy after the command"),
    ("generate --do_sample True x", "found '--do_sample'; write --sample, without a value"),
    ("generate --do_sample=False x", "found '--do_sample'; leave it out"),
    ("generate x --sample True", "found 'True' after an option; leave True out: --sample has no value"),
    ("trace x --names 'a*' 'b*'", "; for another value of --names write --names 'b*', or write the texts together"),
    ("trace --ids 2 54,34", "--ids must be integers separated by commas; found '54,34'; write --ids 2,54,34"),
    ("golden record -o f --ids 2, 54", "; write --ids 2,54"),
    ("generate -c 512 x", "; leave it out: the model's config.json sets the maximum"),
    ("score -c 512 x", "found '-c'; write --window"),
    ("generate -ngl 99 x", "; the CPU is the default; for a GPU write --backend cupy"),
    ("generate x --no-stream", "; leave it out: a file or a pipe gets the whole text at once, as with | cat"),
    ("generate x --no-json", "; leave it out: --json is off unless you write it"),
    ("embed x --json", "; leave it out: this command prints no JSON"),
    ("trace x --layer 0", "; write --names 'layers.0.*' for layer 0"),
    ("view x --force", "; leave it out: an old file is replaced"),
    ("view x --output p.PDF", "the page of --output must end in .html; found '.PDF'; write p.html"),
    ("view x --theme Dark", "; write --theme dark"),
    ("generate x --dtype FLOAT32", "; write --dtype float32"),
    ("generate x --num-beams 3,5", "found '3,5'; write digits, such as --num-beams 2"),
    ("generate x --sample --top-k -1", "; write --top-k 0 to keep all tokens"),
    ("generate x --sample --top-p 90", "; write --top-p 0.9 for 90 %"),
    ("generate x --early-stopping --json", "; write --early-stopping true --json"),
    ("download microsoft/biogpt", "found no FOLDER; write minibiogpt download microsoft/biogpt FOLDER"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "end"), ROWS, ids=[line or "nothing" for line, _ in ROWS])
def test_a_mistake_is_one_line_that_says_what_to_type(line: str, end: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    (message,) = err.splitlines()
    assert out == ""
    assert message.startswith("minibiogpt: error: ")
    assert end in message
    assert message.endswith(end) or not line or line.startswith("golden")
    assert message.count("; ") >= 2


def test_a_text_that_begins_with_a_dash_is_read_after_two_dashes() -> None:
    assert parsed(["tokenize", "--json", "--", "-omics"]).text == ["-omics"]
    assert parsed(["tokenize", "-omics is"]).text == ["-omics is"]
    assert parsed(["tokenize", "-5", "--", "--json"]).text == ["-5", "--json"]
    assert parsed(["tokenize", "–5 mg", "– and —", "“so” it", "«»"]).text == ["–5 mg", "– and —", "“so” it", "«»"]
    assert parsed(["generate", "x", "--stop=--x"]).stop == ["--x"]
    assert parsed(["golden", "record", "--text", "x", "-oF"]).output == "F"


@pytest.mark.parametrize(("words", "usage"), [
    (["help"], "minibiogpt"), (["help", "help"], "minibiogpt"), (["help", "score", "--model"], "minibiogpt score"),
    (["help", "generate"], "minibiogpt generate"), (["golden", "help"], "minibiogpt golden"),
    (["help", "golden", "check"], "minibiogpt golden check"), (["golden", "help", "kit"], "minibiogpt golden kit"),
    (["golden", "check", "-h"], "minibiogpt golden check"), (["score", "x", "--help"], "minibiogpt score"),
])  # fmt: skip
def test_help_in_every_spelling(words: list[str], usage: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(words)
    assert capsys.readouterr().out.startswith(f"usage: {usage} [-h]")


def test_a_text_may_be_the_word_help() -> None:
    assert parsed(["tokenize", "help"]).text == ["help"]


def test_the_version_has_a_short_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["-V"])
    assert capsys.readouterr().out.startswith("minibiogpt ")


def test_what_was_typed_is_known() -> None:
    assert parsed(["generate", "x", "--seed", "0", "--top-k=3", "--json"]).given == {"seed", "top_k", "json"}
    assert parsed(["generate", "x"]).given == set()


def test_every_name_of_other_programs_leads_to_an_option_or_command_that_exists() -> None:
    top = parser()
    known = {name for command in every_command(top) for name in options_of(command)}
    for name, advice in [*foreign.OPTIONS.items(), *foreign.PAGES.items(), *foreign.EXPLORE.items()]:
        assert name == name.strip("-")
        assert set(re.findall(r"--[\w-]+", advice)) <= known | {"--version"}, name
        assert len(name) == 1 or option_like(f"--{name}") == f"--{name}", name
    for name, advice in foreign.COMMANDS.items():
        assert name not in subcommands(top)
        if not re.search(r"\b(is|not|use)\b", advice):
            words = re.sub(r"^write minibiogpt | for ids.*", "", advice).split()
            if words[0] != "--version":
                check(top, words)
    choices = {n: a.choices for command in every_command(top) for n, a in options_of(command).items()}
    for name, sentences in foreign.SENTENCES.items():
        assert not sentences.keys() & {*foreign.VALUES[name], *choices[name]}
        for sentence in sentences.values():
            assert set(re.findall(r"--[\w-]+", sentence)) <= known
    for name, values in foreign.VALUES.items():
        assert name in known
        assert set(values.values()) <= set(choices[name] or values.values()), name


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_argparse_finds_nothing_that_the_check_has_not_found(data: st.DataObject) -> None:
    """What ``check`` lets through, argparse must read, with the same texts and options."""
    top = parser()
    command = data.draw(st.sampled_from(list(every_command(top))))
    options = [name for name, a in options_of(command).items() if not isinstance(a, argparse._HelpAction)]
    word = st.one_of(
        st.sampled_from(options), st.sampled_from(options).map(lambda name: f"{name}=1"),
        st.sampled_from(["a", "1", "0.5", "-", "--", "-1", "-x y", "", "mean", "last", "-oF", "a b", "–x", "-1e5"]),
    )  # fmt: skip
    words = [*command.prog.split()[1:], *data.draw(st.lists(word, max_size=6))]
    try:
        given_options = check(top, words)
    except InputError:
        return
    found = top.parse_args(words)
    for name in given_options:
        assert hasattr(found, name)


def test_words_as_argparse_reads_them() -> None:
    assert [word for word in ("a", "", "-", "-1", "-.5", "-x y", "− 1") if not is_text(word)] == []
    assert [word for word in ("-x", "--", "--x", "-1e5", "--x=a b", "---") if is_text(word)] == []


@pytest.mark.parametrize("line", [
    "golden check loop theirs.npz --html page.html", "golden check case.safetensors loop --html loop",
    "golden record --ids 2,5 --inputs loop -o loop", "golden record --inputs loop -o loop",
])  # fmt: skip
def test_a_loop_of_symbolic_links_is_one_line(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert main(line.split()) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
