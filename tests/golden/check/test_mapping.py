"""Maps with patterns, steps and alternatives, on one case and on a kit; names of other tools; arrays left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from minibiogpt import InputError
from minibiogpt.cli import main
from minibiogpt.files.reading import sha256
from minibiogpt.golden.check.checker import check, check_kit
from minibiogpt.golden.check.mapping import Mapped, filled, read_map
from minibiogpt.golden.check.result import AGREES, NOT_COMPARABLE, Options, Result
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.report.advice import options_in_words
from minibiogpt.golden.report.text import findings
from tests.support.golden_cases import arrays_of, case_of, checked, normal, row, small, written

LLAMA = {
    "embeddings": "inpL", "layers.0.fc1": "ffn_up_b-0", "layers.1.fc1": "ffn_up_b-1", "layers.0": "l_out-0",
    "layers.1": "l_out-1", "logits": "result_output",
}  # fmt: skip


def tiny(path: Path, steps: int = 0) -> Case:
    """Write a case of two layers; with steps, of several calls."""
    arrays = {}
    for n in range(steps or 1):
        step = f"step.{n}/" if steps else ""
        for i, name in enumerate(LLAMA):
            arrays[step + name] = ("B T D", normal(2, 3, 6, seed=10 * n + i))
    return case_of(path, arrays)


def kit(folder: Path) -> Path:
    """Write a kit of one call, of two calls, and of another array."""
    (folder / "cases").mkdir(parents=True)
    tiny(folder / "cases/one.safetensors")
    tiny(folder / "cases/two.safetensors", steps=2)
    case_of(folder / "cases/other.safetensors", {"loss": ("", np.array(2.5))})
    names = ("one", "two", "other")
    cases = [{"name": name, "file": f"cases/{name}.safetensors"} for name in names]
    for case in cases:
        case["sha256"] = sha256(folder / case["file"])
    (folder / "README.md").write_text("A kit.")
    (folder / "tokenizer.json").write_text("[]")
    files = {"readme": "README.md", "tokenizer": "tokenizer.json"}
    about = {"format": "minibiogpt-golden-kit", "version": "1", "models": {}, "cases": cases}
    about |= {name: {"file": file, "sha256": sha256(folder / file)} for name, file in files.items()}
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder


def theirs_of(kit: Path, folder: Path, rename: Callable[[str], str | None]) -> Path:
    """Write a candidate for each case, with other names; None leaves an array out."""
    folder.mkdir()
    for path in (kit / "cases").iterdir():
        arrays = {}
        for name, x in arrays_of(Case.read(path)).items():
            step, slash, plain = name.rpartition("/")
            if (new := rename(plain)) is not None:
                arrays[step + slash + new] = x
        written(folder / path.name, arrays)
    return folder


def results(
    kit: Path, theirs: Path, mapped: Mapping[str, Mapped] | None = None, **options: object
) -> dict[str, Result]:
    found = {}
    for name, result in check_kit(kit, theirs, Options(mapped=mapped, **options)):  # type: ignore[arg-type]
        assert isinstance(result, Result), result
        found[name] = result
    return found


def test_one_map_with_patterns_serves_all_cases_and_calls_of_a_kit(tmp_path: Path) -> None:
    names = {"layers.0.fc1": "up.1", "layers.1.fc1": "up.2", "layers.0": "h0", "layers.1": "h1", "logits": "y"}
    theirs = theirs_of(kit(tmp_path / "kit"), tmp_path / "theirs", lambda name: names.get(name, name))
    mapped = {"layers.{l}.fc1": Mapped("up.{l+1}"), "layers.{l}": Mapped("h{l}"), "logits": Mapped("y")}
    found = results(tmp_path / "kit", theirs, mapped)
    assert {name: result.code for name, result in found.items()} == {"one": 0, "two": 0, "other": 0}
    assert row(found["two"], "step.1/layers.1.fc1").candidate == "step.1/up.2"


def test_of_several_names_the_first_that_is_there_counts(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case")
    mapped = {"layers.{l}.fc1": Mapped("a.{l}", None, ("b.{l}",)), "layers.1": Mapped("c", None, ("d",))}
    x, y = case.array("layers.0.fc1"), case.array("layers.1.fc1")
    changed = {"layers.0.fc1": None, "layers.1.fc1": None, "a.0": x, "b.1": y, "layers.1": None}
    result = checked(case, changed | {"d": case.array("layers.1")}, mapped=mapped)
    assert result.code == 0
    assert [row(result, f"layers.{i}.fc1").candidate for i in range(2)] == ["a.0", "b.1"]
    result = checked(case, changed | {"b.0": x + 1}, mapped=mapped, subset=True)
    assert row(result, "layers.0.fc1").state == AGREES  # a.0, which comes first
    assert row(result, "layers.1").notes == ["missing from the candidate, where the map calls it c or d"]


def test_a_full_name_comes_before_a_pattern_and_a_step_before_every_step(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case", steps=2)
    mapped = {"layers.{l}.fc1": Mapped("a.{l}"), "layers.1.fc1": Mapped("b"), "step.1/layers.1.fc1": Mapped("c")}
    changed: dict[str, np.ndarray | None] = {f"step.{n}/layers.{i}.fc1": None for n in range(2) for i in range(2)}
    changed |= {f"step.{n}/a.0": case.array(f"step.{n}/layers.0.fc1") for n in range(2)}
    changed |= {"step.0/b": case.array("step.0/layers.1.fc1"), "c": case.array("step.1/layers.1.fc1")}
    assert checked(case, changed, mapped=mapped).code == 0


def test_a_step_can_be_a_part_of_the_name(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case", steps=2)
    changed: dict[str, np.ndarray | None] = {f"step.{n}/logits": None for n in range(2)}
    changed |= {f"call{n + 1}_y": case.array(f"step.{n}/logits") for n in range(2)}
    assert checked(case, changed, mapped={"step.{n}/logits": Mapped("call{n+1}_y")}).code == 0


def test_axes_of_a_pattern_hold_for_every_layer(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case")
    moved: dict[str, np.ndarray | None] = {f"h.{i}": case.array(f"layers.{i}").swapaxes(0, 1) for i in range(2)}
    moved |= {"layers.0": None, "layers.1": None}
    assert checked(case, moved, mapped={"layers.{l}": Mapped("h.{l}", "T B D")}).code == 0
    assert checked(case, moved, mapped={"layers.{l}": Mapped("h.{l}")}).code == 1
    with pytest.raises(InputError, match="the axes of layers.0 must be B T H Dh in some order"):
        checked(case, moved, mapped={"layers.{l}": Mapped("h.{l}", "T B")})


@pytest.mark.parametrize(
    ("mapped", "message"),
    [
        ({"layers.{l}.fc3": "up.{l}"}, "exist in a case of the kit; found 'layers.{l}.fc3' (nearest: "),
        ({"layers.7.fc1": "up"}, "exist in a case of the kit; found 'layers.7.fc1'"),
        ({"layers.{l}.fc1": "down.{l}"}, "exist in a candidate of the kit; found 'down.0'"),
        ({"layers.{l}.fc1": "up.{l}", "logits": "y"}, "exist in a candidate of the kit; found 'y'"),
    ],
)
def test_an_unknown_name_is_an_error_only_if_nothing_in_the_kit_has_it(
    tmp_path: Path, mapped: dict[str, str], message: str
) -> None:
    names = {"layers.0.fc1": "up.0", "layers.1.fc1": "up.1"}
    theirs = theirs_of(kit(tmp_path / "kit"), tmp_path / "theirs", lambda name: names.get(name, name))
    with pytest.raises(InputError) as error:
        results(tmp_path / "kit", theirs, {ours: Mapped(name) for ours, name in mapped.items()})
    assert message in str(error.value)


def test_an_array_that_one_case_of_the_kit_lacks_is_missing_there_only(tmp_path: Path) -> None:
    names = {"logits": "y"}
    theirs = theirs_of(kit(tmp_path / "kit"), tmp_path / "theirs", lambda name: names.get(name, name))
    one = {
        name: x for name, x in arrays_of(Case.read(tmp_path / "kit/cases/one.safetensors")).items() if name != "logits"
    }
    written(theirs / "one.safetensors", one)
    found = results(tmp_path / "kit", theirs, {"logits": Mapped("y")})
    assert {name: result.code for name, result in found.items()} == {"one": 1, "two": 0, "other": 0}
    assert row(found["one"], "logits").notes == ["missing from the candidate, where the map calls it y"]


def test_with_subset_the_kit_may_lack_some_names_but_not_all(tmp_path: Path) -> None:
    theirs = theirs_of(kit(tmp_path / "kit"), tmp_path / "theirs", lambda name: {"logits": "y"}.get(name, name))
    mapped = {"logits": Mapped("y"), "layers.{l}.fc1": Mapped("up.{l}")}
    assert [result.code for result in results(tmp_path / "kit", theirs, mapped, subset=True).values()] == [0, 0, 0]
    with pytest.raises(InputError, match="a candidate of the kit; found 'up.0'"):
        results(tmp_path / "kit", theirs, {"layers.{l}.fc1": Mapped("up.{l}")}, subset=True)


def test_raw_files_with_mapped_and_with_other_tools_names_get_their_shapes(tmp_path: Path) -> None:
    case, folder = tiny(tmp_path / "case"), tmp_path / "raw"
    for ours, theirs in LLAMA.items():
        file = folder / f"{'fc.0' if ours == 'layers.0.fc1' else theirs}.f32"
        file.parent.mkdir(exist_ok=True)
        case.array(ours).astype("<f4").tofile(file)
    result = check(case, folder, Options(mapped={"layers.{l}.fc1": Mapped("fc.{l}", None, ("ffn_up_b-{l}",))}))
    assert (result.code, result.names_of) == (0, "llama.cpp")
    assert {one.found_shape for one in result.rows} == {(2, 3, 6)}


def test_names_of_another_tool_are_recognized_and_said(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case")
    theirs = {LLAMA[name]: x for name, x in arrays_of(case).items()}
    result = check(case, written(tmp_path / "theirs", theirs))
    assert (result.code, result.names_of) == (0, "llama.cpp")
    assert "names read as those of llama.cpp (--names-of llama.cpp)" in findings(result)
    given = check(case, written(tmp_path / "theirs", theirs), Options(names_of="llama.cpp"))
    assert (given.code, given.names_of) == (0, "")
    other = check(case, written(tmp_path / "theirs", theirs), Options(names_of="gpt2"))
    assert (other.code, other.compared) == (2, 0)


def test_on_a_kit_that_agrees_it_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = theirs_of(kit(tmp_path / "kit"), tmp_path / "theirs", lambda name: LLAMA.get(name, name))
    assert main(["golden", "check", str(tmp_path / "kit"), str(theirs)]) == 0
    assert capsys.readouterr().out.count("names read as those of llama.cpp (--names-of llama.cpp)\n") == 1


def test_no_tool_is_tried_where_half_of_the_names_are_known(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case")
    theirs = {name if i < 3 else LLAMA[name]: x for i, (name, x) in enumerate(arrays_of(case).items())}
    result = check(case, written(tmp_path / "theirs", theirs))
    assert (result.compared, result.names_of) == (3, "")
    assert check(case, written(tmp_path / "theirs", theirs), Options(names_of="llama.cpp")).code == 0


def test_fairseqs_axes_are_turned(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case")
    names = {name: f"models.0.decoder.{name}" for name in LLAMA if name in ("layers.0", "layers.1")}
    theirs = {names[name]: x.swapaxes(0, 1) for name, x in arrays_of(case).items() if name in names}
    result = check(case, written(tmp_path / "theirs", theirs), Options(subset=True))
    assert (result.code, result.compared, result.names_of) == (0, 2, "fairseq")


def test_what_a_tools_name_holds_instead_is_said(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case")
    theirs = {LLAMA[name]: x for name, x in arrays_of(case).items()} | {"kq-0": normal(2, 3)}
    (left,) = check(case, written(tmp_path / "theirs", theirs)).unpaired
    assert "before the division by sqrt(Dh)" in left.reason


def test_skipped_arrays_are_not_compared(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case")
    wrong: dict[str, np.ndarray | None] = {"layers.0": case.array("layers.0") + 1}
    assert checked(case, wrong, skip=["layers.0"]).code == 0
    result = checked(case, wrong | {"logits": None}, skip=["logits", "layers.{0..1}"])
    assert (result.code, len(result.rows)) == (0, 3)
    result = checked(case, wrong, names=["layers.0*"], skip=["*.fc1"])
    assert [(one.name, one.state) for one in result.rows] == [("layers.0", "differs")]
    assert options_in_words(Options(skip=["a*", "b"], names_of="gpt2")) == " --names-of gpt2 --skip 'a*' --skip b"


def test_unknown_and_exhaustive_skips_are_errors(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case")
    with pytest.raises(InputError, match="--skip must name an array of the case; found none called 'layers.0.fc3'"):
        checked(case, skip=["logits", "layers.0.fc3"])
    with pytest.raises(InputError, match="--skip must leave an array to compare; found every one skipped"):
        checked(case, names=["layers.*.fc1"], skip=["layers.*"])


def test_a_skip_on_a_kit_must_match_in_one_case(tmp_path: Path) -> None:
    theirs = theirs_of(kit(tmp_path / "kit"), tmp_path / "theirs", lambda name: None if name == "logits" else name)
    assert [one.code for one in results(tmp_path / "kit", theirs, skip=["logits"]).values()] == [0, 0, 0]
    assert list(results(tmp_path / "kit", theirs, skip=["logits", "loss"])) == ["one", "two"]
    with pytest.raises(InputError, match="--skip must name an array of a case; found none called 'lugits'"):
        results(tmp_path / "kit", theirs, skip=["lugits"])
    with pytest.raises(InputError, match="--skip must leave an array to compare"):
        dict(check_kit(tmp_path / "kit", theirs, Options(skip=["*"])))


def test_a_map_file_with_lists_and_patterns(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"layers.{l}": ["a.{l}", "b.{l+1}"], "logits": {"name": ["y", "z"], "axes": "T B V"}}')
    assert read_map(path) == {
        "layers.{l}": Mapped("a.{l}", None, ("b.{l+1}",)), "logits": Mapped("y", "T B V", ("z",)),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"layers.{l}": "h"}', "must have {l} and {n} in both names of an entry or in neither; found 'h' for"),
        ('{"layers.0": ["h", "h.{l}"]}', "in both names"), ('{"step.{n}/logits": "y"}', "in both names"),
        ('{"a": []}', "must hold JSON"), ('{"a": ["b", 1]}', "must hold JSON"),
        ('{"a": {"name": []}}', "must hold JSON"), ('{"a": {"name": "b", "axes": null}}', "must hold JSON"),
    ],
)  # fmt: skip
def test_a_map_file_whose_names_do_not_fit(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_map(path)
    assert message in str(error.value)


def test_a_layer_that_a_pattern_does_not_find_is_missing(tmp_path: Path) -> None:
    case = tiny(tmp_path / "case")
    changed = {"layers.0.fc1": None, "layers.1.fc1": None, "up.0": case.array("layers.0.fc1")}
    result = checked(case, changed, mapped={"layers.{l}.fc1": Mapped("up.{l}")})
    assert (result.code, row(result, "layers.1.fc1").state) == (1, NOT_COMPARABLE)
    assert row(result, "layers.1.fc1").notes == ["missing from the candidate, where the map calls it up.1"]


def test_a_map_of_a_kit_serves_its_single_cases(tmp_path: Path) -> None:
    """A key of the map may be an array of BioGPT that this case lacks, with {l} too."""
    case = small(tmp_path / "case")
    mapped = {"logits": Mapped("y"), "layers.{l}.fc1": Mapped("up.{l}"), "score": Mapped("s")}
    assert checked(case, {"logits": None, "y": case.array("logits")}, mapped=mapped).code == 0


def test_a_pattern_with_the_call_comes_before_one_without_in_any_order() -> None:
    entries = {"layers.{l}": Mapped("out.{l}", None), "step.{n}/layers.{l}": Mapped("call{n}.out.{l}", None)}
    entries |= {"logits": Mapped("lm", None), "step.{n}/logits": Mapped("call{n}.lm", None)}
    for mapped in (entries, dict(reversed(entries.items()))):
        names = {ours: entry.name for ours, (_, entry) in filled(mapped, ["step.1/layers.0", "step.1/logits"]).items()}
        assert names == {"step.1/layers.0": "call1.out.0", "step.1/logits": "call1.lm"}
        assert {key for key, _ in filled(mapped, ["layers.0", "logits"]).values()} == {"layers.{l}", "logits"}
