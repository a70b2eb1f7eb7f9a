// Run the JavaScript model as a test asks: a JSON object on standard input, one safetensors file of each call's trace.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const asked = JSON.parse(readFileSync(0, "utf8"));
const { BioGpt, KVCache, Trace, readSafetensors } = await import(join(asked.static, "biogpt.js"));
const config = JSON.parse(readFileSync(join(asked.model, "config.json"), "utf8"));
const { tensors } = readSafetensors(readFileSync(join(asked.model, "model.safetensors")));
const right = new BioGpt(config, tensors, { dtype: asked.dtype });
const outputs = [];

asked.calls.forEach(({ rules = {}, after = null, edits = {}, patch = null, ...inputs }, n) => {
  const trace = new Trace();
  const options = { ...inputs, trace, cache: after === null ? new KVCache() : outputs[after].cache };
  options.edits = Object.fromEntries(Object.entries(edits).map(([name, code]) => [name, new Function(`return ${code}`)()]));
  if (patch) options.patchFrom = new Map(patch.names.map((name) => [name, outputs[patch.from].trace.get(name)]));
  outputs.push({ ...right.with(rules).forward(options), trace });
  writeFileSync(join(asked.out, `${n}.safetensors`), trace.save());
});
