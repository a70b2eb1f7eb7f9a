"""tools/check_generate.py: some random cases, every documented difference, and differences that must be found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minibiogpt.generation import RepetitionPenalty
from minibiogpt.generation.beam import Beams
from tools import check_generate
from tools.checking_generate.both import Case
from tools.checking_generate.compare import judge
from tools.checking_generate.differences import DIFFERENCES

PLAIN = Case(1, {"input_ids": [[5, 9, 12], [7, 8, 2]]}, options={"max_new_tokens": 6, "return_dict_in_generate": True})


def with_options(**options: Any) -> Case:
    return Case(PLAIN.model, PLAIN.inputs, options=PLAIN.options | options)


def test_random_combinations_are_transformers(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_generate.main(["--seed", "1", "--count", "60"]) == 0
    out = capsys.readouterr().out
    assert int(out.partition(" equal")[0].split()[-1]) > 30, out


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_documented_difference_is_real(name: str) -> None:
    verdict = judge(DIFFERENCES[name].example)
    assert (verdict.kind, verdict.detail) == ("documented", name)


def test_a_wrong_processor_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case = with_options(repetition_penalty=1.4, output_scores=True)
    assert judge(case).kind == "equal"
    monkeypatch.setattr(RepetitionPenalty, "__call__", lambda self, ids, logits: logits / self.penalty)
    assert judge(case).kind == "different"
    monkeypatch.setattr(check_generate, "make_case", lambda seed, number: case)
    assert check_generate.main(["--count", "1"]) == 1
    assert "--seed 0 --case 0: " in capsys.readouterr().out


def test_a_small_error_in_scores_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    case = with_options(num_beams=2, length_penalty=0.7, output_scores=True)
    assert judge(case).kind == "equal"
    penalty = Beams._length_penalty
    monkeypatch.setattr(Beams, "_length_penalty", lambda self, length: penalty(self, length) * (1 + 1e-7))
    verdict = judge(case)
    assert verdict.kind == "different"
    assert "sequences_scores" in verdict.detail


@pytest.mark.parametrize("name", ["attentions", "hidden_states"])
def test_wrong_arrays_of_the_steps_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = with_options(do_sample=True, num_return_sequences=2, **{f"output_{name}": True})
    assert judge(case).kind == "equal"
    monkeypatch.setattr("minibiogpt.generation.state._repeated", lambda steps, rows: steps)
    verdict = judge(case)
    assert verdict.kind == "different"
    assert name in verdict.detail


def test_a_raw_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, ids: np.ndarray, logits: np.ndarray) -> np.ndarray:
        raise KeyError("x")

    monkeypatch.setattr(RepetitionPenalty, "__call__", broken)
    assert judge(with_options(repetition_penalty=1.4)).detail.startswith("a raw error: KeyError")
    assert judge(with_options(num_beams=0)).kind == "refused by both"
