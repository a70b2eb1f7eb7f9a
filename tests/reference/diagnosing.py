"""Run ``golden diagnose`` on what PyTorch computes with mistakes, variations or perturbations, and judge it."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from minibiogpt import golden
from minibiogpt.golden.check.result import Options
from tests.reference.conventions import CONVENTIONS
from tests.reference.kits import Arrays, KitCase, Verdict, right_arrays, run, true_first
from tests.reference.more_mistakes import EVERY
from tests.reference.perturbations import PAIRS, PERTURBATIONS
from tests.reference.planting import Plant
from tests.reference.ways import ways

PRECISIONS = ("float64", "float32")
WITHIN = 0.01  # of its true value, an estimated parameter
PARTS = ("singles", "kit", "pairs", "logits", "hidden", "variations", "perturbations")
# The names of what a port can record that returns all arrays, logits only, or hidden states only.
KEPT = {"kit": r".*", "logits": r"logits", "hidden": r"embeddings|layers\.\d+|layer_norm"}
FEW = ("ordinary", "left_pad", "cache_left_pad", "token_labels")  # the cases of pairs and perturbations


@dataclass
class Run:
    """One run, and what was said about it.

    Attributes
    ----------
    part : one of PARTS.
    subject : the mistake, both mistakes, the variation or the perturbation.
    case : "" for a whole kit.
    want : the ids that are right (of two mistakes, one of each), or none.
    said : the ids that were named, in order. alternatives : those said to fit as well as the first.
    verdict : "agrees", "known", "likely", "not known", or an error.
    right : whether it is what must be said.
    off : estimated parameters that are off, in words.
    """

    part: str
    subject: str
    case: str
    precision: str
    want: list[str]
    said: list[str] = field(default_factory=list)
    alternatives: list[str] = field(default_factory=list)
    verdict: str = ""
    right: bool = False
    off: list[str] = field(default_factory=list)

    @property
    def instead(self) -> str:
        """What was said, in a few words."""
        return f"{', '.join(self.said[:3]) or 'no cause'} ({self.verdict})"


def diagnosed(case: Path, arrays: Mapping[str, Arrays], options: Options) -> Any:
    """Return the diagnosis of the arrays of a case (under the name ""), or of the cases of a kit; or what it raises."""
    with tempfile.TemporaryDirectory() as folder:
        for name, tensors in arrays.items():
            contiguous = {key: torch.as_tensor(x).contiguous() for key, x in tensors.items()}
            save_file(contiguous, Path(folder) / f"{name or 'theirs'}.safetensors")
        try:
            return golden.diagnose(
                case, Path(folder) / "theirs.safetensors" if "" in arrays else folder, options=options
            )
        except Exception as error:  # it counts as a miss; the other runs go on
            return error


def note(run: Run, diagnosis: Any) -> None:
    """Enter the ids and the verdict of a diagnosis."""
    if isinstance(diagnosis, Exception):
        run.verdict = f"{type(diagnosis).__name__}: {diagnosis}"
        return
    run.verdict, run.said = diagnosis.verdict, [cause.id for cause in diagnosis.causes]
    run.alternatives = list(diagnosis.causes[0].alternatives) if diagnosis.causes else []


def off(true: Mapping[str, float], found: Mapping[str, Any]) -> Iterator[str]:
    """Yield each parameter that isn't within 1 % of its true value."""
    for name, value in true.items():
        guess = found.get(name)
        if not isinstance(guess, int | float) or not math.isclose(guess, value, rel_tol=WITHIN, abs_tol=1e-15):
            yield f"{name} {'not said' if guess is None else guess}, not {value:.6g}"


def single(part: str, name: str, case: str, precision: str, config: Any, diagnosis: Any) -> Run:
    """Judge what is said about one mistake: the first cause must be its own."""
    expected = EVERY[name].expected
    one = Run(part, name, case, precision, [expected.cause, *expected.also])
    note(one, diagnosis)
    one.right = one.said[:1] != [] and one.said[0] in one.want
    if one.right and one.said[0] == expected.cause:
        one.off = list(off(expected.values(config), diagnosis.causes[0].parameters))
    return one


def wrong_arrays(case: KitCase, plant: Plant, precision: str) -> Arrays | None:
    """Return the arrays of a run, or None if PyTorch refuses it or the check doesn't notice the difference."""
    arrays = run(case, precision, plant)
    return arrays if arrays is not None and Verdict.of(case, arrays).code == 1 else None


