// What an experiment changes: the next token, the logits, and how far the residual stream moved.

import { el, isolated, percentOf, rough, shortened } from "../../base.js";
import { divergence, largestLogitChange, relativeDistance } from "../compare/compare_runs.js";
import { nextProbabilities, topIndices } from "../runs/next_tokens.js";
import { streamNames } from "../runs/run.js";

const SHOWN = 5; // tokens of each run
const RESULT_ROW = 34, BAR = 11; // pixels

/** What is compared at the token under study: { p, q, id, ids, kl, logit, stream }. */
export function effectOf(app) {
  const { baseline, experiment, row: t } = app;
  const p = nextProbabilities(baseline, t), q = nextProbabilities(experiment, t);
  const id = studiedToken(app);
  const ids = [...new Set([...topIndices(p, SHOWN), ...topIndices(q, SHOWN), id])].sort((a, b) =>
    Math.max(p[b], q[b]) - Math.max(p[a], q[a]));
  const names = [...streamNames(app.config), "layer_norm", "logits"];
  const stream = names.map((name) => [name, relativeDistance(baseline.row(name, t), experiment.row(name, t))]);
  return { t, p, q, id, ids, kl: divergence(p, q), logit: largestLogitChange(baseline, t, experiment, t), stream };
}

/** The token whose probability is followed: the chosen one, or the most probable one of the untouched model. */
export function studiedToken(app) {
  return app.state.token ?? topIndices(app.baseline.row("logits", app.row), 1)[0] ?? 0;
}

/** The effect in sentences. */
export function effectText(app, { t, p, q, id, kl, logit, stream }) {
  const name = (i) => `“${labelOf(app, i)}”`;
  if (!app.state.changes.length) return "Nothing is changed yet: the two runs are the same run.";
  const first = stream.find(([, x]) => x > 0 || Number.isNaN(x));
  const where = `After ${name(app.run.ids[t])} at position ${t}`;
  if (!first) return `${where} nothing changes: all numbers of the residual stream, and all logits, are equal.`;
  const [best, then] = [topIndices(p, 1)[0], topIndices(q, 1)[0]];
  const said = then === undefined ? "The changed model gives NaN." : then === best
    ? `The most probable next token stays ${name(best)}.` : `The most probable next token was ${name(best)} and is now ${name(then)}.`;
  return [`${where}, the probability of ${name(id)} goes from ${percentOf(p[id])} to ${percentOf(q[id])}.`, said,
    `KL divergence ${rough(kl, 3)} nats.`,
    `The logit that changes most is that of ${name(logit.id)}: ${rough(logit.before)} to ${rough(logit.after)}.`,
    `The stream first moves in ${first[0]}.`].join(" ");
}

/** The label of a vocabulary id, as on the tokens of the page. */
export const labelOf = (app, id) => app.facts.labels[id] ?? `id ${id}`;

/** A drawing of the next tokens: two bars each, for the two runs; q is null where the second has no such position. */
export function drawNextTokens(svg, app, { p, q, ids, id }, width, [first, second] = ["untouched", "changed"]) {
  const left = Math.min(150, Math.max(84, width * 0.26)), right = 62, height = ids.length * RESULT_ROW + 22, free = width - left - right;
  const most = Math.max(...ids.map((i) => Math.max(p[i] || 0, q?.[i] || 0)), 1e-9);
  const parts = ids.flatMap((i, n) => {
    const y = 22 + n * RESULT_ROW;
    const bar = (x, at, kind, name) => [
      el("svg:rect", { class: kind, x: left, y: y + at, width: Math.max(0, (free * (x || 0)) / most), height: BAR },
        el("svg:title", {}, `${name}: ${rough(x, 6)}`)),
      el("svg:text", { class: "value", x: left + 5 + (free * (x || 0)) / most, y: y + at + 9.5 }, percentOf(x)),
    ];
    return [el("svg:text", { class: i === id ? "name chosen" : "name", x: left - 8, y: y + 16, "text-anchor": "end" },
      shortened(labelOf(app, i), Math.floor(left / 8))),
      ...bar(p[i], 1, "before", first), ...(q ? bar(q[i], 1 + BAR + 2, "after", second) : [])];
  });
  const key = [["before", first, left], ...(q ? [["after", second, left + 100]] : [])].flatMap(([kind, text, x]) => [
    el("svg:rect", { class: kind, x, y: 4, width: 12, height: BAR }), el("svg:text", { class: "value", x: x + 17, y: 13.5 }, text)]);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.replaceChildren(...key, ...parts);
}

/** The relative distances as bars, one for each array; a click goes to its layer. */
export function drawMoves(svg, app, { stream }, width) {
  const left = 92, right = 66, tall = 22, finite = stream.map(([, x]) => x).filter(Number.isFinite), most = Math.max(...finite, 1e-12);
  svg.setAttribute("width", width);
  svg.setAttribute("height", stream.length * tall + 4);
  svg.replaceChildren(...stream.flatMap(([name, x], n) => {
    const size = Number.isFinite(x) ? ((width - left - right) * x) / most : 0;
    return [el("svg:text", { class: "name", x: left - 8, y: n * tall + 15, "text-anchor": "end" }, name),
      el("svg:rect", { class: "after", x: left, y: n * tall + 4, width: size, height: 14 }, el("svg:title", {}, `${name}: ${rough(x, 6)}`)),
      el("svg:text", { class: "value", x: left + size + 5, y: n * tall + 15 }, x === 0 ? "0, equal" : rough(x, 3))];
  }));
}

/** The numbers of both figures as a table, for copying and screen readers. */
export function effectTable(app, { p, q, ids }) {
  const head = ["next token", "untouched", "changed", "difference"];
  return el("table", {}, el("thead", {}, el("tr", {}, head.map((text, i) => el("th", { class: i ? "n" : "", scope: "col" }, text)))),
    el("tbody", {}, ids.map((i) => el("tr", {}, el("td", {}, isolated(labelOf(app, i))),
      ...[p[i], q[i], q[i] - p[i]].map((x) => el("td", { class: "n" }, rough(x)))))));
}
