"""Cases of quantized weights: what they hold, that right ports agree with them, and that wrong ones do not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minibiogpt import BioGptForCausalLM, InputError, Trace
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.cli import main
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.result import Options, Result
from minibiogpt.golden.format.case import EIGHT_BITS, PRECISIONS, WEIGHTS, Case
from minibiogpt.golden.format.eight_bits import BY_BLOCK, BY_ROW, WAYS, in_blocks, symmetric
from minibiogpt.golden.format.record import record
from minibiogpt.golden.format.rounding import in_precision, precisions_of
from minibiogpt.golden.format.weights import chosen_rows, described
from minibiogpt.quantization import FORMATS, EightBits, FourBits
from minibiogpt.quantization.code_books import CODE_BOOKS
from tests.budgets import PLANTED
from tests.support.paths import ROOT

IDS = np.array([[2, 45, 300, 7, 9, 80, 33, 500], [2, 9, 9, 60, 71, 70, 1000, 5]])
MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2")
DEMO = ROOT / "minibiogpt" / "demo"


def quantized(kind: str, dtype: str = "float32", **options: Any) -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", quantization=kind, dtype=dtype, **options)


@pytest.fixture(scope="session")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Case]:
    folder = tmp_path_factory.mktemp("quantized")

    @cache
    def made(kind: str, slim: bool = False, weights: bool = True) -> Case:
        path = folder / f"{kind}{'_slim' * slim}{'_rows' * weights}.safetensors"
        record(quantized(kind, "float64"), [{"input_ids": IDS}], path, name=kind, slim=slim, weights=weights)
        return Case.read(path)

    return made


def packed_weights(model: BioGptForCausalLM) -> Iterator[tuple[str, PackedWeight]]:
    return ((name.removeprefix("biogpt."), x) for name, x in model.named_parameters() if isinstance(x, PackedWeight))


def checked(case: Case, arrays: dict[str, np.ndarray], tmp_path: Path, **options: Any) -> Result:
    np.savez(tmp_path / "theirs.npz", **arrays)
    return check(case, tmp_path / "theirs.npz", Options(**options))


def arrays_of(model: Any, case: Case, rows: bool = True) -> dict[str, np.ndarray]:
    """Return what a port dumps: its arrays, and the rows of its weights that the case asks for."""
    trace = Trace()
    model(IDS, trace=trace)
    found = {entry.name: entry.rows for entry in case.entries if entry.rows is not None} if rows else {}
    weights = {name.removeprefix("biogpt."): x for name, x in model.named_values()}
    return {name: weights[name.removeprefix(WEIGHTS)][chosen] for name, chosen in found.items()} | trace


# What a case holds.


@pytest.mark.parametrize("kind", FORMATS)
def test_its_values_are_those_of_the_dequantized_weights_in_float64(kind: str, case_of: Callable[..., Case]) -> None:
    case, trace = case_of(kind), Trace()
    quantized(kind, "float64").dequantize()(IDS, trace=trace)
    names = [entry.name for entry in case.entries]
    weights = [name for name in names if name.startswith(WEIGHTS)]
    assert names == [*weights, *trace], "weights come first"
    for name, x in trace.items():
        assert np.array_equal(case.array(name), x), name


@pytest.mark.parametrize("kind", FORMATS)
def test_it_says_how_the_weights_are_quantized(kind: str, case_of: Callable[..., Case]) -> None:
    case = case_of(kind)
    assert case.quantization == {
        "format": kind.removesuffix("-dynamic"),
        "block": {"nf4": 64, "fp4": 64, "q8_0": 32, "q4_0": 32}.get(kind, "row"),
        "double_quant": kind in ("nf4", "fp4"),
        "skip": [],
        "from": f"the floats of the file, quantized as {'gguf' if '_0' in kind else 'bitsandbytes'} does",
    }
    assert case.precisions == [*PRECISIONS, *([EIGHT_BITS] if kind in WAYS else [])]


def test_a_case_of_floats_says_nothing(tmp_path: Path) -> None:
    model = BioGptForCausalLM.from_pretrained("demo", dtype="float64")
    record(model, [{"input_ids": IDS}], tmp_path / "c", name="c", seeds=1)
    case = Case.read(tmp_path / "c")
    assert (case.quantization, case.precisions, precisions_of(model)) == (None, list(PRECISIONS), PRECISIONS)
    assert described(model) is None
    assert in_precision(model, "float64") is model
    with pytest.raises(InputError, match="must have quantized weights; found a model of floats"):
        record(model, [{"input_ids": IDS}], tmp_path / "c", name="c", weights=True)


@pytest.mark.parametrize("slim", [False, True])
def test_rows_of_each_weight_are_stored_and_read_again(slim: bool, case_of: Callable[..., Case]) -> None:
    case, model = case_of("nf4", slim), quantized("nf4", "float64")
    found = {entry.name: entry for entry in case.entries if entry.name.startswith(WEIGHTS)}
    values = dict(packed_weights(model))
    assert list(found) == [WEIGHTS + name for name in values]
    for name, x in values.items():
        entry, want = found[WEIGHTS + name], np.asarray(x)[chosen_rows(len(x))]
        assert (entry.rows, entry.axes, entry.shape) == (chosen_rows(len(x)), "rows in", want.shape)
        assert {0, len(x) - 1} <= set(entry.rows or ()), "the first and the last block"
        assert entry.largest == np.abs(want).max()
        if not slim:
            assert np.array_equal(case.array(entry.name), want)
        for precision, once in (("float32", 2.0**-24), ("float16", 2.0**-11), ("bfloat16", 2.0**-8)):
            assert entry.budgets[precision] == pytest.approx(8 * once * entry.largest, rel=1e-6)


def test_16_bits_round_the_dequantized_weights(case_of: Callable[..., Case]) -> None:
    model = quantized("nf4", "float64")
    near = dict(in_precision(model, "bfloat16").named_parameters())
    for name, x in model.named_parameters():
        values = np.asarray(x)
        want = torch.from_numpy(values.astype(np.float32)).bfloat16().float().numpy()
        assert np.array_equal(near[name], want)
    assert {type(x) for _, x in in_precision(model, "float64").named_parameters()} == {np.ndarray}


# Right ports.


@pytest.mark.parametrize("kind", [one for one in FORMATS if one != "int8-dynamic"])
def test_a_port_that_multiplies_packed_weights_agrees(kind: str, case_of: Callable[..., Case], tmp_path: Path) -> None:
    result = checked(case_of(kind), arrays_of(quantized(kind), case_of(kind)), tmp_path)
    assert result.code == 0, result.first_difference
    assert {row.precision for row in result.rows} == {"float32", "exact"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_port_that_computes_with_dequantized_weights_agrees(
    dtype: torch.dtype, case_of: Callable[..., Case], tmp_path: Path
) -> None:
    import transformers

    from tools import dump_torch

    case = case_of("nf4")
    quantized("nf4").dequantize().save_pretrained(tmp_path / "floats")
    port = transformers.BioGptForCausalLM.from_pretrained(tmp_path / "floats", dtype=dtype, attn_implementation="eager")
    dump_torch.dump(port.eval(), dump_torch.read_case(case.path), tmp_path / "theirs.safetensors")
    result = check(case, tmp_path / "theirs.safetensors")
    assert result.code == 0, result.first_difference
    assert {row.precision for row in result.rows} == {str(dtype).removeprefix("torch."), "exact"}


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
def test_bitsandbytes_agrees(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From its own folder to a case, and from its own products to an agreement."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    import transformers

    from tools import dump_torch

    four = {"load_in_4bit": True, "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": kind == "nf4"}
    settings = transformers.BitsAndBytesConfig(**(four if kind != "int8" else {"load_in_8bit": True}))
    kwargs = {"quantization_config": settings, "device_map": "cpu", "dtype": torch.float32}
    made = transformers.BioGptForCausalLM.from_pretrained(DEMO, **kwargs)
    made.save_pretrained(tmp_path / "theirs")
    path, rows = tmp_path / "case.safetensors", [",".join(map(str, row)) for row in IDS.tolist()]
    words = ["--model", str(tmp_path / "theirs"), "--weights", "--ids", rows[0], "--ids", rows[1], "-o", str(path)]
    assert main(["golden", "record", *words]) == 0
    assert f"weights: {kind}, " in capsys.readouterr().out
    case = Case.read(path)
    assert case.quantization is not None
    assert case.quantization["from"] == "the file"
    port = dump_torch.load(tmp_path / "theirs", None, "float32", "cpu")
    for module in port.modules():  # with AVX-512 BF16 its products of 4 bits would round to bfloat16
        module.support_avx512bf16_for_cpu = False
    dump_torch.dump(port, dump_torch.read_case(path), tmp_path / "dump.safetensors")
    result = check(case, tmp_path / "dump.safetensors", Options(precision=EIGHT_BITS if kind == "int8" else None))
    assert result.code == 0, result.first_difference
    if kind == "int8":
        plain = check(case, tmp_path / "dump.safetensors")
        assert plain.first_difference is not None
        assert plain.first_difference.name == "layers.0.self_attn.q_proj", "the weights are right"


# Wrong ports: mistakes in dequantizing.


def swapped(x: FourBits) -> np.ndarray:
    other = copy.copy(x)
    other.packed = x.packed << 4 | x.packed >> 4
    return np.asarray(other)


def blocks_of_32(x: FourBits) -> np.ndarray:
    """The scale of element i is taken at i / 32."""
    codes = np.stack([x.packed >> 4, x.packed & 15], axis=-1).reshape(-1)
    places = np.minimum(np.arange(codes.size) // 32, len(x.packed) - 1)
    return (CODE_BOOKS[x.code_book][codes] * x._scales()[places]).reshape(x.shape).astype(x.dtype)


def without_offset(x: FourBits) -> np.ndarray:
    other = copy.copy(x)
    other.scales = x.scales._replace(offset=np.float32(0))  # type: ignore[union-attr]
    return np.asarray(other)


def other_book(x: FourBits) -> np.ndarray:
    other = copy.copy(x)
    other.code_book = "fp4"
    return np.asarray(other)


def scale_of_128(x: EightBits) -> np.ndarray:
    return np.asarray(x) * np.float32(127 / 128)


WRONG: dict[str, tuple[str, Callable[[Any], np.ndarray]]] = {
    "the halves of a byte are swapped": ("nf4", swapped),
    "a scale for 32 codes instead of 64": ("nf4", blocks_of_32),
    "the offset of double quantization is forgotten": ("nf4", without_offset),
    "the code book of fp4 for nf4": ("nf4", other_book),
    "128 instead of 127": ("int8", scale_of_128),
}


def with_wrong_weights(kind: str, wrong: Callable[[Any], np.ndarray]) -> BioGptForCausalLM:
    model = quantized(kind)
    changed = {id(x): wrong(x) for _, x in packed_weights(model)}
    model._replace_weights(lambda x: changed.get(id(x), x))
    return model


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_dequantization_is_refused_where_it_is_made(
    mistake: str, case_of: Callable[..., Case], tmp_path: Path
) -> None:
    kind, wrong = WRONG[mistake]
    case = case_of(kind)
    theirs = arrays_of(with_wrong_weights(kind, wrong), case)
    result = checked(case, theirs, tmp_path)
    assert result.first_difference is not None
    assert result.first_difference.name == "weights/layers.0.self_attn.k_proj.weight"
    assert all(row.times > PLANTED for row in result.rows if row.name.startswith(WEIGHTS))  # type: ignore[operator]
    arithmetic = {name: x for name, x in theirs.items() if not name.startswith(WEIGHTS)}
    result = checked(case, arithmetic, tmp_path, subset=True)
    assert result.first_difference is not None
    assert result.first_difference.name == "layers.0.self_attn.q_proj"
    assert result.first_difference.times > PLANTED  # type: ignore[operator]


def test_the_report_tells_wrong_weights_from_wrong_arithmetic(case_of: Callable[..., Case], tmp_path: Path) -> None:
    from minibiogpt.golden.report.text import lines_of

    case = case_of("nf4")
    words = "\n".join(lines_of(checked(case, arrays_of(with_wrong_weights("nf4", swapped), case), tmp_path)))
    assert "weights of the case: nf4, blocks of 64, double quantization, from the floats of the file" in words
    assert "dequantized weights differ: fix this first" in words
    theirs = arrays_of(quantized("nf4"), case)
    assert "arithmetic" not in "\n".join(lines_of(checked(case, theirs, tmp_path)))
    theirs["logits"] = theirs["logits"] * np.float32(1.01)
    words = "\n".join(lines_of(checked(case, theirs, tmp_path)))
    assert "the dequantized rows of 24 weights agree: what differs is the arithmetic" in words
    del theirs[WEIGHTS + "layers.0.fc1.weight"]
    assert checked(case, theirs, tmp_path).missing[0].name == WEIGHTS + "layers.0.fc1.weight"


# The precision int8-dynamic.


def test_the_ways_to_round_rows() -> None:
    x = np.random.default_rng(0).normal(0, 3, (5, 64)).astype(np.float32)
    x[1] = 0
    x[2] = np.abs(x[2])
    for way in BY_ROW + BY_BLOCK:
        y = way(x)
        assert (y.dtype, y.shape) == (x.dtype, x.shape)
        assert 0 < np.abs(y - x).max() <= 0.51 * 2 * np.abs(x).max() / 255
        assert not y[1].any()
    rows = symmetric(x)
    assert all(np.unique(row).size <= 255 for row in rows)
    assert np.array_equal(symmetric(x[:1]), rows[:1]), "a row doesn't depend on the others"
    assert not np.array_equal(symmetric(x[:1], None), symmetric(x, None)[:1])
    assert np.array_equal(in_blocks(x, "float32")[:, :32], in_blocks(x[:, :32], "float32"))


def dynamic(model: BioGptForCausalLM, product: Callable[[np.ndarray, EightBits], np.ndarray]) -> BioGptForCausalLM:
    """Return the model with other products of its quantized weights: rows (M, K) and a weight give (M, N)."""
    for layer in model.biogpt.layers:
        for path in MODULES:
            owner = layer if "." not in path else layer.self_attn
            module = getattr(owner, path.rpartition(".")[2])

            def multiply(x: np.ndarray, module: Any = module) -> np.ndarray:
                y = product(x.reshape(-1, x.shape[-1]), module.weight) + module.bias
                return y.reshape(*x.shape[:-1], -1).astype(np.float32)

            setattr(owner, path.rpartition(".")[2], multiply)
    return model


def pytorch(reduce_range: bool) -> Callable[[np.ndarray, EightBits], np.ndarray]:
    """Return PyTorch's own product of dynamic quantization: one scale and zero point a tensor, 8 or 7 bits."""

    def product(rows: np.ndarray, weight: EightBits) -> np.ndarray:
        scales = torch.from_numpy(weight.scales / np.float32(127)).double()
        zeros = torch.zeros(len(scales), dtype=torch.long)
        packed = torch._make_per_channel_quantized_tensor(torch.from_numpy(weight.codes), scales, zeros, 0)
        prepacked = torch.ops.quantized.linear_prepack(packed, None)
        return np.asarray(torch.ops.quantized.linear_dynamic(torch.from_numpy(rows), prepacked, reduce_range))

    return product


