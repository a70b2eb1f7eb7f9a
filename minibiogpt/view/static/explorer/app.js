// App: the state of the page, the run it shows, the hash of its address, and the keys that all views share.

import { wellFormed } from "../base.js";
import { placeOf, readChanges } from "./runs/changes.js";
import { largest } from "./runs/next_tokens.js";
import { LiveRun } from "./runs/run.js";

/** The state at the start; with `text`, the text of the page, it has every key. The address holds what differs from it. */
const START = {
  view: "model", // the id of the view that is shown
  layer: 0,
  head: 0,
  step: "self_attn.probs", // an array of the layer, without "layers.{l}."; "" is the layer's output
  row: null, // the query token t, counted from 0; null: the last
  col: null, // the column of the array, a key token s in attention; null: the view chooses
  token: null, // the vocabulary id whose probability or logit is studied; null: the most probable after row
  against: null, // a second id, whose logit the lens subtracts; null: none
  changes: [], // the experiment: see readChanges in runs/changes.js
  untouched: false, // whether the views show the run without the changes
  other: "", // the second text, of patches and comparisons
  pair: "texts", // what Compare compares: "texts", or "experiment" with the untouched run
  array: "", // the array that Compare shows; "": that of layer and step
  lines: "strongest", // whose weights the lines in Model show: "strongest", "mean" or "head"
  generation: {}, // the settings of Generation that differ from its own start: see generationOf
  measure: "", // one of MEASURES, which orders the heads in Attention; "": none
  tour: null, // the number of a stop of the tour; null: no tour
};
const MOST_CHARACTERS = 20000; // of a text; the model's positions hold far less
const MOST_RUNS = 6; // of other texts that are kept: those of patches, and the second text
const WRITE_DELAY = 250; // milliseconds; browsers limit how often the address may change

export class App {
  /** facts: the data of the page; model, tokenizer: the twin, or null; parameters: Map; recorded: a RecordedRun, or null. */
  constructor({ facts, model, tokenizer, parameters, recorded, views }) {
    Object.assign(this, { facts, model, tokenizer, parameters, views });
    this.live = model !== null;
    this.config = facts.config;
    this.listeners = { run: [], state: [] };
    this.start = { ...START, text: facts.text };
    this.state = { ...this.start, ...this.fromHash() };
    this.runs = new Map(); // untouched runs of other texts
    this.baseline = this.run = this.experiment = recorded;
    this.tidy();
    if (this.live) this.compute();
    this.clamp();
    window.addEventListener("hashchange", () => this.followHash());
  }

  get view() {
    return this.views.find((view) => view.id === this.state.view) ?? this.views[0];
  }

  /** The query token under study, counted from 0; by default the last. */
  get row() {
    return this.state.row ?? this.run.T - 1;
  }

  /** The vocabulary id under study; by default the most probable next token after the query. */
  get token() {
    return this.state.token ?? largest(this.run.row("logits", this.row));
  }

  on(what, act) {
    this.listeners[what].push(act);
  }

  /** Change the state; what is shown follows in the next frame. A change of the view is a step in the history. */
  set(changes, { quiet = false } = {}) {
    const before = this.state;
    this.state = { ...before, ...changes };
    this.tidy();
    const other = (key) => JSON.stringify(before[key]) !== JSON.stringify(this.state[key]);
    const rerun = this.live && (other("text") || other("changes"));
    if (rerun) this.compute();
    else if (other("untouched")) this.choose();
    this.clamp();
    if (!Object.keys(this.state).some(other)) return;
    if (!quiet) this.toHash(other("view"), before);
    this.schedule(rerun || other("untouched"));
  }

  /** Add changes to the experiment; each replaces the change of the same place. */
  change(...changes) {
    this.set({ changes: [...this.state.changes, ...changes], untouched: false });
  }

  /** Remove a change of the experiment. */
  unchange(change) {
    this.set({ changes: this.state.changes.filter((each) => placeOf(each) !== placeOf(change)) });
  }

  schedule(rerun) {
    this.rerun ||= rerun;
    this.frame ??= requestAnimationFrame(() => {
      const ran = this.rerun;
      this.frame = null;
      this.rerun = false;
      if (ran) for (const act of this.listeners.run) act(this);
      for (const act of this.listeners.state) act(this);
    });
  }

  compute() {
    const { text, changes } = this.state;
    if (this.baseline?.text !== text) this.baseline = this.runOf(text);
    this.problem = "";
    try {
      this.experiment = changes.length ? this.runOf(text, changes) : this.baseline;
    } catch (error) {
      this.problem = error.message;
      this.experiment = this.baseline;
    }
    this.choose();
  }

  /** A run of a text; without changes it is the untouched model's. */
  runOf(text, changes = []) {
    const runOf = (other) => this.untouchedRun(other);
    return new LiveRun(this.model, this.tokenizer, this.parameters, text, { changes, runOf, before: this.baseline });
  }

  /** The untouched run of any text, kept for the next call. */
  untouchedRun(text) {
    if (text === this.baseline?.text) return this.baseline;
    const found = this.runs.get(text) ?? this.runOf(text);
    this.runs.delete(text);
    this.runs.set(text, found);
    if (this.runs.size > MOST_RUNS) this.runs.delete(this.runs.keys().next().value);
    return found;
  }

