// App: the state of the page, the run it shows, the hash of its address, and the keys that all views share.

import { LiveRun } from "./run.js";

const START = {
  view: "model",
  layer: 0,
  head: 0,
  step: "self_attn.probs",
  row: null,
  col: null,
  token: null,
  changes: [],
  tour: null,
  lines: "strongest",
  generation: {},
  against: null,
  measure: "",
};

export class App {
  /** facts: the data of the page; model, tokenizer: the twin, or null; parameters: Map; recorded: a RecordedRun, or null. */
  constructor({ facts, model, tokenizer, parameters, recorded, views }) {
    Object.assign(this, { facts, model, tokenizer, parameters, views });
    this.live = model !== null;
    this.config = facts.config;
    this.listeners = { run: [], state: [] };
    this.start = { ...START, text: facts.text };
    this.state = { ...this.start, ...this.fromHash() };
    this.baseline = this.run = recorded;
    if (this.live) this.compute();
    this.clamp();
    window.addEventListener("hashchange", () => this.set({ ...this.start, ...this.fromHash() }, { quiet: true }));
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
    const other = (key) => JSON.stringify(before[key]) !== JSON.stringify(this.state[key]);
    const rerun = this.live && (other("text") || other("changes"));
    if (rerun) this.compute();
    this.clamp();
    if (!Object.keys(this.state).some(other)) return;
    if (!quiet) this.toHash(other("view"));
    this.schedule(rerun);
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
    const run = (list) => new LiveRun(this.model, this.tokenizer, this.parameters, text, list);
    if (this.baseline?.text !== text) this.baseline = run([]);
    this.run = changes.length ? run(changes) : this.baseline;
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
  }

  /** Keys for layers, heads and tokens, where the view has not used them itself. */
  commonKey(event) {
    const { num_hidden_layers: L, num_attention_heads: H } = this.config, { T } = this.run, { layer, head } = this.state;
    const acts = {
      ",": () => this.set({ row: Math.max(0, this.row - 1) }), ".": () => this.set({ row: Math.min(T - 1, this.row + 1) }),
      "[": () => this.set({ head: (head + H - 1) % H }), "]": () => this.set({ head: (head + 1) % H }),
      "{": () => this.set({ layer: (layer + L - 1) % L }), "}": () => this.set({ layer: (layer + 1) % L }),
    };
    acts[event.key]?.();
    return event.key in acts;
  }

  // The address ----------------------------------------------------------------------------------------------------

  /** The state as text for an address: only what differs from the start. */
  hashOf(state = this.state) {
    const parts = Object.entries(state).filter(([key, x]) => JSON.stringify(x) !== JSON.stringify(this.start[key]));
    return parts.map(([key, x]) => `${key}=${encodeURIComponent(typeof x === "string" ? x : JSON.stringify(x))}`).join("&");
  }

  fromHash() {
    const found = {};
    for (const part of location.hash.slice(1).split("&")) {
      const [key, text] = [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)];
      if (!(key in this.start) || (key === "text" && !this.live)) continue;
      try {
        const value = decodeURIComponent(text);
        found[key] = typeof this.start[key] === "string" ? value : JSON.parse(value);
      } catch {
        continue; // not written by this page
      }
    }
    if (!Array.isArray(found.changes ?? [])) delete found.changes;
    return found;
  }

  toHash(push) {
    try {
      history[push ? "pushState" : "replaceState"](null, "", `#${this.hashOf()}`);
    } catch {
      // a frame without an address of its own
    }
  }
}

/** The index of the largest number; NaN never is. */
export function largest(numbers) {
  let best = 0;
  for (let i = 1; i < numbers.length; i++) if (numbers[i] > numbers[best] || Number.isNaN(numbers[best])) best = i;
  return best;
}
