// BioGpt: from ids to logits. Embeddings, layers, final norm, head.

import { ACTIVATION_FUNCTIONS } from "./activations.js";
import { KVCache } from "./cache.js";
import { ensure, valueInWords } from "./errors.js";
import { causalHead, sequenceHead, tokenHead } from "./heads.js";
import {
  checkCache, checkPositions, describeCall, isGiven, positionsOf, readHeadMask, readMask, readTokens, visibleKeys,
} from "./inputs.js";
import { applyNorm, decoderLayer, postNormLayer } from "./layers.js";
import { addArrays, takeRows } from "./ops.js";
import { Tap } from "./trace.js";
import { changedRules, changedWeights, rightRules } from "./traps.js";
import { checkTensors, readWeights } from "./weights.js";

const CONFIG_DEFAULTS = {
  vocab_size: 42384, hidden_size: 1024, num_hidden_layers: 24, num_attention_heads: 16, intermediate_size: 4096,
  max_position_embeddings: 1024, hidden_act: "gelu", scale_embedding: true, tie_word_embeddings: true, pad_token_id: 1,
};
const SIZES_OF_CONFIG = [
  "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings",
];
const FLAGS_OF_CONFIG = ["scale_embedding", "tie_word_embeddings"];
const HEAD_OF_CLASS = {
  BioGptForCausalLM: "causal", BioGptForSequenceClassification: "sequence", BioGptForTokenClassification: "token", BioGptModel: "base",
};
const FORWARD_OPTIONS = new Set([
  "ids", "attentionMask", "positionIds", "inputsEmbeds", "headMask", "cache", "labels", "trace", "edits", "ablate", "patchFrom",
]);
const HEAD_FUNCTIONS = { causal: causalHead, sequence: sequenceHead, token: tokenHead };

/** BioGPT with one of its heads. config: the object of config.json; tensors: Map from checkpoint name to array. */
export class BioGpt {
  constructor(config, tensors, options = {}) {
    const { dtype = "float32" } = options ?? {}, unknown = Object.keys(options ?? {}).find((key) => key !== "dtype");
    ensure(unknown === undefined, "the only option of a model is dtype", unknown, 'pass { dtype: "float64" }');
    ensure(dtype === "float32" || dtype === "float64", "dtype must be float32 or float64", dtype, "choose one of them");
    this.config = checkedConfig(config);
    checkTensors(tensors);
    this.dtype = dtype;
    this.head = HEAD_OF_CLASS[config.architectures?.[0]] ?? headOf(tensors);
    this.weights = readWeights(tensors, this.config, this.head, dtype);
    this.rules = rightRules(this.config);
    this.checkpoint = this.weights;
  }

  /** The same model computed another way, such as { eps: 1e-12 }: a trap. This model is unchanged. */
  with(changes) {
    const other = Object.assign(Object.create(BioGpt.prototype), this);
    other.rules = changedRules(this.rules, changes);
    other.weights = changedWeights(this.checkpoint, other.rules, this.config);
    return other;
  }

  /** Run the model: {logits, loss, cache, hidden}. `hidden` is the output of the final norm. */
  forward(inputs = {}) {
    const call = this.prepare(inputs), { tap } = call;
    const layer = this.rules.preNorm ? decoderLayer : postNormLayer;
    let x = this.embed(call); // (B, T, D)
    for (let l = 0; l < this.config.num_hidden_layers; l++) x = layer(x, l, call);
    const hidden = tap.take("layer_norm", this.rules.finalNorm ? applyNorm("layer_norm", x, call) : x);
    const outputs = this.head === "base" ? { logits: null, loss: null } : HEAD_FUNCTIONS[this.head](hidden, call);
    tap.finish();
    return { ...outputs, cache: call.next, hidden };
  }

