// Logits processors: they change the logits (V,) before a token is chosen, in the order and with the ties of minibiogpt.generation.
// They compute in the dtype of the logits, a Float32Array or a Float64Array. A removed token has -Infinity.

import { softmax } from "../ops.js";

/** Rounds a number to the dtype of the logits. */
const roundingOf = (logits) => (logits instanceof Float32Array ? Math.fround : (x) => x);

/** softmax(logits), of the same dtype. */
export function probabilitiesOf(logits) {
  const dtype = logits instanceof Float32Array ? "float32" : "float64";
  return softmax({ shape: [logits.length], dtype, numbers: logits }).numbers;
}

/** Indices from the smallest value to the largest; equal ones keep their order. */
export function ascendingOrder(values) {
  return Int32Array.from(values.keys()).sort((a, b) => values[a] - values[b] || a - b);
}

/** The largest value; NaN if one is NaN. */
export const largestOf = (values) => values.reduce((most, x) => Math.max(most, x), -Infinity);

/** The logits without the tokens for which a condition holds. */
const withoutTokens = (logits, isRemoved) => logits.map((x, id) => (isRemoved(id) ? -Infinity : x));

/** Logits of tokens that occurred before, prompt included, times the penalty if negative, else divided by it. */
function repetitionPenalty({ penalty }, ids, logits) {
  const processed = logits.slice(), factor = roundingOf(logits)(penalty);
  for (const id of new Set(ids)) processed[id] = logits[id] < 0 ? logits[id] * factor : logits[id] / factor;
  return processed;
}

/** Remove each token that would complete n tokens in a row that occurred before. */
function noRepeatNGram({ size }, ids, logits) {
  const context = ids.slice(ids.length - size + 1), repeated = new Set();
  if (ids.length < size) return logits;
  for (let i = 0; i + size <= ids.length; i++) {
    if (size === 1 || context.every((id, j) => ids[i + j] === id)) repeated.add(ids[i + size - 1]);
  }
  return withoutTokens(logits, (id) => repeated.has(id));
}

/** Remove the end tokens until there are enough tokens, prompt included. */
function minLength({ minLength: least, endTokens }, ids, logits) {
  return ids.length >= least ? logits : withoutTokens(logits, (id) => endTokens.includes(id));
}

/** Logits divided by the temperature: below 1 the distribution is sharper, above 1 flatter. */
function temperatureOf({ temperature }, ids, logits) {
  const divisor = roundingOf(logits)(temperature);
  return logits.map((x) => x / divisor);
}

/** Keep the k largest logits, and all that equal the k-th. */
function topK({ k }, ids, logits) {
  const smallestKept = logits.slice().sort()[Math.max(0, logits.length - k)];
  return withoutTokens(logits, (id) => logits[id] < smallestKept);
}

/** Remove tokens from the least probable up while their probabilities sum to at most 1 - p; the most probable stays. */
function topP({ p }, ids, logits) {
  const round = roundingOf(logits), limit = round(1 - p);
  const order = ascendingOrder(logits), probs = probabilitiesOf(logits.map((_, rank) => logits[order[rank]]));
  const processed = logits.slice();
  for (let rank = 0, sum = 0; rank < order.length - 1; rank++) {
    sum = round(sum + probs[rank]);
    if (sum <= limit) processed[order[rank]] = -Infinity;
  }
  return processed;
}

/** Remove tokens less probable than p times the most probable one. */
function minP({ p }, ids, logits) {
  const round = roundingOf(logits), probs = probabilitiesOf(logits);
  const least = round(round(p) * largestOf(probs)), most = largestOf(logits);
  return withoutTokens(logits, (id) => probs[id] < least && logits[id] < most);
}

/** Keep the tokens whose -log p is closest to the entropy, until their probabilities sum to p. */
function typicalP({ p }, ids, logits) {
  const round = roundingOf(logits), most = largestOf(logits);
  const logOfSum = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0));
  const logs = logits.map((x) => x - most - logOfSum);
  const entropy = round(-logs.reduce((sum, log) => (Math.exp(log) > 0 ? sum + Math.exp(log) * log : sum), 0));
  const distances = logs.map((log) => Math.abs(-log - entropy));
  const order = ascendingOrder(distances), probs = probabilitiesOf(logits.map((_, rank) => logits[order[rank]]));
  let last = 0;
  for (let sum = probs[0]; sum < round(p) && last < order.length - 1; last++) sum = round(sum + probs[last + 1]);
  const farthest = distances[order[last]];
  return withoutTokens(logits, (id) => distances[id] > farthest);
}

/**
 * The processors that options require, [{ rule, parameters, apply(ids, logits) -> logits }], in transformers' order. A rule has the
 * name of its class in minibiogpt.generation, as in a trace. Those of sampling come last, and only with doSample.
 */
export function processorsOf(options, promptLength, endTokens) {
  const { repetitionPenalty: penalty, noRepeatNgramSize: size, minNewTokens, doSample } = options;
  const { temperature, topK: k, topP: p, minP: least, typicalP: typical } = options;
  const enough = promptLength + (minNewTokens ?? 0);
  const every = [
    [penalty !== null && penalty !== 1, "RepetitionPenalty", { penalty }, repetitionPenalty],
    [size, "NoRepeatNGram", { size }, noRepeatNGram],
    [endTokens.length && enough > promptLength, "MinLength", { minLength: enough, endTokens }, minLength],
    [doSample && temperature !== null && temperature !== 1, "Temperature", { temperature }, temperatureOf],
    [doSample && k, "TopK", { k }, topK],
    [doSample && p !== null && p < 1, "TopP", { p }, topP],
    [doSample && least !== null, "MinP", { p: least }, minP],
    [doSample && typical !== null && typical < 1, "TypicalP", { p: typical }, typicalP],
  ];
  return every
    .filter(([isNeeded]) => isNeeded)
    .map(([, rule, parameters, process]) => ({ rule, parameters, apply: (ids, logits) => process(parameters, ids, logits) }));
}

/** Apply all processors in order: { scores, stages: [{ rule, parameters, before, after, removed }] }. */
export function applyProcessors(processors, ids, logits) {
  let scores = logits;
  const stages = processors.map(({ rule, parameters, apply }) => {
    const before = scores;
    scores = apply(ids, before);
    const removed = [];
    scores.forEach((x, id) => x === -Infinity && before[id] > -Infinity && removed.push(id));
    return { rule, parameters, before, after: scores, removed };
  });
  return { scores, stages };
}
