"""Dump every array of a BioGPT forward pass in transformers 4.57 or 5, with our names, to one safetensors file.

python tools/dump_torch.py --model FOLDER --case CASE.safetensors -o theirs.safetensors
python tools/dump_torch.py --kit KIT -o FOLDER            (one file for each case, with the kit's own models)
python tools/dump_torch.py --model FOLDER --text "COVID-19 is" -o theirs.safetensors --dtype bfloat16

The output is an input of `minibiogpt golden check`. The script needs torch, transformers and safetensors, but not
minibiogpt, so that you can copy and change it. It deviates from the defaults of transformers in three points:

- It uses eager attention, because the others don't expose their intermediate arrays and ignore a head mask.
- It applies a head mask (H,) to every layer; 4.57 would use one of its elements for each layer.
- It casts floating-point inputs and the loss to the model's dtype. It computes the loss of a float64 language model in
  float64; transformers rounds the logits to float32 first.

Where transformers differs from the reference (4.57), the arrays are dumped unchanged with a note:

- 4.57 reads the class of a sequence at (number of tokens that are not pads) - 1, which is the wrong token if pads are
  on the left or in between; so do older versions of 5. Newer ones read it at the last token that is not a pad,
  whatever the attention mask says.
- 5 numbers the positions 0, 1, 2, ... whatever the attention mask says, so with padding on the left or in between all
  later arrays differ. ``generate`` passes positions that skip padding; ``--positions-from-mask`` does too.
- 5 has no head mask: a case with one can't be run. In newer versions of 5, ``hidden_states`` end with the final norm
  instead of the output of the last layer; that doesn't matter here, because the arrays come from hooks.

A model that bitsandbytes quantized is loaded as it is; of a case with rows of weights, its dequantized rows are
dumped, too. On a processor with AVX-512 BF16, bitsandbytes multiplies 4-bit weights in bfloat16, whatever --dtype says:
check with --precision bfloat16.

A case that can't be run doesn't end the dump of a kit: the others are written, and the exit code is 1 instead of 0.
It is 2 if the files or options are unusable.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from inspect import getsource, signature
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.models.biogpt import modeling_biogpt as modeling

Arrays = dict[str, torch.Tensor]
Put = Callable[[str, torch.Tensor], None]
DTYPES = ("float32", "float64", "bfloat16", "float16")
VERSION = f"transformers {transformers.__version__}"
MAJOR = int(transformers.__version__.split(".")[0])
RIGHTMOST = "argmax" in getsource(modeling.BioGptForSequenceClassification.forward)  # newer versions of 5
ARGUMENTS = signature(modeling.BioGptModel.forward).parameters  # transformers 5 renames past_key_values to cache
CACHE = "cache" if "cache" in ARGUMENTS else "past_key_values"
OLD_NAMES = {"BioGptLMHeadModel": "BioGptForCausalLM"}
# BioGptConfig's documentation offers "selu", but transformers 4.57 has no such entry in its table.
modeling.ACT2FN.setdefault("selu", torch.nn.SELU)


class CannotRun(ValueError):
    """The installed transformers can't run a case."""


def record(model: Any, **inputs: Any) -> Arrays:
    """Return every array of one call by name, in the order of execution, in the model's dtype, on the CPU.

    Parameters
    ----------
    model : a BioGPT model of transformers, with any head or none, in evaluation mode.
    inputs : arguments of its forward; lists and NumPy arrays are converted.
    """
    return run(model, **inputs)[0]


def record_steps(model: Any, calls: Iterable[Mapping[str, Any]]) -> Arrays:
    """Return the arrays of several calls that share one growing cache; each name is prefixed with ``step.{n}/``."""
    cache, arrays = transformers.DynamicCache(), {}
    for n, inputs in enumerate(calls):
        step = record(model, **inputs, past_key_values=cache, use_cache=True)
        arrays |= {f"step.{n}/{name}": x for name, x in step.items()}
    return arrays


