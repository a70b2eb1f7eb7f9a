// Sampler: sliders for the logits processors, bars for the most probable tokens, and random draws beside expected counts.

import { unpack } from "../arrays.js";
import { data, el, exact, isolated, percentOf, rough, themeButton } from "../base.js";
import { drawToken, GENERATION_DEFAULTS } from "../biogpt/generation/generation.js";
import { applyProcessors, probabilitiesOf, processorsOf } from "../biogpt/generation/processors.js";
import { UniformNumbers } from "../biogpt/generation/random.js";

const logits = logitsOf(unpack(data.logits));
const settings = { temperature: 1, topK: 0, topP: 1 };
const draws = { counts: new Map(), total: 0, numbers: new UniformNumbers(data.seed) };
const main = document.getElementById("sampler");
const parts = {};
const PROCESSORS = [
  { name: "temperature", key: "temperature", min: 0.1, max: 3, step: 0.05, hint: "divides the logits: below 1 sharper, above 1 flatter" },
  { name: "top-k", key: "topK", min: 0, max: Math.min(100, logits.length), step: 1, hint: "keeps the k most probable tokens; 0 keeps all" },
  {
    name: "top-p", key: "topP", min: 0.01, max: 1, step: 0.01,
    hint: "keeps the smallest set of most probable tokens that sums to p or more; 1 keeps all",
  },
];

const CAPTION = "The most probable next tokens. Tokens cut by top-k or top-p are hatched. " +
  "A token that ends in · continues in the next token. " +
  `The first draw is the token that generate chooses with these options and seed=${data.seed}.`;

/** Token ids from the most to the least probable; ties keep their order. The processors do not change this order. */
const ranked = Int32Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);

function change(processor, text) {
  const value = Number(text);
  if (text === "" || !Number.isFinite(value)) return;
  const rounded = processor.step === 1 ? Math.round(value) : value;
  settings[processor.key] = Math.min(processor.max, Math.max(processor.min, rounded));
  resetDraws();
  show();
}

function resetDraws() {
  Object.assign(draws, { counts: new Map(), total: 0, numbers: new UniformNumbers(data.seed) });
}

/** The logits in their own dtype, in which the processors compute. */
function logitsOf({ dtype, numbers }) {
  return dtype === "float32" ? Float32Array.from(numbers) : numbers;
}

/** {tempered, probs, cut}: probabilities after temperature alone, after all three, and what removed each token or "". */
function processed(row, options) {
  const processors = processorsOf({ ...GENERATION_DEFAULTS, doSample: true, ...options }, 1, []);
  const { scores, stages } = applyProcessors(processors, [], row);
  const scaled = stages.find(({ rule }) => rule === "Temperature")?.after ?? row;
  const cut = Array(row.length).fill("");
  for (const { rule, removed } of stages) for (const id of removed) cut[id] = rule === "TopK" ? "top-k" : "top-p";
  return { tempered: probabilitiesOf(Float64Array.from(scaled)), probs: probabilitiesOf(Float64Array.from(scores)), cut };
}

function draw(times) {
  const { probs } = processed(logits, settings);
  for (let i = 0; i < times; i++) {
    const token = drawToken(probs, draws.numbers.next());
    draws.counts.set(token, (draws.counts.get(token) ?? 0) + 1);
  }
  draws.total += times;
  parts.drawn.textContent = times === 1 ? "" : `${draws.total} tokens drawn`;
  show();
}

function show() {
  for (const { key } of PROCESSORS) {
    parts[key].range.value = settings[key];
    if (document.activeElement !== parts[key].number) parts[key].number.value = settings[key];
  }
  const { tempered, probs, cut } = processed(logits, settings);
  const shown = Array.from(ranked.subarray(0, data.top)), rest = ranked.subarray(data.top);
  const largest = Math.max(...shown.map((i) => Math.max(probs[i], tempered[i])));
  const rows = shown.map((i) => {
    const count = draws.counts.get(i) ?? 0, logit = rough(logits[i]);
    return rowOf({ label: data.tokens[i], id: i, logit, probability: probs[i], before: tempered[i], cut: cut[i], count }, largest);
  });
  if (rest.length) rows.push(rowOf(sumOfRest(rest, tempered, probs, cut), largest));
  parts.body.replaceChildren(...rows);
  const kept = probs.reduce((n, p) => n + (p > 0 ? 1 : 0), 0);
  const first = `The most probable is “${data.tokens[ranked[0]]}” with ${percentOf(probs[ranked[0]])}.`;
  parts.summary.textContent = `${kept} of ${logits.length} tokens can be drawn. ${first}`;
  parts.total.textContent = draws.total ? `drawn of ${draws.total}` : "drawn";
}

/** One row for all tokens that have none of their own. */
function sumOfRest(rest, tempered, probs, cut) {
  let probability = 0, before = 0, count = 0, kept = 0;
  for (const i of rest) {
    probability += probs[i];
    before += tempered[i];
    count += draws.counts.get(i) ?? 0;
    if (!cut[i]) kept += 1;
  }
  return { label: `${rest.length} others`, id: null, logit: "", probability, before, cut: kept ? "" : "all cut", count };
}

/** One row of the table; a removed token keeps its bar, hatched. */
function rowOf({ label, id, logit, probability, before, cut, count }, largest) {
  const size = cut ? before : probability;
  const bar = el("span", { class: "bar", style: `width:${Math.min(100, (100 * size) / largest)}%`, "aria-hidden": "true" });
  const result = cut ? (cut === "all cut" ? cut : `cut by ${cut}`) : percentOf(probability);
  const expected = draws.total ? (probability * draws.total).toFixed(1) : "";
  return el("tr", { class: cut ? "cut" : null, "data-id": id, "data-p": exact(probability) },
    el("td", {}, isolated(label)), el("td", { class: "n raw" }, logit), el("td", { class: "wide" }, bar), el("td", { class: "n" }, result),
    el("td", { class: "n" }, draws.total ? String(count) : ""), el("td", { class: "n soft raw" }, expected));
}

function control(processor) {
  const { name, key, min, max, step, hint } = processor;
  const oninput = (event) => change(processor, event.target.value);
  const both = ["range", "number"].map((type) => el("input", { type, min, max, step, "aria-label": name, oninput, onchange: show }));
  parts[key] = { range: both[0], number: both[1] };
  return el("div", { class: "processor" }, el("label", {}, name), both, el("span", { class: "soft hint" }, hint));
}

function build() {
  const button = (text, act) => el("button", { type: "button", onclick: act }, text);
  parts.body = el("tbody");
  parts.summary = el("p", { role: "status" });
  parts.drawn = el("span", { class: "soft", role: "status" });
  parts.total = el("th", { class: "n" }, "drawn");
  const heads = el("tr", {}, el("th", {}, "token"), el("th", { class: "n raw" }, "logit"), el("td"),
    el("th", { class: "n" }, "probability"), parts.total, el("th", { class: "n raw" }, "expected"));
  main.replaceChildren(
    el("div", { class: "settings" }, PROCESSORS.map(control)), parts.summary,
    el("div", { class: "draws" },
      [1, 100, 10000].map((times) => button(times === 1 ? "draw a token" : `draw ${times}`, () => draw(times))),
      button("reset draws", () => { resetDraws(); parts.drawn.textContent = ""; show(); }), themeButton(show), parts.drawn),
    el("div", { class: "box" },
      el("table", { class: "bars" }, el("caption", { class: "soft" }, CAPTION), el("thead", {}, heads), parts.body)));
}

build();
show();
