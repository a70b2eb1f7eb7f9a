// One decoder layer, in the order of the drawing.

import { activate } from "./activations.js";
import { attention } from "./attention.js";
import { addArrays, layerNorm, linear } from "./ops.js";

/** norm, attention, residual; norm, feed-forward, residual: (B, T, D) -> (B, T, D). */
export function decoderLayer(x, l, call) {
  const path = `layers.${l}`, { tap, weights, rules } = call;
  const norm = (name, input) => tap.take(`${path}.${name}`, layerNorm(input, ...weights.pair(`${path}.${name}`), rules.eps));
  const project = (name, input) => tap.take(`${path}.${name}`, linear(input, ...weights.pair(`${path}.${name}`)));
  let h = norm("self_attn_layer_norm", x);
  h = attention(h, l, call);
  x = tap.take(`${path}.attn_residual`, addArrays(x, h));
  h = norm("final_layer_norm", x);
  h = project("fc1", h); // (B, T, F)
  h = tap.take(`${path}.activation_fn`, activate(h, rules.activation));
  h = project("fc2", h); // (B, T, D)
  return tap.take(path, addArrays(x, h));
}