def run(model: Any, **inputs: Any) -> tuple[Arrays, Any]:
    """Return the arrays of one call, and the output of transformers."""
    if model.training:
        raise ValueError("the model must be in evaluation mode: call model.eval() first, or dropout changes every run")
    arrays: Arrays = {}

    def put(name: str, x: torch.Tensor) -> None:
        arrays[name] = x.detach().to("cpu", copy=True).contiguous()

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(replaced(model.config, "_attn_implementation", "eager"))
        stack.enter_context(replaced(model.config, "problem_type", model.config.problem_type))  # set by a loss
        stack.enter_context(replaced(modeling, "eager_attention_forward", _recording_attention(model, put)))
        if model.dtype == torch.float64 and getattr(model, "loss_function", None) is ForCausalLMLoss:
            stack.enter_context(replaced(model, "loss_function", _unrounded_loss))
        for handle in _hooks(getattr(model, "biogpt", model), getattr(model, "score", None), put):
            stack.callback(handle.remove)
        output = model(**prepared(model, inputs), output_attentions=True, output_hidden_states=True)
    for name in ("logits", "loss"):
        if getattr(output, name, None) is not None:
            put(name, getattr(output, name).to(model.dtype))
    batch = len(arrays["embed_tokens"])
    for name in ("position_ids", "embed_positions"):  # transformers 5 computes one row for all
        if len(arrays[name]) == 1:
            arrays[name] = arrays[name].repeat(batch, *[1] * (arrays[name].ndim - 1))
    return {"position_ids": arrays.pop("position_ids"), **arrays}, output


