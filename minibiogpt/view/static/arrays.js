// Arrays: what Python packed, as numbers, by name; and views of them as rows and columns.

const decoded = new Map();

/** {shape, dtype, numbers} of what page.packed wrote: little-endian base64. */
function unpack(packed) {
  const text = atob(packed.base64);
  const bytes = Uint8Array.from(text, (sign) => sign.charCodeAt(0));
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

/** One matrix of an array (1, rows, columns), or of head h of one (1, H, rows, columns): {rows, columns, at, row}. */
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

const MARK = -1e30; // below this a score is the mark of what is hidden, in every dtype but float16
const isMark = (x) => x <= MARK || x === data.lowest;

const limits = new Map();

/** What reckonLimits finds out, once for each array: it sorts. */
function limitsOf(array, marks = array) {
  if (!limits.has(array)) limits.set(array, reckonLimits(array, marks));
  return limits.get(array);
}

/** The places of the smallest and the largest, and the limit of a scale symmetric about 0, of all that is not hidden. */
function reckonLimits(array, marks) {
  const numbers = array.numbers, sizes = [];
  let low = -1, high = -1;
  for (let i = 0; i < numbers.length; i++) {
    if (isMark(marks.numbers[i]) || Number.isNaN(numbers[i])) continue;
    if (low < 0 || numbers[i] < numbers[low]) low = i;
    if (high < 0 || numbers[i] > numbers[high]) high = i;
    if (Number.isFinite(numbers[i])) sizes.push(Math.abs(numbers[i]));
  }
  sizes.sort((a, b) => a - b);
  const largest = sizes.at(-1) ?? 0;
  const most = sizes[Math.ceil(0.99 * sizes.length) - 1] ?? 0;
  // A few numbers far out would leave all others in the colour of 0: then the scale ends before them, and says so.
  const clipped = most > 0 && largest > 3 * most;
  return { low, high, limit: (clipped ? most : largest) || 1, clipped };
}
