"""The pages of minibiogpt.view as HTML: their contents, that no text becomes markup, and which inputs are refused."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptModel, BioGptTokenizer, Trace
from minibiogpt.backend import register_backend
from minibiogpt.catalog.equations import EQUATION_FUNCTIONS
from minibiogpt.catalog.steps import steps
from minibiogpt.errors import InputError
from minibiogpt.view import Page, Sampler, Stepper
from minibiogpt.view.colors import PALETTES
from minibiogpt.view.layer import KINDS, kind_of
from minibiogpt.view.modules import STATIC
from minibiogpt.view.page import packed
from minibiogpt.view.picture import HIDDEN, heat_map_png
from tests.support import small
from tests.support.browser import luminance
from tests.support.strict import StrictBackend

TEXT = "Ibuprofen is best used for"
HOSTILE = [
    "<script>document.title = 'no'</script>",
    "</script><script>alert(1)</script>",
    "<!-- <script> -->",
    "\"quotes\" 'and' `more` & &amp; ]]>",
    "الإيبوبروفين يخفف الألم",
    "\u202eright to left",
    "pain 🩺💊 👩🏽‍⚕️",
    "line\u2028separator\u2029paragraph\x00\x07",
    "half a pair: \ud83d",
]


class Parts(HTMLParser):
    """The elements of a page, and the contents of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.scripts:
            self.scripts[-1] += data


def data_of(text: str) -> dict[str, Any]:
    """The data of a page."""
    return json.loads(Parts(text).scripts[0])


def unpacked(one: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(one["base64"]), one["dtype"]).reshape(one["shape"])


def demo(dtype: str = "float32") -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", dtype=dtype)


def decoded(png: bytes) -> np.ndarray:
    """The pixels of a PNG, by matplotlib's reader."""
    image = pytest.importorskip("matplotlib.image", reason="matplotlib is not installed")
    return (image.imread(io.BytesIO(png))[..., :3] * 255).round().astype(int)


