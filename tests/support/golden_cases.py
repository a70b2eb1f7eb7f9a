"""Small handwritten golden cases, and candidates for them, shared by the tests of ``golden check``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.compare import LOWEST
from minibiogpt.golden.check.result import Options, Result, Row
from minibiogpt.golden.format.case import Case, Entry, sample_indices, sums_of, write_case

CONFIG = {"num_attention_heads": 3}
BUDGETS = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 0.05, "float16": None}
WHOLE = dict.fromkeys(BUDGETS, 0.0)
SUMS: dict[str, list[float] | None] = {p: None if b is None else [100 * b] * 4 for p, b in BUDGETS.items()}


def entry(name: str, x: np.ndarray, axes: str, budgets: Mapping[str, float | None] = BUDGETS) -> Entry:
    seen = x[x != LOWEST] if x.dtype.kind == "f" else x
    largest = float(np.abs(seen).max()) if seen.size else 0.0
    return Entry(name, x.shape, axes, largest, dict(budgets if x.dtype.kind == "f" else WHOLE))


def case_of(
    path: Path,
    arrays: Mapping[str, tuple[str, np.ndarray]],
    inputs: Mapping[str, np.ndarray] | None = None,
    **facts: Any,
) -> Case:
    """Write a case of {name: (axes, array)} with the budgets above."""
    entries = [entry(name, x, axes) for name, (axes, x) in arrays.items()]
    known = {"case": "small", "about": "by hand", "kind": "full", "architecture": "BioGptForCausalLM"}
    known |= {"config": CONFIG, "model": {}, "budget": {}} | facts
    write_case(path, known, inputs or {}, entries, {name: x for name, (_, x) in arrays.items()})
    return Case.read(path)


def slim_case(path: Path, name: str, axes: str, x: np.ndarray, samples: int) -> Case:
    """Write a slim case of one array."""
    one = Entry(name, x.shape, axes, float(np.abs(x).max()), BUDGETS, samples, None if LOWEST in x else SUMS)
    arrays = {name: x.reshape(-1)[sample_indices(x.size, samples)]}
    if one.sums is not None:
        arrays[f"{name}/sums"] = sums_of(x)
    facts = {"case": "slim", "about": "", "kind": "slim", "architecture": "BioGptForCausalLM", "config": CONFIG}
    write_case(path, facts | {"model": {}, "budget": {}}, {}, [one], arrays)
    return Case.read(path)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def small(path: Path) -> Case:
    """Write a case with B 2, T 5, H 3, Dh 7. The first two positions of the first row are padding."""
    scores = normal(2, 3, 5, 5, seed=3)
    mask = np.array([[0, 0, 1, 1, 1], [1] * 5])
    visible = np.tri(5, dtype=bool) & (mask[:, None, None, :] > 0)
    arrays = {
        "position_ids": ("B T", np.array([[-1, -1, 0, 1, 2], [0, 1, 2, 3, 4]])),
        "embeddings": ("B T D", normal(2, 5, 21)),
        "layers.0.self_attn.q": ("B H T Dh", normal(2, 3, 5, 7, seed=1)),
        "layers.0.self_attn.scores_masked": ("B H T S", np.where(visible, scores, LOWEST)),
        "layers.0.self_attn.context": ("B T D", normal(2, 5, 21, seed=2)),
        "layers.0": ("B T D", normal(2, 5, 21, seed=4)),
        "logits": ("B T V", normal(2, 5, 67, seed=5)),
        "loss": ("", np.array(2.5)),
    }
    inputs = {"inputs/input_ids": np.arange(10).reshape(2, 5), "inputs/attention_mask": mask}
    return case_of(path, arrays, inputs)


def arrays_of(case: Case) -> dict[str, np.ndarray]:
    """Return the arrays of a candidate that agrees with the case."""
    return {one.name: np.array(case.array(one.name)) for one in case.entries}


def written(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    save_file({name: np.array(x, order="C") for name, x in arrays.items()}, path)
    return path


def checked(case: Case, changed: Mapping[str, np.ndarray | None] | None = None, **options: Any) -> Result:
    """Check a candidate that agrees except for ``changed``; None removes an array."""
    arrays = {name: x for name, x in {**arrays_of(case), **(changed or {})}.items() if x is not None}
    return check(case, written(case.path.parent / "theirs.safetensors", arrays), Options(**options))


def row(result: Result, name: str) -> Row:
    (found,) = [one for one in result.rows if one.name == name]
    return found
