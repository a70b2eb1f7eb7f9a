// Numbers of the model view: the sizes of what each part writes, the lines of attention, and the most probable next tokens.

import { largest, nextProbabilities, topTokens } from "../runs/next_tokens.js";
import { oncePerRun } from "../runs/run.js";

/** What a part is called in the drawing. */
export const PART_TITLES = { tokens: "token", positions: "position", attention: "attention", feed: "feed-forward", norm: "final norm",
  logits: "logits" };

/** The parts of the model from the bottom to the top: {key, kind, layer, written, after}; the names are those of arrays. */
export function partsOf(L) {
  const parts = [
    { key: "tokens", kind: "tokens", written: "embed_tokens", after: "embeddings" },
    { key: "positions", kind: "positions", written: "embed_positions", after: "embeddings" },
  ];
  for (let layer = 0; layer < L; layer++) {
    const path = `layers.${layer}`, before = layer ? `layers.${layer - 1}` : "embeddings";
    parts.push(
      { key: `${path}.attention`, kind: "attention", layer, before, written: `${path}.self_attn.out_proj`, after: `${path}.attn_residual` },
      { key: `${path}.feed`, kind: "feed", layer, before: `${path}.attn_residual`, written: `${path}.fc2`, after: path },
      { key: path, kind: "stream", layer, after: path },
    );
  }
  return [...parts, { key: "norm", kind: "norm", before: L ? `layers.${L - 1}` : "embeddings", after: "layer_norm" },
    { key: "logits", kind: "logits", before: "layer_norm", after: "logits" }];
}

/** The L2 norm of each row of an array (1, T, n), summed in float64. Null if the run lacks the array. */
export function normsOf(run, name) {
  return oncePerRun(run, `norms ${name}`, () => {
    const array = run.array(name) ?? differenceOf(run, name);
    if (!array) return null;
    const size = array.shape.at(-1), norms = new Float64Array(array.numbers.length / size);
    for (let t = 0, at = 0; t < norms.length; t++) {
      let sum = 0;
      for (const end = at + size; at < end; at++) sum += array.numbers[at] ** 2;
      norms[t] = Math.sqrt(sum);
    }
    return norms;
  });
}

/** What a part wrote, which a recorded page may leave out: the stream after it less the stream before it. */
function differenceOf(run, name) {
  const part = partsOf(run.config.num_hidden_layers).find(({ written, before }) => written === name && before);
  const after = part && run.array(part.after), before = part && run.array(part.before);
  return after && before && { shape: after.shape, numbers: Float64Array.from(after.numbers, (x, i) => x - before.numbers[i]) };
}

/** The scale of the norms of arrays: their largest, or below that their 97th percentile, where few are far larger than all others. */
export function scaleOfNorms(run, names) {
  return oncePerRun(run, `scale ${names.join(" ")}`, () => {
    const norms = names.flatMap((name) => [...normsOf(run, name) ?? []]).filter(Number.isFinite).sort((a, b) => a - b);
    const most = norms.at(-1) || 1, usual = norms[Math.ceil(0.97 * norms.length) - 1] ?? most;
    return usual > 0 && most > 1.5 * usual ? usual : most;
  });
}

/** The most probable next token after each token: {id, p}. */
export function answersOf(run) {
  return oncePerRun(run, "answers", () => run.tokens.map((_, t) => {
    const id = largest(run.row("logits", t));
    return { id, p: nextProbabilities(run, t)[id] };
  }));
}

/** {top: the ids of the most probable tokens, probs, others: how many more, rest: their probability}. */
export function nextTokens(run, t, count) {
  return oncePerRun(run, `next ${t} ${count}`, () => {
    const probs = nextProbabilities(run, t), top = topTokens(run.row("logits", t), count), shown = new Set(top);
    let rest = 0;
    for (let id = 0; id < probs.length; id++) if (!shown.has(id)) rest += probs[id];
    return { top, probs, others: probs.length - top.length, rest };
  });
}

/** The attention weights of a layer, (1, H, T, S), and their name; a recorded page has only the probabilities. */
export function weightsOf(run, layer) {
  const path = `layers.${layer}.self_attn`, name = run.array(`${path}.weights`) ? `${path}.weights` : `${path}.probs`;
  return { name, array: run.array(name) };
}

/** For each key: {weight, head}, of one head, of the head with the largest weight, or the mean of all (head: null). */
export function linesOf(run, layer, t, which, head) {
  const { array } = weightsOf(run, layer);
  if (!array) return [];
  const [, H, T, S] = array.shape, at = (h, s) => array.numbers[(h * T + t) * S + s];
  return Array.from({ length: S }, (_, s) => {
    if (which === "head") return { weight: at(head, s), head };
    let sum = 0, best = 0;
    for (let h = 0; h < H; h++) {
      sum += at(h, s);
      if (at(h, s) > at(best, s)) best = h;
    }
    return which === "mean" ? { weight: sum / H, head: null } : { weight: at(best, s), head: best };
  });
}

/** For each head the key with the largest weight, the strongest first: {head, key, weight}. */
export function strongestHeads(run, layer, t) {
  const { array } = weightsOf(run, layer);
  if (!array) return [];
  const [, H, T, S] = array.shape;
  const heads = Array.from({ length: H }, (_, head) => {
    const start = (head * T + t) * S, row = array.numbers.subarray(start, start + S), key = largest(row);
    return { head, key, weight: row[key] };
  });
  return heads.sort((a, b) => b.weight - a.weight);
}
