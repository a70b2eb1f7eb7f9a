"""What the JavaScript implementation refuses, as the Python one does, and that the model works afterwards."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from minibiogpt.view.modules import STATIC
from tests.view.twin.running import node
from tests.view.twin.test_trace import demo_folder

CALLS = {
    "model.forward({ ids: [[2, 1874]] })": "ids must be integers in [0, 1874); found 1874",
    "model.forward({ ids: [[-1]] })": "ids must be integers in [0, 1874); found -1",
    "model.forward({ ids: [[2.5]] })": "ids must be integers in [0, 1874); found 2.5",
    "model.forward({ ids: [2, 5] })": "ids must be (B, T), with a token at least; found [2]",
    "model.forward({ ids: [[]] })": "ids must be (B, T), with a token at least; found [1,0]",
    "model.forward({ ids: [[2, 5], [2]] })": "lists must be nested evenly",
    "model.forward({ ids: [[2, 5], [2], [2, 5, 9]] })": "lists must be nested evenly",
    "model.forward({ ids: [[2, 5], 2] })": "lists must be nested evenly",
    "model.forward({})": "exactly one of ids and inputsEmbeds must be given; found 0",
    "model.forward({ ids: [[2]], inputsEmbeds: [[[1]]] })":
        "exactly one of ids and inputsEmbeds must be given; found 2",
    "model.forward({ inputsEmbeds: [[[1, 2]]] })": "inputsEmbeds must be (B, T, D) with D = 128",
    "model.forward({ ids: [Array(257).fill(2)] })": "a position must be in [-1, N), N = 256 (max_position_embeddings)",
    "model.forward({ ids: [[2]], positionIds: [[-2]] })": "a position must be in [-1, N), N = 256",
    "model.forward({ ids: [[2]], positionIds: [[1, 2]] })": "positionIds must be (B, T) = [1,1] or (1, T); found [1,2]",
    "model.forward({ ids: [[2]], attentionMask: [[1, 1]] })": "attentionMask must be (B, S) = [1,1]; found [1,2]",
    "model.forward({ ids: [[2]], attentionMask: [[2]] })": "attentionMask must hold 0 and 1 only; found 2",
    "model.forward({ ids: [[2]], headMask: [1, 1, 1] })": "headMask must be (H,) = [4] or (L, H) = [4,4]; found [3]",
    "model.forward({ ids: [[2, 5]], labels: [[2, 1874]] })": "labels must be in [0, 1874), or -100",
    "model.forward({ ids: [[2, 5]], labels: [2] })": "labels must have the shape [1,2]; found [1]",
    "model.forward({ ids: [[2], [3]], cache: model.forward({ ids: [[2]] }).cache })":
        "the cache must fit the model and the batch: L, B, H, Dh, dtype [4,2,4,32,float32]; found [4,1,4,32,float32]",
    "model.forward({ ids: [[2]], ablate: [[4, 0]] })": "ablate must be pairs [layer, head], layers in [0, 4)",
    "model.forward({ ids: [[2]], edits: { 'layers.4': (x) => x } })":
        "every edit or patch must name an array of the call",
    "model.forward({ ids: [[2]], edits: { 'layers.1': 2 } })": "the edit of layers.1 must be a function of one array",
    "model.forward({ ids: [[2]], edits: { 'layers.1': (x) => 2 } })":
        "an edit of layers.1 must return an array of [1,1,128], float32, 128 numbers; found 2",
    "model.forward({ ids: [[2]], patchFrom: new Map([['layers.1', twin.makeArray([1, 2, 128], 'float32')]]) })":
        "an edit of layers.1 must return an array of [1,1,128], float32, 128 numbers; found [1,2,128], float32,",
    "model.forward({ ids: [[2]], mask: [[1]] })": "forward takes ids, attentionMask,",
    "model.with({ epsilon: 1 })": "a trap must be a key of the rules; found epsilon; choose from eps, ",
    "model.with({ activation: 'swish' }).forward({ ids: [[2]] })": "the activation must be one of gelu, gelu_new,",
    "new twin.BioGpt({ ...config, hidden_act: 'quick_gelu' }, tensors)": "hidden_act must be one of gelu,",
    "new twin.Trace().get('layers.1')": "the name must be one of the trace's; found layers.1",
    "new twin.BioGpt(config, tensors, { dtype: 'float16' })": "dtype must be float32 or float64; found float16",
    "new twin.BioGpt({ ...config, num_attention_heads: 3 }, tensors)": "num_attention_heads must divide hidden_size",
    "new twin.BioGpt({ ...config, vocab_size: 10 }, tensors)": "embed_tokens.weight must have the shape [10,128]",
    "new twin.BioGpt({ ...config, num_hidden_layers: 5 }, tensors)": "the checkpoint must have layers.4.",
    "twin.readSafetensors(new Uint8Array(3))": "a safetensors file must begin with the length of its header",
    "twin.readSafetensors(bytes.subarray(0, 100))": "found a header of 6992 bytes in a file of 100",
    "twin.readSafetensors(bytes.subarray(0, bytes.length - 1))": "must be within the file; found bytes",
    "twin.readSafetensors(new TextEncoder().encode('PK\\u0003\\u0004 a zip file'))": "found a header of",
}  # fmt: skip


def refusals(expressions: list[str]) -> list[str]:
    asked = {"static": str(STATIC), "model": str(demo_folder()), "expressions": expressions}
    done = node(__file__.replace("test_refused.py", "refused.mjs"), given=json.dumps(asked))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["unchanged"]
    return found["messages"]


def test_each_is_refused_in_words() -> None:
    for (expression, start), message in zip(CALLS.items(), refusals(list(CALLS)), strict=True):
        assert message.startswith("BioGptError: "), f"{expression}: {message}"
        assert start in message, f"{expression}: {message}"
        assert message.count("; ") >= 2, message


def file_of(header: str | dict[str, object], values: bytes = b"") -> str:
    """A safetensors file as JavaScript: its bytes."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return f"new Uint8Array({list(struct.pack('<Q', len(text)) + text + values)})"


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


