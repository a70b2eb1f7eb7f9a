// The traps: the same weights computed in another way, as mistaken ports do. `model.with({ eps: 1e-12 })` applies one.

import { ensure, valueInWords } from "./errors.js";
import { makeArray } from "./ops.js";
import { Weights } from "./weights.js";

/** What is right, for this config: the rules that `with` may change. */
export function rightRules(config) {
  return {
    eps: 1e-5, unbiased: false, unitGain: false, activation: config.hidden_act,
    scaleEmbedding: config.scale_embedding, scalePositions: false, scaleHead: false, positionOffset: 2, countPads: false,
    causal: true, paddingMask: true, maskAdds: null, scaleScores: true, interleavedHeads: false,
    preNorm: true, finalNorm: true, swapNorms: false, swapQueriesAndKeys: false,
    zeroBias: null, transpose: null, layerOrder: null,
  };
}

const FIRST_ATTENTION = "layers.0.self_attn", FIRST_NORM = "layers.0.self_attn_layer_norm";

/**
 * Every trap: `model.with({ [key]: value })`. `first` is the first array that differs on ordinary text (null: none does, `needs` says
 * what it takes), and `reaches` says whether the logits then differ by more than rounding.
 */
export const TRAPS = [
  makeTrap("eps", 1e-12, "eps 1e-12", FIRST_NORM, "Norms use layer_norm_eps of config.json. The model was trained with 1e-5."),
  makeTrap("unbiased", true, "variance divided by D - 1", FIRST_NORM, "Norms divide the variance by D - 1 instead of D."),
  makeTrap("unitGain", true, "norms without gain", FIRST_NORM, "Norms leave out their weight."),
  makeTrap("activation", "gelu_new", "tanh GELU", "layers.0.activation_fn", "The tanh approximation of GELU. It differs by up to 5e-4."),
  makeTrap("activation", "quick_gelu", "sigmoid GELU", "layers.0.activation_fn", "x times the sigmoid of 1.702 x, another approximation."),
  makeTrap("activation", "relu", "ReLU for GELU", "layers.0.activation_fn", "Negative values become 0."),
  makeTrap("activation", "identity", "no activation", "layers.0.activation_fn", "The feed-forward network becomes linear."),
  makeTrap("positionOffset", 0, "position offset 0", "embed_positions", "Position p reads row p of the table instead of row p + 2."),
  makeTrap("positionOffset", 1, "position offset 1", "embed_positions", "Position p reads row p + 1 of the table instead of row p + 2."),
  makeTrap("countPads", true, "positions count padding", null, "Positions are column numbers.", { needs: "padding before a token" }),
  makeTrap("scaleEmbedding", false, "embeddings not scaled", "embed_tokens", "Token embeddings are not multiplied by sqrt(D)."),
  makeTrap("scalePositions", true, "positions scaled too", "embed_positions", "Position embeddings are multiplied by sqrt(D) as well."),
  makeTrap("scaleHead", true, "head scaled", "logits", "The head uses the scaled embeddings: all logits are sqrt(D) times too large."),
  makeTrap("causal", false, "no causal mask", `${FIRST_ATTENTION}.scores_masked`, "Each token attends to later tokens as well."),
  makeTrap("paddingMask", false, "no padding mask", null, "Tokens attend to padding.", { needs: "padding" }),
  makeTrap("maskAdds", -10000, "mask adds -10,000", `${FIRST_ATTENTION}.scores_masked`,
    "Masked scores get -10,000 added. Ordinary scores are so small that this hides them too.",
    { reaches: false, needs: "scores of thousands, or padding on the left" }),
  makeTrap("scaleScores", false, "scores not scaled", `${FIRST_ATTENTION}.scores`,
    "Scores are not divided by sqrt(Dh): attention is too sharp."),
  makeTrap("scaleScores", "D", "scores divided by sqrt(D)", `${FIRST_ATTENTION}.scores`,
    "Scores are divided by the square root of the whole width."),
  makeTrap("interleavedHeads", true, "heads interleaved", `${FIRST_ATTENTION}.q`, "Head h takes the columns h, h + H, h + 2 H, ..."),
  makeTrap("swapQueriesAndKeys", true, "q and k swapped", `${FIRST_ATTENTION}.q_proj`, "The weights of q_proj and k_proj are exchanged."),
  makeTrap("transpose", "self_attn.v_proj", "v_proj transposed", `${FIRST_ATTENTION}.v_proj`,
    "The weight is read as (in, out). It is square, so no shape shows it."),
  makeTrap("zeroBias", "self_attn.k_proj", "no bias in k_proj", `${FIRST_ATTENTION}.k_proj`,
    "It adds the same to all scores of a row, so the softmax cancels it.", { reaches: false, needs: "a comparison of keys or scores" }),
  makeTrap("zeroBias", "fc1", "no bias in fc1", "layers.0.fc1", "The first linear layer of the feed-forward has no bias."),
  makeTrap("preNorm", false, "post-norm", FIRST_NORM, "Norms come after the residual, as in the original Transformer."),
  makeTrap("swapNorms", true, "norms exchanged", FIRST_NORM,
    "Attention uses final_layer_norm, and the feed-forward uses self_attn_layer_norm."),
  makeTrap("finalNorm", false, "no final norm", "layer_norm", "The head reads the residual stream as the last layer leaves it."),
  makeTrap("layerOrder", "reversed", "layers in reverse", FIRST_NORM, "The last layer's weights come first."),
  makeTrap("layerOrder", "first", "layer 0 everywhere", "layers.1.self_attn_layer_norm", "Every layer has the weights of layer 0."),
];

