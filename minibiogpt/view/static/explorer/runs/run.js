// Run: the arrays of one text through the model, by name. A live run is computed here; recorded.js reads those stored in the page.

import { lowestOf, Trace } from "../../biogpt.js";
import { changed } from "./changes.js";
import { continuedTrace } from "./continued.js";

const foundFor = new WeakMap(); // run -> Map from a key to what was computed for the run

/** What make() returns, computed once for a run and a key. */
export function oncePerRun(run, key, make) {
  if (!foundFor.has(run)) foundFor.set(run, new Map());
  const found = foundFor.get(run);
  if (!found.has(key)) found.set(key, make());
  return found.get(key);
}

/** The names of the residual stream: the embeddings and the output of each layer. */
export function streamNames({ num_hidden_layers: L }) {
  return ["embeddings", ...Array.from({ length: L }, (_, l) => `layers.${l}`)];
}

/**
 * What a view reads: run.text, ids, tokens, T, config, dtype, lowest, names, array(name), parameter(name), logits.
 * dtype: in which the model computed; lowest: its lowest number, which replaces masked scores.
 */
export class Run {
  constructor({ text, ids, tokens, config, dtype, live, parameters }) {
    Object.assign(this, { text, ids, tokens, config, dtype, live, parameters, T: ids.length, lowest: lowestOf(dtype) });
  }

  /** A parameter of the model by its name in the checkpoint, less "biogpt."; null if the page does not hold it. */
  parameter(name) {
    return this.parameters.get(name) ?? this.parameters.get(`biogpt.${name}`) ?? null;
  }

  /** Whether later tokens change nothing before them. */
  get causal() {
    return true;
  }

  get logits() {
    return this.array("logits");
  }

  /** Row t of an array (1, T, n), as numbers. */
  row(name, t) {
    const { shape, numbers } = this.array(name), size = shape.at(-1);
    return numbers.subarray(t * size, (t + 1) * size);
  }
}

export class LiveRun extends Run {
  /**
   * Run the model on a text.
   * changes: see changes.js; runOf(text): the untouched run of another text, for patches; before: a run whose rows may be reused.
   */
  constructor(model, tokenizer, parameters, text, { changes = [], runOf = null, before = null } = {}) {
    const encoded = tokenizer.encode(text), most = model.config.max_position_embeddings;
    const kept = encoded.slice(0, most);
    const tokens = kept.map((token) => ({ ...token, label: tokenizer.label(token.id) }));
    super({ text, ids: kept.map((token) => token.id), tokens, config: model.config, dtype: model.dtype, live: true, parameters });
    this.left = encoded.length - kept.length; // tokens beyond the maximum
    const { model: used, options } = changed(model, changes, (other) => (name) => runOf(other).array(name));
    Object.assign(this, { changes, model: used, options }); // `model.forward({ ids, ...options })` is this run again
    if (changes.length === 0) {
      this.trace = continuedTrace(model, this.ids, before?.trace, before?.ids);
      return;
    }
    this.trace = new Trace();
    used.forward({ ids: [this.ids], ...options, trace: this.trace });
  }

  get causal() {
    return this.model.rules.causal;
  }

  get names() {
    return this.trace.names;
  }

  array(name) {
    return this.trace.has(name) ? this.trace.get(name) : null;
  }
}
