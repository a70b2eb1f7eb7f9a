// The heads: logits and loss of a language model, of a classified text, and of classified tokens.

import { BioGptError, ensure } from "./errors.js";
import { arrayFrom, linear, makeArray, scaleArray } from "./ops.js";

const IGNORED = -100;

/** Logits (B, T, V) at each position; the loss of labels (B, T) is shifted by one inside. */
export function causalHead(h, call) {
  const { tap, weights, rules, config } = call;
  const matrix = weights.get(config.tie_word_embeddings ? "embed_tokens.weight" : "output_projection.weight");
  const x = rules.scaleHead ? scaleArray(h, Math.sqrt(config.hidden_size)) : h; // a trap
  const logits = tap.take("logits", linear(x, matrix));
  if (call.labels === null) return { logits, loss: null };
  const [B, T, V] = logits.shape, labels = arrayFrom(call.labels, "int64");
  checkLabels(labels, [B, T], V);
  const wanted = (i) => (i % T === T - 1 ? IGNORED : labels.numbers[i + 1]); // the last position has no next token
  return { logits, loss: takeLoss(tap, logits, crossEntropy(logits, wanted)) };
}

/** Scores at each position, and logits (B, labels): the scores at the last real token. */
export function sequenceHead(h, call) {
  const { tap, weights, config } = call;
  const scores = tap.take("score", linear(h, weights.get("score.weight"))); // (B, T, labels)
  const [B, T, C] = scores.shape, pooled = makeArray([B, C], scores.dtype);
  for (let b = 0; b < B; b++) {
    const start = (b * T + lastReal(b, T, call)) * C;
    pooled.numbers.set(scores.numbers.subarray(start, start + C), b * C);
  }
  const logits = tap.take("logits", pooled);
  return { logits, loss: call.labels === null ? null : takeLoss(tap, logits, textLoss(logits, call.labels, config)) };
}

/** The index of the last token of row b that is not padding, by its id and by the mask. */
function lastReal(b, T, { ids, mask, S, config }) {
  if (!ids || config.pad_token_id === null) return T - 1;
  for (let t = T - 1; t >= 0; t--) {
    const real = !mask || mask.numbers[b * S + S - T + t] === 1;
    if (real && ids.numbers[b * T + t] !== config.pad_token_id) return t;
  }
  throw new BioGptError("each row must have a token that is not padding", `row ${b} is all padding`, "leave the row out");
}

/** Logits (B, T, labels) at each position, with a bias; the loss leaves out -100 and padding. */
export function tokenHead(h, call) {
  const { tap, weights, mask, S } = call;
  const logits = tap.take("logits", linear(h, ...weights.pair("classifier")));
  if (call.labels === null) return { logits, loss: null };
  const [B, T, C] = logits.shape, labels = arrayFrom(call.labels, "int64");
  checkLabels(labels, [B, T], C);
  const isPadding = (i) => mask && mask.numbers[Math.floor(i / T) * S + S - T + (i % T)] === 0;
  return { logits, loss: takeLoss(tap, logits, crossEntropy(logits, (i) => (isPadding(i) ? IGNORED : labels.numbers[i]))) };
}

function textLoss(logits, given, config) {
  const [B, C] = logits.shape;
  const nested = Array.isArray(given) && Array.isArray(given[0]);
  const labels = arrayFrom(given, nested || C === 1 ? "float64" : "int64");
  const kind = config.problem_type ?? (C === 1 ? "regression"
    : labels.dtype === "int64" ? "single_label_classification" : "multi_label_classification");
  if (kind === "single_label_classification") {
    checkLabels(labels, labels.shape.length === 2 ? [B, 1] : [B], C);
    return crossEntropy(logits, (i) => labels.numbers[i]);
  }
  ensure(labels.numbers.length === B * C, `labels must be (B, labels) = [${B},${C}]`, `[${labels.shape}]`, "give each row its labels");
  const lossOf = kind === "regression" ? squaredError : binaryCrossEntropy;
  let sum = 0;
  for (let i = 0; i < B * C; i++) sum += lossOf(logits.numbers[i], labels.numbers[i]);
  return sum / (B * C);
}

const squaredError = (x, y) => (x - y) ** 2;

/** -y log sigmoid(x) - (1 - y) log(1 - sigmoid(x)), without overflow. */
const binaryCrossEntropy = (x, y) => Math.max(x, 0) - x * y + Math.log1p(Math.exp(-Math.abs(x)));

/** The mean of -log softmax(row)[label] over the rows whose label is not -100; NaN if there is none. */
function crossEntropy(logits, labelOf) {
  const width = logits.shape.at(-1), x = logits.numbers;
  let total = 0, count = 0;
  for (let row = 0; row < x.length / width; row++) {
    const label = labelOf(row), start = row * width;
    if (label === IGNORED) continue;
    let most = -Infinity, sum = 0;
    for (let i = 0; i < width; i++) most = Math.max(most, x[start + i]);
    for (let i = 0; i < width; i++) sum += Math.exp(x[start + i] - most);
    total += Math.log(sum) + most - x[start + label];
    count++;
  }
  return total / count;
}

const takeLoss = (tap, logits, loss) => tap.take("loss", makeArray([], logits.dtype, [loss]));

function checkLabels(labels, shape, classes) {
  ensure(`${labels.shape}` === `${shape}`, `labels must have the shape [${shape}]`, `[${labels.shape}]`, "give each token a label");
  const isLabel = (x) => x === IGNORED || (Number.isInteger(x) && x >= 0 && x < classes);
  const must = `labels must be in [0, ${classes}), or -100 where there is none`, wrong = labels.numbers.find((x) => !isLabel(x));
  ensure(wrong === undefined, must, wrong, "write -100 there");
}
