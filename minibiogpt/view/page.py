"""Page: one self-contained HTML document of a title, a body, data, styles and scripts, saved or shown in a frame.

It makes no network request: it contains everything it needs, and a content security policy blocks the rest. Arrays are
stored as base64 in their own precision; static/arrays.js decodes them. The static files can be used for other pages.
"""

from __future__ import annotations

import base64
import html
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.backend import Array, backend_of
from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.json_text import json_text
from minibiogpt.files.writing import write_atomically
from minibiogpt.view.modules import linked, plain, read

NO_PAGES = (
    ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf", ".ipynb", ".json", ".md", ".txt", ".docx", ".npz",
    ".safetensors",
)  # fmt: skip
THEMES = ("auto", "light", "dark")
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
MEGABYTE = 1_000_000
UNENCODABLE = re.compile("[\ud800-\udfff\0]")
SANDBOX = "allow-scripts allow-downloads"
NO_FRAME = "There is a page here, but its frame is blocked: run this cell, or trust the notebook."


@dataclass(frozen=True)
class Page:
    """The parts of one HTML document.

    Attributes
    ----------
    title : plain text. body : HTML; the caller escapes its text.
    data : what the scripts read, as JSON: any strings, numbers, lists, and packed arrays.
    scripts, styles : files in ``static``, in order; the scripts share one scope.
    module : a file in ``static`` that is run, with all that it imports.
    theme : "auto" (follow the system), "light" or "dark".

    Examples
    --------
    >>> page = Page("a < b", "<p>hello</p>", {"text": "</script>"})
    >>> "<title>a &lt; b</title>" in page.html, page.html.count("</script>")
    (True, 1)
    """

    title: str
    body: str
    data: Mapping[str, Any] = field(default_factory=dict)
    scripts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ("styles/page.css",)
    theme: str = "auto"
    module: str = ""

    def __post_init__(self) -> None:
        check_theme(self.theme)

    @property
    def html(self) -> str:
        """The whole document."""
        script = "\n".join([*map(plain, self.scripts), *([linked(self.module)] if self.module else [])])
        run = f'<script>"use strict";\n{script}</script>' if script else ""
        return (
            f'<!doctype html><html lang="en" data-theme="{self.theme}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            f'<meta name="referrer" content="no-referrer"><title>{safe(self.title)}</title>'
            f"<style>{''.join(read(name) for name in self.styles)}</style></head><body>{self.body}"
            f'<script type="application/json" id="data">{as_json(self.data)}</script>{run}</body></html>\n'
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the document to a temporary file and rename it; return its path.

        Raises
        ------
        InputError
            If the file cannot be written, or its name is that of a picture or document.
        """
        file = page_file(path)
        write_atomically(file, lambda temporary: temporary.write_text(self.html, encoding="utf-8"))
        return file

    def iframe(self, height: int, still: str = "") -> str:
        """Return HTML for the document in a sandboxed frame ``height`` pixels high; its scripts cannot reach outside.

        Where frames are removed, as in an untrusted notebook, ``still`` and a text remain: HTML without frames and
        scripts. With the theme "auto", the frame follows the CSS property ``color-scheme`` of the page around it.
        """
        return (
            f'<iframe title="{safe(self.title)}" srcdoc="{html.escape(self.html)}" sandbox="{SANDBOX}" '
            f'allow="clipboard-write" style="width: 100%; height: {height}px; border: 1px solid #8886; '
            f'border-radius: 6px; resize: vertical; overflow: auto">{still}<p>{NO_FRAME}</p></iframe>'
        )


class OnePage(ABC):
    """Base class of objects that are saved as one page, or shown as one in a notebook."""

    height = 900  # pixels of the frame

    @property
    @abstractmethod
    def page(self) -> Page:
        """The page."""

    @property
    def html(self) -> str:
        """The whole document."""
        return self.page.html

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to one file and return its path."""
        return self.page.save(path)

    @property
    def still(self) -> str:
        """A picture of the page, as HTML, for where its frame is removed."""
        return ""

    def _repr_html_(self) -> str:
        return self.page.iframe(self.height, self.still)


def still_picture(uri: str, words: str) -> str:
    """Return an image with its description below, as HTML that survives the sanitizers of notebooks."""
    return f'<img src="{uri}" alt="{safe(words)}"><p>{safe(words)}</p>'


def page_file(path: Any, what: str = "the file of a page") -> Path:
    """Return the path of a page; a browser doesn't show HTML in a file that is called page.png or page.pdf."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise InputError(f"{what} must be a path", short_repr(path), 'write "page.html"')
    file = Path(path)
    if file.suffix.lower() in NO_PAGES:
        must = f"{what} must end in .html"
        raise InputError(must, short_repr(file.suffix), f"write {file.with_suffix('.html')}")
    return file


def check_theme(theme: Any) -> None:
    """Raise InputError unless ``theme`` is one of THEMES."""
    if not isinstance(theme, str) or theme not in THEMES:
        raise InputError(f"theme must be one of {', '.join(THEMES)}", short_repr(theme), "choose one of these")


def safe(text: object) -> str:
    """Escape text for HTML. NUL and lone surrogates, which UTF-8 cannot encode, become U+FFFD.

    Examples
    --------
    >>> safe("<b> & '")
    '&lt;b&gt; &amp; &#x27;'
    """
    return html.escape(UNENCODABLE.sub("\ufffd", str(text)))


def as_json(value: Any) -> str:
    """Return ASCII JSON that can neither close nor open an HTML element.

    Examples
    --------
    >>> as_json({"text": "</script> é"}) == '{"text":"\\\\u003c/script\\\\u003e \\\\u00e9"}'
    True
    """
    text = json_text(value, compact=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def packed(x: Array) -> dict[str, Any]:
    """Encode an array of any backend for arrays.js: shape, dtype, little-endian base64; 16-bit floats become float32.

    Examples
    --------
    >>> packed(np.ones((1, 2), "float16"))
    {'shape': [1, 2], 'dtype': 'float32', 'base64': 'AACAPwAAgD8='}
    """
    host = np.ascontiguousarray(_widened(backend_of(x).to_numpy(x)))
    raw = host.astype(host.dtype.newbyteorder("<"), copy=False).tobytes()
    return {"shape": list(x.shape), "dtype": host.dtype.name, "base64": base64.b64encode(raw).decode("ascii")}


def _widened(x: np.ndarray) -> np.ndarray:
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def megabytes_of(arrays: Iterable[Array]) -> float:
    """Return the size of packed arrays in megabytes."""
    return sum(x.size * max(4, x.dtype.itemsize) * 4 / 3 for x in arrays) / MEGABYTE


def check_size(megabytes: float, allowed: float, what: str) -> None:
    """Reject a page that would slow down a browser.

    Raises
    ------
    InputError
        If ``megabytes`` is above ``allowed``.
    """
    if not megabytes <= allowed:
        must = f"a page must have at most {allowed:g} megabytes"
        raise InputError(must, f"{megabytes:.1f} for {what}", "pass a shorter text, or a larger max_megabytes")
