// The parameters of a checkpoint: by name, with the shape that the config gives them, in the dtype of the model.

import { ensure, valueInWords } from "./errors.js";
import { copyArray, isArray } from "./ops.js";

/** Parameters by their checkpoint names, without "biogpt.". */
export class Weights {
  constructor(arrays) {
    this.arrays = arrays;
  }

  get(name) {
    return this.arrays.get(name) ?? null;
  }

  /** [weight, bias] of a module; the bias is null where there is none. */
  pair(module) {
    return [this.get(`${module}.weight`), this.get(`${module}.bias`)];
  }
}

/** Check that the tensors of a checkpoint are a Map. */
export function checkTensors(tensors) {
  const isResult = tensors?.tensors instanceof Map, remedy = isResult ? "pass its tensors" : "pass readSafetensors(bytes).tensors";
  ensure(tensors instanceof Map, "tensors must be a Map from names to arrays", valueInWords(tensors), remedy);
}

/** Read the tensors of a checkpoint: check names and shapes, and convert to the dtype. Other tensors are left out. */
export function readWeights(tensors, config, head, dtype) {
  const found = new Map();
  for (const [name, array] of tensors) {
    const plain = name.replace(/^biogpt\./, "");
    ensure(!found.has(plain), "a tensor must be there once, with or without biogpt.", `both names for ${plain}`, "remove one of the two");
    found.set(plain, array);
  }
  if (!found.has("embed_tokens.weight") && found.has("output_projection.weight") && config.tie_word_embeddings) {
    found.set("embed_tokens.weight", found.get("output_projection.weight"));
  }
  const arrays = new Map();
  for (const [name, shape] of wantedShapes(config, head)) {
    const other = [...found.keys()].find((key) => key.endsWith(`.${name}`)); // another prefix, such as that of a wrapper
    ensure(found.has(name), `the checkpoint must have ${name}`, other ? JSON.stringify(other) : "no such tensor",
      other ? "rename the tensors" : "use a complete checkpoint: of a sharded one, join the tensors of all files");
    const array = found.get(name);
    ensure(isArray(array), `${name} must be an array { shape, dtype, numbers }`, valueInWords(array), "take it from readSafetensors");
    const must = `${name} must have the shape [${shape}]`;
    ensure(`${array.shape}` === `${shape}`, must, `[${array.shape}]`, "use the checkpoint's own config");
    ensure(array.dtype.startsWith("float"), `${name} must be of floats`, array.dtype, "use the checkpoint's own weights");
    arrays.set(name, array.dtype === dtype ? array : copyArray(array, dtype));
  }
  return new Weights(arrays);
}

function wantedShapes(config, head) {
  const { hidden_size: D, intermediate_size: F, vocab_size: V, max_position_embeddings: N } = config;
  const shapes = [["embed_tokens.weight", [V, D]], ["embed_positions.weight", [N + 2, D]]];
  const module = (name, shape) => shapes.push([`${name}.weight`, shape], [`${name}.bias`, shape.slice(0, 1)]);
  for (let l = 0; l < config.num_hidden_layers; l++) {
    const path = `layers.${l}`;
    for (const name of ["q_proj", "k_proj", "v_proj", "out_proj"]) module(`${path}.self_attn.${name}`, [D, D]);
    for (const name of ["self_attn_layer_norm", "final_layer_norm"]) module(`${path}.${name}`, [D]);
    module(`${path}.fc1`, [F, D]);
    module(`${path}.fc2`, [D, F]);
  }
  module("layer_norm", [D]);
  const labels = classesOf(config);
  if (head === "causal" && !config.tie_word_embeddings) shapes.push(["output_projection.weight", [V, D]]);
  if (head === "sequence") shapes.push(["score.weight", [labels, D]]);
  if (head === "token") module("classifier", [labels, D]);
  return shapes;
}

/** The number of classes: of the names in id2label, or num_labels, or 2. */
export function classesOf(config) {
  return config.id2label ? Object.keys(config.id2label).length : config.num_labels ?? 2;
}
