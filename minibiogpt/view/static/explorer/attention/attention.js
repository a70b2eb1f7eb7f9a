// Attention: all heads as small maps, one of them enlarged, and for one token where it looks and who looks at it.

import { ARROW_STEPS, el, exact, isolated, rough } from "../../base.js";
import { legendOf } from "../../heatmap.js";
import { ATTENTION_ARRAYS, attentionArray, headMeasures, headOrder, lackingFor, maskedCells, MEASURES } from "./attention_data.js";
import { BigMap, SmallMaps } from "./attention_maps.js";
import {
  attentionKind, cellShown, factorWords, headFactor, headShown, headsInWords, headsTitle, measureShown, oneHeadInWords, oneHeadTitle,
  scaleShown,
} from "./attention_shown.js";
import { TokenStrip } from "./attention_strips.js";
import { figure } from "../exports/figure.js";

const attentionLook = { pointed: null, sorted: false, every: 1, scale: null }; // how the view looks; not part of the address
const attentionParts = {}; // the elements of the view

const MADE_UP = "zorb quim tafe welk pudi narn"; // no word that a model could know
const HOW_TO_READ = "A row for each token that looks (query, T), a column for each that it may look at (key, S).";
const NO_LOOK_AHEAD = " Later tokens are masked: no token can look ahead, so the first row has one cell.";
const FIRST_ROW = "The first row has one cell: nothing comes before the first token, and all later ones are masked, so it can only " +
  "look at itself.";

// Building ---------------------------------------------------------------------------------------------------------

function buildAttention(app) {
  const parts = attentionParts, look = attentionLook;
  parts.sorted = el("input", { type: "checkbox", onchange: () => sortHeads(app, parts.sorted.checked) });
  parts.repeat = el("button", { type: "button", class: "small", onclick: () => writeTwice(app, app.state.text) }, "repeat the text");
  parts.madeUp = el("button", { type: "button", class: "small", onclick: () => writeTwice(app, MADE_UP) }, "made-up words, twice");
  parts.open = el("button", { type: "button", class: "small", onclick: () => openProduct(app) }, "open q·k");
  parts.about = el("p", { class: "soft" });
  parts.best = el("p");
  parts.legend = el("div");
  parts.reading = el("p", { class: "soft reading" });
  parts.off = el("p", { class: "head-off", role: "status" });
  parts.readout = el("p", { class: "cell-readout", "aria-live": "polite" });
  parts.small = new SmallMaps((layer, head) => app.set({ layer, head, col: null }));
  parts.big = new BigMap({ over: (cell) => pointAtCell(app, cell), pick: (cell) => pickCell(app, cell) });
  parts.keys = new TokenStrip((col) => pickCell(app, { row: cellNow(app).row, col }));
  parts.queries = new TokenStrip((row) => pickCell(app, { row, col: cellNow(app).col }));
  parts.heads = figure({ title: () => headsTitle(app, look.sorted, look.every), describe: () => headsInWords(app), picture: parts.small.box,
    arrays: () => [[headShown(app).name, headShown(app).array]] });
  parts.one = figure({ title: () => oneHeadTitle(app), describe: () => oneHeadInWords(app), arrays: () => [oneHeadArray(app)],
    picture: el("div", {}, parts.big.box, parts.legend, parts.off, parts.readout, parts.reading, parts.keys.box, parts.queries.box) });
  return el("div", { class: "attention-view" }, choicesOf(app), parts.about, parts.best,
    el("div", { class: "attention-columns" }, el("div", {}, parts.heads), el("div", {}, parts.one)));
}

function choicesOf(app) {
  const parts = attentionParts;
  const select = (options, act) => el("select", { onchange: (event) => act(event.target.value) },
    options.map(([value, text, title]) => el("option", { value, title }, text)));
  const arrays = Object.entries(ATTENTION_ARRAYS).map(([kind, about]) => [kind, kind, about]);
  const measures = Object.entries(MEASURES).map(([id, { name, about }]) => [id, name, about]);
  parts.kinds = select(arrays, (kind) => app.set({ step: `self_attn.${kind}` }));
  parts.measure = select([["", "none"], ...measures], (id) => app.set({ measure: id }));
  return el("div", { class: "choices" }, el("label", {}, "array ", parts.kinds), el("label", {}, "measure of each head ", parts.measure),
    el("label", {}, parts.sorted, " largest first"), parts.repeat, parts.madeUp);
}

