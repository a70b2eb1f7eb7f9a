// Recorded run: the arrays that were stored in the page, and those that follow from them without arithmetic.

import { splitHeads } from "../../biogpt.js";
import { Run } from "./run.js";

/** What the page does not store: array of a layer -> the array it is made from, and how. */
const DERIVED = {
  "self_attn.q": ["self_attn.q_proj", intoHeads],
  "self_attn.k": ["self_attn.k_proj", intoHeads],
  "self_attn.v": ["self_attn.v_proj", intoHeads],
  "self_attn.scores_masked": ["self_attn.scores", causallyMasked],
  "self_attn.weights": ["self_attn.probs", (array) => array], // there is no head mask
};
/** Stored array of a layer -> the derived arrays that follow it in the order of computation. */
const FOLLOWING = {
  "self_attn.v_proj": ["self_attn.q", "self_attn.k", "self_attn.v"],
  "self_attn.scores": ["self_attn.scores_masked"],
  "self_attn.probs": ["self_attn.weights"],
};

export class RecordedRun extends Run {
  constructor({ text, tokens, config, dtype, arrays, parameters }) {
    super({ text, ids: tokens.map((token) => token.id), tokens, config, dtype, live: false, parameters });
    this.arrays = arrays;
    this.names = [];
    for (const name of arrays.keys()) {
      const [layer, step] = splitName(name);
      this.names.push(name, ...(FOLLOWING[step] ?? []).map((made) => layer + made));
    }
  }

  array(name) {
    if (!this.arrays.has(name)) {
      const [layer, step] = splitName(name), [source, make] = DERIVED[step] ?? [];
      const stored = source && this.arrays.get(`${layer}${source}`);
      if (!stored) return null;
      this.arrays.set(name, make(stored, this));
    }
    return this.arrays.get(name);
  }
}

/** "layers.3." and "self_attn.q" of "layers.3.self_attn.q". */
function splitName(name) {
  const found = /^(layers\.\d+\.)(.+)$/.exec(name);
  return found ? [found[1], found[2]] : ["", name];
}

/** (1, T, D) -> (1, H, T, Dh). */
function intoHeads(array, { config }) {
  return splitHeads(array, config.num_attention_heads);
}

/** Scores (1, H, T, T) with the lowest number of the run's dtype where the key comes after the query. */
function causallyMasked({ shape, dtype, numbers }, { lowest }) {
  const T = shape[2], copy = numbers.slice();
  for (let i = 0; i < copy.length; i++) if (i % T > Math.floor(i / T) % T) copy[i] = lowest;
  return { shape, dtype, numbers: copy };
}
