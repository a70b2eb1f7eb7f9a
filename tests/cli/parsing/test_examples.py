"""Every example of --help and docs/commands.md runs as it is typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from minibiogpt import BioGptForCausalLM, BioGptForSequenceClassification, BioGptForTokenClassification, BioGptTokenizer
from minibiogpt.cli import main, parsed, parser
from minibiogpt.cli.parsing.commands import every_command
from minibiogpt.cli.parsing.examples import EXAMPLES
from minibiogpt.files.hub import DEMO
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.kit.writer import write_kit
from tests.support.golden_cases import arrays_of

# The first needs the hub; tests/golden/selftest/ runs the second, which takes a minute.
NOT_RUN = ("download", "golden selftest")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files and models that the examples name."""
    path = tmp_path_factory.mktemp("examples")
    texts = ["Ibuprofen relieves pain.", "Insulin lowers blood sugar."]
    (path / "abstracts.txt").write_text("\n".join(texts) + "\n")
    (path / "abstracts.jsonl").write_text("".join(json.dumps({"abstract": text}) + "\n" for text in texts))
    tokenizer, model = BioGptTokenizer.from_pretrained("demo"), BioGptForCausalLM.from_pretrained("demo")
    heads = (("classifier", BioGptForSequenceClassification), ("tagger", BioGptForTokenClassification))
    for name, kind in heads:
        kind.from_config(model.config).save_pretrained(path / name)
        tokenizer.save_pretrained(path / name)
    (path / "pickled").mkdir()
    state = {name: torch.tensor(np.array(x)) for name, x in model.state_dict().items()}
    torch.save(state, path / "pickled" / "pytorch_model.bin")
    for name in ("config.json", "vocab.json", "merges.txt"):
        (path / "pickled" / name).write_bytes((DEMO / name).read_bytes())
    return path


def test_every_command_has_an_example_and_every_example_is_of_its_command() -> None:
    commands = {command.prog.partition(" ")[2]: command for command in every_command(parser())}
    assert EXAMPLES.keys() == commands.keys()
    for name, lines in EXAMPLES.items():
        for line in lines:
            assert line.startswith(f"minibiogpt {name}")
            assert f"\n  {line}\n" in commands[name].format_help()


@pytest.mark.parametrize("command", [name for name in EXAMPLES if name not in NOT_RUN])
def test_the_examples_run(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path if command == "golden diagnose" else folder)  # with a smaller kit than golden kit's
    case = Path("case.safetensors")
    if command in ("golden check", "golden inspect", "golden map") and not case.exists():
        assert main(shlex.split(EXAMPLES["golden record"][0])[1:]) == 0
    if command in ("golden check", "golden map"):
        np.savez("theirs.npz", **arrays_of(Case.read(case)))
    if command == "golden diagnose":
        Path("theirs").mkdir()
        for one in write_kit(Path("kit"), cases=("ordinary", "left_pad"))["cases"]:
            np.savez(f"theirs/{one['name']}.npz", **arrays_of(Case.read(Path("kit", one["file"]))))
    for line in EXAMPLES[command]:
        capsys.readouterr()
        if line.endswith(" --list"):  # which ends as --help does
            with pytest.raises(SystemExit, match="0"):
                main(shlex.split(line)[1:])
        else:
            assert main(shlex.split(line)[1:]) == 0, line
        printed = capsys.readouterr()
        assert "minibiogpt: " not in printed.err, line
        assert printed.out or printed.err or "--output" in line


def test_the_examples_that_are_not_run_are_valid_command_lines() -> None:
    for command in NOT_RUN:
        for line in EXAMPLES[command]:
            assert parsed(shlex.split(line)[1:]).command == command.split()[-1]


@pytest.mark.parametrize("command", list(every_command(parser())), ids=lambda command: command.prog)
def test_help_reads_well_at_80_columns(
    command: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([*str(getattr(command, "prog", "")).split()[1:], "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    assert "examples:" in lines
