// The cache: keys and values of earlier positions, which a call reads and continues.

import { ensure } from "./errors.js";
import { makeArray, sizeOfShape } from "./ops.js";

/** For each layer {k, v}, each (B, H, S, Dh). A cache is never changed: a call returns the longer one. */
export class KVCache {
  constructor(layers = []) {
    this.layers = layers;
  }

  /** The number of positions, S. */
  get length() {
    return this.layers.length ? this.layers[0].k.shape[2] : 0;
  }

  /** A cache whose row i is row `rows[i]` of this one. */
  reorder(rows) {
    const B = this.layers[0]?.k.shape[0] ?? 0, isRow = (row) => Number.isInteger(row) && row >= 0 && row < B;
    ensure(Array.isArray(rows) && rows.every(isRow), `rows must be a list of rows of the cache, in [0, ${B})`, String(rows), "pass [0, 0]");
    return new KVCache(this.layers.map(({ k, v }) => ({ k: chosenRows(k, rows), v: chosenRows(v, rows) })));
  }
}

function chosenRows(array, rows) {
  const size = sizeOfShape(array.shape.slice(1));
  const chosen = makeArray([rows.length, ...array.shape.slice(1)], array.dtype);
  rows.forEach((row, i) => chosen.numbers.set(array.numbers.subarray(row * size, (row + 1) * size), i * size));
  return chosen;
}

/** Two arrays (B, H, S, Dh) one after the other along S; the first may be missing. */
export function joinPositions(past, fresh) {
  if (!past) return fresh;
  const [B, H, P, Dh] = past.shape, T = fresh.shape[2];
  const both = makeArray([B, H, P + T, Dh], fresh.dtype);
  for (let row = 0; row < B * H; row++) {
    both.numbers.set(past.numbers.subarray(row * P * Dh, (row + 1) * P * Dh), row * (P + T) * Dh);
    both.numbers.set(fresh.numbers.subarray(row * T * Dh, (row + 1) * T * Dh), (row * (P + T) + P) * Dh);
  }
  return both;
}
