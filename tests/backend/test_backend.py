"""One code path for NumPy and CuPy, tested with a stand-in that refuses whatever CuPy would refuse."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, InputError, Trace, get_backend
from minibiogpt.backend import backend_of, register_backend
from minibiogpt.model import ops
from tests.support.strict import CUPY_FUNCTIONS, StrictArray, StrictBackend

PROMPTS = [[2, 45, 300, 17, 9], [1, 1, 2, 8, 70]]
MASK = [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]


@pytest.fixture(scope="module", autouse=True)
def strict() -> None:
    register_backend("strict", StrictBackend)


def load(backend: str, attention: str = "auto") -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", backend=backend, attn_implementation=attention)


def plain(x: object) -> np.ndarray:
    """Return a result as a NumPy array, after checking that it is on the backend."""
    assert isinstance(x, StrictArray), f"a result left the backend: {type(x)}"
    return get_backend("strict").to_numpy(x)


@pytest.mark.parametrize("attention", ["eager", "blocked"])
def test_the_whole_forward_runs_without_leaving_the_backend(attention: str) -> None:
    options = {"attention_mask": MASK, "head_mask": [1.0, 0.5, 0.0, 1.0], "labels": PROMPTS}
    want_trace, got_trace = Trace(), Trace()
    want = load("numpy", attention)(PROMPTS, trace=want_trace, output_hidden_states=True, **options)
    got = load("strict", attention)(PROMPTS, trace=got_trace, output_hidden_states=True, **options)
    assert list(got_trace) == list(want_trace)
    for name, x in got_trace.items():
        assert np.array_equal(plain(x), want_trace[name]), name
    assert float(got.loss) == float(want.loss)
    assert all(np.array_equal(plain(a), b) for a, b in zip(got.hidden_states, want.hidden_states, strict=True))


def test_the_cache_stays_on_the_backend() -> None:
    model, reference = load("strict"), load("numpy")
    first = model([[2, 45, 300]])
    second = model([[17, 9]], past_key_values=first.past_key_values)
    k, v = second.past_key_values.reorder(get_backend("strict").asarray([0, 0]))[3]
    assert k.shape == v.shape == (2, 4, 5, 32)
    past = reference([[2, 45, 300]]).past_key_values
    assert np.array_equal(plain(second.logits), reference([[17, 9]], past_key_values=past).logits)


GENERATION: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {
        "do_sample": True,
        "seed": 3,
        "top_k": 20,
        "top_p": 0.9,
        "temperature": 0.7,
        "num_return_sequences": 2,
    },
    "min_length": {"min_length": 30},
    "filters": {"do_sample": True, "min_p": 0.01, "typical_p": 0.9, "epsilon_cutoff": 1e-4, "eta_cutoff": 1e-4},
    "penalties": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "exponential_decay_length_penalty": (3, 1.1)},
    "words": {"bad_words_ids": [[7], [5, 9]], "sequence_bias": {(5, 9): 1.0}, "suppress_tokens": [26]},
    "forced": {"forced_eos_token_id": 2, "begin_suppress_tokens": [26], "renormalize_logits": True},
    "a prefix": {"prefix_allowed_tokens_fn": lambda row, ids: [2, 5, 9, 26 + len(ids)]},
    "criteria": {"stopping_criteria": [lambda ids, scores: ids[:, -1] == 26], "eos_token_id": [2, 30]},
    "beams": {"num_beams": 3, "length_penalty": 0.5, "num_return_sequences": 2},
    "beams, never early": {"num_beams": 3, "early_stopping": "never", "no_repeat_ngram_size": 2},
    "beam sampling": {"num_beams": 3, "do_sample": True, "seed": 5, "temperature": 1.5},
    "fairseq": {"num_beams": 3, "scoring": "fairseq", "min_length": 12},
}


@pytest.mark.parametrize("options", GENERATION.values(), ids=GENERATION)
def test_generation_runs_without_leaving_the_backend(options: dict[str, Any]) -> None:
    want = load("numpy").generate(PROMPTS, attention_mask=MASK, max_new_tokens=25, **options)
    got = load("strict").generate(PROMPTS, attention_mask=MASK, max_new_tokens=25, **options)
    assert np.array_equal(plain(got), want)


def test_the_stand_in_refuses_what_cupy_refuses() -> None:
    x = get_backend("strict").asarray([1.0, 2.0])
    refused = [
        lambda: np.asarray(x),
        lambda: np.exp(x),
        lambda: np.concatenate([x, x]),
        lambda: x + np.ones(2),
        lambda: np.ones(2) + x,
        lambda: x[np.array([0])],
        lambda: get_backend("strict").xp.where(np.array([True, False]), x, x),
    ]
    for call in refused:
        with pytest.raises(TypeError):
            call()
    with pytest.raises(AttributeError, match="has no vectorize"):
        get_backend("strict").xp.vectorize(abs)


def test_the_stand_in_offers_no_more_than_cupy_does() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, so its names cannot be compared")
    assert [name for name in sorted(CUPY_FUNCTIONS) if not hasattr(cupy, name)] == []


def test_mixed_arrays_are_a_type_error() -> None:
    ours, theirs = np.ones((2, 2)), get_backend("strict").asarray(np.ones((2, 2)))
    with pytest.raises(TypeError, match="all arrays must belong to one backend; found numpy.ndarray, strict"):
        ops.linear(ours, theirs)
    with pytest.raises(TypeError, match="one backend"):
        backend_of(theirs, ours)
    with pytest.raises(TypeError, match="one backend"):
        backend_of([1.0])


def test_inputs_of_another_backend_are_brought_over_and_results_are_the_models() -> None:
    ids = get_backend("strict").asarray(PROMPTS)
    assert np.array_equal(load("numpy")(ids).logits, load("numpy")(PROMPTS).logits)
    assert isinstance(load("strict")(np.array(PROMPTS)).logits, StrictArray)


def test_an_unknown_backend_or_dtype_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="backend must be one of numpy, cupy"):
        get_backend("jax")
    with pytest.raises(InputError, match="found 'int8'"):
        BioGptForCausalLM.from_pretrained("demo", dtype="int8")


BLOCKED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("cupy", "cupyx", "torch", "transformers", "scipy", "huggingface_hub"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Refuse())
import minibiogpt
model = minibiogpt.BioGptForCausalLM.from_pretrained("demo")
assert model.generate([[2, 45]], max_new_tokens=2, eos_token_id=None).shape == (1, 4)
try:
    minibiogpt.get_backend("cupy")
except minibiogpt.InputError as error:
    print(error)
"""


def test_nothing_optional_is_needed_and_its_absence_is_one_clear_line() -> None:
    run = subprocess.run([sys.executable, "-W", "error", "-c", BLOCKED], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "backend cupy needs the package cupy" in run.stdout
    assert "pip install 'cupy-cuda13x[ctk]'" in run.stdout
