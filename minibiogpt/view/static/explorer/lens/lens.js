// Logit lens: what the model would say after each layer, and what each part adds to the logit of one token.

import { ARROW_STEPS, data, el, exact, isolated, rough, signedBar } from "../../base.js";
import { legendOf } from "../../heatmap.js";
import { shadeScale } from "../../shades.js";
import { openBundle } from "../runs/bundle.js";
import { rankOf } from "../runs/next_tokens.js";
import { figure } from "../exports/figure.js";
import { attributionOf, lensOf, mostProbable, probabilityIn, recordedAttribution } from "./lens_data.js";
import { partOf, PartsMap, partsTable, partText } from "./lens_parts.js";
import { TokenPicker, tokenButtons } from "./lens_picker.js";
import { LensTable } from "./lens_table.js";

const MOST_PARTS = 12; // of the table, unless all are asked for
const lensLook = { embeddings: false, pointed: null, part: null, all: false, recorded: null, parts: null };
const lensParts = {}; // the elements of the view

if (data.lens) { // a recorded page; opened at once, so that it can be printed before the view is shown
  openBundle(data.lens).then((arrays) => {
    lensLook.recorded = arrays;
    lensLook.opened?.();
  });
}

// Building ---------------------------------------------------------------------------------------------------------

function buildLens(app) {
  const parts = lensParts, look = lensLook;
  parts.table = new LensTable({ over: (cell) => pointAtStage(app, cell), pick: (cell) => pickStage(app, cell) });
  parts.lens = figure({ title: "The most probable next token after each layer, with its probability; bold: the same as at the end",
    describe: () => lensInWords(app), picture: parts.table.box, arrays: () => [stageArray(app)] });
  parts.scale = el("div");
  parts.stage = el("div", { class: "stage-words", "aria-live": "polite" });
  parts.token = new TokenPicker(app, "token", (token) => app.set({ token }));
  parts.against = new TokenPicker(app, "against (optional)", (against) => app.set({ against }));
  parts.top = el("div", { class: "choices", role: "group", "aria-label": "the most probable tokens" });
  parts.question = el("p");
  const open = (part) => openPart(app, partOf(look.parts.names[part]).go);
  parts.map = new PartsMap({ over: (part) => pointAtPart(app, part), pick: open });
  parts.parts = figure({ title: () => partsTitle(app), describe: () => partsInWords(app), picture: parts.map.box, arrays: partsArray });
  parts.partReadout = el("p", { class: "cell-readout", "aria-live": "polite" });
  parts.list = el("div", { class: "box" });
  parts.sum = el("p", { class: "parts-sum" });
  parts.all = el("button", { type: "button", class: "small", onclick: () => showAllParts(app) });
  return el("div", { class: "lens-view" },
    el("div", { class: "lens-columns" }, el("div", {}, parts.lens, parts.scale), parts.stage),
    el("h2", {}, "Which part made a token likely?"), parts.question,
    el("div", { class: "choices" }, parts.token.box, parts.against.box), parts.top,
    el("div", { class: "lens-columns" }, el("div", {}, parts.parts, parts.partReadout), el("div", {}, parts.sum, parts.list, parts.all)),
    el("p", { class: "soft" }, "The number of a part is what it wrote into the residual stream in the direction of the token, after the " +
      "scaling of the final norm. What it changed in later layers is not counted: to find causes, switch a head off in Experiments."));
}

// Drawing ----------------------------------------------------------------------------------------------------------

const stageNow = ({ state }) => (lensLook.embeddings ? 0 : state.layer + 1);
const stageCell = (app) => lensLook.pointed ?? { stage: stageNow(app), t: app.row };
const stageName = (stage) => (stage === 0 ? "embeddings" : `after layer ${stage - 1}`);
const lensNow = (app) => lensOf(app, lensLook.recorded);

function updateLens(app) {
  const parts = lensParts, { run } = app;
  if (!run.live && !lensLook.recorded) {
    lensLook.opened = () => app.schedule(false);
    return;
  }
  lensLook.pointed = lensLook.part = null;
  if (lensLook.layer !== app.state.layer) lensLook.embeddings = false; // { and } choose a layer
  lensLook.layer = app.state.layer;
  const lens = lensNow(app), scale = shadeScale(), last = lens.stages.length - 1;
  lens.compute(() => app.schedule(false), () => app.run !== run || app.view !== lensView);
  parts.table.draw({
    names: lens.stages.map((_, stage) => (stage === last ? `${stageName(stage)} = logits` : stageName(stage))),
    tokens: run.tokens.map((token) => token.label), scale, width: parts.table.box.clientWidth,
    at: (stage, t) => topCell(app, lens, stage, t),
  });
  parts.table.box.setAttribute("aria-busy", String(!lens.done));
  parts.scale.replaceChildren(legendOf(scale, false));
  parts.table.reveal(stageCell(app));
  showStage(app);
  showPicker(app);
  showParts(app);
  parts.lens.refresh();
}