def singles(cases: list[KitCase], names: list[str]) -> Iterator[Run]:
    """Diagnose each mistake in each case in which the check notices it."""
    for name in names:
        for case in cases:
            for precision in PRECISIONS:
                if (arrays := wrong_arrays(case, EVERY[name].plant, precision)) is not None:
                    config = case.model(precision).config
                    yield single(
                        "singles", name, case.name, precision, config, diagnosed(case.path, {"": arrays}, Options())
                    )


def pairs(cases: list[KitCase], names: list[str]) -> Iterator[Run]:
    """Diagnose two mistakes at once; each of them must show by itself in the case."""
    for both, plant in PAIRS.items():
        if not set(both) <= set(names):
            continue
        for case in cases:
            if any(wrong_arrays(case, EVERY[name].plant, "float64") is None for name in both):
                continue
            for precision in PRECISIONS:
                if (arrays := wrong_arrays(case, plant, precision)) is not None:
                    one = Run("pairs", " + ".join(both), case.name, precision, [EVERY[name].cause for name in both])
                    note(one, diagnosed(case.path, {"": arrays}, Options()))
                    one.right = set(one.want) <= set(one.said)
                    yield one


def over_kit(part: str, kit: Path, cases: list[KitCase], names: list[str]) -> Iterator[Run]:
    """Diagnose each mistake over the kit, from all arrays, or from the logits or the hidden states alone.

    From all arrays, no other cause may be named.
    """
    kept, options = re.compile(rf"(step\.\d+/)?({KEPT[part]})"), Options(subset=True)
    for name in names:
        for precision in PRECISIONS:
            ran = {case: run(case, precision, EVERY[name].plant) for case in cases}
            few = {
                case: {key: x for key, x in (found or {}).items() if kept.fullmatch(key)} for case, found in ran.items()
            }
            few = {case: found for case, found in few.items() if found}
            if any(Verdict.of(case, found, subset=True).code == 1 for case, found in few.items()):
                diagnosis = diagnosed(kit, {case.name: found for case, found in few.items()}, options)
                one = single(part, name, "", precision, cases[0].model(precision).config, diagnosis)
                one.right = one.right and (part != "kit" or set(one.said) <= set(one.want))
                yield one


def variations(cases: list[KitCase], few: list[KitCase], mixtures: int) -> Iterator[Run]:
    """Diagnose correct ways to compute (mixtures of them on few cases), and every convention where it is accepted.

    There must be no cause.
    """
    for name, way in ways(mixtures).items():
        for precision in PRECISIONS:
            for case in few if name.startswith("mixture") else cases:
                if (done := way(case, precision)) is not None:
                    options = Options(subset=done.part, real_only=done.real_only)
                    yield without_cause(name, case, precision, diagnosed(case.path, {"": dict(done.arrays)}, options))
    for name, convention in CONVENTIONS.items():
        for case in cases:
            if (arrays := convention.change(case, right_arrays(case))) is not None:
                options = Options(subset=True, accept=(convention.accept,))
                yield without_cause(name, case, "float64", diagnosed(case.path, {"": arrays}, options))


def without_cause(name: str, case: KitCase, precision: str, diagnosis: Any) -> Run:
    one = Run("variations", name, case.name, precision, [])
    note(one, diagnosis)
    one.right = (one.verdict, one.said, getattr(diagnosis, "code", 2)) == ("agrees", [], 0)
    return one


def perturbations(cases: list[KitCase]) -> Iterator[Run]:
    """Diagnose changes that are no mistake: "not known", and the first own error where the change is."""
    for name, one in PERTURBATIONS.items():
        for case in cases:
            for precision in PRECISIONS:
                arrays = wrong_arrays(case, one.plant, precision)
                if arrays is not None and (exact := run(case, "float64", one.plant)) is not None:
                    found = Run("perturbations", name, case.name, precision, list(one.causes))
                    diagnosis = diagnosed(case.path, {"": arrays}, Options())
                    note(found, diagnosis)
                    places = [error.name for error in getattr(diagnosis, "own_errors", ())]
                    found.right = found.verdict == "not known" and places[:1] == [true_first(right_arrays(case), exact)]
                    found.right |= bool(one.causes) and found.said[:1] == list(one.causes)
                    if found.verdict == "not known" and not found.right:
                        found.off = [f"place: {places[0] if places else 'none'}"]
                    yield found


def most_said(runs: list[Run]) -> str:
    """Return what was said instead of the truth, most frequent first."""
    counts = Counter(run.instead for run in runs if not run.right)
    return "; ".join(f"{what} in {count}" for what, count in counts.most_common(3))
