// Arrays: decode the arrays that page.packed wrote, view them as matrices, and find the limits of their values.

/** Decode the output of page.packed (little-endian base64) to {shape, dtype, numbers}. */
export function unpack(packed) {
  const text = atob(packed.base64);
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const wide = packed.dtype === "float64";
  const numbers = new Float64Array(bytes.length / (wide ? 8 : 4));
  for (let i = 0; i < numbers.length; i++) numbers[i] = wide ? view.getFloat64(8 * i, true) : view.getFloat32(4 * i, true);
  return { shape: packed.shape, dtype: packed.dtype, numbers };
}

/** A function that decodes the array of a name in a table of packed arrays once; null if there is none. */
export function unpacker(table) {
  const decoded = new Map();
  return (name) => {
    if (!decoded.has(name)) decoded.set(name, name in table ? unpack(table[name]) : null);
    return decoded.get(name);
  };
}

/** The matrix {rows, columns, at, row} of an array (1, rows, columns), or of one head of (1, H, rows, columns). Rows are float64. */
export function matrixOf(array, head = 0) {
  const shape = array.shape;
  const [rows, columns] = shape.slice(-2);
  const start = shape.length === 4 ? head * rows * columns : 0;
  return {
    rows, columns,
    at: (i, j) => array.numbers[start + i * columns + j],
    row: (i) => Float64Array.from(array.numbers.subarray(start + i * columns, start + (i + 1) * columns)),
  };
}

const MASKED = -1e30; // a score up to this is masked, in every dtype except float16

/** Whether a score is masked; lowest: the lowest value of the dtype. */
export const isMasked = (x, lowest = -Infinity) => x <= MASKED || x === lowest;

const limitsFound = new WeakMap();

/** The result of computeLimits, cached for each array because it sorts. */
export function limitsOf(array, scores = array, lowest = -Infinity) {
  if (!limitsFound.has(array)) limitsFound.set(array, computeLimits(array, scores, lowest));
  return limitsFound.get(array);
}

/** Indices of the smallest and largest visible values, their absolute values in order, and the limit of a symmetric color scale. */
function computeLimits(array, scores, lowest = -Infinity) {
  const numbers = array.numbers, sizes = new Float64Array(numbers.length);
  let low = -1, high = -1, count = 0;
  for (let i = 0; i < numbers.length; i++) {
    if (isMasked(scores.numbers[i], lowest) || Number.isNaN(numbers[i])) continue;
    if (low < 0 || numbers[i] < numbers[low]) low = i;
    if (high < 0 || numbers[i] > numbers[high]) high = i;
    if (Number.isFinite(numbers[i])) sizes[count++] = Math.abs(numbers[i]);
  }
  const sorted = sizes.subarray(0, count).sort();
  const largest = sorted.at(-1) ?? 0, most = quantileOf(sorted, 0.99);
  // A few outliers would give all other values the color of 0, so the scale is clipped below them and the legend says so.
  const clipped = most > 0 && largest > 2 * most;
  return { low, high, sorted, limit: (clipped ? most : largest) || 1, clipped };
}

/** The smallest of the sorted numbers that at least this part of them does not exceed; 0 if there are none. */
export const quantileOf = (sorted, part) => sorted[Math.ceil(part * sorted.length) - 1] ?? 0;
