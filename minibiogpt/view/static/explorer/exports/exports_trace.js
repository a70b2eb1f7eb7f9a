// The run as a trace file: safetensors, with the metadata that minibiogpt's Trace.save writes, for Trace.load.

import { wellFormed } from "../../base.js";
import { writeSafetensors } from "../../biogpt.js";

/** The bytes of the trace file of a run. It also holds the text and the changes, which Trace.load does not need. */
export function traceFileOf(run, facts) {
  const { T, config } = run, { hidden_size: D, num_attention_heads: H } = config;
  const letters = { B: 1, T, S: T, D, H, Dh: D / H, F: config.intermediate_size, V: config.vocab_size, L: config.num_hidden_layers,
    N: config.max_position_embeddings };
  const inputs = { input_ids: "int64", ...(run.options?.headMask ? { head_mask: "float32" } : {}) };
  const arrays = new Map(run.names.map((name) => [name, run.array(name)]));
  return writeSafetensors(arrays, {
    format: "minibiogpt-trace", version: "1", names: JSON.stringify(run.names), letters: JSON.stringify(letters),
    config: JSON.stringify(facts.config), head: "causal", inputs: JSON.stringify(inputs),
    text: wellFormed(run.text), ids: JSON.stringify(run.ids), changes: JSON.stringify(run.changes ?? []),
  });
}
