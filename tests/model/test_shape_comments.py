"""Every shape comment is checked: each line that ends in `# (B, T, D)` runs, and its array must have that shape.

The sizes are distinct primes where possible, so that no two letters can be confused.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from minibiogpt import (
    BioGptConfig,
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    BioGptModel,
    Trace,
)
from minibiogpt.quantization import double, four_bits, rows
from minibiogpt.quantization.code_books import NF4

PACKAGE = Path(sys.modules["minibiogpt"].__file__ or "").parent
COMMENT = re.compile(r"#\s*\(([A-Za-z0-9 ,+]*)\)\s*$")
H, DH = 3, 7
SIZES = {
    "B": 2,
    "T": 5,
    "S": 5 + 13,
    "D": H * DH,
    "H": H,
    "Dh": DH,
    "F": 37,
    "V": 67,
    "L": 1,
    "N": 31,
    "1": 1,
    "labels": 11,
}


def commented(path: Path) -> dict[int, tuple[str, list[str]]]:
    """Return {line of a statement: (the assigned name, the letters)} for one file."""
    source = path.read_text(encoding="utf-8").splitlines()
    found = {}
    for node in ast.walk(ast.parse("\n".join(source))):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            match = COMMENT.search(source[(node.end_lineno or node.lineno) - 1])
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Tuple):
                target = target.elts[0]
            if match and isinstance(target, ast.Name):
                letters = [letter.strip() for letter in match.group(1).split(",") if letter.strip()]
                for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                    found[line] = (target.id, letters)
    return found


def all_comments() -> dict[str, dict[int, tuple[str, list[str]]]]:
    return {str(path): lines for path in sorted(PACKAGE.rglob("*.py")) if (lines := commented(path))}


class Watcher:
    """A trace function that compares each array with its line's shape comment, after the line has run."""

    def __init__(self, comments: dict[str, dict[int, tuple[str, list[str]]]], sizes: dict[str, int]) -> None:
        self.comments, self.sizes = comments, sizes
        self.seen: set[tuple[str, int]] = set()
        self.errors: list[str] = []
        self.last: dict[int, int] = {}

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        lines = self.comments.get(frame.f_code.co_filename)
        if lines is None:
            return None
        previous = self.last.get(id(frame))
        if event in ("line", "return") and previous in lines and frame.f_lineno != previous:
            self.check(frame, previous, *lines[previous])
        if event == "line":
            self.last[id(frame)] = frame.f_lineno
        if event == "return":
            self.last.pop(id(frame), None)
        return self

    def check(self, frame: FrameType, line: int, name: str, letters: list[str]) -> None:
        array = frame.f_locals.get(name)
        if array is None or not hasattr(array, "shape"):
            return
        unknown = [letter for letter in letters if letter not in self.sizes]
        want = tuple(self.sizes.get(letter, -1) for letter in letters)
        where = f"{Path(frame.f_code.co_filename).name}:{line} {name}"
        self.seen.add((frame.f_code.co_filename, line))
        if unknown:
            self.errors.append(f"{where}: unknown letters {unknown}")
        elif array.shape != want:
            self.errors.append(f"{where}: the comment says {want}, the array is {array.shape}")


def watched(watcher: Watcher, run: Callable[[], object]) -> None:
    before = sys.gettrace()
    sys.settrace(watcher)
    try:
        run()
    finally:
        sys.settrace(before)


def config() -> BioGptConfig:
    return BioGptConfig(
        vocab_size=67, hidden_size=21, num_hidden_layers=1, num_attention_heads=3, intermediate_size=37,
        max_position_embeddings=31, num_labels=11,
    )  # fmt: skip


def exercise() -> None:
    """Run every commented line of the forward pass: 13 positions in a cache, then 5 new ones, padded on the left."""
    rng = np.random.default_rng(0)
    mask = np.ones((2, 18), dtype=np.int64)
    mask[0, :2] = 0
    first, second = rng.integers(3, 67, (2, 13)), rng.integers(3, 67, (2, 5))
    for attention in ("eager", "blocked"):
        model = BioGptForCausalLM.from_config(config(), attn_implementation=attention)
        past = model(first, attention_mask=mask[:, :13]).past_key_values
        watch(lambda model=model, past=past: model(second, mask, past_key_values=past, trace=Trace(), labels=second))
    tokens = BioGptForTokenClassification.from_config(config())
    watch(lambda: tokens(second, mask, past_key_values=past, labels=second % 11))
    sequence = BioGptForSequenceClassification.from_config(config())
    watch(lambda: sequence(second, mask, past_key_values=past, labels=[[3], [10]]))


WATCHER = Watcher(all_comments(), SIZES)


