"""Bundle: many arrays as one compressed text for a page; static/explorer/runs/bundle.js opens it."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from minibiogpt.backend import Array, backend_of

LEVEL = 6  # of zlib; 9 is slower and saves less than 1 %


def bundled(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Pack arrays by name: a list of {name, shape, dtype}, and all numbers as base64 of compressed bytes.

    The bytes of an array are sorted by significance (all first bytes, then all second bytes ...): sign and exponent of
    numbers of similar size are alike, so that they compress. 16-bit floats become float32; integers become int64.

    Examples
    --------
    >>> packed = bundled({"ones": np.ones((2, 3), "float32")})
    >>> packed["entries"]
    [{'name': 'ones', 'shape': [2, 3], 'dtype': 'float32'}]
    """
    host = {name: _plain(backend_of(x).to_numpy(x)) for name, x in arrays.items()}
    entries = [{"name": name, "shape": list(x.shape), "dtype": x.dtype.name} for name, x in host.items()]
    compressor = zlib.compressobj(LEVEL)
    parts = [compressor.compress(_planes(x)) for x in host.values()] + [compressor.flush()]
    return {"entries": entries, "deflate": base64.b64encode(b"".join(parts)).decode("ascii")}


def _plain(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind in "iub":
        return x.astype(np.int64)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def _planes(x: np.ndarray) -> bytes:
    """Return all first bytes of the little-endian numbers, then all second bytes, and so on."""
    little = np.ascontiguousarray(x.reshape(-1)).astype(x.dtype.newbyteorder("<"), copy=False)
    return little.view(np.uint8).reshape(x.size, x.dtype.itemsize).T.tobytes()
