// One decoder layer, in the order of the drawing.

import { activate } from "./activations.js";
import { attention } from "./attention.js";
import { addArrays, layerNorm, linear } from "./ops.js";

/** norm, attention, residual; norm, feed-forward, residual: (B, T, D) -> (B, T, D). */
export function decoderLayer(x, l, call) {
  const path = `layers.${l}`, { tap } = call;
  let h = tap.take(`${path}.self_attn_layer_norm`, applyNorm(`${path}.self_attn_layer_norm`, x, call));
  h = attention(h, l, call);
  x = tap.take(`${path}.attn_residual`, addArrays(x, h));
  h = tap.take(`${path}.final_layer_norm`, applyNorm(`${path}.final_layer_norm`, x, call));
  h = feedForward(h, path, call);
  return tap.take(path, addArrays(x, h));
}

/** Widen, activate, narrow: (B, T, D) -> (B, T, F) -> (B, T, D). */
function feedForward(x, path, { tap, weights, rules }) {
  const u = tap.take(`${path}.fc1`, linear(x, ...weights.pair(`${path}.fc1`))); // (B, T, F)
  const a = tap.take(`${path}.activation_fn`, activate(u, rules.activation));
  return tap.take(`${path}.fc2`, linear(a, ...weights.pair(`${path}.fc2`)));
}

/** The norm of this name, with its gain and bias. */
export function applyNorm(name, x, { weights, rules }) {
  return layerNorm(x, ...weights.pair(name), rules);
}

/** A trap: each norm is applied to the sum, after the residual, as in the original Transformer. Its input goes on as it is. */
export function postNormLayer(x, l, call) {
  const path = `layers.${l}`, { tap } = call;
  x = tap.take(`${path}.self_attn_layer_norm`, x);
  let h = attention(x, l, call);
  x = tap.take(`${path}.attn_residual`, applyNorm(`${path}.self_attn_layer_norm`, addArrays(x, h), call));
  x = tap.take(`${path}.final_layer_norm`, x);
  h = feedForward(x, path, call);
  return tap.take(path, applyNorm(`${path}.final_layer_norm`, addArrays(x, h), call));
}