def prepared(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs as tensors on the model's device, floats in its dtype; masks and positions are expanded."""
    tensors = {}
    for name, x in inputs.items():
        if x is None or name in ("past_key_values", "use_cache"):
            tensors[CACHE if name == "past_key_values" else name] = x
            continue
        if name == "head_mask" and name not in ARGUMENTS:
            raise CannotRun(f"{VERSION} has no head_mask; use 4.57")
        x = torch.as_tensor(x, device=model.device)
        floating = x.is_floating_point() and name != "attention_mask"
        tensors[name] = x.to(model.dtype if floating or name == "head_mask" else torch.int64)
    ids, embeds = tensors.get("input_ids"), tensors.get("inputs_embeds")
    shape = embeds.shape[:2] if ids is None else ids.shape
    if (heads := tensors.get("head_mask")) is not None:
        tensors["head_mask"] = heads.expand(model.config.num_hidden_layers, -1)
    if (positions := tensors.get("position_ids")) is not None:
        tensors["position_ids"] = positions.expand(shape)
    return tensors


def notes(model: Any, inputs: Mapping[str, Any]) -> list[str]:
    """Return where transformers differs from the reference on these inputs; usually empty."""
    ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    found = []
    if MAJOR > 4 and mask is not None and inputs.get("position_ids") is None:
        counted = with_positions(inputs)["position_ids"]
        mask = torch.as_tensor(mask)
        wrong = counted != torch.arange(mask.shape[1])[-counted.shape[1] :]
        rows = ", ".join(str(row) for row in torch.nonzero(wrong.any(dim=-1))[:, 0].tolist())
        where = "" if (wrong & (mask[:, -counted.shape[1] :] != 0)).any() else ", at padding only"
        if rows:
            remedy = "--positions-from-mask passes those of the reference"
            found.append(f"{VERSION} counts padding in the positions of rows {rows}{where}; {remedy}")
    if not hasattr(model, "score") or ids is None:
        return found
    ids = torch.as_tensor(ids)
    real, at = ids != model.config.pad_token_id, torch.arange(ids.shape[1])
    taken = real.sum(dim=-1) - 1 if not RIGHTMOST else torch.where(real, at, 0).amax(dim=-1)
    if mask is not None:
        real = real & (torch.as_tensor(mask)[:, -ids.shape[1] :] != 0)
    last = torch.where(real, at, -1).amax(dim=-1)
    return found + [
        f"{VERSION} reads row {row} at token {int(taken[row])}; its last real token is {int(last[row])}: "
        "logits and loss are not the reference's"
        for row in torch.nonzero(taken != last)[:, 0].tolist()
    ]


def with_positions(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a call, with the positions of the reference, which skip padding, unless it has positions."""
    mask, tokens = inputs.get("attention_mask"), inputs.get("input_ids", inputs.get("inputs_embeds"))
    if mask is None or inputs.get("position_ids") is not None:
        return dict(inputs)
    mask = torch.as_tensor(mask).long()
    return {**inputs, "position_ids": (mask.cumsum(dim=-1) * mask - 1)[:, -len(tokens[0]) :]}


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Temporarily replace an attribute."""
    own = vars(owner)
    before = own[name] if isinstance(owner, type) else getattr(owner, name)  # a staticmethod stays one
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _unrounded_loss(logits: Any, labels: Any, vocab_size: int, **rest: Any) -> Any:
    """The language model loss of transformers without its first line, which rounds the logits to float32."""
    shifted = F.pad(labels, (0, 1), value=-100)[..., 1:]
    return F.cross_entropy(logits.reshape(-1, vocab_size), shifted.reshape(-1))


def _recording_attention(model: Any, put: Put) -> Callable[..., Any]:
    """Wrap transformers' eager attention to record its steps, which are computed again and checked against it.

    A replacement of the attention function can report its own steps by calling the option ``note(name, tensor)``.
    """
    original = modeling.eager_attention_forward
    layers = getattr(model, "biogpt", model).layers
    paths = {id(layer.self_attn): f"layers.{i}.self_attn" for i, layer in enumerate(layers)}

    def forward(
        module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float, head_mask: Any = None, **rest: Any
    ) -> Any:
        scores = torch.matmul(q, k.transpose(2, 3)) * scaling
        masked = scores if mask is None else scores + mask
        steps = {"q": q, "k": k, "v": v, "scores": scores, "scores_masked": masked, "probs": F.softmax(masked, dim=-1)}
        reported: Arrays = {}
        output, weights = original(
            module, q, k, v, mask, scaling=scaling, head_mask=head_mask, note=reported.__setitem__, **rest
        )
        want = steps["probs"] if head_mask is None else steps["probs"] * head_mask.view(1, -1, 1, 1)
        if not reported and not torch.allclose(weights, want, rtol=0, atol=0, equal_nan=True):
            raise RuntimeError("these attention steps are not those of the installed transformers; 4.57 or 5 is needed")
        steps |= reported | {"weights": weights, "context": output.reshape(len(q), q.shape[2], -1)}
        for name, x in steps.items():
            put(f"{paths[id(module)]}.{name}", x)
        return output, weights

    return forward


def _hooks(base: Any, score: Any, put: Put) -> Iterator[Any]:
    """Register a hook on every named module; the attn_residual of a layer is the input of its second norm."""

    def result(module: Any, name: str) -> Any:
        return module.register_forward_hook(lambda _, __, out: put(name, out[0] if isinstance(out, tuple) else out))

    def first_input(module: Any, name: str) -> Any:
        return module.register_forward_pre_hook(lambda _, args: put(name, args[0]))

    def keyword(module: Any, option: str, name: str) -> Any:
        def hook(_: Any, args: Any, options: Any) -> None:
            if options.get(option) is not None:
                put(name, options[option])

        return module.register_forward_pre_hook(hook, with_kwargs=True)

    yield keyword(base, "inputs_embeds", "embed_tokens")
    yield keyword(base.embed_positions, "position_ids", "position_ids")
    yield from (result(base.get_submodule(name), name) for name in ("embed_tokens", "embed_positions", "layer_norm"))
    yield first_input(base.layers[0], "embeddings")
    for i, layer in enumerate(base.layers):
        yield first_input(layer.final_layer_norm, f"layers.{i}.attn_residual")
        yield result(layer, f"layers.{i}")
        parts = [f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "out_proj")]
        parts += ["self_attn_layer_norm", "final_layer_norm", "fc1", "activation_fn", "fc2"]
        yield from (result(layer.get_submodule(part), f"layers.{i}.{part}") for part in parts)
    if score is not None:
        yield result(score, "score")


def load(folder: Path, architecture: str | None, dtype: str, device: str) -> Any:
    """Load the model in a folder, with the requested head or the one named in its config."""
    config = transformers.BioGptConfig.from_pretrained(folder)
    name = architecture or next(iter(config.architectures or ()), "BioGptForCausalLM")
    kind = getattr(transformers, OLD_NAMES.get(name, name))
    quantized = getattr(config, "quantization_config", None) is not None  # then it must be loaded where it runs
    place = {"device_map": device} if quantized else {}
    model = kind.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation="eager", **place)
    return (model if quantized else model.to(device)).eval()


