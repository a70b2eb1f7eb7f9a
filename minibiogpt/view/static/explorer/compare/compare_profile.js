// The profile of two runs: the relative distance of their residual streams, by layer and position, over the aligned tokens.

import { el, isDark, rough, setAll, shortened } from "../../base.js";
import { relativeDistance } from "./compare_runs.js";
import { streamNames } from "../runs/run.js";
import { shadeScale } from "../../shades.js";
import { labelOf } from "../experiments/experiments_results.js";

const WIDE = 54, PROFILE_TALL = 26, LEFT_OF = 84, TOKENS = 46; // pixels

/** { names, values, array }: values[l][k] is the distance at pair k; NaN where a position has no partner. */
export function profileOf(a, b, pairs) {
  const names = streamNames(a.config);
  const distance = (name, i, j) => (i === null || j === null ? NaN : relativeDistance(a.row(name, i), b.row(name, j)));
  const values = names.map((name) => pairs.map(([i, j]) => distance(name, i, j)));
  return { names, values, array: { shape: [names.length, pairs.length], dtype: "float64", numbers: Float64Array.from(values.flat()) } };
}

/** The profile in words. */
export function profileText({ a, pairs, profile: { names, values } }) {
  const { label } = largestCell(a, pairs, names, values);
  return `${names.length} rows, from the embeddings to the output of the last layer; ${pairs.length} columns of aligned tokens. ${label}`;
}

function largestCell(a, pairs, names, values) {
  let most = -1, label = "Nothing differs.";
  values.forEach((row, l) => row.forEach((x, k) => {
    if (!(x > most) || x === 0) return;
    most = x;
    label = `The largest distance is ${rough(x, 3)}, in ${names[l]} at position ${pairs[k][0]}, “${a.tokens[pairs[k][0]].label}”.`;
  }));
  return { most, label };
}

/** Draw the tokens of both runs over the distances; a click chooses the position. A new position alone only moves the frame. */
export function drawProfile(svg, app, shown) {
  const { pairs, profile, t } = shown, key = `${document.documentElement.dataset.theme} ${isDark()}`;
  if (svg.drawn !== profile || svg.dataset.key !== key) {
    svg.drawn = profile;
    svg.dataset.key = key;
    drawColumns(svg, app, shown);
  }
  const k = pairs.findIndex(([i]) => i === t), frame = svg.querySelector(".chosen-column");
  setAll(frame, { x: LEFT_OF + k * WIDE + 0.5, visibility: k < 0 ? "hidden" : "visible" });
}

function drawColumns(svg, app, { a, b, pairs, names, profile }) {
  const top = TOKENS + 4, tall = profile.names.length * PROFILE_TALL, middle = { "text-anchor": "middle" };
  const most = profile.array.numbers.reduce((largest, x) => (Number.isFinite(x) ? Math.max(largest, x) : largest), 0) || 1;
  const scale = shadeScale(), shade = (x) => (x > 0 && Number.isFinite(x) ? { fill: scale.color(x / most), ink: scale.ink(x / most) }
    : { fill: "none" });
  setAll(svg, { width: LEFT_OF + pairs.length * WIDE, height: top + tall + 2 });
  const side = (text, y, kind) => el("svg:text", { class: kind, x: LEFT_OF - 8, y, "text-anchor": "end" }, text);
  const texts = [side(names[0], 14, "value"), side(names[1], 34, "value"),
    ...profile.names.map((name, l) => side(name, top + l * PROFILE_TALL + 17, "name"))];
  const tokenText = (run, at, x, y, kind) => {
    if (at === null) return el("svg:text", { class: "value", x, y, ...middle }, "none");
    const label = labelOf(app, run.ids[at]);
    return el("svg:text", { class: kind, x, y, ...middle }, shortened(label, 8), el("svg:title", {}, `position ${at}: ${label}`));
  };
  const columns = pairs.map(([i, j], k) => {
    const x = LEFT_OF + k * WIDE, same = i !== null && j !== null && a.ids[i] === b.ids[j], kind = same ? "token" : "token other";
    return el("svg:g", { class: "ablated", onclick: () => i !== null && app.set({ row: i, col: null }) },
      tokenText(a, i, x + WIDE / 2, 14, kind), tokenText(b, j, x + WIDE / 2, 34, kind),
      profile.values.flatMap((row, l) => profileCell(x, top + l * PROFILE_TALL, row[k], shade(row[k]), profile.names[l])));
  });
  svg.replaceChildren(...texts, ...columns, el("svg:rect", { class: "chosen-column", y: 1, width: WIDE - 1, height: top + tall }));
}

function profileCell(x, y, value, { fill, ink }, name) {
  const text = Number.isNaN(value) ? "" : value === 0 ? "=" : rough(value, 2), style = ink ? `fill:${ink}` : null;
  const title = el("svg:title", {}, `${name}: ${Number.isNaN(value) ? "no partner" : rough(value, 6)}`);
  return [el("svg:rect", { class: "cell", x: x + 1, y: y + 1, width: WIDE - 2, height: PROFILE_TALL - 2, fill }, title),
    el("svg:text", { x: x + WIDE / 2, y: y + 17, "text-anchor": "middle", style }, text)];
}
