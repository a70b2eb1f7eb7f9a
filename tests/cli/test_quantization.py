"""--quantization of the commands that run a model, and what ``info`` says that each format takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptForSequenceClassification, BioGptTokenizer
from minibiogpt.cli import main, parser
from minibiogpt.cli.batch.resume import ResumableFile
from minibiogpt.cli.parsing.commands import every_command, options_of
from minibiogpt.quantization import FORMATS
from tests.cli.test_model_options import TEXT, ran, refused, write_adapter
from tests.cli.test_quantize import SIZES

RUNNING = ("generate", "score", "embed", "classify", "tag", "trace", "view", "explore", "info")


def test_each_command_that_runs_a_model_has_the_option() -> None:
    commands = {command.prog.partition(" ")[2]: options_of(command) for command in every_command(parser())}
    assert set(RUNNING) <= {name for name, options in commands.items() if "--quantization" in options}
    assert {name for name in RUNNING if "--outlier-threshold" not in commands[name]} == set()


@pytest.mark.parametrize("words", [["nf4"], ["q4_0"], ["int8-dynamic"], ["int8-dynamic", "--outlier-threshold", "3"]])
def test_score_computes_with_quantized_weights(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    threshold = float(words[2]) if len(words) > 1 else None
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    model = BioGptForCausalLM.from_pretrained("demo", quantization=words[0], outlier_threshold=threshold)
    want = float(model.score([tokenizer.encode(TEXT)]).total[0])
    found = [json.loads(ran(capsys, "score", TEXT, "--json", *more)) for more in (["--quantization", *words], [])]
    assert found[0]["total"] == want != found[1]["total"]


def test_trace_records_what_quantized_weights_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = []
    for name, words in (("a.npz", ["--quantization", "fp4"]), ("b.npz", [])):
        ran(capsys, "trace", TEXT, "--names", "logits", "--save", tmp_path / name, *words)
        saved.append(np.load(tmp_path / name)["logits"])
    ids = BioGptTokenizer.from_pretrained("demo").encode(TEXT)
    np.testing.assert_array_equal(saved[0], BioGptForCausalLM.from_pretrained("demo", quantization="fp4")([ids]).logits)
    assert not np.array_equal(*saved)


def test_a_run_is_resumed_in_its_own_format_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, output = tmp_path / "texts.txt", tmp_path / "scores.jsonl"
    texts.write_text("Aspirin relieves pain.\n" * 3)
    line = ["score", "--file", texts, "--output", output, "--chunk", "1"]
    assert main([str(word) for word in [*line, "--quantization", "int8"]]) == 0
    want = output.read_bytes()
    output.unlink()
    interrupt([*line, "--quantization", "int8"])
    capsys.readouterr()
    for other in ([], ["--quantization", "nf4"]):
        assert "quantization" in refused(capsys, *line, *other)
    ran(capsys, *line, "--quantization", "int8")
    assert output.read_bytes() == want


def interrupt(words: list[object]) -> None:
    """Run a command, and interrupt it after its first record."""
    append, calls = ResumableFile.append, []

    def stop(self: ResumableFile, *given: Any, **more: Any) -> None:
        calls.append(given)
        if len(calls) > 1:
            raise KeyboardInterrupt
        append(self, *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableFile, "append", stop)
        assert main([str(word) for word in words]) == 130


def info(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(ran(capsys, "info", "--json", *words))
    return facts


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_info_says_what_each_format_takes(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = info(capsys, "--dtype", dtype)
    sizes = facts["weights_bytes_by_format"]
    assert list(sizes) == ["none", *FORMATS]
    assert facts["weights_bytes"] == sizes["none"]
    assert "quantization" not in facts
    for kind in FORMATS:
        model = BioGptForCausalLM.from_pretrained("demo", dtype=dtype, quantization=kind)
        assert sizes[kind] == model.get_memory_footprint(), kind
        chosen = info(capsys, "--dtype", dtype, "--quantization", kind)
        assert chosen["weights_bytes"] == sizes[kind]
        assert chosen["quantization"]["stored"] is False
    assert sizes["none"] == BioGptForCausalLM.from_pretrained("demo", dtype=dtype).get_memory_footprint()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("skip", [[], ["fc2"], ["layers.0", "k_proj"]])
def test_info_of_a_quantized_folder(
    kind: str, skip: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = BioGptForSequenceClassification.from_config(BioGptConfig(**SIZES, num_labels=3))
    head.quantize(kind, kind == "nf4", skip).save_pretrained(tmp_path)
    facts, model = info(capsys, "--model", tmp_path), BioGptForSequenceClassification.from_pretrained(tmp_path)
    packed = [x for x in model.parameters() if not isinstance(x, np.ndarray)]
    quantization = facts["quantization"]
    assert facts["weights_bytes"] == model.get_memory_footprint()
    assert quantization["bytes"] == sum(x.nbytes for x in packed)
    assert quantization["bits_per_weight"] == 8 * quantization["bytes"] / sum(x.size for x in packed)
    assert (quantization["format"], quantization["stored"]) == (kind, True)
    assert quantization.get("double_quant") == {"nf4": True, "fp4": False}.get(kind)
    said = {(): [], ("fc2",): ["fc2"], ("layers.0", "k_proj"): None}[tuple(skip)]
    parts = [f"self_attn.{x}_proj" for x in ("v", "q", "out")] + ["fc1", "fc2"]
    assert quantization["skip"] == (said if said is not None else ["k_proj", *(f"layers.0.{x}" for x in parts)])
    table = ran(capsys, "info", "--model", tmp_path).splitlines()
    double = " with double quantization" if kind == "nf4" else ""
    start = f"quantization            {kind}{double}, in the file: {quantization['bits_per_weight']:.2f} bits a weight"
    assert [line for line in table if line.startswith(start)]
    assert ("; not " in "".join(table)) is bool(skip)


def test_info_of_int8_that_is_loaded_as_int8_dynamic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BioGptForCausalLM.from_pretrained("demo", quantization="int8").save_pretrained(tmp_path)
    facts = info(capsys, "--model", tmp_path, "--quantization", "int8-dynamic")
    model = BioGptForCausalLM.from_pretrained(tmp_path, quantization="int8-dynamic")
    assert facts["weights_bytes"] == model.get_memory_footprint()
    assert (facts["quantization"]["format"], facts["quantization"]["stored"]) == ("int8-dynamic", True)
    facts = info(capsys, "--model", tmp_path, "--quantization", "nf4")
    assert facts["loads"].startswith("no, weights in int8; leave quantization out, or load the model")


def test_info_of_an_adapter_and_of_rows_that_no_block_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    facts = info(capsys, "--model", adapter, "--quantization", "nf4")
    model = BioGptForCausalLM.from_pretrained(adapter, quantization="nf4")
    assert facts["weights_bytes"] == model.get_memory_footprint()
    BioGptForCausalLM.from_config(BioGptConfig(**SIZES | {"hidden_size": 24})).save_pretrained(tmp_path / "odd")
    sizes = info(capsys, "--model", tmp_path / "odd")["weights_bytes_by_format"]
    assert list(sizes) == ["none", "nf4", "fp4", "int8", "int8-dynamic"]
