// Attention, step by step: split, score, mask, softmax, mix, merge.

import { joinPositions } from "./cache.js";
import { linear, lowestOf, makeArray, softmax } from "./ops.js";

/** Multi-head attention of one layer, (B, T, D) -> (B, T, D). `call` is what BioGpt.prepare gathers. */
export function attention(x, l, call) {
  const path = `layers.${l}.self_attn`, { tap, weights, rules, heads } = call;
  const project = (name, input) => tap.take(`${path}.${name}`, linear(input, ...weights.pair(`${path}.${name}`)));
  const q_proj = project("q_proj", x); // (B, T, D)
  const k_proj = project("k_proj", x);
  const v_proj = project("v_proj", x);
  const q = tap.take(`${path}.q`, splitHeads(q_proj, heads, rules.interleavedHeads)); // (B, H, T, Dh)
  const stored = call.next.layers[l] = {
    k: joinPositions(call.past.layers[l]?.k, splitHeads(k_proj, heads, rules.interleavedHeads)), // (B, H, S, Dh)
    v: joinPositions(call.past.layers[l]?.v, splitHeads(v_proj, heads, rules.interleavedHeads)),
  };
  const k = tap.take(`${path}.k`, stored.k);
  const v = tap.take(`${path}.v`, stored.v);
  const scores = tap.take(`${path}.scores`, scaledProducts(q, k, scoreScale(rules, q.shape))); // (B, H, T, S)
  const masked = tap.take(`${path}.scores_masked`, maskScores(scores, call.visible, rules.maskAdds));
  const probs = tap.take(`${path}.probs`, softmax(masked));
  const mixed = tap.take(`${path}.weights`, call.headMask ? scaleHeads(probs, call.headMask, l) : probs);
  const context = tap.take(`${path}.context`, mergeHeads(mixValues(mixed, v), rules.interleavedHeads)); // (B, T, D)
  return project("out_proj", context);
}

/** (B, T, D) -> (B, H, T, Dh): head h takes the columns h * Dh to (h + 1) * Dh (h, h + H, ... if `interleaved`: a trap). */
export function splitHeads(x, H, interleaved = false) {
  const [B, T, D] = x.shape, Dh = D / H, first = interleaved ? 1 : Dh, step = interleaved ? H : 1;
  const y = makeArray([B, H, T, Dh], x.dtype);
  let at = 0;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let t = 0; t < T; t++) {
        const from = (b * T + t) * D + h * first;
        for (let d = 0; d < Dh; d++) y.numbers[at++] = x.numbers[from + d * step];
      }
    }
  }
  return y;
}

/** (B, H, T, Dh) -> (B, T, D), the inverse of splitHeads. */
export function mergeHeads(x, interleaved = false) {
  const [B, H, T, Dh] = x.shape, D = H * Dh, first = interleaved ? 1 : Dh, step = interleaved ? H : 1;
  const y = makeArray([B, T, D], x.dtype);
  let at = 0;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let t = 0; t < T; t++) {
        const to = (b * T + t) * D + h * first;
        for (let d = 0; d < Dh; d++) y.numbers[to + d * step] = x.numbers[at++];
      }
    }
  }
  return y;
}

/** 1 / sqrt(Dh), or what a trap takes for it: 1 / sqrt(D) or 1. */
export function scoreScale({ scaleScores }, [, H, , Dh]) {
  return scaleScores ? 1 / Math.sqrt(scaleScores === "D" ? H * Dh : Dh) : 1;
}

/** q @ k.T * scale: (B, H, T, Dh) and (B, H, S, Dh) -> (B, H, T, S). */
export function scaledProducts(q, k, scale) {
  const [B, H, T, Dh] = q.shape, S = k.shape[2];
  const y = makeArray([B, H, T, S], q.dtype), out = y.numbers, a = q.numbers, b = k.numbers;
  let at = 0;
  for (let head = 0; head < B * H; head++) {
    for (let t = 0; t < T; t++) {
      const query = (head * T + t) * Dh;
      for (let s = 0; s < S; s++) {
        const key = (head * S + s) * Dh;
        let sum = 0;
        for (let d = 0; d < Dh; d++) sum += a[query + d] * b[key + d];
        out[at++] = sum * scale;
      }
    }
  }
  return y;
}

/** The scores, replaced by the lowest finite number where `visible`, bool (B, T, S), is 0 (or plus `adds`: a trap). */
function maskScores(scores, visible, adds = null) {
  const [B, H, T, S] = scores.shape, seen = visible.numbers, lowest = lowestOf(scores.dtype);
  const y = makeArray(scores.shape, scores.dtype), out = y.numbers, numbers = scores.numbers;
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const start = (b * H + h) * T * S, row = b * T * S;
      for (let i = 0; i < T * S; i++) {
        out[start + i] = seen[row + i] ? numbers[start + i] : adds === null ? lowest : numbers[start + i] + adds;
      }
    }
  }
  return y;
}

/** The probabilities of each head times its number in the head mask, (L, H). */
function scaleHeads(probs, headMask, l) {
  const [B, H, T, S] = probs.shape;
  const y = makeArray(probs.shape, probs.dtype);
  for (let i = 0; i < y.numbers.length; i++) {
    const h = Math.floor(i / (T * S)) % H;
    y.numbers[i] = probs.numbers[i] * headMask.numbers[l * H + h];
  }
  return y;
}

/** weights @ v: (B, H, T, S) and (B, H, S, Dh) -> (B, H, T, Dh). */
function mixValues(weights, v) {
  const [B, H, T, S] = weights.shape, Dh = v.shape[3];
  const y = makeArray([B, H, T, Dh], v.dtype), out = y.numbers, w = weights.numbers, values = v.numbers;
  const sums = new Float64Array(Dh);
  for (let head = 0; head < B * H; head++) {
    for (let t = 0; t < T; t++) {
      const row = head * T + t;
      sums.fill(0);
      for (let s = 0; s < S; s++) {
        const weight = w[row * S + s], value = (head * S + s) * Dh;
        for (let d = 0; d < Dh; d++) sums[d] += weight * values[value + d];
      }
      for (let d = 0; d < Dh; d++) out[row * Dh + d] = sums[d];
    }
  }
  return y;
}
