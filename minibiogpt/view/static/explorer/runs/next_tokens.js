// Next tokens: the model's probabilities after a token, and which tokens are the most probable.

import { probabilitiesOf } from "../../biogpt.js";

/** softmax of the logits of a row, in float64, over the whole vocabulary. */
export const nextProbabilities = (run, t) => probabilitiesOf(new Float64Array(run.row("logits", t)));

/** The index of the largest number; NaN is only taken where all are NaN. */
export const largest = (numbers) => topIndices(numbers, 1)[0] ?? 0;

/** The indices of the n largest numbers, largest first, of equal ones the smaller index first; NaN is none of them. */
export function topIndices(numbers, n) {
  const best = [];
  for (let i = 0; i < numbers.length; i++) {
    if (Number.isNaN(numbers[i])) continue;
    if (best.length === n && !(numbers[i] > numbers[best[n - 1]])) continue;
    let at = best.length;
    while (at > 0 && numbers[i] > numbers[best[at - 1]]) at--;
    best.splice(at, 0, i);
    if (best.length > n) best.pop();
  }
  return best;
}

/** The ids of the n largest logits, as topIndices; where NaN leaves fewer, the smallest of the other ids follow. */
export function topTokens(logits, n) {
  const ids = topIndices(logits, n), chosen = new Set(ids);
  for (let id = 0; id < logits.length && ids.length < n; id++) if (!chosen.has(id)) ids.push(id);
  return ids;
}

/** The place of a token among the logits from the largest to the smallest: 1 for the largest; of equal ones the smaller id comes first. */
export function rankOf(logits, id) {
  let rank = 1;
  for (let i = 0; i < logits.length; i++) if (logits[i] > logits[id] || (logits[i] === logits[id] && i < id)) rank++;
  return rank;
}
