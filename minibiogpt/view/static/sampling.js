// Sampling in float64: temperature, top-k, top-p, as in minibiogpt.generation, then a draw.

/** softmax(logits); -inf gives 0. */
function softmaxOf(logits) {
  let largest = -Infinity, total = 0;
  for (const x of logits) if (x > largest) largest = x;
  const p = Float64Array.from(logits, (x) => Math.exp(x - largest));
  for (const x of p) total += x;
  return p.map((x) => x / total);
}

/** Indices from the smallest to the largest logit; ties keep their order. */
function ascendingOrder(logits) {
  return Int32Array.from(logits.keys()).sort((a, b) => logits[a] - logits[b] || a - b);
}

/** Keep the k largest logits, and all that equal the k-th; k = 0 keeps all. */
function topK(logits, k) {
  if (!k) return logits;
  const kth = Float64Array.from(logits).sort()[Math.max(0, logits.length - k)];
  return logits.map((x) => (x < kth ? -Infinity : x));
}

/** Remove tokens from the least probable upwards while their sum is at most 1 - p; the most probable always stays. */
function topP(logits, p) {
  if (p >= 1) return logits;
  const order = ascendingOrder(logits), probs = softmaxOf(Float64Array.from(order, (i) => logits[i]));
  const kept = Float64Array.from(logits);
  let sum = 0;
  for (let rank = 0; rank < order.length - 1; rank++) {
    sum += probs[rank];
    if (sum <= 1 - p) kept[order[rank]] = -Infinity;
  }
  return kept;
}

/** {tempered, probs, cut}: probabilities after temperature alone, after all three, and what removed each token or "". */
export function processed(logits, { temperature, k, p }) {
  const scaled = logits.map((x) => x / temperature), few = topK(scaled, k), kept = topP(few, p);
  const cut = Array.from(kept, (x, i) => (x > -Infinity || logits[i] === -Infinity ? "" : few[i] === -Infinity ? "top-k" : "top-p"));
  return { tempered: softmaxOf(scaled), probs: softmaxOf(kept), cut };
}

/** A generator of uniform numbers in [0, 1) from a seed (mulberry32, Ettinger 2017). */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The first token whose cumulative probability exceeds u times the total. */
export function drawn(probs, u) {
  let total = 0, sum = 0;
  for (const p of probs) total += p;
  for (let i = 0; i < probs.length; i++) {
    sum += probs[i];
    if (probs[i] > 0 && sum > u * total) return i;
  }
  return probs.length - 1;
}
