// The experiment as Python code for minibiogpt.

import { copyText, el } from "../../base.js";
import { headMaskOf, trapOf } from "../runs/changes.js";
import { pythonOfTraps } from "./experiments_python_traps.js";

/** Code in a box with a copy button; codeOf(app): the code. element.refresh() after each change of the state. */
export function pythonBox(app, codeOf = pythonOf) {
  const code = el("pre", { class: "python", tabindex: "0", "aria-label": "Python code" }),
    said = el("span", { class: "soft", role: "status" });
  const copy = el("button", { type: "button", class: "small",
    onclick: () => copyText(code.textContent, (text) => { said.textContent = text; }) }, "copy");
  const box = el("div", {}, code, copy, said);
  box.refresh = () => {
    code.textContent = codeOf(app);
    said.textContent = "";
  };
  return box;
}

/** A script whose `out` is the output of the changed model for this text. */
function pythonOf(app) {
  const { changes, text } = app.state, { run, config } = app, of = (kind) => changes.filter((change) => change.kind === kind);
  const traps = pythonOfTraps(of("trap"), config), patches = pythonOfPatches(of("patch"), app, traps);
  const options = [...pythonOfHeads(of("head"), config, patches.edits.length + traps.edits.length > 0 || patches.option !== "")];
  const edits = [...traps.edits, ...patches.edits];
  const functions = edits.flatMap(([, body], i) => [`def edit${i}(x):`, ...body.map((line) => `    ${line}`), "    return x"]);
  if (edits.length) options.push(`edits={${edits.map(([name], i) => `"${name}": edit${i}`).join(", ")}}`);
  if (patches.option) options.push(patches.option);
  const lines = [`tok = BioGptTokenizer.from_pretrained("${app.facts.model}")`, loadLine("model", app, traps.load),
    `ids = ${idsOf(text, run)}`, ...patches.lines, ...traps.lines,
    ...traps.missing.map((change) => `# minibiogpt has no option for this change: ${trapOf(change).label}`),
    ...functions, `out = model(${["ids", ...options].join(", ")})`].join("\n");
  const names = ["BioGptForCausalLM", "BioGptTokenizer", ...(lines.includes("Trace()") ? ["Trace"] : [])];
  return `${/\bnp\./.test(lines) ? "import numpy as np\n" : ""}from minibiogpt import ${names.join(", ")}\n\n${lines}\n`;
}

/** What a recorded page cannot do, and a script that does it. */
export function recordedNote(app, why, codeOf) {
  const box = pythonBox(app, codeOf), note = el("div", {}, el("p", {}, why), box);
  note.refresh = box.refresh;
  return note;
}

/** The lines that load the model and have the ids of the recorded text. */
const recordedStart = (app, names) => [`from minibiogpt import ${names.join(", ")}`, "", loadLine("model", app),
  `ids = ${JSON.stringify([app.run.ids]).replaceAll(",", ", ")}`];

/** A script that switches the chosen head off, for a recorded page. */
export function pythonOfAblation(app) {
  const { layer, head } = app.state;
  return `${[...recordedStart(app, ["BioGptForCausalLM"]), `before = model(ids).logits[0, ${app.row}]`,
    `after = model(ids, ablate=[(${layer}, ${head})]).logits[0, ${app.row}]  # layer, head`,
    "print(before.argmax(), after.argmax(), abs(after - before).max())"].join("\n")}\n`;
}

/** A script that finds the first array that differs from that of other ids, for a recorded page. */
export function pythonOfComparison(app) {
  const { ids } = app.run, last = (ids.at(-1) + 1) % app.config.vocab_size; // another token in any case
  return `${[...recordedStart(app, ["BioGptForCausalLM", "Trace"]),
    `other = ${JSON.stringify([[...ids.slice(0, -1), last]]).replaceAll(",", ", ")}  # here, another last token`,
    "one, two = Trace(), Trace()", "model(ids, trace=one)", "model(other, trace=two)",
    "print([name for name in one if one[name].shape != two[name].shape or (one[name] != two[name]).any()][:1])"].join("\n")}\n`;
}

const loadLine = (name, app, options = []) =>
  `${name} = BioGptForCausalLM.from_pretrained(${[`"${app.facts.model}"`, ...options].join(", ")})`;
const idsOf = (text, run) => `tok(${JSON.stringify(text)})["input_ids"]${run.left ? `[:, :${run.T}]` : ""}`;

/** The options of a call that switch heads off or scale them. */
function pythonOfHeads(heads, config, edited) {
  if (!heads.length) return [];
  const pairs = heads.map(({ layer, head }) => `(${layer}, ${head})`);
  if (!edited && heads.every(({ scale }) => scale === 0)) return [`ablate=[${pairs.join(", ")}]`];
  return [`head_mask=${JSON.stringify(headMaskOf(heads, config)).replaceAll(",", ", ")}`];
}

/** { lines, edits: [[name, lines of a function's body]], option } of the patches. */
function pythonOfPatches(patches, app, traps) {
  if (!patches.length) return { lines: [], edits: [], option: "" };
  const texts = [...new Set(patches.map(({ text }) => text))];
  const traceOf = (text) => (texts.length > 1 ? `other${texts.indexOf(text)}` : "other");
  const isChanged = traps.load.length + traps.lines.length > 0, model = isChanged ? "untouched" : "model";
  const lines = [...(isChanged ? [loadLine(model, app)] : []), ...texts.flatMap((text) => [`${traceOf(text)} = Trace()`,
    `${model}(${idsOf(text, app.untouchedRun(text))}, trace=${traceOf(text)})`])];
  const [{ name, row, head, text }] = patches, whole = row === null && head === null && app.untouchedRun(text).T === app.run.T;
  if (patches.length === 1 && whole && !traps.edits.length) {
    return { lines, edits: [], option: `patch_from=${traceOf(text)}.select("${name}")` };
  }
  const edits = new Map();
  for (const change of patches) edits.set(change.name, [...(edits.get(change.name) ?? []), patchLine(change, traceOf(change.text), app)]);
  return { lines, edits: [...edits], option: "" };
}

function patchLine({ name, text, row, from, head }, trace, app) {
  const other = app.untouchedRun(text), both = Math.min(app.run.T, other.T);
  const width = app.config.hidden_size / app.config.num_attention_heads;
  const absent = row !== null && (row >= app.run.T || from >= other.T);
  if (absent) return `pass  # position ${row} from ${from}: one of the texts does not have it`;
  const columns = head === null ? "" : `, ${head * width}:${(head + 1) * width}`;
  return row === null ? `x[:, :${both}${columns}] = ${trace}["${name}"][:, :${both}${columns}]`
    : `x[:, ${row}${columns}] = ${trace}["${name}"][:, ${from}${columns}]`;
}
