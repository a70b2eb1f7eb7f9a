// Entry: the top of the page: the text box with its label and examples, the tokens, and the answer of the model.

import { el, isolated, percentOf } from "../base.js";
import { nextProbabilities, topIndices } from "./runs/next_tokens.js";

/** Texts that the demo model can continue, and what the button says if that is shorter. */
const EXAMPLES = [
  ["Ibuprofen acts by"],
  ["Mutations in CFTR cause"],
  ["What does ACE stand for?"],
  ["Sample P321 was sequenced for BRCA1. A mutation in BRCA1 was found in sample", "a code to copy"],
];

/** The line above the text box: its label, what it does, and examples of texts. */
export function entryLabel(app, choose) {
  const label = el("label", { for: "text" }, app.live ? "Your text" : "The recorded text");
  if (!app.live) return el("div", { class: "entry-label" }, label);
  const button = ([text, name]) => el("button", { type: "button", class: "small", title: text, onclick: () => choose(text) }, name ?? text);
  const attributes = { class: "examples", role: "group", "aria-label": "examples" };
  const examples = app.facts.demo ? el("span", attributes, el("span", { class: "soft" }, "try: "), EXAMPLES.map(button)) : null;
  return el("div", { class: "entry-label" }, label, el("span", { class: "soft" }, "everything below follows as you type"), examples);
}

/** The most probable token after the one under study. */
export function answerOf(app) {
  const { run, row } = app, probs = nextProbabilities(run, row), { labels } = app.facts;
  const [best] = topIndices(probs, 1), where = row === run.T - 1 ? "next: " : `after position ${row}: `;
  const answer = best === undefined ? ["NaN"] : [el("b", {}, isolated(labels[best])), ` ${percentOf(probs[best])}`];
  return [el("span", { class: "soft" }, where), ...answer];
}
