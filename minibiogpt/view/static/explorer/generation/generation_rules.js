// Rules of the generation view: the most probable tokens, after the model and after each rule; what a rule removed stays, crossed.

import { el, exact, percentOf, rough, setAll, shortened } from "../../base.js";
import { probabilitiesOf } from "../../biogpt.js";
import { stageTitle } from "./generation_steps.js";

const RULE_ROWS = 10; // tokens with a row of their own, and
const RULE_REMOVED = 2; // those of each rule that it removed
const RULE = { left: 110, least: 126, most: 180, head: 56, row: 20, value: 60 };

/** The columns of a step: {title, name, logits, probs, removed, mass}: what the model said, then each rule. */
export function ruleColumns(step, run) {
  const path = `step.${step.step}/`, inFloat64 = (logits) => probabilitiesOf(new Float64Array(logits)), { dtype } = run.logits;
  const columns = [{ title: "the model", name: `${path}logits`, logits: step.logits, probs: inFloat64(step.logits), removed: new Set(),
    dtype, mass: 0 }];
  step.stages.forEach((stage, i) => {
    const { probs: before } = columns.at(-1);
    columns.push({ title: stageTitle(stage), name: `${path}processors.${i}.${stage.rule}.after`, logits: stage.after,
      probs: inFloat64(stage.after), dtype,
      removed: new Set(stage.removed), mass: stage.removed.reduce((sum, id) => sum + before[id], 0) });
  });
  return columns;
}

/** The rows: the ids of the tokens most probable by the model, of the most probable ones that each rule removed, and of the chosen one. */
export function ruleRows({ logits, stages, token }, chosen) {
  const before = (a, b) => logits[b] - logits[a] || a - b;
  const ids = new Set([...Int32Array.from(logits.keys()).sort(before).subarray(0, RULE_ROWS)]);
  for (const { removed } of stages) for (const id of [...removed].sort(before).slice(0, RULE_REMOVED)) ids.add(id);
  if (chosen) ids.add(token);
  return [...ids].sort(before);
}

/** Draw a step. chosen: whether its token is shown. Returns the cells: {group, row, column, words}. All bars have one scale. */
export function drawRules(svg, app, step, chosen, space) {
  const columns = ruleColumns(step, app.run), rows = ruleRows(step, chosen), { left, least, most, head, row } = RULE;
  const column = Math.max(least, Math.min(most, Math.floor((space - left) / columns.length))), width = left + columns.length * column,
    height = head + (rows.length + 1) * row + 6;
  const cells = [], hatch = el("svg:pattern", { id: "gen-hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse" },
    el("svg:path", { d: "M-1 7L7 -1M-1 1L1 -1M5 7L7 5", class: "gen-hatching" }));
  setAll(svg, { width, height, viewBox: `0 0 ${width} ${height}` });
  const names = rows.map((id, i) =>
    el("svg:text", { x: left - 8, y: head + i * row + 14, "text-anchor": "end", class: chosen && id === step.token ? "gen-chosen" : null },
    shortened(app.facts.labels[id], 14)));
  const band = chosen ? el("svg:rect", { class: "gen-band", x: 0, y: head + rows.indexOf(step.token) * row, width, height: row }) : null;
  const others = columns.map((each) => othersLeft(each, rows));
  const largest = Math.max(...others.map(({ mass }) => mass), ...columns.flatMap(({ probs }) => rows.map((id) => probs[id])));
  const drawn = columns.map((each, c) => {
    const x = left + c * column, place = { x, width: column, bar: (p) => ((column - RULE.value - 12) * p) / largest },
      group = el("svg:g", {}, ...ruleHead(each, x));
    rows.forEach((id, r) => cells.push(addRuleCell(group, ruleCell(app, columns, c, id, { ...place, y: head + r * row }), r, c)));
    cells.push(addRuleCell(group, ruleOthers(columns[c], c, others[c], { ...place, y: head + rows.length * row }), rows.length, c));
    return group;
  });
  const name = el("svg:text", { x: left - 8, y: head + rows.length * row + 14, "text-anchor": "end", class: "ov-soft" },
    `${(step.logits.length - rows.length).toLocaleString("en")} others`);
  svg.replaceChildren(el("svg:defs", {}, hatch), ...(band ? [band] : []), ...names, name, ...drawn);
  return cells;
}

