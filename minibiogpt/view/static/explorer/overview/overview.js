// Model: the whole model as one drawing: tokens at the bottom, the residual stream, what each part writes, the next token on top.

import { el, setAll } from "../../base.js";
import { figure } from "../exports/figure.js";
import { answers } from "./overview_answers.js";
import { columns, scalesOf } from "./overview_columns.js";
import { columnAt, layoutOf } from "./overview_layout.js";
import { normsOf, partsOf } from "./overview_numbers.js";
import { openColumn } from "./overview_parts.js";
import { tipBox } from "./overview_tip.js";
import { columnWords, describeModel, sentenceOf, wayIn, partWords } from "./overview_words.js";

const LINE_KINDS = [["strongest", "of the strongest head"], ["mean", "mean of all heads"], ["head", "of one head"]];
const ov = { drawn: {}, here: "logits" }; // the elements; what was drawn last; the part that has, or gets, the focus

export const modelView = {
  id: "model",
  title: "Model",
  about: "The whole model for one text, from the tokens at the bottom to the next token on top. Click anything to go in.",
  keys: [["↑ ↓", "next part upwards and downwards, after Tab into the drawing"], ["← →", "previous and next token"],
    ["Enter", "go into a part"]],
  build: buildOverview,
  update: updateOverview,
  onKey: overviewKey,
};

function buildOverview(app) {
  const L = app.config.num_hidden_layers;
  Object.assign(ov, { app, columns: columns(), open: openColumn(L), answers: answers() });
  ov.parts = [...ov.open.parts, ...[...ov.answers.bars].reverse()];
  ov.svg = el("svg:svg", { class: "overview", role: "group" }, ov.columns.group, ov.open.group, ov.answers.group);
  ov.box = el("div", { class: "box overview-box" }, ov.svg);
  ov.figure = figure({ title: () => `the model, for “${app.run.tokens[app.row].label}” at position ${app.row}`,
    describe: () => describeModel(app), arrays: () => exportedNorms(app), picture: ov.box, className: "overview-figure" });
  ov.tip = tipBox(ov.figure);
  ov.untouchedNote = el("span", { class: "untouched-note" }, "The thin stroke in each box marks the size without the experiment. ");
  ov.lines = el("select", { onchange: () => app.set({ lines: ov.lines.value }) },
    LINE_KINDS.map(([value, text]) => el("option", { value }, text)));
  listenOverview(app);
  return el("div", { class: "overview-view" }, ov.figure, overviewNotes(app));
}

function updateOverview(app) {
  const { run, state, row } = app, { drawn } = ov, L = run.config.num_hidden_layers;
  const layout = layoutOf({ L, T: run.T, row, width: ov.box.clientWidth });
  const moved = drawn.run !== run || drawn.row !== row || drawn.width !== ov.box.clientWidth;
  ov.layout = layout;
  if (moved) {
    const scales = scalesOf(run);
    setAll(ov.svg, { width: layout.width, height: layout.height, viewBox: `0 0 ${layout.width} ${layout.height}` });
    ov.columns.draw(app, layout, scales);
    ov.open.draw(app, layout, scales);
    ov.tip.hide();
  }
  const lines = `${state.lines} ${state.lines === "head" ? state.head : ""}`;
  if (moved || drawn.lines !== lines) ov.columns.drawLines(app, layout);
  if (moved || drawn.token !== app.token) ov.answers.draw(app, layout);
  if (moved) ov.columns.drawOver(app, layout, null), revealOpen(layout);
  ov.untouchedNote.hidden = run === app.baseline;
  ov.lines.value = LINE_KINDS.some(([kind]) => kind === state.lines) ? state.lines : "strongest";
  ov.lines.lastChild.textContent = `of head ${state.head} in each layer ([ ] changes it)`;
  ov.drawn = { run, row, width: ov.box.clientWidth, lines, token: app.token };
  labelParts(app);
  reachPart();
  ov.figure.refresh();
}

/** Update the labels of the parts, and the tip if one of them has the focus. */
function labelParts(app) {
  for (const part of ov.parts) if (partVisible(part)) setAll(part.group, { "aria-label": sentenceOf(partWords(app, part)) });
  const focused = ov.parts.find((part) => part.group.matches(":focus-visible"));
  if (focused) showPartTip(app, focused);
}

/** Make one part reachable with Tab. */
function reachPart() {
  if (!partVisible(ov.parts.find((part) => part.key === ov.here))) ov.here = "logits";
  for (const part of ov.parts) part.group.setAttribute("tabindex", part.key === ov.here ? "0" : "-1");
}

const partVisible = (part) => part && !(part.kind === "answer" && part.id === null);

/** Scroll the opened column into view, inside its box. */
function revealOpen({ row, column, left, right }) {
  const from = row * column, { scrollLeft, clientWidth } = ov.box;
  const isInside = from >= scrollLeft && from + left + right <= scrollLeft + clientWidth;
  if (!isInside) ov.box.scrollLeft = Math.max(0, from + (left + right - clientWidth) / 2);
}

/** What can be saved: the norms of what was written and of the stream, one row for each part, one column for each token. */
function exportedNorms({ run }) {
  const parts = partsOf(run.config.num_hidden_layers), { T } = run;
  const stacked = (names) => {
    const numbers = new Float64Array(names.length * T);
    names.forEach((name, i) => numbers.set(normsOf(run, name) ?? new Float64Array(T).fill(NaN), i * T));
    return { shape: [names.length, T], dtype: "float64", numbers };
  };
  const written = parts.filter((part) => part.written).map((part) => part.written);
  const stream = ["embeddings", ...parts.filter((part) => ["attention", "feed"].includes(part.kind)).map((part) => part.after)];
  return [["written-norms", stacked(written)], ["stream-norms", stacked(stream)]];
}

