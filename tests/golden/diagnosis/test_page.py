"""The page of a diagnosis: every array is a box with its state, every source a line, and text from files is escaped."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import InputError
from minibiogpt.catalog.steps import steps
from minibiogpt.config import BioGptConfig
from minibiogpt.golden import diagnose
from minibiogpt.golden.check.result import AGREES, DIFFERS, NOT_COMPARABLE, Row
from minibiogpt.golden.diagnosis.causes import CONVENTION, Cause, OwnError
from minibiogpt.golden.diagnosis.diagnosis import Diagnosis
from minibiogpt.golden.diagnosis.drawing.graph import Layout, graph
from minibiogpt.golden.diagnosis.drawing.marks import BETWEEN, INHERITED, Mark, marks_of, number_of
from minibiogpt.golden.diagnosis.page import SCRIPT, page, write_page
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.kit.writer import write_kit
from tests.golden.report.test_page import Reader
from tests.support.browser import axe_violations, contrast, opened, overflow, svg_texts, texts
from tests.support.golden_cases import arrays_of, case_of, checked, normal, small

SIZES = {"hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3}
INPUTS = {"input_ids": "int64", "attention_mask": "int64"}
CAUSE = Cause("norm-eps", "eps is 1e-12", "x = 1", "the config says so", ["layers.0"], {"eps": 1e-12}, ["eps"],
              1, 2, 164.0, 0.4, "known", ["small"])  # fmt: skip
HOSTILE = '</title></style></script><script>alert(1)</script>"&\x1b'
LINE = re.compile(r"M([\d.]+),([\d.]+)(?:H([\d.]+))?V([\d.]+)(?:H([\d.]+))?")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    found = small(tmp_path / "case.safetensors")
    found.config.update(SIZES)
    return found


def diagnosis(case: Case, **facts: Any) -> Diagnosis:
    """Return a diagnosis by hand: layers.0 has a cause, logits have none, the context only inherits its error."""
    changed = {name: case.array(name) + 1.0 for name in ("layers.0", "layers.0.self_attn.context", "logits")}
    own = [
        OwnError("small", "layers.0", 164.0, ["layers.0.fc2", "layers.0"], "norm-eps"),
        OwnError("small", "logits", math.inf, ["logits"], None, [{"id": "factor", "parameters": {}, "after": 3.0}]),
    ]
    known = {"causes": [CAUSE], "own_errors": own, "conventions": [], "ruled_out": ["embed-scale"]}
    known |= {"results": {"small": checked(case, {**changed, "loss": None})}, "computed": 7, "compared": 7}
    return Diagnosis(**{**known, **facts})


def boxes(text: str) -> dict[str, tuple[str, str, str]]:
    """Return {array: (its classes, its title without the name, what is written in it)} of one graph."""
    found = re.findall(
        r'<g class="box ([^"]*)"><title>([^<;]*)(?:; )?([^<]*)</title><rect[^>]*>(?:<text[^>]*>([^<]*))?', text
    )
    return {name: (css, title, sign) for css, name, title, sign in found}


def test_each_array_is_a_box_with_its_state(case: Case) -> None:
    found = boxes(page(diagnosis(case)))
    config = BioGptConfig.from_dict(case.config)
    every = [step.name for step in steps(config, case.architecture, INPUTS)]
    assert list(found) == every
    assert found["layers.0"][0] == "explained c0"
    assert found["layers.0"][1].startswith(
        "own error 164 budgets, cause 1; against the case 1e+12 budgets; should be x + f"
    )
    assert found["layers.0"][2] == "1: 164 budgets"
    assert found["logits"][0] == "unexplained"
    assert found["logits"][1].startswith("own error beyond any budget; ")
    assert found["logits"][2] == "?: beyond any budget"
    css, title, sign = found["layers.0.self_attn.context"]
    assert (css, sign) == ("inherited", "·")
    assert title.startswith("own error within its budget; against the case 1e+12 budgets; should be (weights @ v)")
    assert found["embeddings"][0] == "agrees"
    assert found["layers.0.fc2"][0] == "between c0"
    assert found["layers.1"][::2] == ("absent", "")


def test_the_same_is_in_a_table(case: Case) -> None:
    text = Reader(page(diagnosis(case))).text
    for row in ("1 cause 1layers.0164 budgets1e+12 budgets", "? not explainedlogitsbeyond any budget1e+12 budgets",
                "· inheritedlayers.0.self_attn.contextwithin its budget1e+12 budgets",
                "agreesembeddingswithin its budget0 budgets", "absentlayers.1not in the candidatenot in the case",
                "computed on the waylayers.0.fc2not in the candidatenot in the case"):  # fmt: skip
        assert row in text


def test_the_causes_and_what_is_left_are_in_words(case: Case) -> None:
    other = replace(CAUSE, alternatives=["norm-axis"], tell_apart="save layers.0.fc2 too", certainty="likely")
    other = replace(other, touches=5, remain=2)
    near, far = ({"id": "factor", "parameters": {}, "after": after} for after in (3.0, 30.0))
    left = [OwnError("small", "logits", 90.0, ["logits"], None, [near], "all at v=5")]
    left.append(OwnError("small", "layers.0", 90.0, ["layers.0"], None, [far]))
    found = diagnosis(case, causes=[CAUSE, other], conventions=["positions are (1, T)"], own_errors=left)
    text = Reader(page(found)).text
    for words in (
        "1norm-eps: eps is 1e-12",
        "should bex = 1",
        "wherelayers.0",
        "trapthe config says so",
        "likely; 2 of the 5 arrays that it touches remain wrong",
        "1 of 2 errors; 164 budgets before, 0.4 budgets after",
        "known; nothing beyond rounding remains",
        "eps = 1e-12, from the candidate’s arrays",
        "norm-axis; save layers.0.fc2 too",
        "logits: 90 budgets; closest: factor, 3 budgets leftall at v=5layers.0: 90 budgets",
        "Tried there, and do not fit: embed-scale.",
        "positions are (1, T)",
        "from the candidate’s own arrays: 7 of its 7.",
    ):
        assert words in text
    assert text.count("closest") == 1, "an attempt that leaves much is not close"


def test_nothing_wrong_has_a_page_too(case: Case) -> None:
    none = Diagnosis([], [], [], {"small": checked(case)})
    text = page(none)
    assert "no mistake in the arrays" in Reader(text).text
    assert "<h2>Causes" not in text
    assert "<h2>Not explained" not in text
    assert {css for css, _, _ in boxes(text).values()} == {"agrees", "absent"}
    assert 'class="ring"' not in text


def test_the_first_error_alone_is_outlined(case: Case) -> None:
    text = page(diagnosis(case))
    (ring,) = re.findall(r'class="ring" x="([\d.]+)" y="([\d.]+)"', text)
    layout = Layout({step.name: step for step in steps(BioGptConfig.from_dict(case.config), "causal", INPUTS)})
    box = layout.boxes["layers.0"]
    assert (float(ring[0]), float(ring[1])) == (box.x - 3, box.top - 3)


@pytest.mark.parametrize("layers", [1, 2, 12, 24])
@pytest.mark.parametrize("head", ["base", "causal", "sequence", "token"])
def test_each_source_has_a_line_that_crosses_no_other_box(layers: int, head: str) -> None:
    inputs = INPUTS | ({"labels": "int64"} if head != "base" else {})
    found = {step.name: step for step in steps(BioGptConfig(num_hidden_layers=layers), head, inputs)}
    layout = Layout(found)
    drawn = re.search(r'<path class="line" d="([^"]*)"', graph(found, {}, ""))
    assert drawn is not None
    lines = LINE.findall(drawn[1])
    edges = [(source, name) for name, step in found.items() for source in dict.fromkeys(step.sources)]
    assert len(lines) == len(edges) == drawn[1].count("M")
    for (source, name), (x, y, across, down, last) in zip(edges, lines, strict=True):
        start, end = layout.boxes[source], layout.boxes[name]
        x0, y0, x1, y1 = float(x), float(y), float(across or x), float(down)
        assert start.x - 0.1 <= x0 <= start.x + start.width + 0.1
        assert y0 == pytest.approx(start.middle if across else start.bottom)
        if last:
            assert (float(last), y1) == pytest.approx((end.x - 2, end.middle), abs=0.06)
        else:
            assert end.x < x1 < end.x + end.width
            assert y1 == pytest.approx(end.top - 2)
        top, bottom = sorted((y0, y1))
        for box in layout.boxes.values():
            inside = box.x < x1 < box.x + box.width and box.top < bottom and top < box.bottom
            assert not (inside and box not in (start, end)), (source, name, box.name)


def test_boxes_do_not_overlap() -> None:
    for layers in (1, 24, 60):
        found = {step.name: step for step in steps(BioGptConfig(num_hidden_layers=layers), "sequence", INPUTS)}
        layout = Layout(found)
        assert all(box.x > 0 and box.x + box.width < layout.width for box in layout.boxes.values())
        rows: dict[int, list[tuple[float, float]]] = {}
        for box in layout.boxes.values():
            rows.setdefault(box.row, []).append((box.x, box.x + box.width))
        for spans in rows.values():
            assert all(one[1] < other[0] for one, other in zip(sorted(spans), sorted(spans)[1:], strict=False))


def test_of_two_causes_with_one_id_an_array_has_that_which_names_it() -> None:
    other = replace(CAUSE, where=["layer_norm"], parameters={"eps": 1e-3})
    for name, number in (("layers.0", 1), ("step.2/layer_norm", 2), ("layers.5", 1)):
        assert number_of(OwnError("small", name, 2.0, [name], "norm-eps"), [CAUSE, other]) == number
    assert number_of(OwnError("small", "logits", 2.0, ["logits"], None), [CAUSE]) == 0


def test_a_convention_is_no_mistake(case: Case) -> None:
    own = [OwnError("small", "layers.0", 9.0, ["layers.0"], CONVENTION)]
    css, title, sign = boxes(page(diagnosis(case, causes=[], own_errors=own)))["layers.0"]
    assert (css, sign) == ("accepted", "~: 9 budgets")
    assert title.startswith("own error 9 budgets; ")


def test_the_words_of_a_mark() -> None:
    assert Mark(BETWEEN, 1).own_error == Mark("absent").own_error == "not in the candidate"
    assert Mark(INHERITED, row=Row("x", "x", NOT_COMPARABLE)).checked == "not comparable"
    assert Mark("absent", row=Row("x", None, NOT_COMPARABLE)).checked == "not in the candidate"


def test_visible_scores_that_should_be_hidden_are_counted(case: Case) -> None:
    name = "layers.0.self_attn.scores_masked"
    scores = np.array(case.array(name))
    scores[1, 0, 0, 2:] = 0.5
    row = next(row for row in checked(case, {name: scores}).rows if row.name == name)
    assert Mark("unexplained", row=row).checked == "3 visible scores that should be hidden"


def test_an_array_of_another_size_is_absent(case: Case) -> None:
    found = marks_of(Diagnosis([], [], [], {"small": checked(case, {"layers.0": normal(3, 3)})}))["small"]
    assert (found["layers.0"].state, found["logits"].state) == ("absent", "agrees")


def test_the_step_to_correct_has_the_number_of_its_cause(case: Case) -> None:
    text = page(diagnosis(case, causes=[replace(CAUSE, right="layers.0.fc2 = x @ W.T + b, where ...")]))
    assert boxes(text)["layers.0.fc2"][::2] == ("between c0", "1")
    assert "to correct for cause 1layers.0.fc2not in the candidate" in Reader(text).text
    assert "the first step to correct" in text
    assert "the first step to correct" not in page(diagnosis(case))


def test_several_calls_have_a_graph_each(tmp_path: Path) -> None:
    arrays = {
        f"step.{n}/{name}": ("B T D", normal(1, 2, 21)) for n in (0, 1, 10, 2) for name in ("embeddings", "layers.0")
    }
    inputs = {f"step.{n}/inputs/input_ids": np.array([[4, 5]]) for n in (0, 1, 2, 10)}
    case = case_of(tmp_path / "case.safetensors", arrays, inputs, config=SIZES)
    text = page(Diagnosis([], [], [], {"small": checked(case)}))
    assert re.findall("<h3>call ([^<]*)</h3>", text) == ["step.0", "step.1", "step.2", "step.10"]
    found = boxes(text)
    assert found["step.10/layers.0"][0] == "agrees"
    assert found["step.10/layers.0.self_attn.k"][1].endswith("also from the cache")
    assert "cache" not in found["step.0/layers.0.self_attn.k"][1]


def test_no_network_and_one_script_that_the_policy_names(case: Case) -> None:
    text = page(diagnosis(case))
    found = Reader(text)
    assert found.tags.count("script") == 1
    assert "link" not in found.tags
    assert {name for name, _ in found.attributes} & {"src", "onclick", "onload", "xlink:href"} == set()
    assert [value for name, value in found.attributes if name == "href" and not str(value).startswith("#case-")] == []
    assert not re.search(r"https?://|@import|url\(", text.replace("url(#stripes)", ""))
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert f"<script>{SCRIPT}</script>" in text


def test_what_a_file_holds_is_text(tmp_path: Path) -> None:
    arrays = {HOSTILE: ("B", normal(3)), "logits": ("B", normal(3))}
    case = case_of(tmp_path / "case.safetensors", arrays, case=HOSTILE, about=HOSTILE, config=SIZES)
    attempts = [{"id": HOSTILE, "parameters": {}, "after": 1.0}]
    cause = Cause(HOSTILE, HOSTILE, HOSTILE, HOSTILE, [HOSTILE] * 9, {HOSTILE: HOSTILE}, [HOSTILE], 1, 1, 2.0, 0.5,
                  HOSTILE, [HOSTILE, "other"], [HOSTILE], HOSTILE)  # fmt: skip
    own = [OwnError(HOSTILE, HOSTILE, 2.0, [HOSTILE, f"{HOSTILE}2"], None, attempts)]
    result = checked(case)
    for results in ({HOSTILE: result}, {HOSTILE: result, f"{HOSTILE}2": result}):
        text = page(Diagnosis([cause], own, [HOSTILE], results, [HOSTILE]))
        assert Reader(text).tags.count("script") == 1
        assert "\x1b" not in text
        assert text.count("&lt;script&gt;") > 12


def test_the_page_is_written_beside_and_renamed(case: Case, tmp_path: Path) -> None:
    found, path = diagnosis(case), tmp_path / "deep" / "page.html"
    write_page(path, found)
    assert path.read_text(encoding="utf-8") == page(found)
    assert [one.name for one in path.parent.iterdir()] == ["page.html"]
    with pytest.raises(InputError, match="must be a file, or new"):
        write_page(tmp_path, found)


# A real kit


@pytest.fixture(scope="module")
def kit_page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Diagnosis]:
    """The page of a kit in which two arrays differ from the case: one is scaled, one is noise."""
    folder = tmp_path_factory.mktemp("kit")
    kit, theirs = folder / "kit", folder / "theirs"
    write_kit(kit, cases=("ordinary", "cache_steps", "token_labels"), runs=2)
    theirs.mkdir()
    for path in (kit / "cases").iterdir():
        case = Case.read(path)
        arrays = arrays_of(case)
        arrays.pop("loss", None)
        for name, factor in (("embed_tokens", 2.0), ("logits", normal(7, 21))):
            if case.name == "ordinary":
                x = arrays[name]
                arrays[name] = x * (factor if np.ndim(factor) == 0 else np.resize(factor, x.shape))
        np.savez(theirs / f"{path.stem}.npz", allow_pickle=False, **arrays)
    found = diagnose(kit, theirs)
    page_path = folder / "page.html"
    write_page(page_path, found)
    return page_path, found


def test_a_kit_has_a_table_of_cases_by_steps(kit_page: tuple[Path, Diagnosis]) -> None:
    path, found = kit_page
    text = path.read_text(encoding="utf-8")
    heads = re.findall('<th scope="col"><span>([^<]*)</span>', text)
    order = [heads.index(name) for name in ("embed_tokens", "q_proj", "layers.l", "layer_norm", "logits", "loss")]
    assert order == sorted(order)
    assert len(set(heads)) == len(heads)
    rows = {
        re.sub("<[^>]*>", "", row.partition("</th>")[0]): re.findall(r"<td(?: class=\"cell ([a-z]*))?", row)
        for row in re.findall('<tr><th scope="row">(.*?)</tr>', text)
    }
    assert set(rows) == {"ordinary", "cache_steps", "token_labels"}
    assert all(len(row) == len(heads) for row in rows.values())
    states = Counter(error.cause is None for error in found.own_errors)
    assert states[True]
    logits = {name: row[heads.index("logits")] for name, row in rows.items()}
    assert logits == {"ordinary": "unexplained", "cache_steps": "agrees", "token_labels": "agrees"}
    assert rows["ordinary"][heads.index("loss")] == ""
    assert rows["token_labels"][heads.index("loss")] == "absent"


def test_the_marks_are_those_of_the_diagnosis(kit_page: tuple[Path, Diagnosis]) -> None:
    _, found = kit_page
    marks = marks_of(found)
    wrong = {(case, name) for case, of in marks.items() for name, mark in of.items() if mark.own is not None}
    assert wrong == {(error.case, error.name) for error in found.own_errors}
    for case, result in found.results.items():
        for row in result.rows:
            expected = {AGREES: {"agrees"}, DIFFERS: {"inherited"}}.get(row.state, {"absent", "between"})
            assert (case, row.name) in wrong or marks[case][row.name].state in expected


@pytest.mark.parametrize(("width", "height", "scheme"), [(360, 740, "light"), (1400, 900, "dark")])
def test_the_page_is_accessible(
    browser: Any, kit_page: tuple[Path, Diagnosis], width: int, height: int, scheme: str
) -> None:
    with opened(browser, kit_page[0], width=width, height=height, color_scheme=scheme) as shown:
        assert axe_violations(shown) == []
        shown.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert axe_violations(shown) == []
        assert overflow(shown) <= 0
        assert [text for text, *colors in [*texts(shown), *svg_texts(shown)] if contrast(*colors) < 4.5] == []


def test_a_link_opens_its_case(browser: Any, kit_page: tuple[Path, Diagnosis]) -> None:
    with opened(browser, kit_page[0]) as shown:
        case = shown.locator("details.case", has_text="token_labels").last
        assert case.get_attribute("open") is None
        shown.locator("table.kit a", has_text="token_labels").focus()
        shown.keyboard.press("Enter")
        shown.locator("details.case[open]").nth(1).wait_for()  # not by a text as a function, which the page forbids
        assert case.get_attribute("open") is not None


def test_without_a_script_a_link_leads_to_its_case(browser: Any, kit_page: tuple[Path, Diagnosis]) -> None:
    with opened(browser, kit_page[0], java_script_enabled=False) as shown:
        shown.locator("table.kit a", has_text="token_labels").click()
        assert shown.locator("details.case:target > summary").inner_text().startswith("token_labels: ")
