// Run the JavaScript implementation on a conformance kit: node tools/twin_kit.mjs KIT OUT [float32|float64]
// Then: minibiogpt golden check KIT OUT

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runKit } from "../minibiogpt/view/static/biogpt.js";

const [kit, out, dtype = "float32"] = process.argv.slice(2);
if (!kit || !out) {
  console.error("usage: node tools/twin_kit.mjs KIT OUT [float32|float64]");
  process.exit(2);
}
mkdirSync(out, { recursive: true });
const names = runKit((path) => readFileSync(join(kit, path)), (path, bytes) => writeFileSync(join(out, path), bytes), dtype);
console.log(`${out}: ${names.length} cases in ${dtype}; to compare: minibiogpt golden check ${kit} ${out}`);
