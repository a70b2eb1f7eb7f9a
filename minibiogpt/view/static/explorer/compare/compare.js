// Compare: two texts, or the experiment and the untouched run, side by side: where they differ first, and by how much.

import { el } from "../../base.js";
import { arrayRows } from "./compare_array.js";
import { drawProfile, profileOf, profileText } from "./compare_profile.js";
import { alignedTokens, equalArrays, firstDifference } from "./compare_runs.js";
import { sharedPrefix } from "../runs/continued.js";
import { nextProbabilities, topIndices } from "../runs/next_tokens.js";
import { pythonOfComparison, recordedNote } from "../experiments/experiments_python.js";
import { drawNextTokens, labelOf } from "../experiments/experiments_results.js";
import { figure } from "../exports/figure.js";

const comparison = {}; // the parts of the view, once it is built, and what they show

export const compareView = {
  id: "compare",
  title: "Compare",
  about: "Two texts side by side, or the experiment and the untouched run: what differs first, and by how much.",
  keys: [["o", "the second text"], ["Arrow keys", "in the picture of an array: its columns"]],
  build(app) {
    if (!app.live) {
      comparison.note = recordedNote(app, "To compare, the page must run the model, and it holds one recorded run. In Python, this finds " +
        "the first array that differs.", pythonOfComparison);
      return comparison.note;
    }
    const choice = (value, label) =>
      el("label", {}, el("input", { type: "radio", name: "pair", value, onchange: () => app.set({ pair: value }) }), ` ${label}`);
    comparison.choices = el("fieldset", { class: "pair" }, el("legend", {}, "compare"), choice("texts", "this text and a second one"),
      choice("experiment", "this text untouched and with the changes"));
    comparison.other = el("textarea", { rows: 1, dir: "auto", spellcheck: "false", "aria-label": "the second text",
      placeholder: "a second text", oninput: () => app.set({ other: comparison.other.value }) });
    comparison.start = el("button", { type: "button", onclick: () => {
      app.set({ other: app.state.text });
      comparison.other.value = app.state.other;
      comparison.other.focus();
    } }, "start from this text");
    comparison.text = el("div", { "aria-live": "polite" });
    comparison.svg = el("svg:svg", { class: "drawing" });
    comparison.profile = figure({ title: "How far the residual stream differs, by layer and position: |b - a| / |a|",
      describe: () => profileText(comparison.shown), picture: el("div", { class: "box" }, comparison.svg),
      arrays: () => [["difference", comparison.shown.profile.array]] });
    comparison.bars = el("svg:svg", { class: "drawing" });
    comparison.tokens = figure({ title: () => nextTitle(app), describe: () => nextText(app), picture: comparison.bars,
      arrays: () => [["logits-a", comparison.shown.a.logits], ["logits-b", comparison.shown.b.logits]] });
    comparison.array = arrayRows(app);
    return el("div", { class: "comparison" }, el("div", { class: "wide" }, comparison.choices, comparison.other,
      comparison.start, comparison.text),
      ...comparedParts());
  },
  update(app) {
    if (!app.live) return comparison.note.refresh();
    const { pair, other } = app.state, texts = pair === "texts";
    for (const input of comparison.choices.querySelectorAll("input")) input.checked = input.value === pair;
    const nothing = texts && !other.trim();
    comparison.other.hidden = !texts;
    comparison.start.hidden = !nothing;
    for (const part of comparedParts()) part.hidden = nothing;
    if (nothing) {
      comparison.shown = null;
      comparison.other.value = other;
      comparison.text.replaceChildren(el("p", {}, "Write a second text: what differs is then shown here."));
      return;
    }
    if (comparison.other.value !== other) comparison.other.value = other;
    const a = texts ? app.run : app.baseline, b = texts ? app.otherRun() : app.experiment;
    if (comparison.shown?.a !== a || comparison.shown?.b !== b) {
      const pairs = texts ? alignedTokens(a, b) : a.ids.map((_, t) => [t, t]);
      comparison.shown = { a, b, pairs, names: texts ? ["this text", "second text"] : ["untouched", "changed"],
        profile: profileOf(a, b, pairs), first: firstDifference(a, b), prefix: sharedPrefix(a.ids, b.ids) };
      comparison.text.replaceChildren(...comparisonText(app, comparison.shown).map((text) => el("p", {}, text)));
    }
    const shown = comparison.shown;
    shown.t = app.row;
    shown.u = shown.pairs.find(([i]) => i === shown.t)?.[1] ?? null;
    drawProfile(comparison.svg, app, shown);
    comparison.profile.refresh();
    drawNext(app, shown);
    comparison.array.refresh(shown);
  },
  onKey(event) {
    if (event.key !== "o" || !comparison.other || comparison.other.hidden) return false;
    comparison.other.focus();
    return true;
  },
};

