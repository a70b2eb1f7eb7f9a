// The inputs of a call: checks, positions, and which key each query may see.

import { KVCache } from "./cache.js";
import { ensure, valueInWords } from "./errors.js";
import { arrayFrom, copyArray, makeArray } from "./ops.js";
import { classesOf } from "./weights.js";

const shapeInBrackets = (shape) => `[${shape}]`;
/** Whether an option has a value. 0 is one. */
export const isGiven = (value) => value !== undefined && value !== null;

const sameShape = (a, b) => shapeInBrackets(a) === shapeInBrackets(b);

/** The ids or embeddings of a call as an array, and B and T. */
export function readTokens({ ids, inputsEmbeds }, config, dtype) {
  const given = [ids, inputsEmbeds].filter(isGiven).length;
  ensure(given === 1, "exactly one of ids and inputsEmbeds must be given", `${given}`, "pass one of them");
  const hasIds = isGiven(ids), name = hasIds ? "ids" : "inputsEmbeds";
  const tokens = hasIds ? arrayFrom(ids, "int64") : copyArray(arrayFrom(inputsEmbeds, dtype), dtype);
  const [B, T, D] = tokens.shape;
  const fits = tokens.shape.length === (hasIds ? 2 : 3) && B > 0 && T > 0 && (hasIds || D === config.hidden_size);
  const must = `${name} must be ${hasIds ? "(B, T)" : `(B, T, D) with D = ${config.hidden_size}`}, with a token at least`;
  ensure(fits, must, shapeInBrackets(tokens.shape), "pass [[2, 5, 9]]");
  const V = config.vocab_size;
  if (hasIds) checkWithin(tokens.numbers, 0, V, `ids must be integers in [0, ${V})`, "use this model's tokenizer");
  return { tokens, B, T };
}

/** The attention mask (B, S) as an array, or null. */
export function readMask(attentionMask, B, S) {
  if (!isGiven(attentionMask)) return null;
  const mask = arrayFrom(attentionMask, "int64");
  const must = `attentionMask must be (B, S) = ${shapeInBrackets([B, S])}`;
  ensure(sameShape(mask.shape, [B, S]), must, shapeInBrackets(mask.shape), "cover cached and new positions");
  checkWithin(mask.numbers, 0, 2, "attentionMask must hold 0 and 1 only", "write 1 for a token and 0 for padding");
  return mask;
}

/** The position of each new token, (B, T): real tokens are counted from 0, padding is -1 (column numbers if `countPads`: a trap). */
export function positionsOf(positionIds, mask, { B, T, S }, { countPads }) {
  const positions = makeArray([B, T], "int64");
  if (isGiven(positionIds)) return spreadPositions(arrayFrom(positionIds, "int64"), positions);
  for (let b = 0; b < B; b++) {
    let count = 0;
    for (let s = 0; s < S; s++) {
      const real = mask && !countPads ? mask.numbers[b * S + s] : 1;
      count += real;
      if (s >= S - T) positions.numbers[b * T + s - (S - T)] = real ? count - 1 : -1;
    }
  }
  return positions;
}

function spreadPositions(given, positions) {
  const [B, T] = positions.shape, [rows] = given.shape;
  const fits = sameShape(given.shape, [B, T]) || sameShape(given.shape, [1, T]);
  const must = `positionIds must be (B, T) = ${shapeInBrackets([B, T])} or (1, T)`;
  ensure(fits, must, shapeInBrackets(given.shape), "give each token its position");
  for (let i = 0; i < B * T; i++) positions.numbers[i] = given.numbers[rows === 1 ? i % T : i];
  return positions;
}

/** Check that each position is in [-1, N). */
export function checkPositions(positions, config) {
  const N = config.max_position_embeddings;
  checkWithin(positions.numbers, -1, N, `a position must be in [-1, N), N = ${N} (max_position_embeddings)`, "shorten the text");
}

/** bool (B, T, S): query t, at S - T + t, sees the keys up to itself where the mask is 1. Traps leave one or the other out. */
export function visibleKeys(mask, { B, T, S }, { causal, paddingMask }) {
  const visible = makeArray([B, T, S], "bool");
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < T; t++) {
      const end = causal ? S - T + t + 1 : S;
      for (let s = 0; s < end; s++) visible.numbers[(b * T + t) * S + s] = mask && paddingMask ? mask.numbers[b * S + s] : 1;
    }
  }
  return visible;
}

/** The head mask as (L, H), or null; (H,) is the same for each layer. */
export function readHeadMask(headMask, config) {
  if (!isGiven(headMask)) return null;
  const L = config.num_hidden_layers, H = config.num_attention_heads;
  const given = arrayFrom(headMask, "float64");
  const fits = sameShape(given.shape, [H]) || sameShape(given.shape, [L, H]);
  ensure(fits, `headMask must be (H,) = [${H}] or (L, H) = [${L},${H}]`, shapeInBrackets(given.shape), "give each head a number");
  const full = makeArray([L, H], "float64");
  for (let i = 0; i < L * H; i++) full.numbers[i] = given.numbers[i % given.numbers.length];
  return full;
}

const INPUT_OF_OPTION = {
  ids: "input_ids", inputsEmbeds: "inputs_embeds", attentionMask: "attention_mask", headMask: "head_mask", positionIds: "position_ids",
  cache: "past_key_values", labels: "labels",
};

/** What a saved trace says of a call: the sizes by their letters, and the inputs by minibiogpt's names, with their dtypes. */
export function describeCall({ head, config, dtype }, options, { B, T, S }) {
  const { hidden_size: D, num_attention_heads: H, num_hidden_layers: L } = config;
  const letters = { B, T, S, D, H, Dh: D / H, F: config.intermediate_size, V: config.vocab_size, L, N: config.max_position_embeddings };
  if (head === "sequence" || head === "token") letters.labels = classesOf(config);
  const inputs = {};
  for (const [option, name] of Object.entries(INPUT_OF_OPTION)) {
    const isUsed = option === "cache" ? S > T : isGiven(options[option]);
    if (isUsed) inputs[name] = options[option].dtype ?? (/^(inputsEmbeds|headMask|cache)$/.test(option) ? dtype : "int64");
  }
  return { head, letters, config, inputs };
}

/** Check that a cache fits the model and the batch. */
export function checkCache(cache, config, B, dtype) {
  ensure(cache instanceof KVCache, "the cache must be a KVCache", valueInWords(cache), "pass the cache that forward() returned");
  if (!cache.length) return;
  const { k } = cache.layers[0], H = config.num_attention_heads;
  const wanted = [config.num_hidden_layers, B, H, config.hidden_size / H, dtype];
  const found = [cache.layers.length, k.shape[0], k.shape[1], k.shape[3], k.dtype];
  const must = `the cache must fit the model and the batch: L, B, H, Dh, dtype ${shapeInBrackets(wanted)}`;
  ensure(sameShape(wanted, found), must, shapeInBrackets(found), "pass the cache of this batch");
}

function checkWithin(numbers, low, high, must, remedy) {
  for (const x of numbers) ensure(Number.isInteger(x) && x >= low && x < high, must, x, remedy);
}
