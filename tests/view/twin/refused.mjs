// Evaluate JavaScript expressions with a model of the demo, and write down the message of each: a JSON list on standard input.

import { readFileSync } from "node:fs";
import { join } from "node:path";

const asked = JSON.parse(readFileSync(0, "utf8"));
const twin = await import(join(asked.static, "biogpt.js"));
const config = JSON.parse(readFileSync(join(asked.model, "config.json"), "utf8"));
const bytes = new Uint8Array(readFileSync(join(asked.model, "model.safetensors")));
const { tensors } = twin.readSafetensors(bytes);
const model = new twin.BioGpt(config, tensors);
const before = model.forward({ ids: [[2, 5]] }).logits.numbers;
const messages = asked.expressions.map((expression) => {
  try {
    new Function("twin", "model", "config", "tensors", "bytes", `return ${expression}`)(twin, model, config, tensors, bytes);
    return "accepted";
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
});
const after = model.forward({ ids: [[2, 5]] }).logits.numbers;
console.log(JSON.stringify({ messages, unchanged: after.every((x, i) => x === before[i]) }));
