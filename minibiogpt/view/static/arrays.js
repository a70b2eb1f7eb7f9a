// Arrays: decode the arrays that page.packed wrote, by name, and view them as matrices.

const decoded = new Map();

/** Decode the output of page.packed (little-endian base64) to {shape, dtype, numbers}. */
function unpack(packed) {
  const text = atob(packed.base64);
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const wide = packed.dtype === "float64";
  const numbers = new Float64Array(bytes.length / (wide ? 8 : 4));
  for (let i = 0; i < numbers.length; i++) numbers[i] = wide ? view.getFloat64(8 * i, true) : view.getFloat32(4 * i, true);
  return { shape: packed.shape, dtype: packed.dtype, numbers };
}

function found(store, name) {
  const key = `${store} ${name}`;
  if (!decoded.has(key)) decoded.set(key, name in data[store] ? unpack(data[store][name]) : null);
  return decoded.get(key);
}

const arrayOf = (name) => found("arrays", name);
const parameterOf = (name) => found("parameters", name);

/** The matrix {rows, columns, at, row} of an array (1, rows, columns), or of one head of (1, H, rows, columns). */
function matrixOf(array, head = 0) {
  const shape = array.shape;
  const [rows, columns] = shape.slice(-2);
  const start = shape.length === 4 ? head * rows * columns : 0;
  return {
    rows, columns,
    at: (i, j) => array.numbers[start + i * columns + j],
    row: (i) => array.numbers.subarray(start + i * columns, start + (i + 1) * columns),
  };
}

const MASKED = -1e30; // a score up to this is masked, in every dtype except float16
const isMasked = (x) => x <= MASKED || x === data.lowest;

const limits = new Map();

/** The result of computeLimits, cached for each array because it sorts. */
function limitsOf(array, scores = array) {
  if (!limits.has(array)) limits.set(array, computeLimits(array, scores));
  return limits.get(array);
}

/** Indices of the smallest and largest visible values, and the limit of a color scale symmetric about 0. */
function computeLimits(array, scores) {
  const numbers = array.numbers, sizes = [];
  let low = -1, high = -1;
  for (let i = 0; i < numbers.length; i++) {
    if (isMasked(scores.numbers[i]) || Number.isNaN(numbers[i])) continue;
    if (low < 0 || numbers[i] < numbers[low]) low = i;
    if (high < 0 || numbers[i] > numbers[high]) high = i;
    if (Number.isFinite(numbers[i])) sizes.push(Math.abs(numbers[i]));
  }
  sizes.sort((a, b) => a - b);
  const largest = sizes.at(-1) ?? 0;
  const most = sizes[Math.ceil(0.99 * sizes.length) - 1] ?? 0;
  // A few outliers would give all other values the color of 0, so the scale is clipped below them and the legend says so.
  const clipped = most > 0 && largest > 3 * most;
  return { low, high, limit: (clipped ? most : largest) || 1, clipped };
}