function topCell(app, lens, stage, t) {
  const found = lens.at(stage, t);
  if (!found) return null;
  const final = lens.at(lens.stages.length - 1, t).ids[0];
  return { label: app.facts.labels[found.ids[0]], prob: found.probs[0], same: found.ids[0] === final };
}

/** The most probable tokens of the cell under the pointer, or of the chosen one. */
function showStage(app) {
  const { stage, t } = stageCell(app), lens = lensNow(app), found = lens.at(stage, t), { labels } = app.facts;
  lensParts.table.mark({ stage: stageNow(app), t: app.row }, lensLook.pointed);
  const last = stage === lens.stages.length - 1;
  const when = stage === 0 ? ", if the model had no layers:" : last ? ":" : `, if the model stopped after layer ${stage - 1}:`;
  const title = el("h2", { class: "minor" }, "Next token after “", isolated(app.run.tokens[t].label), `” at position ${t}${when}`);
  if (!found) return void lensParts.stage.replaceChildren(title, el("p", { class: "soft" }, "computing …"));
  const rows = found.ids.map((id, i) => el("tr", { class: id === app.token ? "here" : null }, el("td", {}, isolated(labels[id])),
    el("td", { class: "n mono" }, exact(found.probs[i], "float32")), el("td", {}, signedBar(found.probs[i], 1))));
  const logits = lens.row(stage, t), { token } = app, name = lens.stages[stage];
  const number = (x, dtype) => el("span", { class: "mono" }, exact(x, dtype));
  const also = logits ? [el("p", { class: "chosen-token" }, "“", isolated(labels[token]), "” has rank ",
    `${rankOf(logits, token)} of ${logits.length}, probability `, number(Math.fround(probabilityIn(logits, token)), "float32"),
    ", logit ", number(logits[token], app.run.logits.dtype), ".")] : [];
  const how = el("p", { class: "soft" }, last ? `${name} → layer_norm → logits: the model's own prediction.`
    : `${name}, read with the final norm and the output embedding, as if the layers after it did nothing.`);
  const head = el("tr", {}, el("th", {}, "next token"), el("th", { class: "n" }, "probability"), el("td"));
  const table = el("table", {}, el("thead", {}, head), el("tbody", {}, rows));
  lensParts.stage.replaceChildren(title, el("div", { class: "box" }, table), ...also, how);
}

function showPicker(app) {
  const parts = lensParts, { run, state, row, token } = app, most = mostProbable(run.row("logits", row), 10);
  parts.token.show(token, !run.live);
  parts.against.show(state.against, !run.live);
  parts.top.replaceChildren(...(run.live ? tokenButtons(app, most, token, (id) => app.set({ token: id })) : []));
  const words = ["The logit of a next token after “", isolated(run.tokens[row].label), `” at position ${row} is a sum, to which every `,
    "part of the model adds. Choose the next token; with a second one, see the difference of the two."];
  parts.question.replaceChildren(...(run.live ? words : ["This page holds no weights. It shows the parts of the most probable token after ",
    "each position, and cannot compute those of another token."]));
}

/** The parts of the chosen token's logit; null if the page cannot compute them. */
function partsNow(app) {
  const { run, state, row, token } = app;
  if (run.live) return attributionOf(run, row, token, state.against);
  const found = recordedAttribution(run, lensLook.recorded, row);
  return found.token === token && state.against === null ? found : null;
}

function showParts(app) {
  const parts = lensParts, { run } = app, found = lensLook.parts = partsNow(app);
  for (const node of [parts.parts, parts.list, parts.all, parts.partReadout]) node.hidden = !found;
  if (!found) {
    const reset = () => app.set({ token: null, against: null });
    parts.sum.replaceChildren("The parts of this token are not in the page. ",
      el("button", { type: "button", class: "small", onclick: reset }, "show the most probable token"));
    return;
  }
  const { names, values, logit } = found, { dtype } = run.logits;
  const largest = Math.max(...values.map(Math.abs).filter(Number.isFinite)), scale = shadeScale(largest || 1);
  Object.assign(lensLook, { dtype });
  parts.map.draw({ names, values, layers: run.config.num_hidden_layers, heads: run.config.num_attention_heads, scale, dtype,
    width: parts.map.box.clientWidth });
  const most = lensLook.all ? names.length : MOST_PARTS;
  parts.list.replaceChildren(partsTable({ names, values, dtype, most, open: (go) => openPart(app, go) }));
  parts.all.textContent = lensLook.all ? "only the largest" : `all ${names.length} parts`;
  showPart();
  parts.sum.replaceChildren(...sumWords(app, values.reduce((sum, x) => sum + x, 0), logit));
  parts.parts.refresh();
}