const comparedParts = () => [comparison.profile, comparison.tokens, comparison.array];

/** What differs first, in sentences. */
function comparisonText(app, { a, b, prefix, first }) {
  const texts = app.state.pair === "texts", said = [];
  if (!texts && !app.state.changes.length) return ["Nothing is changed, so the two runs are one. Make a change in Experiments first."];
  if (texts) said.push(prefixText(a, b, prefix));
  if (!first && texts) return [...said, "At the positions that both have, no array differs."];
  if (!first) return [...said, "No array differs at any position: the changes have no effect on this text."];
  const [label, place] = [labelOf(app, a.ids[first.t]), `position ${first.t}`];
  return [...said, `The first array that differs, in the order of computation, is ${first.name}, first at ${place} (“${label}”).`];
}

function prefixText(a, b, prefix) {
  const lengths = `This text has ${a.T} token${a.T === 1 ? "" : "s"}, the second has ${b.T}.`;
  if (prefix === a.T && prefix === b.T) return `${lengths} They are the same tokens.`;
  const [equal, all] = equalArrays(a, b, prefix), where = prefix === 1 ? "at position 0" : `at positions 0 to ${prefix - 1}`;
  const same = `${lengths} Both begin with the same ${prefix === 1 ? "token" : `${prefix} tokens`}.`;
  return a.causal && b.causal
    ? `${same} Attention is causal: no token sees a later one, so every array is equal ${where} `
      + `(${equal} of ${all} arrays are, bit for bit).`
    : `${same} Without the causal mask, a token also sees later ones, so equal beginnings do not make equal arrays `
      + `(${equal} of ${all} are equal ${where}).`;
}

function nextTitle(app) {
  const { a, b, t, u, names } = comparison.shown;
  const after = (run, at) => `after “${labelOf(app, run.ids[at])}” at ${at}`;
  return `Next token: ${names[0]} ${after(a, t)}, ${u === null ? "which has no partner in the second text" : `${names[1]} ${after(b, u)}`}`;
}

function nextText(app) {
  const { p, q, ids } = comparison.shown.next, [one, other] = comparison.shown.names;
  const partner = (id) => (q ? `, ${q[id].toPrecision(3)} in ${other}` : "");
  return ids.map((id) => `${labelOf(app, id)}: ${p[id].toPrecision(3)} in ${one}${partner(id)}`).join("; ");
}

function drawNext(app, shown) {
  const p = nextProbabilities(shown.a, shown.t), q = shown.u === null ? null : nextProbabilities(shown.b, shown.u);
  const most = (id) => Math.max(p[id], q?.[id] || 0);
  const ids = [...new Set([...topIndices(p, 5), ...topIndices(q ?? [], 5)])].sort((i, j) => most(j) - most(i));
  shown.next = { p, q, ids, id: app.state.token };
  drawNextTokens(comparison.bars, app, shown.next, Math.max(280, Math.min(720, comparison.tokens.clientWidth || 600)), shown.names);
  comparison.tokens.refresh();
}
