// Arrays {shape, dtype, numbers}, row-major, and the operations of the model. Sums are in float64, results in the array's dtype.

import { ensure, valueInWords } from "./errors.js";

const KIND_OF_NUMBERS = { float32: Float32Array, float64: Float64Array, int64: Float64Array, bool: Uint8Array };
const LOWEST_NUMBER = { // the twin computes in the first two; a recorded run may be of another
  float32: -(2 - 2 ** -23) * 2 ** 127, float64: -Number.MAX_VALUE, float16: -65504, bfloat16: -(2 - 2 ** -7) * 2 ** 127,
};

/** The lowest finite number of a dtype, which replaces a masked score. */
export const lowestOf = (dtype) => LOWEST_NUMBER[dtype];

/** The number of elements of a shape. */
export const sizeOfShape = (shape) => shape.reduce((product, size) => product * size, 1);

/** An array of zeros, or of the given numbers. int64 is held in a Float64Array, which is exact up to 2 ** 53. */
export function makeArray(shape, dtype, numbers = sizeOfShape(shape)) {
  const Kind = KIND_OF_NUMBERS[dtype];
  return { shape: [...shape], dtype, numbers: numbers instanceof Kind ? numbers : new Kind(numbers) };
}

/** A copy of an array, of another dtype if one is given. */
export function copyArray(array, dtype = array.dtype) {
  return { shape: [...array.shape], dtype, numbers: new KIND_OF_NUMBERS[dtype](array.numbers) };
}

const isList = (value) => Array.isArray(value) || ArrayBuffer.isView(value);

/** Whether a value is an array with as many numbers as its shape has. */
export function isArray(value) {
  const { shape, dtype, numbers } = value ?? {};
  const isShape = Array.isArray(shape) && shape.every((size) => Number.isInteger(size) && size >= 0);
  return isShape && Object.hasOwn(KIND_OF_NUMBERS, dtype) && ArrayBuffer.isView(numbers) && numbers.length === sizeOfShape(shape);
}

/** An array from nested lists, [[2, 5], [2, 9]]; what is an array already is returned as it is. */
export function arrayFrom(value, dtype) {
  if (value?.numbers) {
    const must = "an array must be { shape, dtype, numbers }, with as many numbers in a typed array as its shape has";
    ensure(isArray(value), must, `shape [${value.shape}], ${value.dtype}, ${value.numbers.length} numbers`, "use makeArray");
    return value;
  }
  const shape = [];
  for (let part = value; isList(part); part = part[0]) shape.push(part.length);
  return makeArray(shape, dtype, new KIND_OF_NUMBERS[dtype](flatNumbers(value, shape)));
}

function flatNumbers(value, shape) {
  if (!shape.length) return [numberFrom(value)];
  const isEven = isList(value) && value.length === shape[0];
  ensure(isEven, "lists must be nested evenly", "rows of different lengths", "pad the shorter rows");
  return Array.from(value).flatMap((part) => flatNumbers(part, shape.slice(1)));
}

/** A number, a BigInt or a boolean as a number. Nothing else is: Number(null) would be 0. */
function numberFrom(value) {
  const isOne = ["number", "bigint", "boolean"].includes(typeof value);
  ensure(isOne, "lists must hold numbers", valueInWords(value), "convert it; of the tokens of encode(), take token.id");
  return Number(value);
}

/** x @ W.T + b: x (..., in), W (out, in), b (out,) or null. Each sum runs over `in` from the first term to the last. */
export function linear(x, weight, bias = null) {
  const [outer, inner] = weight.shape;
  const rows = x.numbers.length / inner;
  const y = makeArray([...x.shape.slice(0, -1), outer], x.dtype);
  multiplyTransposed(x.numbers, weight.numbers, y.numbers, rows, inner, outer);
  if (bias) addToRows(y.numbers, bias.numbers, rows, outer);
  return y;
}

