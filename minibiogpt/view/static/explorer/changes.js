// Changes: the experiments of a run, as options of the model's forward pass.

/**
 * The model and the options of forward for a list of changes.
 * A change is { kind: "head", layer, head, scale } or { kind: "trap", key, value }.
 */
export function changed(model, changes) {
  const edits = {}, traps = {};
  for (const change of changes) {
    if (change.kind === "trap") traps[change.key] = change.value;
    if (change.kind === "head") add(edits, `layers.${change.layer}.self_attn.weights`, (array) => scaledHead(array, change));
  }
  return { model: Object.keys(traps).length ? model.with(traps) : model, options: Object.keys(edits).length ? { edits } : {} };
}

/** Apply f after the edit that is there already. */
function add(edits, name, f) {
  const before = edits[name];
  edits[name] = before ? (array) => f(before(array)) : f;
}

/** A copy of weights (1, H, T, S) with one head multiplied by a number. */
function scaledHead({ shape, dtype, numbers }, { head, scale }) {
  const size = shape[2] * shape[3], copy = numbers.slice();
  for (let i = head * size; i < (head + 1) * size; i++) copy[i] *= scale;
  return { shape, dtype, numbers: copy };
}
