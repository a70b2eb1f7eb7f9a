// Attention, its colors: the limit of a scale for all heads, and matrices as images of one pixel per cell.

import { quantileOf } from "../../arrays.js";
import { el } from "../../base.js";

/** The limit of a symmetric scale: 99 % of at most 20000 visible numbers, evenly picked, are within it. */
export function symmetricLimit(lists) {
  const total = lists.reduce((sum, { numbers }) => sum + numbers.length, 0), step = Math.max(1, Math.floor(total / 20000)), sizes = [];
  for (const { numbers, hidden } of lists) {
    for (let i = 0; i < numbers.length; i += step) if (!hidden[i] && Number.isFinite(numbers[i])) sizes.push(Math.abs(numbers[i]));
  }
  sizes.sort((a, b) => a - b);
  return quantileOf(sizes, 0.99) || 1;
}

/**
 * A canvas with one pixel per cell of a square matrix of size T that starts at `start`; hidden cells are transparent.
 * every: then one pixel for every x every cells, with the number farthest from 0.
 */
export function cellImage(numbers, hidden, start, T, scale, every = 1) {
  const size = Math.ceil(T / every), canvas = el("canvas", { width: size, height: size });
  const context = canvas.getContext("2d"), image = context.createImageData(size, size);
  const pixels = new Uint32Array(image.data.buffer), { pixels: colors, index, nan } = scale;
  const farthest = every > 1 ? new Float64Array(size * size) : null;
  for (let t = 0, at = start; t < T; t++) {
    const line = Math.floor(t / every) * size;
    for (let s = 0; s < T; s++, at++) {
      if (hidden[at]) continue;
      const x = numbers[at], to = every > 1 ? line + Math.floor(s / every) : line + s;
      if (farthest && pixels[to] && !(Math.abs(x) > farthest[to])) continue;
      if (farthest) farthest[to] = Math.abs(x);
      pixels[to] = x === x ? colors[index(x)] : nan;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
