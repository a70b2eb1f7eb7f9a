"""The ONNX Runtime worker: python -m tools.benching.peers.ort FOLDER --threads N --converted FOLDER

It reads the file that onnx_export.py wrote. Keys and values stay in ONNX Runtime's memory between the steps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from tools.benching.peers.serving import EXPORTED, FILE, Served, arguments, made, serve_jobs

Values = list[Any]


def quantized(converted: Path) -> Path:
    """Return the folder of the model with products in int8, as ``quantize_dynamic`` makes it; tables stay float32."""

    def make(to: Path) -> None:
        quantize_dynamic(
            converted / EXPORTED / FILE, to / FILE, weight_type=QuantType.QInt8, per_channel=True,
            op_types_to_quantize=["MatMul"], use_external_data_format=True,
        )  # fmt: skip

    return made(converted / f"onnxruntime-int8-{onnxruntime.__version__}", make)


class Session:
    """A model in ONNX Runtime."""

    def __init__(self, folder: Path, threads: int, converted: Path, precision: str) -> None:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
        settings.log_severity_level = 3
        file = (quantized(converted) if precision == "int8" else converted / EXPORTED) / FILE
        self.session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.end, self.heads = config["eos_token_id"], config["num_attention_heads"]
        self.width = config["hidden_size"] // self.heads

    def start(self, rows: int) -> Values:
        empty = np.zeros((rows, self.heads, 0, self.width), dtype=np.float32)
        return [onnxruntime.OrtValue.ortvalue_from_numpy(empty) for _ in self.inputs[2:]]

    def run(self, ids: np.ndarray, positions: np.ndarray, past: Values) -> tuple[np.ndarray, Values]:
        given = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (ids, positions)]
        named = dict(zip(self.inputs, [*given, *past], strict=True))
        logits, *present = self.session.run_with_ort_values(self.outputs, named)
        return logits.numpy(), present


def main() -> None:
    given = arguments().parse_args()
    convert = (lambda: quantized(given.converted)) if given.precision == "int8" else lambda: None
    serve_jobs(Served(lambda: Session(**vars(given)), convert))


if __name__ == "__main__":
    main()
