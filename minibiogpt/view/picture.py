"""Picture: a matrix as a small PNG, for where a page cannot be shown, such as an untrusted notebook. No matplotlib."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from minibiogpt.view.colors import DIVERGING, SEQUENTIAL

LARGEST, SMALLEST, WIDTH = 18, 3, 520  # pixels of a cell, at most and at least, and of the picture
HIDDEN, LINE = (222, 225, 230), (255, 255, 255)


def heat_map_png(x: np.ndarray, hidden: np.ndarray | None = None, *, probabilities: bool = False) -> bytes:
    """Return a matrix as a PNG, a square of equal color for each number, the first row on top.

    Parameters
    ----------
    x : (M, M'), numbers; NaN is black. hidden : bool, same shape: gray cells.
    probabilities : the colors go from 0 to 1; otherwise they are symmetric about 0, and clipped where a few outliers
        would make all other colors pale.

    Examples
    --------
    >>> heat_map_png(np.eye(2))[:8]
    b'\\x89PNG\\r\\n\\x1a\\n'
    """
    x = np.asarray(x, np.float64)
    hidden = np.zeros(x.shape, bool) if hidden is None else hidden
    seen = np.abs(x[~hidden & np.isfinite(x)])
    if probabilities:
        place, colors = x, SEQUENTIAL
    else:
        most, largest = (np.quantile(seen, 0.99), seen.max()) if seen.size else (1.0, 1.0)
        place, colors = 0.5 + x / (2 * ((most if 0 < most < largest / 2 else largest) or 1.0)), DIVERGING
    pixels = _colors(np.where(hidden, 0, place), colors)
    pixels[np.isnan(x)] = 0
    pixels[hidden] = HIDDEN
    cell = max(SMALLEST, min(LARGEST, WIDTH // x.shape[1]))
    height = cell if x.shape[0] == x.shape[1] else max(cell, min(10, WIDTH // x.shape[0]))
    return png(_enlarged(pixels, height, cell))


def png(pixels: np.ndarray) -> bytes:
    """Return RGB pixels, (height, width, 3) of uint8, as a PNG file."""
    rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (1, 0)))  # each row starts with its filter, 0: none

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    data = zlib.compress(rows.astype(np.uint8).tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def data_uri(file: bytes) -> str:
    """Return a PNG as the address of an image."""
    return f"data:image/png;base64,{base64.b64encode(file).decode('ascii')}"


def tiled(maps: list[list[np.ndarray]], gap: int = 6) -> np.ndarray:
    """Return attention probabilities (T, S), a list for each row of the picture, as RGB pixels of small heat maps."""
    cell = max(1, min(8, 110 // maps[0][0].shape[1]))
    rows = [[np.pad(_small(x, cell), ((0, gap), (0, gap), (0, 0)), constant_values=255) for x in row] for row in maps]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _small(x: np.ndarray, cell: int) -> np.ndarray:
    """Return the pixels of attention probabilities; keys after their query are gray."""
    pixels = _colors(x, SEQUENTIAL)
    pixels[np.triu(np.ones(x.shape, bool), 1 + x.shape[1] - x.shape[0]) & (x == 0)] = HIDDEN
    return pixels.repeat(cell, axis=0).repeat(cell, axis=1)


def _colors(place: np.ndarray, anchors: list[str]) -> np.ndarray:
    """Return the colors of numbers from 0 to 1, between evenly spaced anchors, as uint8."""
    rgb = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in anchors])
    at = np.linspace(0, 1, len(rgb))
    channels = [np.interp(np.nan_to_num(place), at, channel) for channel in rgb.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _enlarged(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return each pixel as a rectangle, with a line between large ones."""
    large = pixels.repeat(height, axis=0).repeat(width, axis=1)
    if min(height, width) >= 8:
        large[height - 1 :: height] = LINE
        large[:, width - 1 :: width] = LINE
    return large