// Drawing ----------------------------------------------------------------------------------------------------------

function updateAttention(app) {
  const parts = attentionParts, look = attentionLook, { run, state } = app, { num_attention_heads: H } = run.config;
  const shown = headShown(app), id = measureShown(app);
  look.pointed = null;
  parts.kinds.value = shown.kind;
  parts.measure.value = id;
  parts.sorted.disabled = !id;
  parts.sorted.checked = Boolean(id) && look.sorted;
  parts.small.box.closest(".attention-columns").classList.toggle("many", H > 8);
  if (!shown.array) return void parts.about.replaceChildren("This page does not hold the array.");
  showMeasure(app, id);
  const scale = look.scale = scaleShown(app, shown.kind);
  look.every = parts.small.draw({
    order: headOrder(run, id, look.sorted), columns: H, T: shown.T, scale, measure: id ? headMeasures(run, id) : null,
    matrix: (l) => ({ numbers: attentionArray(run, l, shown.kind).numbers, hidden: maskedCells(run, l) }),
    chosen: [state.layer, state.head], width: parts.small.box.clientWidth, note: (l, h) => factorWords(run, l, h),
  });
  const labels = run.tokens.map((token) => token.label);
  parts.big.draw({ ...shown, numbers: shown.array.numbers, labels, scale, width: parts.big.box.clientWidth });
  parts.legend.replaceChildren(legendOf(scale, shown.hidden.some(Boolean)));
  parts.reading.textContent = HOW_TO_READ + (shown.hidden.some(Boolean) ? NO_LOOK_AHEAD : "");
  showHeadFactor(app, shown);
  showAttentionCell(app);
  revealCell(cellShown(app, shown));
  parts.heads.refresh();
  parts.one.refresh();
}

/** What an experiment does to the head, unless its weights are shown: probs and scores are computed as if it did nothing. */
function showHeadFactor(app, { kind, head }) {
  const { off } = attentionParts, factor = headFactor(app.run, app.state.layer, app.state.head);
  off.hidden = factor === 1 || kind === "weights";
  if (off.hidden) return;
  const what = factor === 0 ? ["is switched off", "are 0"] : [`is scaled by ${factor}`, `are its probs × ${factor}`];
  off.replaceChildren(`Head ${head} ${what[0]}: its ${kind} are still computed, but the weights of the values ${what[1]}. `,
    el("button", { type: "button", class: "small", onclick: () => app.set({ step: "self_attn.weights" }) }, "show the weights"));
}

/** What the measure is, and the heads where it is largest. */
function showMeasure(app, id) {
  const { about, best, repeat, madeUp, measure: select } = attentionParts, { run } = app, measure = MEASURES[id];
  const numbers = measure ? headMeasures(run, id) : null, none = measure && numbers.every(Number.isNaN);
  const lacking = measure ? lackingFor(measure, run.ids) : "";
  about.hidden = best.hidden = !measure;
  madeUp.hidden = !(app.live && measure?.targets);
  repeat.hidden = !(app.live && lacking && measure.targets && run.T > 1);
  select.title = measure?.about ?? "a number for each head, computed from probs";
  if (!measure) return;
  about.textContent = `${measure.name}: ${measure.about}.`;
  const heads = headOrder(run, id, true).slice(0, 3).map(([layer, head], i) => [
    i ? ", " : "Largest: ",
    el("button", { type: "button", class: "link", onclick: () => app.set({ layer, head, col: null }) }, `head ${layer}.${head}`),
    ` ${rough(numbers[layer * run.config.num_attention_heads + head], 3)}`,
  ]);
  const why = lacking ? `Not defined for this text: ${lacking}.` : "Not defined: the probabilities hold NaN.";
  best.replaceChildren(...(none ? [why] : heads.flat()));
}

const cellNow = (app) => attentionLook.pointed ?? cellShown(app, headShown(app));

