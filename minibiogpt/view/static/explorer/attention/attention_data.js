// Attention, its data: the arrays of a layer, which cells are masked, and measures that say what a head does.

import { isMasked } from "../../arrays.js";
import { oncePerRun } from "../runs/run.js";

/** The arrays that the view can show: name within self_attn, and what it is. */
export const ATTENTION_ARRAYS = {
  probs: "softmax of the masked scores; each row sums to 1",
  scores: "q · k / sqrt(Dh), before the mask",
  scores_masked: "the scores; a masked one is the lowest number of the dtype",
  weights: "probs after the head mask and the experiments: what the values are weighted with",
};

/** An array (1, H, T, S) of a layer's attention; null if the page does not hold it. */
export const attentionArray = (run, layer, kind) => run.array(`layers.${layer}.self_attn.${kind}`);

/** 1 where a cell of a layer's attention (1, H, T, S) is masked. */
export function maskedCells(run, layer) {
  return oncePerRun(run, `hidden ${layer}`, () => {
    const numbers = attentionArray(run, layer, "scores_masked")?.numbers ?? [], hidden = new Uint8Array(numbers.length);
    for (let i = 0; i < hidden.length; i++) hidden[i] = isMasked(numbers[i], run.lowest) ? 1 : 0;
    return hidden;
  });
}

/** The mean of f(t) over the rows 1 to T - 1 for which it is a number; NaN if there is none. */
function meanOverRows(T, f) {
  let sum = 0, count = 0;
  for (let t = 1; t < T; t++) {
    const x = f(t);
    if (x === null) continue;
    sum += x;
    count++;
  }
  return count ? sum / count : NaN;
}

/** For each position t, the positions j + shift before t, over the earlier occurrences j of its token. */
function earlierAt(ids, shift) {
  return ids.map((id, t) => ids.slice(0, t).flatMap((other, j) => (other === id && j + shift < t ? [j + shift] : [])));
}

/** What a head does, as one number: of(p, ids) with p(t, s) a probability. Rows 1 to T - 1 count: row 0 has one cell. */
export const MEASURES = {
  previous: { name: "to the previous token", about: "mean of probs[t, t-1]: 1 if every token looks only at the one before it",
    of: (p, ids) => meanOverRows(ids.length, (t) => p(t, t - 1)) },
  first: { name: "to the first token, </s>", about: "mean of probs[t, 0]: a head that finds nothing often looks here",
    of: (p, ids) => meanOverRows(ids.length, (t) => p(t, 0)) },
  itself: { name: "to itself", about: "mean of probs[t, t]: 1 if every token looks only at itself",
    of: (p, ids) => meanOverRows(ids.length, (t) => p(t, t)) },
  same: { name: "to the same token, earlier",
    about: "how much a token that occurred before looks at its earlier places; the mean over all such tokens",
    targets: (ids) => earlierAt(ids, 0), lacking: "no token of it occurs twice",
    of: (p, ids) => summedOver(p, earlierAt(ids, 0)) },
  induction: { name: "induction (copying)",
    about: "how much a token that occurred before looks at what came just after it then; the mean over all such tokens. " +
    "A head with a large number finds what followed last time, so that the model can copy it. In known sentences other heads can " +
    "have large numbers, too; made-up words can only be copied",
    targets: (ids) => earlierAt(ids, 1), lacking: "no token of it occurs again after another one",
    of: (p, ids) => summedOver(p, earlierAt(ids, 1)) },
  entropy: { name: "entropy",
    about: "mean of -sum p ln p over the rows, in nats: 0 if each token looks at one token only, large if it looks everywhere",
    of: (p, ids) => meanOverRows(ids.length, (t) => entropyOf(p, t, ids.length)) },
};

/** Why a measure is not defined for a text, or "" if it is. */
export function lackingFor({ targets, lacking }, ids) {
  if (ids.length < 2) return "it has one token only";
  return targets && targets(ids).every((found) => !found.length) ? lacking : "";
}

function summedOver(p, targets) {
  return meanOverRows(targets.length, (t) => (targets[t].length ? targets[t].reduce((sum, s) => sum + p(t, s), 0) : null));
}

function entropyOf(p, t, S) {
  let sum = 0;
  for (let s = 0; s < S; s++) {
    const x = p(t, s);
    if (x !== 0) sum -= x * Math.log(x); // NaN stays NaN
  }
  return sum;
}

/** A measure of all heads: numbers[layer * H + head]. */
export function headMeasures(run, id) {
  return oncePerRun(run, `measure ${id}`, () => {
    const { num_hidden_layers: L, num_attention_heads: H } = run.config, { T } = run, found = new Float64Array(L * H).fill(NaN);
    for (let layer = 0; layer < L; layer++) {
      const numbers = attentionArray(run, layer, "probs")?.numbers;
      for (let head = 0; numbers && head < H; head++) {
        const start = head * T * T;
        found[layer * H + head] = MEASURES[id].of((t, s) => numbers[start + t * T + s], run.ids);
      }
    }
    return found;
  });
}

/** The heads [layer, head] in the order of the model, or from the largest measure to the smallest; NaN last. */
export function headOrder(run, id, sorted) {
  const { num_hidden_layers: L, num_attention_heads: H } = run.config;
  const all = Array.from({ length: L * H }, (_, i) => i);
  if (id && sorted) {
    const size = (i) => { const x = headMeasures(run, id)[i]; return Number.isNaN(x) ? -Infinity : x; };
    all.sort((a, b) => size(b) - size(a) || a - b);
  }
  return all.map((i) => [Math.floor(i / H), i % H]);
}