// Pointer and keys --------------------------------------------------------------------------------------------------

function listenOverview(app) {
  const { svg } = ov, partAt = (event) => ov.parts.find((part) => part.group.contains(event.target));
  let touch = false;
  svg.addEventListener("pointerdown", (event) => { touch = event.pointerType === "touch"; });
  svg.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") overviewPoint(app, partAt(event), event);
  });
  svg.addEventListener("pointerleave", () => overviewPoint(app, null, null));
  svg.addEventListener("click", (event) => {
    const part = partAt(event);
    if (part && touch && ov.tip.key !== part.key) showPartTip(app, part); // the first touch shows the numbers, the second goes in
    else if (part) enterPart(app, part);
    else if (columnUnder(event) !== null) app.set({ row: columnUnder(event), col: null });
  });
  ov.box.addEventListener("focusin", (event) => { // on the <svg> itself it would make that focusable
    const part = partAt(event);
    if (!part) return;
    ov.here = part.key;
    reachPart();
    if (event.target.matches(":focus-visible")) showPartTip(app, part);
  });
  ov.box.addEventListener("focusout", () => ov.tip.hide());
  ov.box.addEventListener("scroll", () => { // moving the focus may scroll
    const part = ov.parts.find((each) => each.group.matches(":focus-visible"));
    if (part) showPartTip(app, part);
    else ov.tip.hide();
  });
}

const columnUnder = (event) => columnAt(ov.layout, event.clientX - ov.svg.getBoundingClientRect().left);

/** The numbers under the pointer: those of a part, or of another token's column. */
function overviewPoint(app, part, event) {
  const t = event && !part ? columnUnder(event) : null, other = t !== null && t !== app.row;
  if (part && ov.tip.key !== part.key) showPartTip(app, part);
  if (other) {
    const { bottom, tall, T } = ov.layout, up = (bottom - (event.clientY - ov.svg.getBoundingClientRect().top)) / tall;
    const layer = up < 0 ? null : Math.min(app.config.num_hidden_layers - 1, Math.floor(up));
    ov.tip.show(`column ${t} ${layer}`, columnWords(app, t, layer), { x: event.clientX, y: event.clientY });
    if (T > 1 && ov.over !== t) ov.columns.drawOver(app, ov.layout, t);
  } else if (!part) ov.tip.hide();
  if (!other && ov.over !== null) ov.columns.drawOver(app, ov.layout, null);
  ov.over = other ? t : null;
}

function showPartTip(app, part) {
  const box = part.group.getBoundingClientRect();
  ov.tip.show(part.key, partWords(app, part), { x: box.left + box.width / 2, y: box.bottom, above: box.top });
}

function enterPart(app, part) {
  ov.here = part.key;
  app.set(wayIn(part, app.config.num_hidden_layers));
}

function overviewKey(event, app) {
  const parts = ov.parts.filter(partVisible), at = parts.findIndex((part) => part.group === event.target);
  if (at < 0) return false;
  const to = { ArrowUp: at + 1, ArrowDown: at - 1, Home: 0, End: parts.length - 1 }[event.key];
  if (to !== undefined) parts[Math.max(0, Math.min(parts.length - 1, to))].group.focus();
  else if (event.key === "ArrowLeft") app.set({ row: Math.max(0, app.row - 1), col: null });
  else if (event.key === "ArrowRight") app.set({ row: Math.min(app.run.T - 1, app.row + 1), col: null });
  else if (event.key === "Enter" || event.key === " ") enterPart(app, parts[at]);
  else if (event.key === "Escape") ov.tip.hide();
  else return false;
  return true;
}

// Notes -------------------------------------------------------------------------------------------------------------

function overviewNotes(app) {
  const { hidden_size: D, intermediate_size: F, vocab_size: V, num_attention_heads: H } = app.config;
  const key = (kind, term, ...text) =>
    el("p", {}, el("span", { class: `ov-key ${kind}`, "aria-hidden": "true" }), el("b", {}, term), ...text);
  return el("aside", { class: "overview-notes", "aria-label": "how to read the drawing" },
    el("p", {}, el("b", {}, "Token"),
      ": a word or a piece of one. A token that ends in · continues in the next token; </s> is a mark that begins every text."),
    key("stream", "Residual stream",
      `: D = ${D} numbers for each token. Every part reads all of it and adds its output to it; nothing is overwritten. `,
      "Its width is its size."),
    key("attention", "Attention",
      `: ${H} heads mix values of the tokens up to this one. It is the only part where tokens exchange information: `,
      "a line comes from each token read, as thick as its weight, the 8 strongest in each layer.",
      el("label", { class: "overview-lines" }, "Lines show the weights ", ov.lines)),
    key("feed", "Feed-forward", `: for each token alone, D = ${D} numbers become F = ${F} and D again.`),
    el("p", {}, el("b", {}, "Size"),
      ": the L2 norm, the square root of the sum of the squared D numbers, written |name[0, t]|. ",
      "All bars have one scale; a bar that would be longer than its place ends in a gap and a stroke. ",
      ov.untouchedNote,
      "The size doesn't say what a part does to the answer: see ",
      el("button", { type: "button", class: "link", onclick: () => app.set({ view: "lens" }) }, "what each part adds to a logit"), "."),
    el("p", {}, el("b", {}, "Logits"),
      `: one number for each of the V = ${V} tokens of the vocabulary; softmax turns them into probabilities.`),
    el("p", {}, "The studied token's column is open; click another token to open its column. ",
      "Words on top of the other columns: the most probable tokens after each."));
}
