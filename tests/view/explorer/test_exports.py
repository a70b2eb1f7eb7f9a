"""Files saved from the page: read in Python, and equal to the page's arrays, bit for bit."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from minibiogpt import Trace
from minibiogpt.view import Explorer
from tests.budgets import lane_b
from tests.compare import compare_traces
from tests.support.demo import tokenizer
from tests.support.explored import address, arrays_of, change, explored
from tests.view.test_pages import TEXT, demo

SVG = "{http://www.w3.org/2000/svg}"
HEAD = {"kind": "head", "layer": 1, "head": 0, "scale": 0.5}
OTHER = "Warfarin is best used for"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Explorer(demo(), TEXT).save(tmp_path_factory.mktemp("view") / "page.html")


def saved(page: Any, act: Any) -> tuple[str, bytes]:
    """What is downloaded when a function is called: the name of the file and its bytes."""
    with page.expect_download() as found:
        act()
    return found.value.suggested_filename, Path(found.value.path()).read_bytes()


def menu(page: Any, name: str) -> tuple[str, bytes]:
    page.locator(".save-menu summary").click()
    got = saved(page, lambda: page.get_by_role("button", name=name, exact=True).click())
    page.keyboard.press("Escape")
    return got


@pytest.mark.parametrize("changes", [[], [HEAD, {"kind": "trap", "key": "activation", "value": "gelu_new"}]])
def test_the_run_is_a_trace_file(browser: Any, file: Path, tmp_path: Path, changes: list[dict[str, Any]]) -> None:
    with explored(browser, file, hash=address({"changes": changes})) as page:
        name, content = menu(page, "this run, as a trace file")
        assert name == ("trace-changed.safetensors" if changes else "trace.safetensors")
        arrays = arrays_of(page)
        page.locator(".save-menu summary").click()
        assert page.get_by_role("button", name="the untouched run, as a trace file").is_visible() is bool(changes)
    (tmp_path / name).write_bytes(content)
    trace = Trace.load(tmp_path / name)
    assert list(trace) == list(arrays)
    for key, array in arrays.items():
        assert (trace[key].dtype, trace[key].shape) == (array.dtype, array.shape), key
        assert trace[key].tobytes() == array.tobytes(), key
    want = Trace()
    model, options = demo(), {}
    if changes:
        options["head_mask"] = np.float32([[1, 1, 1, 1], [0.5, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
        model = type(model).from_pretrained("demo", hidden_act="gelu_new")
    model(tokenizer()(TEXT)["input_ids"], trace=want, **options)
    compare_traces(trace, want, lambda key: lane_b("demo", key))
    assert list(trace) == list(want)
    assert (trace.letters, trace.head, trace.inputs) == (want.letters, want.head, want.inputs)
    assert trace.config == demo().config
    trace.explain("layers.1.self_attn.weights")


def test_the_untouched_run_can_be_saved_beside_the_changed_one(browser: Any, file: Path, tmp_path: Path) -> None:
    with explored(browser, file, hash=address({"changes": [HEAD]})) as page:
        name, content = menu(page, "the untouched run, as a trace file")
        want = arrays_of(page, "baseline")
    (tmp_path / name).write_bytes(content)
    assert Trace.load(tmp_path / name)["logits"].tobytes() == want["logits"].tobytes()


def test_a_recorded_run_is_a_trace_file_too(browser: Any, tmp_path: Path) -> None:
    explorer = Explorer(demo(), TEXT, live=False)
    with explored(browser, explorer.save(tmp_path / "page.html")) as page:
        name, content = menu(page, "this run, as a trace file")
    (tmp_path / name).write_bytes(content)
    trace = Trace.load(tmp_path / name)
    assert list(trace) == list(explorer.trace)
    for key, array in explorer.trace.items():
        assert trace[key].tobytes() == array.tobytes(), key


def test_arrays_as_npy_and_csv(browser: Any, file: Path) -> None:
    state = {"view": "compare", "other": OTHER, "array": "layers.2.self_attn.scores_masked"}
    with explored(browser, file, hash=address(state)) as page:
        part = page.locator(".array-rows .exports")
        name, content = saved(page, lambda: part.get_by_text(".npy").click())
        assert name == "layers.2.self_attn.scores_masked-positions-8-and-5-and-their-difference.npz" or name.endswith(
            ".npz"
        )
        mine, other = (
            arrays_of(page)["layers.2.self_attn.scores_masked"],
            page.evaluate("Array.from(comparison.shown.b.array('layers.2.self_attn.scores_masked').numbers)"),
        )
        with np.load(io.BytesIO(content)) as both:
            a, b = (both[f"layers.2.self_attn.scores_masked-{x}"] for x in "ab")
        assert a.dtype == mine.dtype
        assert a.tobytes() == mine.tobytes()
        assert b.ravel().tolist() == other
        assert b.shape == (1, 4, 6, 6)
        _, content = saved(page, lambda: part.get_by_text("CSV").click())
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            rows = list(csv.reader(archive.read("layers.2.self_attn.scores_masked-a.csv").decode().splitlines()))
        assert rows[0] == ["axis0", "axis1", "axis2", "axis3", "value"]
        assert len(rows) == 1 + mine.size
        for *index, value in rows[1:]:
            assert np.float32(value) == mine[tuple(map(int, index))]


ODD = """() => {
  const one = (shape, dtype, numbers) => Array.from(npyOf({ shape, dtype, numbers }));
  return [
    one([2, 3], "float32", Float32Array.from([NaN, Infinity, -Infinity, -0, 1e-45, 0.1])),
    one([3], "float64", Float64Array.from([0.1, 5e-324, -0])),
    one([], "float64", Float64Array.from([7])),
    one([1, 2], "int64", Float64Array.from([-1, 2 ** 40])),
    one([2], "bool", Uint8Array.from([1, 0])),
    one([0, 4], "float32", new Float32Array(0)),
  ];
}"""


def test_npy_of_every_dtype_and_shape(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        files = [bytes(one) for one in page.evaluate(ODD)]
        lines = page.evaluate(
            "csvOf({ shape: [4], dtype: 'float32', numbers: Float32Array.from([NaN, -Infinity, 0.1, -0]) })"
        )
    want = [
        np.float32([[np.nan, np.inf, -np.inf], [-0.0, 1e-45, 0.1]]),
        np.array([0.1, 5e-324, -0.0]),
        np.array(7.0),
        np.array([[-1, 2**40]]),
        np.array([True, False]),
        np.zeros((0, 4), "float32"),
    ]
    for content, array in zip(files, want, strict=True):
        got = np.load(io.BytesIO(content), allow_pickle=False)
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        assert got.tobytes() == array.tobytes()
        assert content.index(b"\n") % 64 == 63  # the data begin at a multiple of 64
    assert lines == "axis0,value\n0,NaN\n1,-inf\n2,0.1\n3,0\n"


def png_size(content: bytes) -> tuple[int, int]:
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_as_svg_and_png(browser: Any, file: Path, theme: Any, tmp_path: Path) -> None:
    state = {"view": "experiments", "changes": [HEAD]}
    with explored(browser, file, hash=address(state), color_scheme=theme, device_scale_factor=1) as page:
        figure = page.locator(".results figure").first
        box = figure.locator("svg").bounding_box()
        name, content = saved(page, lambda: figure.get_by_text("SVG").click())
        _, png = saved(page, lambda: figure.get_by_text("PNG").click())
        paper = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")
        ink = page.evaluate("getComputedStyle(document.querySelector('.drawing text.name')).fill")
    assert name == "Next-token-after-for-before-and-after.svg"
    tree = ElementTree.fromstring(content)
    assert (float(tree.attrib["width"]), float(tree.attrib["height"])) == (box["width"], box["height"])
    assert tree.find(f"{SVG}title").text == "Next token after “for”, before and after"
    assert tree.find(f"{SVG}rect").attrib["fill"] == paper
    texts = [node.text for node in tree.iter(f"{SVG}text")]
    assert {"untouched", "changed", "pain"} <= set(texts)
    assert any(node.attrib["fill"] == ink for node in tree.iter(f"{SVG}text"))
    assert b"var(" not in content
    assert b"class=" not in content
    assert png_size(png) == (2 * box["width"], 2 * box["height"])
    # The file alone, drawn by the browser, is the exported PNG.
    with explored(browser, file) as page:
        drawn = [[kind, base64.b64encode(each).decode()] for kind, each in [("svg+xml", content), ("png", png)]]
        size, differing, painted = page.evaluate(DRAWN, drawn)
    assert size == [box["width"], box["height"]]
    assert differing == 0
    assert painted > 0.01


DRAWN = """async (files) => { // an SVG's size, and the shares of pixels: not as in the PNG; not paper
  const images = await Promise.all(files.map(async ([kind, bytes]) => {
    const image = new Image();
    image.src = `data:image/${kind};base64,${bytes}`;
    await image.decode();
    return image;
  }));
  const [svg, { width, height }] = images;
  const [one, other] = images.map((image) => {
    const context = el("canvas", { width, height }).getContext("2d");
    context.drawImage(image, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  });
  const share = (differs) => {
    let count = 0;
    for (let i = 0; i < one.length; i += 4) if ([0, 1, 2].some((c) => differs(i + c, c))) count++;
    return (4 * count) / one.length;
  };
  const far = (x, y) => Math.abs(x - y) > 24;
  return [[svg.width, svg.height], share((i) => far(one[i], other[i])), share((i, c) => far(one[i], one[c]))];
}"""


def test_hostile_texts_in_files(browser: Any, file: Path) -> None:
    text = "<b>&\"' \x00\x07 \ud83d \u202e ألم 🩺 </svg>"
    with explored(browser, file, hash="view=compare") as page:
        change(page, text=text, other="]]> <script>")
        figure = page.locator(".comparison figure").first
        _, content = saved(page, lambda: figure.get_by_text("SVG").click())
        ElementTree.fromstring(content)
        _, content = menu(page, "this run, as a trace file")
        length = int.from_bytes(content[:8], "little")
        assert json.loads(content[8 : 8 + length])["__metadata__"]["format"] == "minibiogpt-trace"
        _, content = saved(page, lambda: page.locator(".array-rows").get_by_text("PNG").click())
        assert png_size(content)[0] > 100


def test_everything_of_a_view_at_once(browser: Any, file: Path) -> None:
    with explored(browser, file, hash=address({"view": "compare", "other": OTHER})) as page:
        for name, ending, count in [
            ("all pictures here, as SVG", ".svg", 3),
            ("all pictures here, as PNG", ".png", 3),
            ("all arrays here, for NumPy", ".npy", 5),
            ("all arrays here, as CSV", ".csv", 5),
        ]:
            archive, content = menu(page, name)
            assert archive == ("compare.npz" if ending == ".npy" else "compare.zip")
            with zipfile.ZipFile(io.BytesIO(content)) as files:
                assert files.testzip() is None
                names = files.namelist()
            assert len(names) == len(set(names)) == count
            assert all(each.endswith(ending) for each in names)


def test_the_menu_by_keyboard(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        page.locator(".save-menu summary").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "this run, as a trace file"
        saved(page, lambda: page.keyboard.press("Enter"))
        assert page.evaluate("app.state.view") == "model"
        status = page.locator(".save-menu [role=status]", has_text="saved trace.safetensors: 82 arrays")
        status.wait_for()
        # A browser sends this event some time after the menu has opened. On a busy machine a key may come before it.
        page.evaluate("document.querySelector('.save-menu').dispatchEvent(new Event('toggle'))")
        assert status.is_visible()
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.textContent") == "save"
        assert not page.locator(".save-list").is_visible()
        page.locator(".save-menu [role=status]:empty").wait_for(state="attached")


def test_files_can_be_saved_from_a_frame(browser: Any, tmp_path: Path) -> None:
    """In a notebook the page is in a sandboxed frame without an address of its own."""
    holder = tmp_path / "notebook.html"
    holder.write_text("<!doctype html><meta charset=utf-8>" + Explorer(demo(), TEXT)._repr_html_(), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1400, "height": 1100}, offline=True)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(holder.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator(".save-menu summary").click()
    name, content = saved(page, lambda: frame.get_by_role("button", name="this run, as a trace file").click())
    (tmp_path / name).write_bytes(content)
    assert len(Trace.load(tmp_path / name)) == 82
    frame.locator("#tab-experiments").click()
    _, content = saved(page, lambda: frame.locator(".results figure").first.get_by_text("PNG").click())
    assert png_size(content)[0] > 100
    context.close()
    assert problems == []


def test_the_layer_is_saved_by_its_buttons_and_by_the_menu(browser: Any, file: Path) -> None:
    with explored(browser, file, hash=address({"view": "layer", "layer": 1})) as page:
        name, svg = saved(page, lambda: page.get_by_role("button", name="save the picture as SVG").click())
        for item, ending in [
            ("all pictures here, as SVG", ".svg"),
            ("all pictures here, as PNG", ".png"),
            ("all arrays here, for NumPy", ".npy"),
            ("all arrays here, as CSV", ".csv"),
        ]:
            assert menu(page, item)[0] in (f"layers.1.self_attn.probs{ending}", "layer.zip", "layer.npz")
    texts = [node.text for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert name == "layers.1.self_attn.probs.svg"
    assert {"</s>", "upro·", "used"} <= {str(text).strip("\u2068\u2069") for text in texts}


def test_a_text_that_is_broken_into_lines_is_so_in_the_picture(browser: Any, file: Path) -> None:
    with explored(browser, file) as page:
        lines = page.evaluate(
            """async () => {
              const box = el("div", { style: "width:120px;font:16px/20px monospace" }, "one two three four five ",
                el("b", {}, "0.5"), " averyveryverylongwordthatisbroken");
              box.style.overflowWrap = "anywhere";
              document.body.append(box);
              const svg = new DOMParser().parseFromString(await svgText(box), "image/svg+xml"), tall = box.clientHeight;
              const texts = [...svg.querySelectorAll("text")];
              return [tall, texts.map((each) => [Number(each.getAttribute("y")), each.textContent])];
            }"""
        )
    tall, texts = lines
    assert " ".join(text for _, text in texts).replace(" ", "") == (
        "onetwothreefourfive0.5averyveryverylongwordthatisbroken"
    )
    assert len({round(y) for y, _ in texts}) == round(tall / 20) > 3
    assert max(len(text) for _, text in texts) <= 13
    assert [text for _, text in texts][:2] == ["one two", "three four"]