  /** Check the inputs of a call, and gather what its steps need. */
  prepare(inputs) {
    ensure(inputs instanceof Object, "forward takes an object of inputs", valueInWords(inputs), "pass { ids: [[2, 5, 9]] }");
    const { config, dtype, weights, rules } = this, unknown = Object.keys(inputs).find((key) => !FORWARD_OPTIONS.has(key));
    ensure(!unknown, `forward takes ${[...FORWARD_OPTIONS].join(", ")}`, unknown, "use these names: forward({ ids: [[2, 5, 9]] })");
    const past = inputs.cache ?? new KVCache();
    const { tokens, B, T } = readTokens(inputs, config, dtype);
    const S = past.length + T, sizes = { B, T, S };
    checkCache(past, config, B, dtype);
    const mask = readMask(inputs.attentionMask, B, S);
    const positions = positionsOf(inputs.positionIds, mask, sizes, rules);
    const tap = new Tap(inputs, config);
    if (inputs.trace) inputs.trace.call = describeCall(this, inputs, sizes);
    return {
      config, weights, rules, tokens, mask, positions, S, past, next: new KVCache(), tap,
      heads: config.num_attention_heads, visible: visibleKeys(mask, sizes, rules), headMask: readHeadMask(inputs.headMask, config),
      ids: isGiven(inputs.ids) ? tokens : null, labels: inputs.labels ?? null,
    };
  }

  /** Token embeddings, scaled by sqrt(D), plus position embeddings, which are not. */
  embed({ tap, ids, tokens, positions }) {
    const { weights, rules, config } = this;
    positions = tap.take("position_ids", positions);
    checkPositions(positions, config);
    const scale = rules.scaleEmbedding ? Math.sqrt(config.hidden_size) : 1;
    const x = tap.take("embed_tokens", ids ? takeRows(weights.get("embed_tokens.weight"), ids, scale) : tokens);
    const table = weights.get("embed_positions.weight"), factor = rules.scalePositions ? Math.sqrt(config.hidden_size) : 1;
    const p = tap.take("embed_positions", takeRows(table, positions, factor, rules.positionOffset));
    return tap.take("embeddings", addArrays(x, p));
  }
}

/** The config with the default of each field that it lacks, checked. */
function checkedConfig(given) {
  const isObject = given instanceof Object && !Array.isArray(given);
  ensure(isObject, "config must be the object of config.json", valueInWords(given), "pass JSON.parse of its text");
  const config = { ...CONFIG_DEFAULTS, ...given }, REMEDY_OF_CONFIG = "correct config.json";
  const check = (fits, name, words) => ensure(fits, `${name} must be ${words}`, valueInWords(config[name]), REMEDY_OF_CONFIG);
  check([undefined, null, "biogpt"].includes(config.model_type), "model_type", "biogpt");
  for (const name of SIZES_OF_CONFIG) check(Number.isInteger(config[name]) && config[name] > 0, name, "an integer, 1 or more");
  for (const name of FLAGS_OF_CONFIG) check([true, false, null, 0, 1].includes(config[name]), name, "true or false");
  const { vocab_size: V, hidden_size: D, num_attention_heads: H } = config, names = Object.keys(ACTIVATION_FUNCTIONS);
  const isId = (id) => Number.isInteger(id) && id >= 0 && id < V, isIds = (ids) => [ids ?? []].flat().every(isId);
  check(!given.pad_token_id || isId(given.pad_token_id), "pad_token_id", `null or an id in [0, ${V})`);
  check(isIds(given.eos_token_id), "eos_token_id", `null, an id in [0, ${V}), or a list of ids`);
  check(names.includes(config.hidden_act), "hidden_act", `one of ${names.join(", ")}`);
  ensure(D % H === 0, "num_attention_heads must divide hidden_size", `${H} and ${D}`, REMEDY_OF_CONFIG);
  return config;
}

function headOf(tensors) {
  if (tensors.has("score.weight")) return "sequence";
  return tensors.has("classifier.weight") ? "token" : "causal";
}
