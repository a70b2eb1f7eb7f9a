// The trace of a call, and its interventions: every named array passes through one tap.

import { BioGptError, ensure, valueInWords } from "./errors.js";
import { copyArray } from "./ops.js";
import { writeSafetensors } from "./safetensors.js";

/** Every named array of a call, in the order of execution; `forward({ trace })` empties and fills it. */
export class Trace {
  constructor() {
    this.arrays = new Map();
    this.call = { head: "", letters: {}, config: null, inputs: {} }; // inputs: {name: dtype}
  }

  get names() {
    return [...this.arrays.keys()];
  }

  has(name) {
    return this.arrays.has(name);
  }

  /** The array of this name; a name that the trace lacks is an error. */
  get(name) {
    ensure(this.has(name), "the name must be one of the trace's", name, "see trace.names");
    return this.arrays.get(name);
  }

  /** The bytes of a file that minibiogpt's Trace.load reads. */
  save() {
    return traceFile(this.arrays, this.call);
  }
}

/** The bytes of a trace file. arrays: Map by name; call: see describeCall; more: metadata that Trace.load does not need. */
export function traceFile(arrays, { head, letters, config, inputs }, more = {}) {
  const text = JSON.stringify, names = text([...arrays.keys()]);
  const call = { head, letters: text(letters), config: text(config), inputs: text(inputs) };
  return writeSafetensors(arrays, { format: "minibiogpt-trace", version: "1", names, ...call, ...more });
}

/** `tap.take(name, array)` returns the array, recorded and replaced as the call's options say. */
export class Tap {
  constructor({ trace, edits, ablate, patchFrom }, config) {
    const isTrace = trace === undefined || trace === null || trace instanceof Trace;
    ensure(isTrace, "trace must be a Trace, which is filled", valueInWords(trace), "make one: const trace = new Trace()");
    const isTable = (edits ?? {}) instanceof Object && !Array.isArray(edits);
    ensure(isTable, "edits must be an object of functions by name", valueInWords(edits), "pass { 'layers.1': (array) => array }");
    this.arrays = trace ? trace.arrays : null;
    this.edits = new Map();
    this.unused = new Set();
    for (const [name, array] of patchEntries(patchFrom ?? {})) this.addEdit(name, () => array);
    const must = "ablate must be pairs [layer, head]", isPairs = (ablate ?? []) instanceof Array && (ablate ?? []).every(Array.isArray);
    ensure(isPairs, must, valueInWords(ablate), "pass [[0, 1]]");
    for (const pair of ablate ?? []) this.addAblation(pair, config);
    for (const [name, edit] of Object.entries(edits ?? {})) this.addEdit(name, edit);
    if (this.arrays) this.arrays.clear();
  }

  addEdit(name, edit) {
    const must = `the edit of ${name} must be a function of one array`;
    ensure(typeof edit === "function", must, typeof edit, "pass (array) => array");
    this.edits.set(name, [...(this.edits.get(name) ?? []), edit]);
    this.unused.add(name);
  }

  addAblation([layer, head], config) {
    const L = config.num_hidden_layers, H = config.num_attention_heads;
    const isOne = (index, count) => Number.isInteger(index) && index >= 0 && index < count;
    const must = `ablate must be pairs [layer, head], layers in [0, ${L}) and heads in [0, ${H})`;
    ensure(isOne(layer, L) && isOne(head, H), must, `[${layer}, ${head}]`, "pass [[0, 1]]");
    this.addEdit(`layers.${layer}.self_attn.context`, (context) => zeroHead(context, head, config.hidden_size / H));
  }

  take(name, array) {
    for (const edit of this.edits.get(name) ?? []) array = applyEdit(name, array, edit);
    this.unused.delete(name);
    if (this.arrays) this.arrays.set(name, copyArray(array));
    return array;
  }

  /** At the end of the call: an edit that met no array is an error. */
  finish() {
    if (!this.unused.size) return;
    throw new BioGptError("every edit or patch must name an array of the call", [...this.unused].join(", "), "see trace.names");
  }
}

function patchEntries(patchFrom) {
  const arrays = patchFrom instanceof Trace ? patchFrom.arrays : patchFrom;
  ensure(arrays instanceof Object, "patchFrom must be a Trace, a Map or an object of arrays by name", valueInWords(arrays), "pass a Trace");
  return arrays instanceof Map ? [...arrays] : Object.entries(arrays);
}

function applyEdit(name, array, edit) {
  const replaced = edit(copyArray(array));
  const words = ({ shape, dtype, numbers }) => `[${shape}], ${dtype}, ${numbers.length} numbers`;
  const wanted = words(array), found = replaced?.numbers ? words(replaced) : String(replaced);
  ensure(found === wanted, `an edit of ${name} must return an array of ${wanted}`, found, "change and return its argument");
  return copyArray(replaced); // the edit may keep its array
}

function zeroHead(context, head, Dh) {
  const D = context.shape[2];
  for (let start = head * Dh; start < context.numbers.length; start += D) context.numbers.fill(0, start, start + Dh);
  return context;
}