def onnx(rows: np.ndarray, weight: EightBits, *, zero_point: bool = True, rounding: float = 1.0) -> np.ndarray:
    """DynamicQuantizeLinear and MatMulInteger of ONNX, by their specification."""
    low, high = min(0, rows.min()), max(0, rows.max())
    scale = np.float32((high - low) / 255)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    codes = np.clip(np.rint(rows / scale) + zero, 0, 255).astype(np.uint8)
    sums = (codes.astype(np.int32) - np.int32(zero * zero_point)) @ weight.codes.astype(np.int32).T
    return sums * (scale * np.float32(rounding) * weight.scales / np.float32(127))


def bits(count: int, rows: np.ndarray, weight: EightBits) -> np.ndarray:
    top = 2 ** (count - 1) - 1
    step = np.abs(rows).max(axis=1, keepdims=True) / top
    return np.rint(rows / step) * step @ np.asarray(weight).T


@pytest.mark.filterwarnings("ignore:.*are deprecated.*:UserWarning")
@pytest.mark.parametrize("slim", [False, True])
@pytest.mark.parametrize("port", ["ours", "ours, outliers in float", "PyTorch", "PyTorch, 7 bits", "ONNX"])
def test_right_ports_with_activations_of_8_bits_agree(
    port: str, slim: bool, case_of: Callable[..., Case], tmp_path: Path
) -> None:
    case = case_of("int8-dynamic", slim)
    model = {
        "ours": lambda: quantized("int8-dynamic"),
        "ours, outliers in float": lambda: quantized("int8-dynamic", outlier_threshold=6.0),
        "PyTorch": lambda: dynamic(quantized("int8"), pytorch(reduce_range=False)),
        "PyTorch, 7 bits": lambda: dynamic(quantized("int8"), pytorch(reduce_range=True)),
        "ONNX": lambda: dynamic(quantized("int8"), onnx),
    }[port]()
    theirs = arrays_of(quantized("int8"), case) | arrays_of(model, case, rows=False)
    result = checked(case, theirs, tmp_path, precision=EIGHT_BITS)
    assert result.code == 0, (result.first_difference, result.first_difference and result.first_difference.times)
    plain = checked(case, theirs, tmp_path)
    assert plain.first_difference is not None
    assert plain.first_difference.times > PLANTED, "float32 has no room for it"  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_ggmls_products_agree(kind: str, case_of: Callable[..., Case], tmp_path: Path) -> None:
    """Rows in blocks of 32, each with a float16 scale: integers times integers, then the two scales."""

    def product(rows: np.ndarray, weight: PackedWeight) -> np.ndarray:
        blocks = rows.reshape(len(rows), -1, 32)
        step = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
        codes = np.rint(blocks / np.where(step > 0, step, 1))
        scales = step.astype(np.float16).astype(np.float64)
        return (codes * scales).reshape(rows.shape) @ np.asarray(weight, np.float64).T

    case = case_of(kind, weights=False)
    result = checked(case, arrays_of(dynamic(quantized(kind), product), case), tmp_path, precision=EIGHT_BITS)
    assert result.code == 0, result.first_difference
    coarse = dynamic(quantized(kind), lambda rows, weight: bits(4, rows, weight))
    assert checked(case, arrays_of(coarse, case), tmp_path, precision=EIGHT_BITS).first_difference is not None


