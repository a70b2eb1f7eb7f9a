"""The loss functions of the heads, and the validation of labels."""

from __future__ import annotations

import math

from minibiogpt.backend import Array, Backend, backend_of
from minibiogpt.errors import InputError
from minibiogpt.model import inputs
from minibiogpt.model.ops import log_softmax, widened


def cross_entropy(logits: Array, labels: Array, ignore: int = -100) -> Array:
    """Return the mean of -log p(label) in nats over the labels that are not ``ignore``: (M, V) and (M,) give ().

    If every label is ignored, the result is NaN, as in PyTorch. For float16 and bfloat16 logits it is float32.

    Examples
    --------
    >>> import math, numpy as np
    >>> loss = cross_entropy(np.array([[0.0, math.log(3)], [5.0, 5.0]]), np.array([1, -100]))
    >>> round(math.exp(-loss), 12)  # the second row is ignored
    0.75
    """
    xp = backend_of(logits, labels).xp
    counted = labels != ignore
    targets = xp.where(counted, labels, 0)
    logits = widened(logits)
    log_p = xp.take_along_axis(log_softmax(logits), targets[:, None], axis=-1)[:, 0]
    count = int(counted.sum())
    total = xp.where(counted, -log_p, 0).sum()
    return (total / count if count else total * math.nan).astype(logits.dtype, copy=False)


def binary_cross_entropy(logits: Array, targets: Array) -> Array:
    """Return the mean of -(y log p + (1 - y) log(1 - p)) in nats over all elements, where p = 1 / (1 + exp(-x)).

    Computed as max(x, 0) - x y + log(1 + exp(-|x|)), which cannot overflow. Both arguments are (..., labels).

    Examples
    --------
    >>> import math, numpy as np
    >>> loss = binary_cross_entropy(np.array([[math.log(3)]]), np.array([[1.0]]))  # p = 3/4
    >>> round(math.exp(-loss), 12)
    0.75
    """
    xp = backend_of(logits, targets).xp
    x, y = widened(logits), widened(targets)
    return (xp.maximum(x, 0) - x * y + xp.log1p(xp.exp(-abs(x)))).mean()


def mean_squared_error(x: Array, targets: Array) -> Array:
    """Return the mean of (x - y)^2 over all elements.

    Examples
    --------
    >>> import numpy as np
    >>> float(mean_squared_error(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    backend_of(x, targets)
    difference = widened(x) - widened(targets)
    return (difference * difference).mean()


def infer_problem_type(classes: int, labels: Array) -> str:
    """Choose the problem type as transformers does: int64 and int32 are single labels, other dtypes multiple labels."""
    if classes == 1:
        return "regression"
    return "single_label_classification" if str(labels.dtype) in ("int64", "int32") else "multi_label_classification"


def checked_class_labels(labels: Array, shape: tuple[int, ...], classes: int, backend: Backend) -> Array:
    """Check labels of the given shape, each a class or -100 (ignored); return them flattened, as int64."""
    if labels.shape != shape:
        must = f"labels must have the shape {'of the tokens, ' if len(shape) == 2 else ''}{shape}"
        raise InputError(must, f"shape {labels.shape}", "give one integer each, -100 to ignore a label")
    labels = inputs.as_integers("labels", labels.reshape(1, -1), backend, -100, classes)[0]
    if bool(((labels < 0) & (labels != -100)).any()):
        must = f"labels must be -100 or in [0, {classes})"
        raise InputError(must, "other negative values", "use -100 to ignore a label")
    return labels
