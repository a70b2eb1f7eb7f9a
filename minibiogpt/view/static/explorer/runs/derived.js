// Derived: the arrays of a layer that a recorded page leaves out, from those that it has.

/** The lowest value of each dtype, which replaces a masked score. */
export const LOWEST_VALUES = {
  float64: -Number.MAX_VALUE, float32: -3.4028234663852886e38, float16: -65504, bfloat16: -3.3895313892515355e38,
};

/** The array of a name that only rearranges, masks or repeats another array of the run; null if there is no other. */
export function derivedArray(run, name, dtype) {
  const found = /^(layers\.\d+\.self_attn\.)(q|k|v|scores_masked|weights)$/.exec(name);
  if (!found) return null;
  const [, path, own] = found, H = run.config.num_attention_heads;
  if (own === "weights") return run.array(`${path}probs`);
  if (own === "scores_masked") return maskLater(run.array(`${path}scores`), LOWEST_VALUES[dtype]);
  return splitColumns(run.array(`${path}${own}_proj`), H);
}

/** (1, T, D) to (1, H, T, D / H). */
function splitColumns(array, H) {
  if (!array) return null;
  const [B, T, D] = array.shape, size = D / H, numbers = new array.numbers.constructor(array.numbers.length);
  for (let h = 0, at = 0; h < H; h++) {
    for (let t = 0; t < T; t++, at += size) numbers.set(array.numbers.subarray(t * D + h * size, t * D + (h + 1) * size), at);
  }
  return { shape: [B, H, T, size], dtype: array.dtype, numbers };
}

/** Scores (1, H, T, T) with those of later keys masked. */
function maskLater(array, lowest) {
  if (!array) return null;
  const [, H, T] = array.shape, numbers = array.numbers.slice();
  for (let h = 0; h < H; h++) for (let t = 0; t < T; t++) numbers.fill(lowest, (h * T + t) * T + t + 1, (h * T + t + 1) * T);
  return { ...array, numbers };
}