def scaled(factor: float) -> Callable[[np.ndarray, EightBits], np.ndarray]:
    return lambda rows, weight: onnx(rows, weight, rounding=factor)


WRONG_PRODUCTS: dict[str, Callable[[np.ndarray, EightBits], np.ndarray]] = {
    "no zero point": lambda rows, weight: onnx(rows, weight, zero_point=False),
    "127 and 255 mixed up": scaled(255 / 127),
    "a scale 10 % too small": scaled(0.9),
    "4 bits": lambda rows, weight: bits(4, rows, weight),
}


@pytest.mark.parametrize("mistake", WRONG_PRODUCTS)
def test_wrong_products_of_8_bits_are_refused(mistake: str, case_of: Callable[..., Case], tmp_path: Path) -> None:
    case = case_of("int8-dynamic", weights=False)
    model = dynamic(quantized("int8"), WRONG_PRODUCTS[mistake])
    result = checked(case, arrays_of(model, case), tmp_path, precision=EIGHT_BITS)
    assert result.first_difference is not None


def test_a_scale_of_128_is_within_the_budget_and_beyond_that_of_the_sums(
    case_of: Callable[..., Case], tmp_path: Path
) -> None:
    """What docs/golden-format.md says: an error of 0.8 % in each product is as large as rounding to 8 bits."""
    model = dynamic(quantized("int8"), scaled(127 / 128))
    whole, slim = case_of("int8-dynamic", weights=False), case_of("int8-dynamic", slim=True, weights=False)
    assert checked(whole, arrays_of(model, whole), tmp_path, precision=EIGHT_BITS).code == 0
    result = checked(slim, arrays_of(model, slim), tmp_path, precision=EIGHT_BITS)
    assert result.first_difference is not None
    assert result.first_difference.measured is not None
    assert {what for what, *_ in result.first_difference.measured.sums} <= {
        "the sum of absolute values",
        "the sum of squares",
    }