  /** The run of the second text by the model that the page shows. */
  otherRun() {
    const { other, changes, untouched } = this.state, made = untouched ? [] : changes;
    if (!made.length) return this.untouchedRun(other);
    const key = JSON.stringify([other, made]);
    if (this.paired?.key !== key) this.paired = { key, run: this.runOf(other, made) };
    return this.paired.run;
  }

  /** Choose which of the two runs the views show. */
  choose() {
    this.run = this.state.untouched ? this.baseline : this.experiment;
  }

  /** The number of characters by which the text was too long for the page. */
  get cut() {
    return this.shortened?.text === this.state.text ? this.shortened.cut : 0;
  }

  /** Bring texts and changes into a form that the page can hold. */
  tidy() {
    const { state } = this;
    for (const key of ["text", "other"]) {
      const text = startOf(state[key], MOST_CHARACTERS);
      if (key === "text" && text !== state.text) this.shortened = { text, cut: state.text.length - text.length };
      state[key] = text;
    }
    state.changes = this.live ? readChanges(state.changes, this.config) : [];
    if (!state.changes.length) state.untouched = false;
  }

  /** Keep every index inside the run. */
  clamp() {
    const { num_hidden_layers: L, num_attention_heads: H, vocab_size: V } = this.config, T = this.run.T;
    const within = (x, size) => (x === null || x === undefined ? null : Math.min(Math.max(0, Math.trunc(Number(x)) || 0), size - 1));
    const { state } = this;
    state.layer = within(state.layer, L) ?? 0;
    state.head = within(state.head, H) ?? 0;
    state.row = within(state.row, T);
    state.token = within(state.token, V);
    state.against = within(state.against, V);
    if (!this.views.some((view) => view.id === state.view)) state.view = START.view;
    if (state.pair !== "experiment") state.pair = START.pair;
  }

  /** Keys for layers, heads and tokens, where the view has not used them itself. */
  commonKey(event) {
    const { num_hidden_layers: L, num_attention_heads: H } = this.config, { T } = this.run, { layer, head } = this.state;
    const acts = new Map([
      [",", () => this.set({ row: Math.max(0, this.row - 1) })], [".", () => this.set({ row: Math.min(T - 1, this.row + 1) })],
      ["[", () => this.set({ head: (head + H - 1) % H })], ["]", () => this.set({ head: (head + 1) % H })],
      ["{", () => this.set({ layer: (layer + L - 1) % L })], ["}", () => this.set({ layer: (layer + 1) % L })],
    ]);
    acts.get(event.key)?.();
    return acts.has(event.key);
  }

  // The address ----------------------------------------------------------------------------------------------------

  /** The state as text for an address: only what differs from the start. */
  hashOf(state = this.state) {
    const parts = Object.entries(state).filter(([key, x]) => JSON.stringify(x) !== JSON.stringify(this.start[key]));
    return parts.map(([key, x]) => `${key}=${encodeURIComponent(wellFormed(typeof x === "string" ? x : JSON.stringify(x)))}`).join("&");
  }

  /** The state in the address. Anyone may have written it, so unknown keys and values of other types are ignored. */
  fromHash() {
    const found = {};
    for (const part of location.hash.slice(1).split("&")) {
      const [key, text] = [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)];
      if (!Object.hasOwn(this.start, key) || (key === "text" && !this.live)) continue;
      try {
        const value = decodeURIComponent(text), start = this.start[key];
        const read = typeof start === "string" ? value : JSON.parse(value);
        if (isLike(read, start)) found[key] = read;
      } catch {
        continue; // not written by this page
      }
    }
    return found;
  }

  /** Go where the address says, as after the browser's back button. */
  followHash() {
    clearTimeout(this.writing);
    this.writing = null;
    this.set({ ...this.start, ...this.fromHash() }, { quiet: true });
  }

  /** Write the address: at once for a new view, otherwise at most a few times a second. */
  toHash(push, before) {
    if (push) {
      if (this.writing) this.write("replaceState", before);
      this.write("pushState");
    } else if (!this.writing) {
      this.write("replaceState");
      this.writing = setTimeout(() => { this.writing = null; }, WRITE_DELAY);
    } else {
      clearTimeout(this.writing);
      this.writing = setTimeout(() => this.write("replaceState"), WRITE_DELAY);
    }
  }

  write(how, state = this.state) {
    clearTimeout(this.writing);
    this.writing = null;
    try {
      history[how](null, "", `#${this.hashOf(state)}`);
    } catch {
      // a frame without an address of its own
    }
  }
}

/** Whether a value from the address has the type of the one at the start; where that is null, a number or null. */
function isLike(value, start) {
  if (Array.isArray(start)) return Array.isArray(value);
  if (start === null) return value === null || Number.isFinite(value);
  return typeof value === typeof start && value !== null;
}

/** The first characters of a text, without half of a surrogate pair at its end. */
function startOf(text, most) {
  if (text.length <= most) return text;
  return /[\ud800-\udbff]/.test(text[most - 1]) ? text.slice(0, most - 1) : text.slice(0, most);
}
