// Changes: the experiments of a run, as options of the model's forward pass. They come from the address, so they are checked.

import { shortened } from "../../base.js";
import { TRAPS } from "../../biogpt.js";

const MOST_CHANGES = 200, MOST_PATCH_TEXT = 20000;
const MOST_PATCH_TEXTS = 4; // each takes a run of the model
const MOST_SCALE = 2; // of a head

/** The arrays (1, T, n) of a layer that a patch can replace, in the order of computation; "" is the layer's output. */
const PATCHED_STEPS = ["self_attn_layer_norm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.context",
  "self_attn.out_proj", "attn_residual", "final_layer_norm", "fc1", "activation_fn", "fc2", ""];
const PATCHED_ONCE = ["embed_tokens", "embed_positions", "embeddings", "layer_norm"];

/**
 * The changes of a list that this model can make, each in its canonical form:
 * { kind: "head", layer, head, scale }: the attention weights of a head times a number;
 * { kind: "trap", key, value }: a rule of the model, one of TRAPS;
 * { kind: "patch", name, text, row, from, head }: the array `name` of another text in place of this one's, at the position `row` of this
 * text, from the position `from` of the other (null: every position that both have); head: only its columns of context, or null.
 */
export function readChanges(list, config) {
  if (!Array.isArray(list)) return [];
  const found = new Map();
  for (const change of list.slice(0, MOST_CHANGES)) {
    const read = change === null || typeof change !== "object" ? null : readChange(change, config);
    if (!read) continue;
    found.delete(placeOf(read));
    if ((read.kind !== "head" || read.scale !== 1) && textsWith(found, read) <= MOST_PATCH_TEXTS) found.set(placeOf(read), read);
  }
  return [...found.values()];
}

/** The number of different texts that the changes found so far and one more take arrays from. */
function textsWith(found, change) {
  return new Set([...found.values(), change].filter(({ kind }) => kind === "patch").map(({ text }) => text)).size;
}

/** What a change applies to, as a key: of two changes with the same key, the later one counts. */
export function placeOf(change) {
  const { kind, layer, head, key, name, row } = change;
  return JSON.stringify({ head: [kind, layer, head], trap: [kind, key], patch: [kind, name, row, head] }[kind]);
}

function readChange(change, config) {
  const { num_hidden_layers: L, num_attention_heads: H, max_position_embeddings: N } = config;
  const { kind, layer, head, scale, key, value, name, text, row, from } = change;
  const isIndex = (x, size) => Number.isInteger(x) && x >= 0 && x < size;
  const either = (x, size) => x === null || isIndex(x, size);
  if (kind === "head") {
    const fits = isIndex(layer, L) && isIndex(head, H) && typeof scale === "number" && scale >= 0 && scale <= MOST_SCALE;
    return fits ? { kind, layer, head, scale } : null;
  }
  if (kind === "trap") return TRAPS.some((trap) => trap.key === key && trap.value === value) ? { kind, key, value } : null;
  if (kind !== "patch" || typeof text !== "string" || text.length > MOST_PATCH_TEXT || !patchable(name, L)) return null;
  const where = either(row, N) && either(from, N) && (row === null) === (from === null);
  const columns = head === null || (name.endsWith(".context") && isIndex(head, H));
  return where && columns ? { kind, name, text, row, from, head } : null;
}

function patchable(name, L) {
  if (PATCHED_ONCE.includes(name)) return true;
  const [, layer, step = ""] = typeof name === "string" ? name.match(/^layers\.(0|[1-9]\d{0,3})(?:\.(.+))?$/) ?? [] : [];
  return layer !== undefined && Number(layer) < L && PATCHED_STEPS.includes(step);
}

/** The names that a patch can replace, in the order of computation. */
export function patchedNames(config) {
  const layers = Array.from({ length: config.num_hidden_layers },
    (_, l) => PATCHED_STEPS.map((step) => `layers.${l}${step && `.${step}`}`));
  return [...PATCHED_ONCE.slice(0, 3), ...layers.flat(), PATCHED_ONCE[3]];
}

/** The model and the options of forward for a list of changes. arraysOf(text): a function from name to the array of another text's run. */
export function changed(model, changes, arraysOf = null) {
  const edits = {}, traps = {};
  let headMask = null;
  for (const change of changes) {
    if (change.kind === "trap") traps[change.key] = change.value;
    if (change.kind === "head") {
      headMask ??= headMaskOf(changes, model.config);
    }
    if (change.kind === "patch") add(edits, change.name, (array) => patched(array, arraysOf(change.text)(change.name), change,
      model.config));
  }
  const options = { ...(headMask ? { headMask } : {}), ...(Object.keys(edits).length ? { edits } : {}) };
  return { model: Object.keys(traps).length ? model.with(traps) : model, options };
}

/** The factors of all heads, (L, H), as nested lists. */
export function headMaskOf(changes, { num_hidden_layers: L, num_attention_heads: H }) {
  const mask = Array.from({ length: L }, () => Array(H).fill(1));
  for (const { kind, layer, head, scale } of changes) if (kind === "head") mask[layer][head] = scale;
  return mask;
}

/** Add an edit of an array, to be applied after the one that it already has. */
function add(edits, name, f) {
  const before = edits[name];
  edits[name] = before ? (array) => f(before(array)) : f;
}

/** A copy of an array (1, T, n) with rows, or one head's columns of them, from another array (1, T', n). */
function patched(array, other, { row, from, head }, config) {
  const width = array.shape[2], numbers = array.numbers.slice(), T = array.shape[1], S = other.shape[1];
  const size = head === null ? width : width / config.num_attention_heads, first = head === null ? 0 : head * size;
  const pairs = row === null ? Array.from({ length: Math.min(T, S) }, (_, t) => [t, t]) : row < T && from < S ? [[row, from]] : [];
  for (const [t, s] of pairs) numbers.set(other.numbers.subarray(s * width + first, s * width + first + size), t * width + first);
  return { ...array, numbers };
}

/** Why a change does nothing to this run, or "" if it does something. tokens(text): the number of tokens of another text. */
export function idleReason(change, run, tokens) {
  if (change.kind !== "patch" || change.row === null) return "";
  if (change.row >= run.T) return `this text has no position ${change.row}`;
  return change.from >= tokens(change.text) ? `the other text has no position ${change.from}` : "";
}

/** A change in a few words. */
export function changeLabel(change) {
  const { kind, layer, head, scale, name, row, from } = change;
  if (kind === "head") return `head ${layer}.${head} ${scale === 0 ? "off" : `× ${scale}`}`;
  if (kind === "trap") return trapOf(change)?.label ?? change.key;
  const where = row === null ? "" : row === from ? ` at ${row}` : ` at ${row} from ${from}`;
  return `${name}${head === null ? "" : ` of head ${head}`}${where} from “${shortened(change.text, 25)}”`;
}

/** The entry of TRAPS for a change. */
export function trapOf({ key, value }) {
  return TRAPS.find((trap) => trap.key === key && trap.value === value);
}
