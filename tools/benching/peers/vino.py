"""The OpenVINO worker: python -m tools.benching.peers.vino FOLDER --threads N --converted FOLDER

It reads the file that onnx_export.py wrote. The precision "default" is what OpenVINO chooses for the processor:
bfloat16 where it multiplies fast, else float32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino._offline_transformations import apply_make_stateful_transformation

from tools.benching.peers.serving import EXPORTED, FILE, Served, arguments, serve_jobs


class Compiled:
    """A model in OpenVINO, which keeps the cache itself as the state of a request."""

    def __init__(self, folder: Path, threads: int, converted: Path, precision: str) -> None:
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        if precision == "float32":
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        core = openvino.Core()
        model = core.read_model(converted / EXPORTED / FILE)
        names = [name for one in model.inputs if (name := one.any_name).startswith("past.")]
        apply_make_stateful_transformation(model, {name: name.replace("past", "present") for name in names})
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.end, self.heads = config["eos_token_id"], config["num_attention_heads"]
        self.width = config["hidden_size"] // self.heads

    def start(self, rows: int) -> None:
        empty = np.zeros((rows, self.heads, 0, self.width), dtype=np.float32)
        self.request.reset_state()
        for one in self.request.query_state():
            one.state = openvino.Tensor(empty)

    def run(self, ids: np.ndarray, positions: np.ndarray, past: None) -> tuple[np.ndarray, None]:
        given = {"ids": np.ascontiguousarray(ids), "positions": np.ascontiguousarray(positions)}
        self.request.infer(given, share_inputs=True)
        return self.request.get_output_tensor(0).data, None


def main() -> None:
    given = arguments().parse_args()
    serve_jobs(Served(lambda: Compiled(**vars(given))))


if __name__ == "__main__":
    main()