/** The sum of the parts, beside the logit that the model computed. */
function sumWords(app, sum, logit) {
  const { state, token } = app, { labels } = app.facts, size = lensLook.parts.values.reduce((total, x) => total + Math.abs(x), 0);
  const same = Math.abs(sum - logit) <= 1e-4 * size || (Number.isNaN(sum) && Number.isNaN(logit));
  const what = state.against === null ? ["the logit of “", isolated(labels[token]), "”"]
    : ["the logit of “", isolated(labels[token]), "” minus that of “", isolated(labels[state.against]), "”"];
  return ["Sum of all parts ", el("b", { class: "mono", "data-sum": sum }, rough(sum, 6)), "; ", ...what, " in the array ",
    el("b", { class: "mono" }, rough(logit, 6)), same ? " ✓ equal within rounding"
      : " ✗ different: with this experiment the logit is not the sum of these parts"];
}

/** The part under the pointer, or the largest. */
function showPart() {
  const { names, values } = lensLook.parts, { dtype } = lensLook;
  const largest = values.reduce((best, x, i) => (Math.abs(x) > Math.abs(values[best]) ? i : best), 0), i = lensLook.part ?? largest;
  const { label, go } = partOf(names[i]);
  const more = lensLook.part === null ? " (the largest)" : go ? "; a click opens it" : "";
  lensParts.partReadout.replaceChildren(el("b", { class: "mono" }, partText(values[i], dtype)), ` ${label} `,
    el("span", { class: "soft mono" }, names[i]), el("span", { class: "soft" }, more));
}

// Words and arrays -------------------------------------------------------------------------------------------------

function lensInWords(app) {
  const lens = lensNow(app), { row } = app;
  const said = lens.stages.map((_, stage) => {
    const cell = topCell(app, lens, stage, row);
    return cell ? `${stageName(stage)} “${cell.label}” (${rough(cell.prob, 2)})` : `${stageName(stage)} not yet computed`;
  });
  const size = `${lens.stages.length} rows, for the embeddings and each layer, and ${app.run.T} columns, one for each token.`;
  return `${size} After “${app.run.tokens[row].label}” at position ${row}: ${said.join(", ")}.`;
}

function partsTitle(app) {
  const { labels } = app.facts, against = app.state.against === null ? "" : `, minus that of “${labels[app.state.against]}”`;
  const place = `“${app.run.tokens[app.row].label}” at position ${app.row}`;
  return `What each part adds to the logit of “${labels[app.token]}” after ${place}${against}`;
}

function partsInWords() {
  if (!lensLook.parts) return "";
  const { names, values } = lensLook.parts, order = names.map((_, i) => i).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
  return `The largest: ${order.slice(0, 8).map((i) => `${partOf(names[i]).label} ${rough(values[i], 3)}`).join(", ")}.`;
}

/** The logits (V,) of the chosen cell in a live page, else its most probable tokens' probabilities. */
function stageArray(app) {
  const lens = lensNow(app), stage = stageNow(app), logits = lens.row(stage, app.row), found = lens.at(stage, app.row);
  const numbers = logits ?? Float32Array.from(found?.probs ?? []);
  const dtype = logits ? app.run.logits.dtype : "float32";
  return [`${lens.stages[stage]}.lens.${app.row}`, { shape: [numbers.length], dtype, numbers }];
}

function partsArray() {
  const { values } = lensLook.parts ?? { values: [] };
  return values.length ? [["logit_attribution", { shape: [values.length], dtype: "float64", numbers: Float64Array.from(values) }]] : [];
}

// Acts -------------------------------------------------------------------------------------------------------------

function pointAtStage(app, cell) {
  if (JSON.stringify(cell) === JSON.stringify(lensLook.pointed) || cell?.t >= app.run.T) return; // a new text is not drawn yet
  lensLook.pointed = cell;
  showStage(app);
}

function pickStage(app, { stage, t }) {
  lensLook.embeddings = stage === 0;
  lensLook.layer = stage === 0 ? app.state.layer : stage - 1;
  app.set({ row: t, ...(stage === 0 ? {} : { layer: stage - 1 }), ...(t === app.row ? {} : { token: null }) });
  app.schedule(false);
}

function pointAtPart(app, part) {
  if (part === lensLook.part || !lensLook.parts) return;
  lensLook.part = part;
  showPart();
}

function openPart(app, go) {
  if (go) app.set(go);
}

function showAllParts(app) {
  lensLook.all = !lensLook.all;
  app.schedule(false);
}

function onLensKey(event, app) {
  const beside = ARROW_STEPS[event.key];
  if (!beside || !(event.shiftKey || event.target === lensParts.table.svg)) return false;
  const within = (x, size) => Math.max(0, Math.min(size - 1, x));
  pickStage(app, { stage: within(stageNow(app) + beside[0], app.config.num_hidden_layers + 1), t: within(app.row + beside[1], app.run.T) });
  return true;
}

export const lensView = {
  id: "lens",
  title: "Logit lens",
  about: "What the model would say if it stopped after a layer, and which parts of it make a token likely.",
  keys: [["Shift + arrows", "another layer or token"]],
  build: buildLens,
  update: updateLens,
  onKey: onLensKey,
};
