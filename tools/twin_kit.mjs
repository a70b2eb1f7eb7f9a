// Run the JavaScript implementation on a conformance kit: node tools/twin_kit.mjs KIT OUT [float32|float64]
// Then: minibiogpt golden check KIT OUT

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runKit } from "../minibiogpt/view/static/biogpt.js";

const [kit, out, dtype = "float32", ...others] = process.argv.slice(2);

/** One line on standard error, and exit code 2. */
function stop(line) {
  console.error(line);
  process.exit(2);
}

if (!kit || !out || others.length) stop("usage: node tools/twin_kit.mjs KIT OUT [float32|float64]");
const write = (path, bytes) => {
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, path), bytes);
};
try {
  const names = runKit((path) => readFileSync(join(kit, path)), write, dtype);
  console.log(`${out}: ${names.length} cases in ${dtype}; to compare: minibiogpt golden check ${kit} ${out}`);
} catch (error) {
  if (error.name !== "BioGptError" && !error.code) throw error; // a bug
  const remedy = error.code === "ENOENT" ? "; KIT is a folder that minibiogpt golden kit wrote" : "";
  stop(`twin_kit: error: ${error.message}${remedy}`);
}
