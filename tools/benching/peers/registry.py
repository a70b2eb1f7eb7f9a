"""The peers by name: which worker measures each of them, and what it cannot do."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from tools.benching.compared import Precision
from tools.benching.peers.environments import EXPORTER, PINS, packages_of, python_of
from tools.benching.peers.serving import EXPORTED

ATTENTIONS = ("sdpa", "eager")  # of transformers, in the dtype of --dtype
BFLOAT16 = "sdpa-bfloat16"
BITSANDBYTES = {"bitsandbytes-nf4": "nf4", "bitsandbytes-int8": "int8"}  # formats of transformers' quantized weights


@dataclass(frozen=True)
class Engine:
    """Another engine: its environment, the module of its worker, and how it is loaded.

    Attributes
    ----------
    exported : whether it reads the model that transformers exports to ONNX.
    beams : whether it has beam search.
    """

    environment: str
    module: str
    precision: str = "float32"
    exported: bool = False
    beams: bool = False

    @property
    def environments(self) -> tuple[str, ...]:
        return (self.environment, EXPORTER) if self.exported else (self.environment,)


ENGINES = {
    "ctranslate2": Engine("ctranslate2", "ctranslate", beams=True),
    "ctranslate2-int8": Engine("ctranslate2", "ctranslate", "int8", beams=True),
    "onnxruntime": Engine("onnxruntime", "ort", exported=True),
    "onnxruntime-int8": Engine("onnxruntime", "ort", "int8", exported=True),
    "openvino": Engine("openvino", "vino", "default", exported=True),
    "openvino-float32": Engine("openvino", "vino", exported=True),
}
PEERS = (*ATTENTIONS, BFLOAT16, *BITSANDBYTES, *ENGINES)


def attentions(peers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the peers that are an attention implementation of transformers in the dtype of --dtype; at least one.

    Examples
    --------
    >>> attentions(("ctranslate2", "eager")), attentions(("openvino",))
    (('eager',), ('sdpa',))
    """
    return tuple(peer for peer in peers if peer in ATTENTIONS) or ATTENTIONS[:1]


def engines(peers: tuple[str, ...]) -> dict[str, Engine]:
    return {peer: ENGINES[peer] for peer in peers if peer in ENGINES}


def environments_of(peers: tuple[str, ...]) -> list[str]:
    """Return the environments that these peers need, each once.

    Examples
    --------
    >>> environments_of(("sdpa", "openvino", "onnxruntime-int8"))
    ['openvino', 'onnx-export', 'onnxruntime']
    """
    return list(dict.fromkeys(name for engine in engines(peers).values() for name in engine.environments))


def versions(peers: tuple[str, ...]) -> dict[str, str]:
    """Return the version of each engine, and of bitsandbytes.

    Examples
    --------
    >>> versions(("ctranslate2-int8", "sdpa")) == {"ctranslate2": PINS["ctranslate2"][0].partition("==")[2]}
    True
    """
    pins = [PINS[engine.environment][0].partition("==") for engine in engines(peers).values()]
    found = {name: version for name, _, version in pins}
    if set(peers) & set(BITSANDBYTES):
        try:
            found["bitsandbytes"] = metadata.version("bitsandbytes")
        except metadata.PackageNotFoundError:  # these peers are then reported and not measured
            found["bitsandbytes"] = "absent"
    return found


def precision(peer: str, dtype: str) -> Precision:
    """Return what a peer of others multiplies with; "default" is the engine's choice.

    On processors with AVX512-BF16, bitsandbytes rounds the activations to bfloat16 if the weights are in nf4; if they
    are in int8, it quantizes the activations, too.
    """
    if peer in BITSANDBYTES:
        return Precision("dynamic int8" if BITSANDBYTES[peer] == "int8" else "bfloat16", BITSANDBYTES[peer])
    if peer == BFLOAT16:
        return Precision("bfloat16")
    return Precision(ENGINES[peer].precision if peer in ENGINES else dtype)


def may_fail(peer: str) -> bool:
    """Return whether the other sides are still measured if this one fails."""
    return peer in ENGINES or peer in BITSANDBYTES


def refusal(peer: str, request: dict[str, Any]) -> str | None:
    """Return why a peer cannot do this request, or None if it can.

    Examples
    --------
    >>> refusal("onnxruntime", {"job": "generate", "beams": 5})
    'has no beam search'
    >>> refusal("ctranslate2", {"job": "generate", "beams": 5})
    """
    engine = ENGINES.get(peer)
    if engine is None:
        return None
    if request["job"] == "score":
        return "is measured in generation and logits only"
    if request.get("beams", 1) > 1 and not engine.beams:
        return "has no beam search"
    return None


def command(peer: str, folder: Path, threads: int, cache: Path) -> tuple[str, list[str]]:
    """Return the interpreter and the arguments of an engine's worker."""
    engine = ENGINES[peer]
    line = ["-m", f"tools.benching.peers.{engine.module}", str(folder), "--threads", str(threads)]
    converted = ["--converted", str(converted_of(folder, cache)), "--precision", engine.precision]
    return str(python_of(engine.environment, cache)), [*line, *converted]


def converted_of(folder: Path, cache: Path) -> Path:
    """Return the folder for the conversions of a model; it depends on the time and size of the weights too."""
    facts = [str(folder)]
    for path in sorted(folder.glob("*.safetensors")):
        facts += [path.name, str(path.stat().st_size), str(path.stat().st_mtime_ns)]
    digest = sha256("\n".join(facts).encode()).hexdigest()[:12]
    return cache / "converted" / f"{folder.name}-{digest}"


def export_command(folder: Path, cache: Path) -> list[str]:
    """Return the arguments of the export to ONNX, which runs with the Python of the bench."""
    to = converted_of(folder, cache) / EXPORTED
    return ["-m", "tools.benching.peers.onnx_export", str(folder), str(to), str(packages_of(EXPORTER, cache))]
