// Attention, its colors: scales as tables of colors, and matrices as images of one pixel per cell.

import { css, data, el, isDark, rough } from "../../base.js";
import { rampOf } from "../../heatmap.js";

const SHADE_COUNT = 256;

function rgbOf(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

const wordOf = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0; // a pixel of ImageData, little-endian

/**
 * A scale of colors: { color(x): "rgb(...)", ink(x): a readable color on it, words, index(x), nan }, and ramp and ends for legendOf.
 * limit: the scale runs from -limit to limit; null: it is for probabilities, 0 to 1. more: whether larger numbers exist.
 */
export function shadeScale(limit = null, more = false) {
  const ramp = rampOf(limit === null ? data.colors.sequential : isDark() ? data.colors.signedDark : data.colors.signed);
  const shades = Array.from({ length: SHADE_COUNT }, (_, i) => ramp(i / (SHADE_COUNT - 1)).map(Math.round));
  const place = limit === null ? (x) => x : (x) => 0.5 + x / limit / 2;
  const index = (x) => Math.max(0, Math.min(SHADE_COUNT - 1, Math.round(place(x) * (SHADE_COUNT - 1))));
  const words = Uint32Array.from(shades, wordOf), nan = rgbOf(css("--ink")), rgb = (x) => (Number.isNaN(x) ? nan : shades[index(x)]);
  const text = rough(limit ?? 1, 3), [below, above] = more ? [" and below", " and above"] : ["", ""];
  const ends = limit === null ? ["0", "", `1${above}`] : [`-${text}${below}`, "0", `${text}${above}`];
  return { words, index, nan: wordOf(nan), color: (x) => `rgb(${rgb(x)})`, ink: (x) => readableOn(rgb(x)), ramp, ends };
}

/** Black or white, whichever has the better contrast on a color. */
function readableOn(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** The limit of a symmetric scale: 99 % of at most 20000 visible numbers, evenly picked, are within it. */
export function symmetricLimit(lists) {
  const total = lists.reduce((sum, { numbers }) => sum + numbers.length, 0), step = Math.max(1, Math.floor(total / 20000)), sizes = [];
  for (const { numbers, hidden } of lists) {
    for (let i = 0; i < numbers.length; i += step) if (!hidden[i] && Number.isFinite(numbers[i])) sizes.push(Math.abs(numbers[i]));
  }
  sizes.sort((a, b) => a - b);
  return sizes[Math.ceil(0.99 * sizes.length) - 1] || 1;
}

/**
 * A canvas with one pixel per cell of a square matrix of size T that starts at `start`; hidden cells are transparent.
 * every: then one pixel for every x every cells, with the number farthest from 0.
 */
export function cellImage(numbers, hidden, start, T, scale, every = 1) {
  const size = Math.ceil(T / every), canvas = el("canvas", { width: size, height: size });
  const context = canvas.getContext("2d"), image = context.createImageData(size, size);
  const pixels = new Uint32Array(image.data.buffer), { words, index, nan } = scale;
  const farthest = every > 1 ? new Float64Array(size * size) : null;
  for (let t = 0, at = start; t < T; t++) {
    const line = Math.floor(t / every) * size;
    for (let s = 0; s < T; s++, at++) {
      if (hidden[at]) continue;
      const x = numbers[at], to = every > 1 ? line + Math.floor(s / every) : line + s;
      if (farthest && pixels[to] && !(Math.abs(x) > farthest[to])) continue;
      if (farthest) farthest[to] = Math.abs(x);
      pixels[to] = x === x ? words[index(x)] : nan;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** A pattern for masked cells: diagonal lines on --hidden. */
export function hatching(context, ratio) {
  const tile = el("canvas", { width: Math.round(6 * ratio), height: Math.round(6 * ratio) }), brush = tile.getContext("2d");
  brush.fillStyle = css("--hidden");
  brush.fillRect(0, 0, tile.width, tile.height);
  brush.scale(tile.width / 6, tile.height / 6);
  brush.strokeStyle = css("--hatch");
  brush.beginPath();
  for (const shift of [-6, 0, 6]) {
    brush.moveTo(shift - 1, 7);
    brush.lineTo(shift + 7, -1);
  }
  brush.stroke();
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix([6 / tile.width, 0, 0, 6 / tile.height, 0, 0]));
  return pattern;
}

/** Give a canvas width x height CSS pixels at the screen's resolution; returns its context, scaled to CSS pixels, and the ratio. */
export function sizedCanvas(canvas, width, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 8000 / Math.max(width, height));
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.imageSmoothingEnabled = false;
  return { context, ratio };
}