@dataclass
class Case:
    """What to run: the head, the inputs by call ({"": {"input_ids": ...}} or by "step.{n}/"), and the names to keep."""

    architecture: str | None
    calls: dict[str, dict[str, Any]]
    names: list[str] | None = None
    rows: dict[str, list[int]] = field(default_factory=dict)  # of dequantized weights: {"layers.0.fc1.weight": [0, 9]}


def read_case(path: Path) -> Case:
    """Read a case file."""
    calls: dict[str, dict[str, Any]] = {}
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        for name in file.keys():  # noqa: SIM118 (not a dict)
            step, inputs, last = name.rpartition("inputs/")
            if inputs:
                calls.setdefault(step, {})[last] = file.get_tensor(name)
    if not calls:
        raise ValueError(f"{path} must contain tensors named inputs/...; found none, so it is not a case")
    in_order = dict(sorted(calls.items(), key=lambda call: int(call[0][5:-1] or 0)))
    entries = json.loads(about["arrays"]) if "arrays" in about else None
    names = None if entries is None else [one["name"] for one in entries]
    rows = {one["name"].removeprefix("weights/"): one["rows"] for one in entries or () if "rows" in one}
    return Case(about.get("architecture"), in_order, names, rows)


def record_case(model: Any, case: Case) -> Arrays:
    """Run the calls of a case and return the arrays to keep."""
    calls = list(case.calls.values())
    base = getattr(model, "biogpt", model)
    weights = {name: dequantized(base.get_submodule(name.removesuffix(".weight"))) for name in case.rows}
    rows = {f"weights/{name}": x[case.rows[name]].cpu().contiguous() for name, x in weights.items()}
    arrays = rows | (record_steps(model, calls) if len(calls) > 1 else record(model, **calls[0]))
    return arrays if case.names is None else {name: arrays[name] for name in case.names if name in arrays}


def dequantized(module: Any) -> torch.Tensor:
    """Return the weight of a linear module, (out, in); one of bitsandbytes as its products dequantize it.

    On a processor with AVX-512 BF16, the first call packs 4-bit weights in another way: dequantize them before.
    """
    weight = module.weight
    if getattr(weight, "quant_state", None) is not None:  # 4 bits
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state)
    scales = getattr(weight, "SCB", None)
    scales = getattr(getattr(module, "state", None), "SCB", None) if scales is None else scales  # after a call
    if scales is not None:  # 8 bits
        from bitsandbytes.functional import int8_vectorwise_dequant

        return int8_vectorwise_dequant(weight.data, scales)
    return weight.detach()


def dump(model: Any, case: Case, path: Path, positions: bool = False) -> list[str]:
    """Record a case and write its arrays and its integer inputs; return the notes."""
    arrays, found = record_with_notes(model, case, positions)
    write(arrays, case, model, found, path)
    return found


def record_with_notes(model: Any, case: Case, positions: bool) -> tuple[Arrays, list[str]]:
    """Return the arrays of a case and the notes; ``positions``: pass those of the reference."""
    calls = {step: with_positions(inputs) if positions else inputs for step, inputs in case.calls.items()}
    found = [f"{step}{note}" for step, inputs in calls.items() for note in notes(model, inputs)]
    return record_case(model, replace(case, calls=calls)), found


