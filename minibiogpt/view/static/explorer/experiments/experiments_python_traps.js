// The traps in Python: options of loading, lines that change a loaded model, and edits of arrays.

const EACH_LAYER = "for layer in model.biogpt.layers:";
const SCORES = "layers.*.self_attn.scores", MASKED_SCORES = "layers.*.self_attn.scores_masked";
const ORDER = ["eps", "unbiased", "unitGain", "swapNorms", "finalNorm"]; // of lines; the order of the layers comes last

/** {load, lines, edits, missing} of the changes: options, lines, [[name, body]], and the changes that Python cannot make. */
export function pythonOfTraps(changes, config) {
  const all = { load: [], lines: [], edits: new Map(), missing: [] };
  const rank = ({ key }) => (key === "layerOrder" ? ORDER.length : ORDER.indexOf(key));
  const norms = changes.filter(({ key }) => key === "eps" || key === "unbiased");
  if (norms.length) all.lines.push(...normLines(norms));
  for (const { key, value } of [...changes].sort((a, b) => rank(a) - rank(b))) {
    const part = IN_PYTHON[key]?.(value, config);
    if (!part) all.missing.push({ key, value });
    for (const kind of ["load", "lines"]) all[kind].push(...(part?.[kind] ?? []));
    for (const [name, body] of part?.edits ?? []) all.edits.set(name, [...(all.edits.get(name) ?? []), ...body]);
  }
  const keepsLast = (body) => [...body].sort((a, b) => a.startsWith("kept") - b.startsWith("kept"));
  const edits = [...all.edits].map(([name, body]) => [name, keepsLast([...new Set(body)])]);
  if (all.edits.has(MASKED_SCORES)) all.lines.push("kept = {}");
  return { ...all, edits };
}

const KEEP = [SCORES, ['kept["scores"] = x.copy()']];

/** {key: (value, config) -> {load, lines, edits}, or null}. */
const IN_PYTHON = {
  eps: () => ({}), // normLines
  unbiased: () => ({}),
  unitGain: () => ({ lines: ["for name, weight in model.named_parameters():", '    if name.endswith("layer_norm.weight"):',
    "        weight[...] = 1"] }),
  activation(value) {
    if (value === "gelu_new" || value === "relu") return { load: [`hidden_act="${value}"`] };
    const text = { quick_gelu: "x / (1 + np.exp(-1.702 * x))", identity: "x" }[value];
    return { lines: [EACH_LAYER, `    layer.activation_fn = lambda x: ${text}`] };
  },
  positionOffset: (value) => ({ lines: ["table = model.biogpt.embed_positions.weight",
    `table[2:] = table[${value}:${value - 2}].copy()`] }),
  countPads: () => ({}), // nothing without padding
  paddingMask: () => ({}),
  scaleEmbedding: () => ({ load: ["scale_embedding=False"] }),
  scalePositions: (_, { hidden_size: D }) => ({ lines: [`model.biogpt.embed_positions.weight *= ${D} ** 0.5`] }),
  scaleHead: (_, { hidden_size: D }) => ({ edits: [["logits", [`x = x * ${D} ** 0.5`]]] }),
  causal: () => ({ edits: [KEEP, [MASKED_SCORES, ['x = kept["scores"]']]] }),
  maskAdds: (value) => ({ edits: [KEEP, [MASKED_SCORES, [`x = np.where(x < -1e30, kept["scores"] - ${-value}, x)`]]] }),
  scaleScores: (value, { hidden_size: D, num_attention_heads: H }) => ({
    edits: [[SCORES, [value === "D" ? `x = x / ${H} ** 0.5` : `x = x * ${D / H} ** 0.5`]]] }),
  interleavedHeads: (_, { hidden_size: D, num_attention_heads: H }) => ({ lines: [
    `order = np.arange(${D}).reshape(${D / H}, ${H}).T.ravel()`,
    EACH_LAYER, "    attn = layer.self_attn", "    for part in (attn.q_proj, attn.k_proj, attn.v_proj):",
    "        part.weight, part.bias = part.weight[order], part.bias[order]",
    "    attn.out_proj.weight = attn.out_proj.weight[:, order]"] }),
  swapQueriesAndKeys: () => ({ lines: [EACH_LAYER, "    attn = layer.self_attn",
    "    attn.q_proj, attn.k_proj = attn.k_proj, attn.q_proj"] }),
  transpose: (module) => ({ lines: [EACH_LAYER, `    layer.${module}.weight = layer.${module}.weight.T.copy()`] }),
  zeroBias: (module) => ({ lines: [EACH_LAYER, `    layer.${module}.bias[...] = 0`] }),
  preNorm: () => null,
  finalNorm: () => ({ lines: ["def no_norm(x):", "    return x", "no_norm.weight = model.biogpt.layer_norm.weight",
    "model.biogpt.layer_norm = no_norm"] }),
  swapNorms: () => ({ lines: [EACH_LAYER,
    "    layer.self_attn_layer_norm, layer.final_layer_norm = layer.final_layer_norm, layer.self_attn_layer_norm"] }),
  layerOrder: (value, { num_hidden_layers: L }) => ({ lines: [value === "reversed" ? "model.biogpt.layers.reverse()"
    : `model.biogpt.layers[1:] = model.biogpt.layers[:1] * ${L - 1}`] }),
};

/** Norms with another eps or another variance. */
function normLines(changes) {
  const eps = changes.find(({ key }) => key === "eps")?.value ?? 1e-5;
  const variance = changes.some(({ key }) => key === "unbiased") ? "(d * d).sum(-1, keepdims=True) / (d.shape[-1] - 1)"
    : "(d * d).mean(-1, keepdims=True)";
  return ["def norm_of(module):", "    def norm(x):", "        d = x - x.mean(-1, keepdims=True)",
    `        return d / np.sqrt(${variance} + ${eps}) * module.weight + module.bias`, "    norm.weight = module.weight",
    "    return norm", EACH_LAYER,
    "    layer.self_attn_layer_norm = norm_of(layer.self_attn_layer_norm)", "    layer.final_layer_norm = norm_of(layer.final_layer_norm)",
    "model.biogpt.layer_norm = norm_of(model.biogpt.layer_norm)"];
}
