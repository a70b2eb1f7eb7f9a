"""The explorer's page in a browser: opened at a state of its address, and its arrays as NumPy arrays."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from tests.support.browser import opened

SCREENS = [(360, 740, "light"), (1400, 900, "dark"), (2560, 1440, "light")]
"""Width, height and theme: no layout depends on the theme, so each size has one of them."""
ARRAYS = """(which) => app[which].names.map((name) => {
  const { shape, dtype, numbers } = app[which].array(name);
  const bytes = new Uint8Array(Float64Array.from(numbers).buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return [name, shape, dtype, btoa(text)];
})"""


def address(state: dict[str, Any]) -> str:
    """Return the hash of a state, as the page writes it."""
    return "&".join(f"{key}={quote(x if isinstance(x, str) else json.dumps(x))}" for key, x in state.items())


@contextmanager
def explored(browser: Any, file: Path, *, hash: str = "", **options: Any) -> Iterator[Any]:
    """Context manager for the page in a file, ready, at the state of a hash. See ``tests.support.browser.opened``."""
    with opened(browser, file, **options) as page:
        page.wait_for_selector("html[data-ready]")
        if hash:
            page.evaluate("(hash) => { location.hash = hash; }", hash)
            settle(page)
        yield page


def settle(page: Any) -> None:
    """Wait until the page has drawn its state."""
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
    )


def change(page: Any, **state: Any) -> None:
    """Change the state of the page, and wait until it is drawn."""
    page.evaluate("(state) => app.set(state)", state)
    settle(page)


def arrays_of(page: Any, which: str = "run") -> dict[str, np.ndarray]:
    """Return every array of a run of the page: run, baseline or experiment."""
    return {
        name: np.frombuffer(base64.b64decode(text), "<f8").astype(dtype).reshape(shape)
        for name, shape, dtype, text in page.evaluate(ARRAYS, which)
    }
