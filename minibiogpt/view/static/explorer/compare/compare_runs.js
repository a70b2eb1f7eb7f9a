// What differs between two runs: probabilities, logits, arrays, tokens. Nothing here draws.

import { sharedPrefix } from "../runs/continued.js";

/** The Kullback-Leibler divergence of the second distribution from the first, in nats. */
export function divergence(p, q) {
  let sum = 0;
  for (let i = 0; i < p.length; i++) if (p[i] > 0) sum += p[i] * Math.log(p[i] / q[i]);
  return Math.max(0, sum) || (Number.isNaN(sum) ? NaN : 0);
}

/** |b - a| / |a|, with the lengths of vectors; 0 if both are 0. */
export function relativeDistance(a, b) {
  let square = 0, size = 0;
  for (let i = 0; i < a.length; i++) {
    square += (b[i] - a[i]) ** 2;
    size += a[i] ** 2;
  }
  return square === 0 ? 0 : Math.sqrt(square / size);
}

/** The rows of an array at position t, one after another: (1, T, n) has one, (1, H, T, n) one of each head. */
export function rowsAt({ shape, numbers }, t) {
  if (shape.length < 3) return [numbers.subarray(t, t + 1)];
  const [T, n] = shape.slice(-2), heads = shape.length === 4 ? shape[1] : 1;
  return Array.from({ length: heads }, (_, h) => numbers.subarray((h * T + t) * n, (h * T + t + 1) * n));
}

/**
 * Whether position t has the same numbers in both arrays, bit for bit. Scores of a query are compared at the keys up to it: later ones,
 * which the mask removes, may belong to other tokens.
 */
function equalAt(a, b, t, causal = true) {
  const [one, other] = [rowsAt(a, t), rowsAt(b, t)], keys = a.shape.length === 4 && a.shape[2] === a.shape[3] && b.shape[2] === b.shape[3];
  return one.every((row, h) => {
    const last = Math.min(row.length, other[h].length, keys && causal ? t + 1 : Infinity);
    for (let i = 0; i < last; i++) if (!Object.is(row[i], other[h][i])) return false;
    return true;
  });
}

/** The arrays that both runs have, with an axis of positions. */
function sharedArrays(a, b) {
  const found = a.names.map((name) => [name, a.array(name), b.array(name)]);
  return found.filter(([, one, other]) => one && other && one.shape.length > 1);
}

/** The first array, in the order of computation, and its first position, at which two runs differ: { name, t }, or null. */
export function firstDifference(a, b) {
  const most = Math.min(a.T, b.T), causal = a.causal && b.causal && a.text !== b.text;
  for (const [name, one, other] of sharedArrays(a, b)) {
    for (let t = 0; t < most; t++) if (!equalAt(one, other, t, causal)) return { name, t };
  }
  return null;
}

/** How many arrays are equal, bit for bit, at the first `count` positions, and how many there are: [equal, all]. */
export function equalArrays(a, b, count) {
  const shared = sharedArrays(a, b), causal = a.causal && b.causal;
  const same = ([, one, other]) => Array.from({ length: count }, (_, t) => t).every((t) => equalAt(one, other, t, causal));
  return [shared.filter(same).length, shared.length];
}

/**
 * Pairs of positions [i, j]; null where a text has no partner. Equal beginnings and equal ends are paired, and the middle in order.
 * The last tokens are paired even if they differ: what comes after each text is what most people compare.
 */
export function alignedTokens(a, b) {
  const start = sharedPrefix(a.ids, b.ids), most = Math.min(a.T, b.T) - start;
  let end = most ? 1 : 0;
  while (end < most && a.ids[a.T - 1 - end] === b.ids[b.T - 1 - end]) end++;
  const pairs = Array.from({ length: start }, (_, t) => [t, t]);
  const middle = Math.max(a.T, b.T) - start - end;
  for (let t = start; t < start + middle; t++) pairs.push([t < a.T - end ? t : null, t < b.T - end ? t : null]);
  for (let k = end; k > 0; k--) pairs.push([a.T - k, b.T - k]);
  return pairs;
}

/** The largest difference of the logits at two positions: { id, before, after }. */
export function largestLogitChange(a, t, b, u) {
  const [one, other] = [a.row("logits", t), b.row("logits", u)];
  let id = 0;
  for (let i = 1; i < one.length; i++) if (Math.abs(other[i] - one[i]) > Math.abs(other[id] - one[id])) id = i;
  return { id, before: one[id], after: other[id] };
}