def watch(run: Callable[[], object]) -> None:
    watched(WATCHER, run)


STEPS: list[dict[str, Any]] = [
    {"do_sample": True, "top_k": 7, "top_p": 0.9, "temperature": 0.5, "min_length": 19, "min_p": 0.01},
    {"do_sample": True, "typical_p": 0.9, "epsilon_cutoff": 1e-4, "eta_cutoff": 1e-4, "no_repeat_ngram_size": 2},
    {"repetition_penalty": 1.2, "forced_eos_token_id": 2, "exponential_decay_length_penalty": (-1, 1.2)},
    {"num_beams": 2, "scoring": "fairseq"},
]


def exercise_generation() -> None:
    """Run one step of each kind of generation, without a cache of earlier positions, so T is the prompt."""
    model = BioGptForCausalLM.from_config(config())
    prompt = np.random.default_rng(0).integers(3, 67, (2, 18))
    files = {file for file in WATCHER.comments if "generation" in file or file.endswith("ops.py")}
    comments = {file: WATCHER.comments[file] for file in files}
    watcher = Watcher(comments, SIZES | {"T": 18, "S": 18, "2": 2})
    for options in STEPS:
        watched(watcher, lambda options=options: model.generate(prompt, max_new_tokens=1, **options))
    WATCHER.seen |= watcher.seen
    WATCHER.errors += watcher.errors


def exercise_scoring() -> None:
    """Score and embed a batch, without a cache."""
    model = BioGptForCausalLM.from_config(config())
    ids = np.random.default_rng(0).integers(3, 67, (2, 5))
    comments = {file: lines for file, lines in WATCHER.comments.items() if file.endswith(("scoring.py", "pooling.py"))}
    watcher = Watcher(comments, SIZES)
    watched(watcher, lambda: (model.score(ids), model.biogpt.embed(ids)))
    WATCHER.seen |= watcher.seen
    WATCHER.errors += watcher.errors


def exercise_quantization() -> None:
    """Quantise a weight whose sizes are no multiples of a block."""
    x = np.random.default_rng(0).standard_normal((31, 37)).astype(np.float32)
    comments = {file: lines for file, lines in WATCHER.comments.items() if "quantization" in file}
    watcher = Watcher(comments, SIZES | {"K": 37, "n": 31 * 37, "lanes": 8})
    watched(watcher, lambda: (rows.quantize(x), four_bits.quantize(x, NF4), double.quantize(x.reshape(-1))))
    WATCHER.seen |= watcher.seen
    WATCHER.errors += watcher.errors


def test_every_shape_comment_is_run_and_true() -> None:
    exercise()
    exercise_generation()
    exercise_scoring()
    exercise_quantization()
    assert not WATCHER.errors, "\n".join(WATCHER.errors)
    statements = {(file, name, line) for file, lines in WATCHER.comments.items() for line, (name, _) in lines.items()}
    unseen = [f"{file}:{line}" for file, _, line in sorted(statements) if (file, line) not in WATCHER.seen]
    multiline = [u for u in unseen if not _is_continuation(u)]
    assert len(WATCHER.seen) > 30, "hardly any comment was checked"
    assert not multiline, f"never run: {multiline}"


def _is_continuation(location: str) -> bool:
    """Return whether a line belongs to a statement of several lines, of which the watcher sees one."""
    file, line = location.rsplit(":", 1)
    lines = WATCHER.comments[file]
    statement = lines[int(line)]
    return any(lines.get(int(line) + step) is statement for step in (-1, 1))


def test_a_false_comment_and_an_unknown_letter_are_noticed(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(
        "import numpy as np\n"
        "def wrong():\n"
        "    x = np.zeros((2, 5))  # (T, B)\n"
        "    y = np.zeros((2, 5))  # (B, Q)\n"
        "    z = np.zeros((2, 5))  # (B, T)\n"
        "    return x, y, z\n"
    )
    scope: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    watcher = Watcher({str(file): commented(file)}, SIZES)
    watched(watcher, scope["wrong"])
    assert len(watcher.seen) == 3
    assert watcher.errors == [
        "wrong.py:3 x: the comment says (5, 2), the array is (2, 5)",
        "wrong.py:4 y: unknown letters ['Q']",
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_in_is_dtype_out_in_every_traced_array(dtype: str) -> None:
    trace = Trace()
    model = BioGptModel.from_config(config(), dtype=dtype)
    model([[2, 3, 4]], [[0, 1, 1]], head_mask=[1, 0, 1], trace=trace)
    floats = {name: str(x.dtype) for name, x in trace.items() if name != "position_ids"}
    assert set(floats.values()) == {dtype}, floats
