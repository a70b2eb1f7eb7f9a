// Shades: the palettes of the pages as functions, and color scales with a readable ink.

import { css, data, isDark, rough } from "./base.js";

/** The [r, g, b] of "#rrggbb". */
export const rgbOf = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** A function from [0, 1] to [r, g, b] that interpolates linearly between evenly spaced anchors. */
function rampOf(anchors) {
  const points = anchors.map(rgbOf);
  return (x) => {
    const position = Math.min(1, Math.max(0, x)) * (points.length - 1);
    const i = Math.min(points.length - 2, Math.floor(position));
    return points[i].map((from, c) => from + (points[i + 1][c] - from) * (position - i));
  };
}

/** The palette of numbers that are never negative: 0 to 1 from dark to light. */
export const positiveRamp = () => rampOf(data.colors.sequential);

/** The palette of numbers with both signs, for the theme of the page: 0.5 is the middle, for 0. */
export const signedRamp = () => rampOf(isDark() ? data.colors.signedDark : data.colors.signed);

const SHADE_COUNT = 256;

const pixelOf = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0; // of ImageData, little-endian

/**
 * A scale of colors: { color(x): "rgb(...)", ink(x): a readable color on it, pixels, index(x), nan }, and ramp and ends for legendOf.
 * limit: the scale runs from -limit to limit; null: it is for probabilities, 0 to 1. more: whether larger numbers exist.
 */
export function shadeScale(limit = null, more = false) {
  const ramp = limit === null ? positiveRamp() : signedRamp();
  const shades = Array.from({ length: SHADE_COUNT }, (_, i) => ramp(i / (SHADE_COUNT - 1)).map(Math.round));
  const place = limit === null ? (x) => x : (x) => 0.5 + x / limit / 2;
  const index = (x) => Math.max(0, Math.min(SHADE_COUNT - 1, Math.round(place(x) * (SHADE_COUNT - 1))));
  const pixels = Uint32Array.from(shades, pixelOf), nan = rgbOf(css("--ink")), rgb = (x) => (Number.isNaN(x) ? nan : shades[index(x)]);
  const text = rough(limit ?? 1, 3), [below, above] = more ? [" and below", " and above"] : ["", ""];
  const ends = limit === null ? ["0", "", `1${above}`] : [`-${text}${below}`, "0", `${text}${above}`];
  return { pixels, index, nan: pixelOf(nan), color: (x) => `rgb(${rgb(x)})`, ink: (x) => readableOn(rgb(x)), ramp, ends };
}

/** Black or white, whichever has the better contrast on a color. */
function readableOn(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}