/** The cell under the pointer, or the chosen one: its number, and the two strips. */
function showAttentionCell(app) {
  const parts = attentionParts, shown = headShown(app), { row, col } = cellNow(app), { tokens } = app.run;
  const { dtype } = shown.array;
  const masked = shown.masked(row, col), first = row === 0 && shown.T > 1 && shown.masked(0, 1);
  const notes = [
    masked ? `S ${col} comes after T ${row}, so the mask hides it.` : "",
    first ? FIRST_ROW : "",
  ].filter(Boolean);
  parts.big.mark({ row, col });
  parts.readout.replaceChildren(
    el("b", { class: "mono" }, exact(shown.at(row, col), dtype)), masked ? " (masked) " : " ",
    el("span", { class: "soft mono" }, `${shown.name}[0, ${app.state.head}, ${row}, ${col}]`),
    el("span", { class: "soft" }, ` query T ${row} “`, isolated(tokens[row].label), `”, key S ${col} “`, isolated(tokens[col].label),
      "” "),
    parts.open, notes.length ? el("span", { class: "note" }, notes.join(" ")) : "");
  const looks = shown.kind === "probs" || shown.kind === "weights", strip = { tokens, scale: attentionLook.scale, dtype };
  const [query, key] = [tokens[row].label, tokens[col].label].map(isolated);
  parts.keys.draw({ ...strip, here: col, numbers: (s) => shown.at(row, s), hidden: (s) => shown.masked(row, s),
    title: looks ? [`Where T ${row} “`, query, "” looks"] : [`The ${shown.kind} of query T ${row} “`, query, "”"] });
  parts.queries.draw({ ...strip, here: row, numbers: (t) => shown.at(t, col), hidden: (t) => shown.masked(t, col),
    title: looks ? [`Who looks at S ${col} “`, key, "”"] : [`The ${shown.kind} of key S ${col} “`, key, "”"] });
}

function revealCell({ row, col }) {
  attentionParts.big.reveal({ row, col });
  attentionParts.keys.reveal(col);
  attentionParts.queries.reveal(row);
}

function oneHeadArray(app) {
  const { array, name, start, T } = headShown(app);
  return [`${name}.${app.state.head}`, { shape: [T, T], dtype: array.dtype, numbers: array.numbers.slice(start, start + T * T) }];
}

// Acts -------------------------------------------------------------------------------------------------------------

function pointAtCell(app, cell) {
  const drawn = !cell || Math.max(cell.row, cell.col) < app.run.T; // a new text may not be drawn yet
  if (!drawn || JSON.stringify(cell) === JSON.stringify(attentionLook.pointed)) return;
  attentionLook.pointed = cell;
  showAttentionCell(app);
}

function pickCell(app, { row, col }) {
  attentionLook.pointed = null;
  app.set({ row, col });
}

function moveAttentionCell(app, down, right) {
  const { row, col } = cellShown(app, headShown(app)), within = (x) => Math.max(0, Math.min(app.run.T - 1, x));
  pickCell(app, { row: within(row + down), col: within(col + right) });
}

/** Show in the layer view how the score of the cell is computed. */
function openProduct(app) {
  app.set({ view: "layer", step: "self_attn.scores", ...cellNow(app) });
}

function sortHeads(app, sorted) {
  attentionLook.sorted = sorted;
  app.schedule(false);
}

function writeTwice(app, text) {
  app.set({ text: `${text} ${text}`, row: null, col: null });
}

function onAttentionKey(event, app) {
  const next = (list, x) => list[(list.indexOf(x) + 1) % list.length];
  const inMap = event.target === attentionParts.big.canvas || event.shiftKey;
  const beside = ARROW_STEPS[event.key];
  const acts = {
    a: () => app.set({ step: `self_attn.${next(Object.keys(ATTENTION_ARRAYS), attentionKind(app))}` }),
    m: () => app.set({ measure: next(["", ...Object.keys(MEASURES)], measureShown(app)) }),
    o: () => measureShown(app) && sortHeads(app, !attentionLook.sorted),
    q: () => openProduct(app),
  };
  if (beside && inMap) moveAttentionCell(app, ...beside);
  else if (Object.hasOwn(acts, event.key)) acts[event.key]();
  else return false;
  return true;
}

export const attentionView = {
  id: "attention",
  title: "Attention",
  about: "Where each head of each layer looks. Choose a head, then a token, to see where it looks and who looks at it.",
  keys: [["Shift + arrows", "another cell"], ["a", "next array"], ["m", "next measure"], ["o", "largest first, or by layer"],
    ["q", "how the score of the cell is computed, q·k"]],
  build: buildAttention,
  update: updateAttention,
  onKey: onAttentionKey,
};
