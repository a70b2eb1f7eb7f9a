// Source: what the stepper shows. Any object of this form works, and another can replace it at any time:
//
// { layer, heads, headSize, tokens: [{label, id}], padding: [bool] for each key, headMask: factor of each head or null,
//   steps: as step_data in layer.py, sizes: {letter: size}, leftOut: why weights are missing,
//   vocabulary: labels of all tokens or null, facts: {activation, eps, dtype, lowest, scaleEmbedding, positionOffset},
//   array(name), parameter(name): an array or null, changed: whether experiments change this run }

import { unpack, unpacker } from "../arrays.js";

/** The source of a page of one layer, from its data. */
export function sourceOfData(data) {
  return {
    layer: data.layer, heads: data.heads, headSize: data.headSize, tokens: data.tokens, padding: data.padding,
    headMask: data.headMask && unpack(data.headMask).numbers, steps: data.steps, sizes: data.sizes, leftOut: data.left_out,
    facts: data.facts, array: unpacker(data.arrays), parameter: unpacker(data.parameters), changed: false, vocabulary: null,
  };
}

/** A step of the layers' template, such as explanations in layer.py returns, for one layer. */
export function stepInLayer(step, layer) {
  const input = layer ? `layers.${layer - 1}` : "embeddings";
  return JSON.parse(JSON.stringify(step).replaceAll("{l}", String(layer)).replaceAll("{x}", input));
}
