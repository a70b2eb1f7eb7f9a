"""The equations of BioGPT: one function per equation, for NumPy and CuPy arrays.

Each function returns the dtype of its input. Norms, softmax and activations compute float16 and bfloat16 in
float32, because sums and exponentials need the precision, and round the result back. On a device some functions run
as a single fused kernel (kernels.cu), which computes the equation written here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps

from minibiogpt.backend import Array, backend_of, ignore_overflow


def widened(x: Array) -> Array:
    """Return float16 and bfloat16 arrays as float32, others unchanged."""
    return x.astype("float32") if x.dtype.itemsize == 2 else x


def rowwise(equation: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Let the backend evaluate an equation with independent rows (last axis) in blocks of rows, or by a kernel."""

    @wraps(equation)
    @ignore_overflow
    def map_rows(x: Array) -> Array:
        backend = backend_of(x)
        kernel = backend.kernel(equation.__name__, x)
        return kernel(x) if kernel else backend.map_rows(equation, x)

    return map_rows


@ignore_overflow
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Return y = x W^T + b.

    Parameters
    ----------
    x : (..., in) ; weight : (out, in), as PyTorch stores it ; bias : (out,) or None.

    Returns
    -------
    (..., out), in x's dtype.

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])).tolist()
    [[11.0, 17.0, 23.0]]
    """
    backend = backend_of(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])  # one matrix product for the whole batch
    y = backend.product(rows, weight, bias)  # rows @ weight.T + bias
    return y.reshape(*x.shape[:-1], weight.shape[0])


def embedding(ids: Array, table: Array) -> Array:
    """Return table[ids]: integers (...) and a table (rows, D) give (..., D)."""
    backend_of(ids, table)
    return table[ids]


@ignore_overflow
def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Return LN(x) = (x - mean) / sqrt(variance + eps) * g + b over the last axis; the variance divides by D.

    Shapes: x (..., D), weight and bias (D,). Source: Ba et al. 2016, equation 4; torch.nn.LayerNorm.

    Examples
    --------
    >>> import numpy as np
    >>> layer_norm(np.array([1.0, 3.0]), np.ones(2), np.zeros(2), eps=0.0).tolist()
    [-1.0, 1.0]
    """
    backend = backend_of(x, weight, bias)
    kernel = backend.kernel("layer_norm", x, weight, bias)
    if kernel:
        return kernel(x, weight, bias, eps)

    def equation(x: Array) -> Array:
        wide = widened(x)
        centered = wide - wide.mean(axis=-1, keepdims=True)
        variance = (centered * centered).mean(axis=-1, keepdims=True)
        normalized = centered / backend.xp.sqrt(variance + eps)
        return (normalized * widened(weight) + widened(bias)).astype(x.dtype, copy=False)

    return backend.map_rows(equation, x)


@rowwise
def softmax(x: Array) -> Array:
    """Return exp(x_i) / sum_j exp(x_j) over the last axis. The largest x is subtracted first, so nothing overflows.

    Examples
    --------
    >>> import math, numpy as np
    >>> softmax(np.array([0.0, math.log(3)])).round(12).tolist()
    [0.25, 0.75]
    """
    xp = backend_of(x).xp
    wide = widened(x)
    e = xp.exp(wide - wide.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True)).astype(x.dtype, copy=False)


@rowwise
def log_softmax(x: Array) -> Array:
    """Return x_i - log sum_j exp(x_j) over the last axis: log-probabilities in nats.

    Examples
    --------
    >>> import math, numpy as np
    >>> bool(np.allclose(log_softmax(np.array([0.0, math.log(3)])), [-math.log(4), math.log(0.75)]))
    True
    """
    xp = backend_of(x).xp
    wide = widened(x)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return (shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))).astype(x.dtype, copy=False)


def top_k(x: Array, k: int) -> tuple[Array, Array]:
    """Return values and indices, (B, k) each, of the k largest elements of each row of x (B, M), in descending order.

    Among equal elements the first comes first. Only elements at least as large as the k-th largest are sorted.

    Examples
    --------
    >>> import numpy as np
    >>> [part.tolist() for part in top_k(np.array([[1.0, 3.0, 2.0, 3.0, 2.0]]), 3)]
    [[[3.0, 3.0, 2.0]], [[1, 3, 2]]]
    """
    xp = backend_of(x).xp
    B, M = x.shape
    indices = xp.empty((B, k), dtype="int64")
    kth = xp.partition(x, M - k, axis=-1)[:, M - k]  # (B)
    for row in range(B):
        candidates = xp.nonzero(x[row] >= kth[row])[0]
        indices[row] = candidates[xp.argsort(-x[row][candidates], kind="stable")[:k]]
    return xp.take_along_axis(x, indices, axis=-1), indices


@rowwise
def gelu(x: Array) -> Array:
    """Return x Phi(x) = x (1 + erf(x / sqrt 2)) / 2, where Phi is the standard normal CDF. BioGPT's activation.

    Source: Hendrycks and Gimpel 2016, the exact form, not the tanh approximation.

    Examples
    --------
    >>> import numpy as np
    >>> gelu(np.array([0.0, 1.0, -1.0])).round(6).tolist()  # Phi(1) = 0.841345, Phi(-1) = 0.158655
    [0.0, 0.841345, -0.158655]
    """
    wide = widened(x)
    return (0.5 * wide * (1 + backend_of(x).erf(wide * math.sqrt(0.5)))).astype(x.dtype, copy=False)


@rowwise
def gelu_new(x: Array) -> Array:
    """Return the tanh approximation of GELU, x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.

    Source: Hendrycks and Gimpel 2016, section 2; "gelu_new" in transformers.
    """
    xp = backend_of(x).xp
    wide = widened(x)
    inner = math.sqrt(2 / math.pi) * (wide + 0.044715 * (wide * wide * wide))
    return (0.5 * wide * (1 + xp.tanh(inner))).astype(x.dtype, copy=False)


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return backend_of(x).xp.maximum(x, 0).astype(x.dtype, copy=False)


@rowwise
def selu(x: Array) -> Array:
    """Return scale * (x if x > 0 else alpha (exp(x) - 1)). Source: Klambauer et al. 2017, equation 2 and appendix A.

    Examples
    --------
    >>> import numpy as np
    >>> selu(np.array([1.0, -np.inf])).round(6).tolist()  # scale, and -scale alpha
    [1.050701, -1.758099]
    """
    xp = backend_of(x).xp
    wide = widened(x)
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    y = scale * xp.where(wide > 0, wide, alpha * xp.expm1(xp.minimum(wide, 0)))
    return y.astype(x.dtype, copy=False)


ACTIVATION_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_new": gelu_new,
    "relu": relu,
    "selu": selu,
}
