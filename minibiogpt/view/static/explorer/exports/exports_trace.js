// The run as a trace file: safetensors, with the metadata that minibiogpt's Trace.save writes, for Trace.load.

import { wellFormed } from "../../base.js";
import { describeCall, traceFile } from "../../biogpt.js";

/** The bytes of the trace file of a run. It also holds the text and the changes, which Trace.load does not need. */
export function traceFileOf(run, { config }) {
  const { T, ids, dtype } = run, arrays = new Map(run.names.map((name) => [name, run.array(name)]));
  const call = describeCall({ head: "causal", config, dtype }, { ids, headMask: run.options?.headMask }, { B: 1, T, S: T });
  return traceFile(arrays, call, { text: wellFormed(run.text), ids: JSON.stringify(ids), changes: JSON.stringify(run.changes ?? []) });
}