function ruleHead({ title, removed, mass }, x) {
  const line = (y, text, className) => el("svg:text", { x: x + 4, y, class: className }, text);
  return [line(14, title, "title"), ...(removed.size ? [line(30, `removes ${removed.size.toLocaleString("en")}`, "gen-removed"),
    line(45, `together ${percentOf(mass)}`, "gen-removed")] : [])];
}

function addRuleCell(group, { parts, words }, row, column) {
  const cell = el("svg:g", { class: "ov-part gen-cell", role: "button", tabindex: "-1", "aria-label": words.sentence }, ...parts);
  group.append(cell);
  return { group: cell, row, column, words };
}

/** A token after a rule: its bar, hatched and crossed in the column of the rule that removed it, and nothing after that. */
function ruleCell(app, columns, c, id, { x, y, width, bar }) {
  const { name, logits, probs, removed, dtype } = columns[c], label = app.facts.labels[id], here = removed.has(id);
  const gone = !here && logits[id] === -Infinity;
  const p = here ? columns[c - 1].probs[id] : probs[id], size = Math.max(0.5, bar(p) || 0), middle = y + RULE.row / 2;
  const text = here ? "removed" : gone ? "–" : percentOf(p);
  const parts = [el("svg:rect", { class: "frame clear", rx: 3, x: x + 1, y: y + 1, width: width - 6, height: RULE.row - 2 }),
    gone ? null : el("svg:rect", { class: here ? "gen-gone" : "size", x: x + 4, y: y + 4, width: size, height: RULE.row - 8,
      fill: here ? "url(#gen-hatch)" : null }),
    here ? el("svg:path", { class: "gen-cross", d: `M${x + 5} ${middle - 5}l10 10m0 -10l-10 10` }) : null,
    el("svg:text", { x: x + width - 8, y: y + 14, "text-anchor": "end", class: here ? "gen-removed" : gone ? "ov-soft" : null }, text)];
  const lines = [["logit", `${name}[0, ${id}]`, exact(logits[id], dtype)],
    ["probability", `softmax(${name}[0])[${id}]`, rough(probs[id], 6)]];
  const title = `“${label}”, id ${id}, ${c ? `after ${columns[c].title}` : "by the model"}`;
  const sentence = `${title}: ${here ? "removed; " : ""}${lines.map(([what, , number]) => `${what} ${number}`).join(", ")}`;
  return { parts: parts.filter(Boolean), words: { title, lines, go: "study this token", id, sentence } };
}

/** The tokens without a row: {mass: their probability, left: how many are left, of: how many there are}. */
function othersLeft({ logits, probs }, rows) {
  const own = new Set(rows);
  let mass = 0, left = 0;
  for (let id = 0; id < probs.length; id++) {
    if (own.has(id)) continue;
    mass += probs[id];
    if (logits[id] > -Infinity) left++;
  }
  return { mass, left, of: probs.length - rows.length };
}

function ruleOthers({ title, name }, c, { mass, left, of }, { x, y, width, bar }) {
  const parts = [el("svg:rect", { class: "frame clear", rx: 3, x: x + 1, y: y + 1, width: width - 6, height: RULE.row - 2 }),
    el("svg:rect", { class: "size", x: x + 4, y: y + 4, width: Math.max(mass ? 0.5 : 0, bar(mass) || 0), height: RULE.row - 8 }),
    el("svg:text", { x: x + width - 8, y: y + 14, "text-anchor": "end", class: "ov-soft" }, left ? percentOf(mass) : "none left")];
  const lines = [["tokens left", `of ${of}`, String(left)], ["probability together", `of softmax(${name}[0])`, rough(mass, 6)]];
  const words = `The other tokens ${c ? `after ${title}` : "by the model"}`;
  return { parts, words: { title: words, lines, go: null, id: null, sentence: `${words}: ${left} left, together ${rough(mass, 6)}` } };
}
