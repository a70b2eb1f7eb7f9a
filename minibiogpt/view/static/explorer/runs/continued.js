// Continued run: where a text changes only at its end, the rows of the earlier tokens are taken from the run before.
//
// No token sees a later one, so a row does not change when tokens are added after it. The new tokens run with a cache, as in
// generation, and each array is joined from old and new rows. The result equals that of one run, bit for bit.

import { joinPositions, KVCache, lowestOf, makeArray, scaledProducts, scoreScale, Trace } from "../../biogpt.js";

/** The number of tokens that two lists of ids share at their start. */
export function sharedPrefix(one, other) {
  let n = 0;
  while (n < one.length && n < other.length && one[n] === other[n]) n++;
  return n;
}

/** The trace of a causal model for ids, given the trace of another list of ids: equal to that of forward({ ids: [ids] }). */
export function continuedTrace(model, ids, before = null, idsBefore = []) {
  const shared = before ? Math.min(sharedPrefix(ids, idsBefore), ids.length - 1) : 0, fresh = new Trace();
  model.forward({ ids: [ids.slice(shared)], cache: shared ? cacheOf(model, before, shared) : undefined, trace: fresh });
  if (!shared) return fresh;
  const whole = new Trace();
  for (const name of fresh.names) whole.arrays.set(name, joined(name, before.get(name), fresh.get(name), shared));
  for (const name of fresh.names) if (name.endsWith(".self_attn.scores")) fillScores(whole, name, shared, model.rules);
  return whole;
}

/** Keys and values of the first positions of a trace. */
function cacheOf(model, trace, positions) {
  return new KVCache(Array.from({ length: model.config.num_hidden_layers }, (_, l) => ({
    k: firstOf(trace.get(`layers.${l}.self_attn.k`), positions), v: firstOf(trace.get(`layers.${l}.self_attn.v`), positions),
  })));
}

const firstOf = (array, positions) => rangeOf(array, 0, positions);
const lastOf = (array, positions) => rangeOf(array, array.shape.at(-2) - positions, positions);

/** Positions `from` to `from + positions` of an array (1, T, n) or (1, H, T, n). */
function rangeOf({ shape, dtype, numbers }, from, positions) {
  const T = shape.at(-2), n = shape.at(-1), heads = shape.length === 4 ? shape[1] : 1;
  const made = makeArray([...shape.slice(0, -2), positions, n], dtype);
  for (let h = 0; h < heads; h++) {
    const start = (h * T + from) * n;
    made.numbers.set(numbers.subarray(start, start + positions * n), h * positions * n);
  }
  return made;
}

/** An array of the whole run from the one before and the rows of the new tokens. */
function joined(name, old, fresh, shared) {
  if (/\.self_attn\.[kv]$/.test(name)) return fresh; // with the cache in it
  if (/\.self_attn\.(scores|scores_masked|probs|weights)$/.test(name)) return joinedSquare(name, old, fresh, shared);
  if (old.shape.length === 4) return joinPositions(firstOf(old, shared), fresh);
  const [rows, size] = [fresh.numbers.length / (fresh.shape[2] ?? 1), fresh.shape[2] ?? 1]; // (1, T, n), or position_ids (1, T)
  const made = makeArray([1, shared + rows, ...fresh.shape.slice(2)], fresh.dtype);
  made.numbers.set(old.numbers.subarray(0, shared * size));
  made.numbers.set(fresh.numbers, shared * size);
  return made;
}

/** (1, H, S, S) from the old rows, (1, H, T, T), and the new ones, (1, H, S - shared, S). Old rows do not see new keys. */
function joinedSquare(name, old, fresh, shared) {
  const [, H, added, S] = fresh.shape, T = old.shape[3], made = makeArray([1, H, S, S], fresh.dtype);
  if (name.endsWith("masked")) made.numbers.fill(lowestOf(fresh.dtype));
  for (let h = 0; h < H; h++) {
    for (let t = 0; t < shared; t++) {
      const from = (h * T + t) * T;
      made.numbers.set(old.numbers.subarray(from, from + shared), (h * S + t) * S);
    }
    made.numbers.set(fresh.numbers.subarray(h * added * S, (h + 1) * added * S), (h * S + shared) * S);
  }
  return made;
}

/** The scores of old queries with new keys: they are masked later, but scores are those before the mask. */
function fillScores(trace, name, shared, rules) {
  const scores = trace.get(name), [, H, S] = scores.shape, added = S - shared;
  const [q, k] = ["q", "k"].map((own) => trace.get(name.replace(/scores$/, own)));
  const products = scaledProducts(firstOf(q, shared), lastOf(k, added), scoreScale(rules, q.shape)); // (1, H, shared, added)
  for (let row = 0; row < H * shared; row++) {
    const to = (Math.floor(row / shared) * S + (row % shared)) * S + shared;
    scores.numbers.set(products.numbers.subarray(row * added, (row + 1) * added), to);
  }
}