/** y = x @ w.T, four columns of y at a time: four sums that do not wait for each other. */
function multiplyTransposed(x, w, y, rows, inner, outer) {
  for (let row = 0; row < rows; row++) {
    const start = row * inner, target = row * outer;
    let j = 0;
    for (; j + 4 <= outer; j += 4) {
      const w0 = j * inner, w1 = w0 + inner, w2 = w1 + inner, w3 = w2 + inner;
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let i = 0; i < inner; i++) {
        const value = x[start + i];
        s0 += value * w[w0 + i];
        s1 += value * w[w1 + i];
        s2 += value * w[w2 + i];
        s3 += value * w[w3 + i];
      }
      y[target + j] = s0;
      y[target + j + 1] = s1;
      y[target + j + 2] = s2;
      y[target + j + 3] = s3;
    }
    for (; j < outer; j++) {
      let sum = 0;
      for (let i = 0; i < inner; i++) sum += x[start + i] * w[j * inner + i];
      y[target + j] = sum;
    }
  }
}

function addToRows(y, bias, rows, width) {
  for (let row = 0, i = 0; row < rows; row++) for (let j = 0; j < width; j++, i++) y[i] += bias[j];
}

/** (x - mean) / sqrt(variance + eps) * gain + bias over the last axis; the variance divides by D (by D - 1 if `unbiased`: a trap). */
export function layerNorm(x, gain, bias, { eps, unbiased = false }) {
  const D = gain.numbers.length, degrees = unbiased ? D - 1 : D;
  const numbers = x.numbers, g = gain.numbers, b = bias.numbers;
  const y = makeArray(x.shape, x.dtype), out = y.numbers;
  for (let start = 0; start < numbers.length; start += D) {
    let sum = 0, squares = 0;
    for (let d = 0; d < D; d++) sum += numbers[start + d];
    const mean = sum / D;
    for (let d = 0; d < D; d++) squares += (numbers[start + d] - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / degrees + eps);
    for (let d = 0; d < D; d++) out[start + d] = (numbers[start + d] - mean) * scale * g[d] + b[d];
  }
  return y;
}

/** exp(x - max(x)) / sum of the same, over the last axis. */
export function softmax(x) {
  const width = x.shape.at(-1), numbers = x.numbers;
  const y = makeArray(x.shape, x.dtype), out = y.numbers;
  const exps = new Float64Array(width);
  for (let start = 0; start < numbers.length; start += width) {
    let most = -Infinity, sum = 0;
    for (let i = 0; i < width; i++) if (numbers[start + i] > most) most = numbers[start + i];
    for (let i = 0; i < width; i++) sum += exps[i] = Math.exp(numbers[start + i] - most);
    for (let i = 0; i < width; i++) out[start + i] = exps[i] / sum;
  }
  return y;
}

/** x times a number. */
export function scaleArray(x, factor) {
  const y = makeArray(x.shape, x.dtype);
  for (let i = 0; i < y.numbers.length; i++) y.numbers[i] = x.numbers[i] * factor;
  return y;
}

/** x + y, element by element. */
export function addArrays(x, y) {
  const sum = makeArray(x.shape, x.dtype), out = sum.numbers, a = x.numbers, b = y.numbers;
  for (let i = 0; i < out.length; i++) out[i] = a[i] + b[i];
  return sum;
}

/** The rows of a table (rows, D) at the indices plus offset, (B, T) -> (B, T, D), times a factor. Row -1, of a trap, is the last. */
export function takeRows(table, indices, factor = 1, offset = 0) {
  const [rows, D] = table.shape, from = table.numbers, at = indices.numbers;
  const x = makeArray([...indices.shape, D], table.dtype), out = x.numbers;
  for (let i = 0; i < at.length; i++) {
    const start = ((at[i] + offset + rows) % rows) * D;
    for (let d = 0; d < D; d++) out[i * D + d] = from[start + d] * factor;
  }
  return x;
}
