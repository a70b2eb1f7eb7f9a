// Parts: the elements of the stepper, which stepper.js fills.

import { copyText, el, exact } from "../base.js";
import { SCALES } from "../heatmap.js";
import { stepNumbers } from "./stepper_cells.js";

export const STEPPER_KEYS = [
  ["← →", "previous and next step"], ["Home End", "first and last step"], ["[ ]", "previous and next head"],
  [", .", "previous and next token (row)"], ["Shift + arrows", "pin the neighboring cell"], ["Esc", "unpin the cell"],
];

const LETTERS = [
  ["B", "texts in the batch, here 1"], ["T", "tokens of the text: the queries, which look"],
  ["S", "tokens that are looked at: the keys; here S = T"],
  ["D", "hidden size: numbers that describe one token"], ["H", "attention heads of a layer"], ["Dh", "numbers for each head: D / H"],
  ["F", "size of the feed-forward network"], ["V", "tokens in the vocabulary"], ["<\/s>", "the token that starts every text"],
  ["pre·", "a token that ends in · continues in the next token; the vocabulary writes the end of a word as <\/w> instead"],
];

/** A short list of what the letters and the marks of tokens mean, folded. */
export function lettersFolded() {
  const rows = LETTERS.map(([letter, text]) => el("tr", {}, el("th", { scope: "row", class: "mono" }, letter), el("td", {}, text)));
  return el("details", { class: "letters" }, el("summary", {}, "letters and tokens"), el("table", {}, el("tbody", {}, rows)));
}

/** Build the elements of a stepper; tools: more elements for its bar. */
export function buildStepper(stepper, tools, exports) {
  const parts = { map: stepper.map };
  const button = (text, act, label) => el("button", { type: "button", onclick: act, "aria-label": label }, text);
  parts.previous = button("← previous", () => stepper.goTo(stepper.state.step - 1), "previous step");
  parts.next = button("next →", () => stepper.goTo(stepper.state.step + 1), "next step");
  parts.slider = el("input", {
    type: "range", min: 0, max: 0, value: 0, "aria-label": "step", oninput: (event) => stepper.goTo(Number(event.target.value)),
  });
  parts.position = el("span", { class: "where" });
  parts.list = el("ol");
  for (const name of ["what", "caption"]) parts[name] = el(name === "caption" ? "figcaption" : "p");
  for (const name of ["heads", "legend", "code"]) parts[name] = el("div", { class: name === "legend" ? "scale" : name });
  parts.title = el("h2", { "aria-live": "polite" });
  parts.equation = el("div", { class: "equation mono" });
  parts.symbols = el("table", { class: "symbols" });
  parts.about = el("table", { class: "notes" });
  parts.readout = el("div", { class: "readout", "aria-live": "polite" });
  parts.origin = el("section", { class: "origin", "aria-label": "how this value is computed" });
  parts.copied = el("span", { class: "soft", role: "status" });
  parts.scales = el("select", { "aria-label": "color scale", onchange: (event) => stepper.setScale(event.target.value) },
    Object.entries(SCALES).map(([kind, text]) => el("option", { value: kind, selected: kind === "array" }, text)));
  const copies = el("div", { class: "copy" }, button("copy as TSV", () => copyNumbers(stepper, "TSV")),
    button("copy as JSON", () => copyNumbers(stepper, "JSON")), ...exports, parts.copied);
  const colors = el("div", { class: "colors" }, parts.legend, el("label", { class: "soft" }, "colors: ", parts.scales));
  parts.figure = el("figure", {}, parts.heads, parts.readout, stepper.map.box, colors, parts.caption, copies);
  const folded = window.matchMedia("(max-width: 60rem)").matches;
  const nav = el("nav", { "aria-label": "steps" },
    el("details", { open: !folded }, el("summary", {}, "all steps"), parts.list), lettersFolded());
  parts.stage = el("div", { class: "stage" }, parts.figure, parts.origin);
  parts.repeated = el("p", { class: "repeated" }, "Equal to ", button("probs", () => stepper.goTo("self_attn.probs"), "self_attn.probs"),
    ": there is no head mask. ", button("show it anyway", () => stepper.unfold()));
  const step = el("article", { class: "step" }, parts.title, parts.what, parts.equation, parts.repeated, parts.stage,
    parts.symbols, parts.about, parts.code);
  parts.root = el("div", { class: "stepper" },
    el("div", { class: "tools", role: "toolbar", "aria-label": "steps" },
      parts.previous, parts.slider, parts.next, parts.position, ...tools),
    el("div", { class: "columns" }, nav, step));
  return parts;
}

/** The entries of the list of steps. */
export function listOfSteps(stepper) {
  const { layer, steps } = stepper.source;
  const short = (name) => name.replace(`layers.${layer}.`, "").replace(/^self_attn\./, "");
  return steps.map((step, i) => el("li", { class: step.name.includes("self_attn.") ? "inner" : null },
    el("button", { type: "button", title: step.name, onclick: () => stepper.goTo(i) }, short(step.name))));
}

/** Copy the numbers of the picture as "TSV" or "JSON". */
function copyNumbers(stepper, kind) {
  const now = stepNumbers(stepper.source, stepper.step, stepper.state.head);
  const line = (cells) => cells.map((cell) => String(cell).replace(/[\t\n\r]/g, " ")).join("\t");
  const rows = now.numbers.map((row, i) => line([now.rows[i], ...row.map((x) => exact(x, now.dtype))]));
  const text = kind === "JSON" ? JSON.stringify(now) : [line([now.name, ...now.columns]), ...rows].join("\n");
  copyText(text, (report) => { stepper.parts.copied.textContent = report; });
}