def test_the_precision_needs_a_case_that_has_it(case_of: Callable[..., Case], tmp_path: Path) -> None:
    case = case_of("nf4")
    result = checked(case, arrays_of(quantized("nf4"), case), tmp_path, precision=EIGHT_BITS)
    assert result.compared == 1, "position_ids are integers"
    notes = {note for row in result.rows for note in row.notes}
    assert "the case has no budgets of int8-dynamic: record it with --quantization int8 or q8_0" in notes


def test_the_command_records_and_inspects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "c.safetensors")
    words = ["--quantization", "nf4", "--no-double-quant", "--skip", "fc2", "--skip", "layers.0"]
    assert main(["golden", "record", *words, "--weights", "--ids", "2,54,34", "-o", path]) == 0
    said = "nf4, blocks of 64, floats in fc2, layers.0."
    assert said in capsys.readouterr().out
    assert main(["golden", "inspect", path]) == 0
    assert said in capsys.readouterr().out
    assert main(["golden", "inspect", path, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    attention = [f"layers.0.self_attn.{part}_proj" for part in ("k", "v", "q", "out")]
    assert facts["quantization"]["skip"] == ["fc2", *attention, "layers.0.fc1"], "module by module"
    rows = {one["name"]: one["rows"] for one in facts["arrays"] if one["rows"]}
    assert len(rows) == 3 * 5
    assert rows["weights/layers.1.fc1.weight"] == chosen_rows(512)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights"], "must have quantized weights"),
        (["--skip", "fc2"], "--skip and --no-double-quant go with --quantization; found --skip"),
        (["--no-double-quant"], "go with --quantization; found --no-double-quant"),
        (["--quantization", "int8", "--no-double-quant"], "goes with --quantization nf4 or fp4; found int8"),
        (["--quantization", "nf4", "--skip", "fc9"], "skip must name modules of the model"),
    ],
)
def test_the_command_refuses(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["golden", "record", *words, "--ids", "2,54", "-o", str(tmp_path / "c.safetensors")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "c.safetensors").exists()
