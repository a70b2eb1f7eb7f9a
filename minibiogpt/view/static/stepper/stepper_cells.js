// Cells: which head, axes, masked cells and labels the matrix of a step has.

import { isMasked, matrixOf } from "../arrays.js";

export const isByHead = (step) => step.axes.includes("H");
export const isTokenAxis = (letter) => letter === "T" || letter === "S";
export const isProbability = (step) => step.kind === "softmax" || step.kind === "headmask";
export const isMaskedStep = (step) => ["mask", "softmax", "headmask"].includes(step.kind);
export const nameOfHead = (source, head) => `${source.layer}.${head}`;
const maskedOf = (source) => source.array(`layers.${source.layer}.self_attn.scores_masked`);

/** The array whose values show which cells of a step are masked: the masked scores for them and the steps after them. */
export function stepScores(source, step) {
  return (isMaskedStep(step) ? maskedOf(source) : null) ?? source.array(step.name);
}

/** A function that says whether a cell of the step is masked. */
export function stepHidden(source, step, head) {
  if (!isMaskedStep(step)) return () => false;
  const matrix = matrixOf(stepScores(source, step), head);
  return (i, j) => isMasked(matrix.at(i, j), source.facts.lowest);
}

/** Whether the weights are the probabilities: no head mask and no experiment changes them. */
export function isRepeated(source, step) {
  if (step.kind !== "headmask" || source.headMask) return false;
  const weights = source.array(step.name).numbers, probs = source.array(step.where.probs)?.numbers;
  return !source.changed || (probs !== undefined && weights.every((x, i) => x === probs[i]));
}

/** The cell selected by default: the largest visible value in an attention row, the largest logit, or the value farthest from 0. */
export function strongestColumn(source, step, head, row) {
  const matrix = matrixOf(source.array(step.name), head), tokens = isTokenAxis(step.axes.at(-1));
  const scores = tokens ? maskedOf(source) : null, masked = scores && matrixOf(scores, head);
  let best = 0, size = -Infinity;
  for (let j = 0; j < matrix.columns; j++) {
    const visible = !masked || !isMasked(masked.at(row, j), source.facts.lowest);
    const here = !visible ? -Infinity : tokens || step.kind === "logits" ? matrix.at(row, j) : Math.abs(matrix.at(row, j));
    if (here > size) [best, size] = [j, here];
  }
  return best;
}

/** The labels of the rows and columns, as HeatMap.draw takes them. */
export function stepLabels(source, step) {
  const [down, across] = step.axes.slice(-2);
  const labels = { down: source.tokens.map((token) => token.label), corner: `${down} ↓ ${across} →` };
  if (isTokenAxis(across)) return { ...labels, across: labels.down };
  const heads = /self_attn\.(context|[qkv]_proj)$/.test(step.name); // each head has columns of its own
  return { ...labels, across: heads ? { size: source.headSize, name: (i) => `head ${nameOfHead(source, i)}` } : null };
}

/** The numbers of a step, with the labels of their rows and columns, to be copied. */
export function stepNumbers(source, step, head) {
  const array = source.array(step.name), matrix = matrixOf(array, head), labels = stepLabels(source, step);
  return {
    name: step.name, head: isByHead(step) ? head : null, rows: labels.down, dtype: array.dtype,
    columns: isTokenAxis(step.axes.at(-1)) ? labels.across : Array.from({ length: matrix.columns }, (_, j) => j),
    numbers: Array.from({ length: matrix.rows }, (_, i) => Array.from(matrix.row(i))),
  };
}
