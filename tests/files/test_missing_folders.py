"""A folder that is missing, or that holds a training run's checkpoints only, is said to be that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer, InputError, pipeline
from minibiogpt.cli import main
from tests.support.configs import PRIMES

LOADERS: list[Callable[[Any], Any]] = [
    BioGptForCausalLM.from_pretrained,
    BioGptConfig.from_pretrained,
    BioGptTokenizer.from_pretrained,
    lambda name: pipeline("text-generation", model=name),
]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    model = BioGptForCausalLM(BioGptConfig(**PRIMES))
    for step in (5, 100, 20):
        model.save_pretrained(tmp_path / "out" / f"checkpoint-{step}")
    (tmp_path / "out" / "checkpoint-900").mkdir()  # interrupted before it was written
    (tmp_path / "out" / "checkpoint-best").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("load", LOADERS)
def test_the_newest_checkpoint_of_a_training_run_is_named(output: Path, load: Callable[[Any], Any]) -> None:
    for name in (output, str(output)):
        with pytest.raises(InputError) as caught:
            load(name)
        message = str(caught.value)
        assert "only 3 of its checkpoints" in message
        assert message.endswith(f"name one of them: {output / 'checkpoint-100'} is the newest")


def test_a_run_of_adapters_names_its_newest_one(tmp_path: Path) -> None:
    for step in (3, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"checkpoint-12 is the newest"):
        BioGptForCausalLM.from_pretrained("demo", adapter=tmp_path)


@pytest.mark.parametrize("command", ["generate", "score", "info", "classify", "trace"])
def test_the_commands_say_so_too(
    output: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = [] if command == "info" else ["a text"]
    assert main([command, "--model", str(output), *text]) == 2
    assert f"{output / 'checkpoint-100'} is the newest" in capsys.readouterr().err
    assert main([command, "--model", str(tmp_path / "nope"), *text]) == 2
    error = capsys.readouterr().err
    assert "found " in error
    assert f"{str(tmp_path / 'nope')!r}, which is no folder; check the path" in error


@pytest.mark.parametrize("load", LOADERS)
def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path, load: Callable[[Any], Any]) -> None:
    for name in (tmp_path / "nope", str(tmp_path / "nope"), "./nope", "~/nope-at-all"):
        with pytest.raises(InputError, match="which is no folder; check the path"):
            load(name)


def test_a_folder_with_a_model_is_not_sent_to_its_checkpoints(output: Path) -> None:
    BioGptForCausalLM(BioGptConfig(**PRIMES)).save_pretrained(output)
    with pytest.raises(InputError) as caught:
        BioGptTokenizer.from_pretrained(output)
    assert "newest" not in str(caught.value)
    (output / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"must hold model.safetensors"):
        BioGptForCausalLM.from_pretrained(output)