@pytest.mark.parametrize("head", [*small.HEADS, "base"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_arrays_are_those_of_a_plain_trace_bit_for_bit(head: str, dtype: str, layer: int) -> None:
    model = small.model("CausalLM" if head == "base" else head, dtype=dtype)
    model = model.biogpt if head == "base" else model
    ids = small.ids(rows=1)
    data = data_of(Stepper(model, ids, layer=layer).html)
    want = small.traced(model, ids)
    names = [step["name"] for step in data["steps"]]
    before = "embeddings" if layer == 0 else f"layers.{layer - 1}"
    assert names == [before, *(f"layers.{layer}.{part}" for part in small.LAYER), f"layers.{layer}"]
    assert set(names) <= set(data["arrays"])
    for name, array in data["arrays"].items():
        got = unpacked(array)
        assert (got.dtype, got.shape) == (want[name].dtype, want[name].shape)
        assert got.tobytes() == want[name].tobytes(), name
    parameters = dict(model.named_parameters())
    for name, array in data["parameters"].items():
        plain = parameters[name if name in parameters else f"biogpt.{name}"]
        assert unpacked(array).tobytes() == plain.tobytes(), name
    assert len(data["parameters"]) == 16


@pytest.mark.parametrize("dtype", StrictBackend.float_dtypes)
def test_any_backend_will_do_and_halves_are_widened(dtype: str) -> None:
    register_backend("strict", StrictBackend)
    config = small.model().config
    model = BioGptForCausalLM.from_config(config, seed=2, backend="strict", dtype=dtype)
    want = small.traced(model, small.ids(rows=1))
    data = data_of(Stepper(model, model.backend.asarray(small.ids(rows=1))).html)
    assert data["facts"]["dtype"] == dtype
    assert data["facts"]["lowest"] == np.finfo(dtype).min
    for name, array in data["arrays"].items():
        got, host = unpacked(array), model.backend.to_numpy(want[name])
        assert got.dtype == ("float64" if dtype == "float64" else "float32")
        assert (got == host).all(), name


def test_every_step_is_described() -> None:
    data = data_of(Stepper(demo(), TEXT, layer=2).html)
    for step in data["steps"]:
        for key in ("name", "what", "equation", "axes"):
            assert step[key], key
        assert set(step["where"]) | set(re.findall(r"\b(?:erf|var|mean|max|sum)\b", step["equation"])) & set(
            EQUATION_FUNCTIONS
        ) <= {symbol["symbol"] for symbol in step["symbols"]}
        for source in step["where"].values():
            assert source in data["arrays"] or source in data["parameters"], source
        listing = step["code"][0]
        marked = listing["text"].splitlines()[listing["mark"] - listing["first"]]
        own = step["name"].rpartition(".")[2]
        assert f'"{"" if own.isdigit() else own}"' in marked
        for listing in step["code"]:
            file = Path(sys.modules["minibiogpt"].__file__ or "").parent / listing["location"].split(":")[0][11:]
            lines = file.read_text(encoding="utf-8").splitlines()[listing["first"] - 1 :]
            shown = listing["text"].splitlines()
            assert [line.strip() for line in shown] == [line.strip() for line in lines[: len(shown)]]


def test_the_kinds_are_those_of_the_steps() -> None:
    config = BioGptConfig()
    assert {kind_of(step) for step in steps(config) if step.name != "position_ids"} == set(KINDS.values())
    scripts = (STATIC / "stepper/origins.js").read_text(encoding="utf-8")
    assert set(re.findall(r"^  (\w+)\(source, step, ", scripts, re.M)) == set(KINDS.values())


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_markup(text: str) -> None:
    model, tokenizer = demo(), BioGptTokenizer.from_pretrained("demo")
    plain = Parts(Stepper(model, "pain").html)
    for page in (Stepper(model, text).page, Page(text, "", {"text": text})):
        parts = Parts(page.html)
        assert parts.tags.count("script") == (2 if page.module else 1)
        assert "img" not in parts.tags
        assert page.html.encode("utf-8").decode("utf-8") == page.html
    assert Parts(Stepper(model, text).html).tags == plain.tags
    assert data_of(Page("x", "", {"text": text}).html)["text"] == text
    assert Sampler(np.zeros(len(tokenizer)), tokenizer, text=text).html.count("<script") == 2


@given(st.text(), st.text(alphabet="<>/!-script&'\"\u2028\ud800"))
def test_data_comes_out_as_it_went_in(text: str, hostile: str) -> None:
    page = Page(text, "", {hostile: [text, hostile]})
    assert data_of(page.html) == {hostile: [text, hostile]}
    assert Parts(page.html).tags.count("script") == 1


@given(st.lists(st.floats(width=32), min_size=1, max_size=9), st.sampled_from(["float16", "float32", "float64"]))
def test_numbers_come_out_as_they_went_in(numbers: list[float], dtype: str) -> None:
    with np.errstate(over="ignore"):
        x = np.array(numbers, dtype)
    got = unpacked(packed(x))
    assert got.tobytes() == x.astype(got.dtype).tobytes()


def test_a_page_refers_to_nothing_outside() -> None:
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    for page in (Stepper(demo(), TEXT).html, Sampler(np.zeros(len(tokenizer)), tokenizer).html):
        parts = Parts(page)
        assert {"link", "img", "iframe", "object", "embed", "base", "a"} & set(parts.tags) == set()
        assert {name for name, _ in parts.attributes} & {"src", "href", "srcset", "action", "data"} == set()
        policy = dict(parts.attributes)["content"] or ""
        contents = [value or "" for name, value in parts.attributes if name == "content"]
        assert any(value.startswith("default-src 'none'") for value in contents), policy
        urls = set(re.findall(r"https?://[^\s\"')]+", page))
        assert urls <= {"http://www.w3.org/2000/svg"}  # an XML namespace, never fetched
    for file in (path for path in STATIC.rglob("*") if path.is_file()):
        text = file.read_text(encoding="utf-8")
        assert not re.search("</script|<!--", text, re.I)  # they would end or hide the script that holds the text
        assert not re.search(r"@import|\burl\((?!#)|innerHTML|eval\(|import\(|XMLHttpRequest|fetch\(", text)
        assert len(text.splitlines()) < 330


def test_the_frame_holds_the_whole_page() -> None:
    stepper = Stepper(demo(), 'a "b" <c> &amp; é')
    (attributes,) = [dict(Parts(stepper._repr_html_()).attributes)]
    assert attributes["srcdoc"] == stepper.html
    assert attributes["sandbox"] == "allow-scripts allow-downloads"  # downloads: the exports of the explorer
    assert attributes["title"]
    assert html.escape(stepper.html) in stepper._repr_html_()


def test_where_a_notebook_takes_the_frame_out_a_picture_is_left() -> None:
    whole = Stepper(demo(), "a < b")._repr_html_()
    left = re.sub("</?iframe[^>]*>", "", whole)  # what JupyterLab keeps of an untrusted notebook
    assert "run this cell" in left
    assert "Attention probabilities after the softmax" in left
    assert "(layers.0.self_attn.probs, head 0.0). Rows and columns: &lt;/s&gt;, " in left
    (picture,) = re.findall('<img src="data:image/png;base64,([^"]+)"', left)
    assert len(left) < 9000
    x, pixels = Stepper(demo(), "a < b").trace["layers.0.self_attn.probs"][0, 0], decoded(base64.b64decode(picture))
    cell = pixels.shape[0] // len(x)
    seen = pixels[cell // 2 :: cell, cell // 2 :: cell]
    assert seen.shape == (*x.shape, 3)
    assert (seen[0, 1:] == seen[0, 1]).all(), "masked cells have one color"
    light = np.array([[luminance(tuple(color)) for color in row] for row in seen])
    later = np.triu(np.ones(x.shape, bool), 1)
    assert np.corrcoef(x[~later], light[~later])[0, 1] > 0.95, "bright is large"
    assert Sampler(np.log([0.5, 0.3, 0.2]), None).still == (
        "<p>The most probable next tokens: id 0 50.0 %, id 1 30.0 %, id 2 20.0 %.</p>"
    )


@pytest.mark.parametrize(("shape", "size"), [((3, 3), (54, 54)), ((2, 128), (20, 512)), ((256, 256), (768, 768))])
def test_a_picture_has_the_colors_of_its_numbers(shape: tuple[int, int], size: tuple[int, int]) -> None:
    x = np.linspace(-1, 1, shape[0] * shape[1]).reshape(shape)
    x[0, 1], hidden = np.nan, np.zeros(shape, bool)
    hidden[1, 0] = True
    pixels = decoded(heat_map_png(x, hidden))
    assert pixels.shape[:2] == size
    tall, wide = size[0] // shape[0], size[1] // shape[1]
    cells = pixels[tall // 2 :: tall, wide // 2 :: wide]
    for cell, color in (((0, 0), PALETTES["signed"][0]), ((-1, -1), PALETTES["signed"][-1]), ((0, 1), "#000000")):
        assert [int(color[i : i + 2], 16) for i in (1, 3, 5)] == cells[cell].tolist()
    assert cells[1, 0].tolist() == list(HIDDEN)
    x[0, 0] = 50  # an outlier
    clipped = decoded(heat_map_png(x, hidden))[tall // 2 :: tall, wide // 2 :: wide]
    if x.size > 200:
        assert abs(clipped[-1, -1] - cells[-1, -1]).max() < 40, "it does not wash out the others"


def test_saved_as_it_is(tmp_path: Path) -> None:
    stepper = Stepper(demo(), TEXT)
    assert stepper.save(tmp_path / "deep" / "page.html") == tmp_path / "deep" / "page.html"
    assert (tmp_path / "deep" / "page.html").read_text(encoding="utf-8") == stepper.html
    with pytest.raises(InputError, match="must be a file, or new"):
        stepper.save(tmp_path)
    for name, message in {
        "page.png": "must end in .html; found '.png'; write .*page.html$",
        "p.PDF": "found '.PDF'; write ",
    }.items():
        with pytest.raises(InputError, match=message):
            stepper.save(tmp_path / name)
    with pytest.raises(InputError, match="the file of a page must be a path; found None"):
        stepper.save(None)  # type: ignore[arg-type]


def test_the_model_runs_once_and_only_this_layer_is_kept() -> None:
    stepper = Stepper(demo(), TEXT, layer=3)
    assert all(
        name.startswith(("layers.3", "layers.2.attn_residual", "layers.2.fc2")) or name == "layers.2"
        for name in stepper.trace
    )
    assert isinstance(stepper.trace, Trace)


def test_the_tokenizer_is_that_of_the_models_folder(tmp_path: Path) -> None:
    model, tokenizer = demo(), BioGptTokenizer.from_pretrained("demo")
    ids = tokenizer(TEXT)["input_ids"]
    want = data_of(Stepper(model, TEXT, tokenizer=tokenizer).html)
    assert data_of(Stepper(model, TEXT).html) == want
    assert data_of(Stepper(model, ids).html) == want
    assert data_of(Stepper(model, ids[0].tolist()).html) == want
    assert data_of(Stepper(model, ids.tolist()).html) == want
    assert want["tokens"][0]["label"] == "</s>"
    assert [token["id"] for token in want["tokens"]] == ids[0].tolist()
    model.save_pretrained(tmp_path)
    bare = BioGptForCausalLM.from_pretrained(tmp_path)
    assert data_of(Stepper(bare, ids).html)["tokens"][1]["label"] == f"id {ids[0, 1]}"
    with pytest.raises(InputError, match=r"a tokenizer needs vocab\.json"):
        Stepper(bare, TEXT)
    with pytest.raises(InputError, match="found a model that was not loaded from a folder; pass tokenizer="):
        Stepper(small.model(), TEXT)
    assert data_of(Stepper(BioGptModel.from_pretrained("demo"), TEXT).html)["arrays"] == want["arrays"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 4}, "layer must be an integer from 0 to 3; found 4"),
        ({"layer": -1}, "from 0 to 3; found -1"),
        ({"layer": 1.0}, "found 1.0"),
        ({"layer": True}, "found True"),
        ({"theme": "blue"}, "theme must be one of auto, light, dark; found 'blue'"),
        ({"text": [[2, 5], [2, 6]]}, "the ids of one sequence; found 2 rows"),
        ({"text": np.zeros((2, 3), int)}, r"found shape \(2, 3\)"),
        ({"text": None}, "found NoneType"),
        ({"text": []}, "found list"),
        ({"text": [2, 99999]}, "input_ids must lie in"),
        ({"text": ["pain", "relief"]}, "input_ids must be integers"),
        ({"text": [[[2, 5]]]}, "input_ids must be integers of shape"),
        ({"text": [None]}, "input_ids must be integers"),
        ({"model": "demo"}, "model must be a BioGPT model; found str"),
        ({"tokenizer": "demo"}, "tokenizer must be a BioGptTokenizer or None; found str"),
        ({"start": "probz"}, "start must be a step of this layer; found 'probz'; nearest: self_attn.probs"),
        ({"start": "xyz"}, "found 'xyz'; choose one of input, self_attn_layer_norm, self_attn.q_proj, "),
        ({"start": 3}, "start must be the name of a step; found 3"),
        ({"max_megabytes": "30"}, "max_megabytes must be a number above 0; found '30'"),
        ({"max_megabytes": float("nan")}, "max_megabytes must be a number above 0; found nan"),
        ({"text": "pain " * 300}, "at most N = 256 real positions"),
        ({"max_megabytes": 0.5}, "at most 0.5 megabytes; found 1.1 for 3 tokens; pass a shorter text"),
    ],
)
def test_nonsense_is_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Stepper(**{"model": demo(), "text": [2, 5, 9], **options})
    assert "\n" not in str(error.value)


def test_the_largest_text_of_the_demo_fits() -> None:
    stepper = Stepper(demo(), [2] * 256)
    assert len(stepper.html) < 30e6


def test_what_is_too_large_for_a_page_is_reported() -> None:
    wide = BioGptConfig(
        vocab_size=50, hidden_size=640, num_hidden_layers=1, num_attention_heads=10, intermediate_size=2560
    )
    data = data_of(Stepper(BioGptForCausalLM.from_config(wide), list(range(3, 33))).html)
    assert "(20 MB) are too large for the page" in data["left_out"]
    assert all(len(one["shape"]) == 1 for one in data["parameters"].values())
    assert len(data["parameters"]) == 10
    assert data_of(Stepper(demo(), [2]).html)["left_out"] == ""


def test_masks_are_in_the_data() -> None:
    model, mask = small.model(), small.left_mask(rows=1)
    data = data_of(
        Stepper(model, small.ids(rows=1), attention_mask=mask, head_mask=[[1, 1, 1], [1, 0.5, 0]], layer=1).html
    )
    assert data["padding"] == [True, True, False, False, False]
    assert unpacked(data["headMask"]).tolist() == [1, 0.5, 0]
    scores = unpacked(data["arrays"]["layers.1.self_attn.scores_masked"])
    assert (scores[0, :, 2:, :2] == data["facts"]["lowest"]).all()


def test_a_head_mask_may_hold_any_numbers() -> None:
    data = data_of(Stepper(small.model(), small.ids(rows=1), head_mask=[math.inf, 0.5, -1]).html)
    assert unpacked(data["headMask"]).tolist() == [math.inf, 0.5, -1]


@pytest.mark.parametrize("name", PALETTES)
def test_colours_can_be_distinguished_by_lightness_alone(name: str) -> None:
    light = [luminance(tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))) for color in PALETTES[name]]
    rises = np.diff(light) > 0
    if name == "sequential":
        assert rises.all()
    else:
        middle = len(light) // 2
        assert len(light) % 2 == 1
        assert (rises[:middle] != rises[middle:][::-1]).all()
        assert len(set(rises[:middle].tolist())) == 1
        assert abs(np.array(light) - light[::-1]).max() < 0.2  # both signs are as strong


def test_the_page_needs_no_matplotlib_and_no_widgets() -> None:
    code = "import sys, minibiogpt.view; print(*{'matplotlib', 'ipywidgets', 'IPython'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_controls_rebuild_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    stepper = Stepper(demo(), TEXT)
    box = stepper.controls()
    text, layer, frame = box.children
    assert frame.value == stepper._repr_html_()
    layer.value = 2
    assert frame.value == Stepper(demo(), TEXT, layer=2)._repr_html_()
    text.value = "A lack of insulin causes diabetes."
    assert frame.value == Stepper(demo(), "A lack of insulin causes diabetes.", layer=2)._repr_html_()
    text.value = "<b> " * 400
    assert frame.value.startswith("<p>a sequence must have at most N = 256")
    text.value = TEXT
    layer.value = 0
    assert frame.value == stepper._repr_html_()
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(InputError, match=r"pip install 'minibiogpt\[notebooks\]'"):
        stepper.controls()