const VALUES_OF_RULES = {
  eps: [(x) => Number.isFinite(x) && x >= 0, "a number, 0 or more"],
  activation: [(x) => typeof x === "string", "the name of an activation"],
  positionOffset: [Number.isInteger, "an integer"],
  maskAdds: [(x) => x === null || Number.isFinite(x), "null or a number"],
  scaleScores: [(x) => typeof x === "boolean" || x === "D", 'true, false or "D"'],
  zeroBias: [(x) => x === null || typeof x === "string", 'null or a module, such as "fc1"'],
  transpose: [(x) => x === null || /^self_attn\.(q|k|v|out)_proj$/.test(x), 'null or a square matrix, such as "self_attn.v_proj"'],
  layerOrder: [(x) => [null, "reversed", "first"].includes(x), 'null, "reversed" or "first"'],
};

function makeTrap(key, value, label, first, about, { reaches = first !== null, needs = null } = {}) {
  return { key, value, label, first, about, reaches, needs };
}

/** The rules with changes; an unknown key is an error. */
export function changedRules(rules, changes) {
  for (const [key, value] of Object.entries(changes ?? {})) {
    ensure(Object.hasOwn(rules, key), "a trap must be a key of the rules", key, `choose from ${Object.keys(rules).join(", ")}`);
    const [isValid, words] = VALUES_OF_RULES[key] ?? [(x) => typeof x === "boolean", "true or false"];
    ensure(isValid(value), `${key} must be ${words}`, valueInWords(value), "see TRAPS for the values of each");
  }
  return { ...rules, ...changes };
}

/** The parameters as the rules want them: what a trap says about weights is done here, once, to copies. */
export function changedWeights(weights, rules, config) {
  const changed = new Map(), { zeroBias } = rules, names = [...weights.arrays.keys()];
  const isThere = zeroBias === null || names.some((name) => name === `${zeroBias}.bias` || name.endsWith(`.${zeroBias}.bias`));
  ensure(isThere, "zeroBias must be a module with a bias", valueInWords(zeroBias), 'choose one such as "fc1"');
  for (const name of names) changed.set(name, changedArray(name, weights, rules, config));
  return new Weights(changed);
}

function changedArray(name, weights, rules, config) {
  const array = weights.get(sourceName(name, rules, config.num_hidden_layers));
  const module = name.replace(/^layers\.\d+\./, "").replace(/\.\w+$/, "");
  if (rules.zeroBias === module && name.endsWith(".bias")) return makeArray(array.shape, array.dtype);
  if (rules.transpose === module && name.endsWith(".weight")) return transposedMatrix(array);
  if (rules.unitGain && name.endsWith("layer_norm.weight")) return makeArray(array.shape, array.dtype, array.numbers.map(() => 1));
  return array;
}

/** The name of the parameter that replaces this one. */
function sourceName(name, { layerOrder, swapNorms, swapQueriesAndKeys }, L) {
  if (layerOrder) name = name.replace(/^layers\.(\d+)/, (_, l) => `layers.${layerOrder === "first" ? 0 : L - 1 - l}`);
  const exchange = (one, other) => {
    name = name.replace(new RegExp(`\\.(${one}|${other})\\.`), (_, found) => `.${found === one ? other : one}.`);
  };
  if (swapNorms) exchange("self_attn_layer_norm", "final_layer_norm");
  if (swapQueriesAndKeys) exchange("q_proj", "k_proj");
  return name;
}

function transposedMatrix(array) {
  const [rows, columns] = array.shape;
  const turned = makeArray([columns, rows], array.dtype);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned.numbers[j * rows + i] = array.numbers[i * columns + j];
  return turned;
}
