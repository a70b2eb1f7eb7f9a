// Lens, its numbers: the logits after each layer, and what each part adds to one logit; as minibiogpt/lens.py defines them.

import { applyNorm, causalHead, makeArray, probabilitiesOf } from "../../biogpt.js";
import { sharedPrefix } from "../runs/continued.js";
import { topTokens } from "../runs/next_tokens.js";
import { oncePerRun, streamNames } from "../runs/run.js";

const LENS_AT_ONCE = 48; // tokens; the lens of a longer text is computed stage by stage, so that the page stays responsive
const MOST_PROBABLE = 5; // tokens of a cell

/** The logit lens of a live run: at(stage, t) -> { ids, probs } of the most probable tokens, or null while it is not computed. */
class LiveLens {
  /** before: the lens of a run whose rows are those of this one where both texts begin alike, or null. */
  constructor(run, before = null) {
    Object.assign(this, { run, stages: streamNames(run.config), found: [], logits: [] });
    this.kept = before ? sharedPrefix(run.ids, before.run.ids) : 0;
    this.before = this.kept ? { found: before.found, logits: before.logits } : null;
  }

  get done() {
    return this.found.length === this.stages.length;
  }

  at(stage, t) {
    return this.found[this.stages.length - 1 - stage]?.[t] ?? null;
  }

  /** The logits (V,) of a stage at a position, or null. */
  row(stage, t) {
    return this.logits[this.stages.length - 1 - stage]?.[t] ?? null;
  }

  /**
   * Compute the missing stages, the last layer first: all at once for a short text, otherwise one now and one a little later.
   * more() is called after the later one, and should call compute again; stale(): whether the result is no longer needed.
   */
  compute(more, stale) {
    if (!this.found.length) this.next();
    while (!this.done && this.run.T - this.keptNow <= LENS_AT_ONCE) this.next();
    if (this.done || this.waiting) return;
    this.waiting = true;
    setTimeout(() => {
      this.waiting = false;
      if (stale()) return;
      this.next();
      more();
    }, 0);
  }

  /** How many rows of the next stage the lens before has. */
  get keptNow() {
    return this.before?.found[this.found.length] ? this.kept : 0;
  }

  next() {
    const at = this.found.length, { run, keptNow: kept } = this;
    const rows = at ? [...(kept ? this.before.logits[at].slice(0, kept) : []), ...this.freshRows(this.stages.at(-1 - at), kept)]
      : run.tokens.map((_, t) => run.row("logits", t));
    this.logits.push(rows);
    this.found.push(rows.map((row, t) => (t < kept ? this.before.found[at][t] : mostProbable(row))));
    if (this.done) this.before = null;
  }

  /** The logits of the positions from `from` on, one array for each. */
  freshRows(name, from) {
    const { shape: [, T, D], dtype, numbers } = this.run.array(name), V = this.run.config.vocab_size;
    const logits = this.lensLogits(makeArray([1, T - from, D], dtype, numbers.subarray(from * D)));
    return Array.from({ length: T - from }, (_, i) => logits.subarray(i * V, (i + 1) * V));
  }

  /** E LN(x): the final norm and the output embedding of what a layer wrote, as the model of this run computes them. */
  lensLogits(x) {
    const { weights, rules } = this.run.model, { config } = this.run;
    const call = { weights, rules, config, labels: null, tap: { take: (_, array) => array } };
    return causalHead(rules.finalNorm ? applyNorm("layer_norm", x, call) : x, call).logits.numbers;
  }
}

/** The lens that a recorded page holds. arrays: those of minibiogpt.view.explorer.recorded. */
class RecordedLens {
  constructor(run, arrays) {
    Object.assign(this, { run, arrays, stages: streamNames(run.config), done: true });
  }

  at(stage, t) {
    const { shape, numbers } = this.arrays.get("lens.probs"), ids = this.arrays.get("lens.ids").numbers;
    const from = (stage * this.run.T + t) * shape[2];
    return { ids: [...ids.subarray(from, from + shape[2])], probs: [...numbers.subarray(from, from + shape[2])] };
  }

  row() {
    return null;
  }

  compute() {}
}

/** The lens of a run, computed when it is first asked for. recorded: the arrays of a recorded page, or null. */
export function lensOf(app, recorded) {
  const { run } = app;
  return oncePerRun(run, "lens", () => (run.live ? continuedLens(run) : new RecordedLens(run, recorded)));
}

let lastLens = null; // of an untouched run: the next one, of a longer text, continues it