BROKEN = {
    file_of("[1, 2]"): "a header that is not a JSON object",
    file_of("{"): "a header that is not a JSON object",
    file_of({"x": entry("F8", [1], 0, 1)}, b"0"): "the dtype of x must be one of F64, F32, F16, BF16",
    file_of({"x": entry("toString", [1], 0, 1)}, b"0"): "the dtype of x must be one of F64, F32, F16, BF16",
    file_of({"x": entry("F32", [2], 0, 4)}, b"0000"): "x must have the bytes of its shape; found 4 for F32 [2]",
    file_of({"x": entry("F32", [-1], 0, 4)}, b"0000"): "the header must give x a shape and data_offsets",
    file_of({"x": 5}): "the header must give x a shape and data_offsets; found 5",
    file_of({"x": entry("I64", [1], 0, 8)}, struct.pack("<q", 2**53)): "the integers of x must be within 2 ** 53",
}


def test_broken_files_are_refused() -> None:
    messages = refusals([f"twin.readSafetensors({one})" for one in BROKEN])
    for start, message in zip(BROKEN.values(), messages, strict=True):
        assert start in message


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"])
def test_every_dtype_is_read_exactly(dtype: str) -> None:
    if dtype[0] in "IUB" and dtype != "BF16":
        kind = {"I": "<i", "U": "<u", "B": "?"}[dtype[0]] + {"I64": "8", "I32": "4", "I16": "2"}.get(dtype, "1")
        raw = np.array(
            [1, 0] if dtype == "BOOL" else [0, 1, 127, -5 % 256 if dtype == "U8" else -5], kind.replace("?1", "?")
        )
        want = raw.astype(float)
    elif dtype == "BF16":
        raw = np.array([0, 0x8000, 0x3F80, 0x0001, 0x7F80, 0xFF80, 0x7FC0, 0xC049], "<u2")
        want = (raw.astype("<u4") << 16).view("<f4").astype(float)
    else:
        tiny = {"F64": 5e-324, "F32": 1e-45, "F16": 6e-8}[dtype]
        raw = np.array(
            [0, -0.0, 1.5, tiny, -1 / 3, 65504, np.inf, -np.inf, np.nan],
            {"64": "<f8", "32": "<f4", "16": "<f2"}[dtype[1:]],
        )
        want = raw.astype(float)
    text = file_of({"x": entry(dtype, [len(raw)], 0, raw.nbytes)}, raw.tobytes())
    expression = f"(() => {{ throw new Error(Array.from(twin.readSafetensors({text}).tensors.get('x').numbers,"
    expression += " (x) => Object.is(x, -0) ? '-0' : String(x)).join()); })()"
    (message,) = refusals([expression])
    got = np.array([float(x.replace("Infinity", "inf")) for x in message.removeprefix("Error: ").split(",")])
    np.testing.assert_array_equal(got, want)
    assert (np.signbit(got) == np.signbit(want))[~np.isnan(want)].all()