def write(arrays: Arrays, case: Case, model: Any, found: list[str], path: Path) -> None:
    """Write the arrays of a case, its integer inputs and the notes."""
    for step, inputs in case.calls.items():
        tensors = {f"{step}inputs/{name}": torch.as_tensor(x) for name, x in inputs.items()}
        arrays |= {name: x for name, x in tensors.items() if not x.is_floating_point()}
    about = {"format": "pt", "architecture": type(model).__name__, "device": str(model.device)}
    about["made by"] = f"dump_torch, {VERSION}, torch {torch.__version__}"
    about["notes"] = json.dumps(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # write and rename, so that no partial file remains
        save_file(arrays, Path(folder) / "file", metadata=about)
        os.replace(Path(folder) / "file", path)
    print(f"{path}: {len(arrays)} arrays", *(f"  note: {note}" for note in found), sep="\n")


def dump_kit(kit: Path, folder: Path, dtype: str, device: str, positions: bool = False) -> list[str]:
    """Dump each case of a kit to NAME.safetensors in a folder; return the names of those that can't be run."""
    failed = []
    for entry in json.loads((kit / "manifest.json").read_text())["cases"]:
        path = folder / f"{entry['name']}.safetensors"
        try:
            case = read_case(kit / entry["file"])
            model = load(kit / entry["model"], case.architecture, dtype, device)
            arrays, found = record_with_notes(model, case, positions)
        except Exception as error:  # whatever it is, the other cases are dumped
            left = "; it is of an earlier run" if path.exists() else ""
            print(f"{path}: not written{left}", f"  cannot run: {reason(error)}", sep="\n")
            failed.append(entry["name"])
        else:
            write(arrays, case, model, found, path)
    return failed


def reason(error: Exception) -> str:
    """Return an error in one line, with its place in the code unless its message says what to do."""
    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, CannotRun) or error.__traceback__ is None:
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}, line {frame.lineno})"


def case_of(options: argparse.Namespace) -> Case:
    """Return the inputs of --ids or --text as a case with one call."""
    if options.text:
        tokenizer = transformers.BioGptTokenizer.from_pretrained(options.model)
        return Case(None, {"": dict(tokenizer(options.text, padding=True, return_tensors="pt"))})
    rows = json.loads(options.ids) if "[" in options.ids else [[int(one) for one in options.ids.split()]]
    return Case(None, {"": {"input_ids": torch.tensor(rows)}})


def check_device(device: str, dtype: str) -> None:
    """Check that the device is here and has the dtype."""
    try:
        torch.zeros(1, dtype=getattr(torch, dtype), device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(f"--device {device} can't hold {dtype} here: {str(error).splitlines()[0]}") from None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, help="a folder in Hugging Face layout")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--case", type=Path, help="a case file: its inputs and its head")
    what.add_argument("--kit", type=Path, help="a kit: all its cases, with its own models")
    what.add_argument("--ids", help='token ids, "2 5 9" or "[[2, 5, 9], [2, 7, 1]]"')
    what.add_argument("--text", action="append", help="a text; repeat it for a batch, padded by the tokenizer")
    parser.add_argument("-o", "--output", type=Path, required=True, help="output file; with --kit, output folder")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--device", default="cpu", help="cpu (the default), cuda, cuda:1, mps, ...")
    parser.add_argument(
        "--positions-from-mask", action="store_true", help="pass positions that skip padding; for transformers 5"
    )
    options = parser.parse_args(arguments)
    if (options.model is None) == (options.kit is None):
        parser.error("--model is required with --case, --ids and --text, and not allowed with --kit")
    transformers.utils.logging.disable_progress_bar()
    try:
        check_device(options.device, options.dtype)
        if options.kit:
            failed = dump_kit(options.kit, options.output, options.dtype, options.device, options.positions_from_mask)
            if failed:
                raise CannotRun(f"{len(failed)} cases could not be run by {VERSION}: {', '.join(failed)}")
            return 0
        case = read_case(options.case) if options.case else case_of(options)
        model = load(options.model, case.architecture, options.dtype, options.device)
        dump(model, case, options.output, options.positions_from_mask)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        print(f"dump_torch: error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1 if isinstance(error, CannotRun) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