function continuedLens(run) {
  if (run.changes.length) return new LiveLens(run);
  lastLens = new LiveLens(run, lastLens);
  return lastLens;
}

/** The probability of one token, by the softmax of all logits. */
export const probabilityIn = (logits, id) => probabilitiesOf(new Float64Array(logits))[id];

/** The ids with the largest logits, largest first, and their probabilities in float32. */
export function mostProbable(logits, count = MOST_PROBABLE) {
  const ids = topTokens(logits, count), probs = probabilitiesOf(new Float64Array(logits));
  return { ids, probs: ids.map((id) => Math.fround(probs[id])) };
}

// Attribution ------------------------------------------------------------------------------------------------------

/** The names of the parts, in the order of the model; as minibiogpt.lens.logit_attribution names them. */
function partNames({ num_hidden_layers: L, num_attention_heads: H }) {
  const layers = Array.from({ length: L }, (_, l) => [
    ...Array.from({ length: H }, (_, h) => `layers.${l}.self_attn.heads.${h}`), `layers.${l}.self_attn.out_proj.bias`, `layers.${l}.fc2`,
  ]);
  return ["embed_tokens", "embed_positions", ...layers.flat(), "layer_norm.bias"];
}

/**
 * What each part adds to the logit of a token after position t, minus that of a second token: { names, values, logit }.
 * With s the scale of the final norm and g its gain, part c adds sum((c - mean(c)) / s * g * E[token]).
 */
export function attributionOf(run, t, token, against) {
  const { hidden_size: D, num_attention_heads: H, num_hidden_layers: L } = run.config, { weights, rules } = run.model;
  const E = weights.get(run.config.tie_word_embeddings ?? true ? "embed_tokens.weight" : "output_projection.weight").numbers;
  const [gain, bias] = weights.pair("layer_norm").map(({ numbers }) => numbers);
  const factor = rules.scaleHead ? Math.sqrt(D) : 1; // a trap
  const toward = Float64Array.from({ length: D }, (_, d) => factor * (E[token * D + d] - (against === null ? 0 : E[against * D + d])));
  const read = rules.finalNorm ? throughNorm(toward, run.row(`layers.${L - 1}`, t), gain, rules) : toward;
  const values = [dotOf(run.row("embed_tokens", t), read), dotOf(run.row("embed_positions", t), read)];
  for (let l = 0; l < L; l++) {
    const [W, b] = weights.pair(`layers.${l}.self_attn.out_proj`).map(({ numbers }) => numbers);
    const heads = headParts(run.row(`layers.${l}.self_attn.context`, t), W, read, H);
    values.push(...heads, dotOf(b, read), dotOf(run.row(`layers.${l}.fc2`, t), read));
  }
  values.push(rules.finalNorm ? dotOf(bias, toward) : 0);
  const logits = run.row("logits", t);
  return { names: partNames(run.config), values, logit: logits[token] - (against === null ? 0 : logits[against]) };
}

/** For each head, its context through its columns of the output projection W (D, D), along `read`. */
function headParts(context, W, read, H) {
  const D = read.length, Dh = D / H, found = new Array(H).fill(0);
  for (let d = 0; d < D; d++) {
    for (let h = 0; h < H; h++) {
      let sum = 0;
      for (let i = h * Dh; i < (h + 1) * Dh; i++) sum += W[d * D + i] * context[i];
      found[h] += read[d] * sum;
    }
  }
  return found;
}

function dotOf(x, y) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * y[i];
  return sum;
}

/** The direction that the final norm of x reads as `toward`: times its gain, over its scale, and centered instead of every part. */
function throughNorm(toward, x, gain, { eps, unbiased }) {
  const D = x.length, mean = x.reduce((sum, value) => sum + value, 0) / D;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (unbiased ? D - 1 : D), scale = Math.sqrt(variance + eps);
  const read = toward.map((value, d) => (value * gain[d]) / scale), middle = read.reduce((sum, value) => sum + value, 0) / D;
  return read.map((value) => value - middle);
}

/** The attribution that a recorded page holds: of the most probable token after each position. */
export function recordedAttribution(run, arrays, t) {
  const { shape, numbers } = arrays.get("attribution");
  const values = Array.from({ length: shape[0] }, (_, i) => numbers[i * shape[1] + t]);
  const token = arrays.get("attribution.token").numbers[t];
  return { names: partNames(run.config), values, token, logit: run.row("logits", t)[token] };
}
