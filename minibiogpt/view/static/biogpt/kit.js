// Run the cases of a conformance kit (minibiogpt golden kit): the inputs of a case -> calls -> arrays under the names of the case.

import { KVCache } from "./cache.js";
import { BioGptError, ensure } from "./errors.js";
import { BioGpt } from "./model.js";
import { readSafetensors, writeSafetensors } from "./safetensors.js";
import { Trace } from "./trace.js";

const KIT_FORMAT = "minibiogpt-golden-kit";
const OPTION_OF_INPUT = {
  input_ids: "ids", attention_mask: "attentionMask", position_ids: "positionIds", inputs_embeds: "inputsEmbeds",
  head_mask: "headMask", labels: "labels",
};

/** The calls of a case, in order: [{prefix, inputs}]; prefix is "" or "step.0/", inputs are options of forward(). */
export function callsOf(tensors) {
  const calls = new Map();
  for (const [name, array] of tensors) {
    const [, prefix, key] = name.match(/^(step\.\d+\/)?inputs\/(.+)$/) ?? [];
    if (!key) continue;
    ensure(key in OPTION_OF_INPUT, "a case must have inputs that forward() takes", key, "write the kit with this version of minibiogpt");
    const at = prefix ?? "";
    if (!calls.has(at)) calls.set(at, {});
    calls.get(at)[OPTION_OF_INPUT[key]] = array;
  }
  const number = ({ prefix }) => Number(prefix.match(/\d+/) ?? 0);
  return [...calls].map(([prefix, inputs]) => ({ prefix, inputs })).sort((a, b) => number(a) - number(b));
}

/** Run the calls of a case, each on the cache of the one before: Map from name to array, of the arrays that the case has. */
export function runCase(model, { tensors, metadata }) {
  ensure(metadata?.arrays, "a case must list its arrays in its metadata", "none", "pass readSafetensors of a file of cases/");
  const wanted = new Set(JSON.parse(metadata.arrays).map((array) => array.name));
  const arrays = new Map();
  let cache = new KVCache();
  for (const { prefix, inputs } of callsOf(tensors)) {
    const trace = new Trace();
    cache = model.forward({ ...inputs, cache, trace }).cache;
    for (const name of trace.names) if (wanted.has(prefix + name)) arrays.set(prefix + name, trace.get(name));
  }
  return arrays;
}

function jsonOf(bytes, path) {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new BioGptError(`${path} must be JSON`, "other text", "write the kit again: minibiogpt golden kit FOLDER");
  }
}

/** Run each case of a kit. read(path) returns the bytes of a file of the kit; write(path, bytes) keeps a result. */
export function runKit(read, write, dtype = "float32") {
  const readJson = (path) => jsonOf(read(path), path);
  const manifest = readJson("manifest.json");
  ensure(manifest?.format === KIT_FORMAT && manifest.version === "1", `manifest.json must be of the format ${KIT_FORMAT}, version 1`,
    `${manifest?.format}, ${manifest?.version}`, "write a kit: minibiogpt golden kit FOLDER");
  for (const { name, file, model } of manifest.cases) {
    const { tensors } = readSafetensors(read(`${model}/model.safetensors`));
    const port = new BioGpt(readJson(`${model}/config.json`), tensors, { dtype });
    write(`${name}.safetensors`, writeSafetensors(runCase(port, readSafetensors(read(file)))));
  }
  return manifest.cases.map((one) => one.name);
}
