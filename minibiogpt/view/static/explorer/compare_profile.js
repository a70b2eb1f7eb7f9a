// The profile of two runs: the relative distance of their residual streams, by layer and position, over the aligned tokens.

import { data, el, rough } from "../base.js";
import { relativeDistance, streamNames } from "./compare_runs.js";
import { anchorAt, inkOn } from "./experiments_ablation.js";
import { labelOf } from "./experiments_results.js";

const WIDE = 54, PROFILE_TALL = 26, LEFT_OF = 84, TOKENS = 46; // pixels

/** { names, values, array }: values[l][k] is the distance at pair k; NaN where a position has no partner. */
export function profileOf(a, b, pairs) {
  const names = streamNames(a.config);
  const values = names.map((name) => pairs.map(([i, j]) => (i === null || j === null ? NaN : relativeDistance(a.row(name, i), b.row(name, j)))));
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

/** Draw the tokens of both runs over the distances; a click chooses the position. */
export function drawProfile(svg, app, { a, b, pairs, names, profile, t }) {
  const width = LEFT_OF + pairs.length * WIDE, top = TOKENS + 4;
  const finite = profile.values.flat().filter(Number.isFinite), most = Math.max(...finite, 0);
  svg.setAttribute("width", width);
  svg.setAttribute("height", top + profile.names.length * PROFILE_TALL + 2);
  const texts = [[names[0], 14], [names[1], 34]].map(([text, y]) => el("svg:text", { class: "value", x: LEFT_OF - 8, y, "text-anchor": "end" }, text));
  profile.names.forEach((name, l) => texts.push(
    el("svg:text", { class: "name", x: LEFT_OF - 8, y: top + l * PROFILE_TALL + 17, "text-anchor": "end" }, name)));
  const columns = pairs.map(([i, j], k) => {
    const x = LEFT_OF + k * WIDE, same = i !== null && j !== null && a.ids[i] === b.ids[j], token = same ? "token" : "token other";
    const label = (run, at, y) => (at === null ? el("svg:text", { class: "value", x: x + WIDE / 2, y, "text-anchor": "middle" }, "none")
      : el("svg:text", { class: token, x: x + WIDE / 2, y, "text-anchor": "middle" }, shortLabel(labelOf(app, run.ids[at])), el("svg:title", {}, `position ${at}: ${labelOf(app, run.ids[at])}`)));
    const cells = profile.values.flatMap((row, l) => profileCell(x, top + l * PROFILE_TALL, row[k], most, profile.names[l]));
    const chosen = i === t ? el("svg:rect", { class: "chosen-column", x: x + 0.5, y: 1, width: WIDE - 1, height: top + profile.names.length * PROFILE_TALL }) : "";
    return el("svg:g", { class: "ablated", onclick: () => i !== null && app.set({ row: i, col: null }) }, label(a, i, 14), label(b, j, 34), cells, chosen);
  });
  svg.replaceChildren(...texts, ...columns);
}

const shortLabel = (text) => ([...text].length > 8 ? `${[...text].slice(0, 7).join("")}…` : text);

function profileCell(x, y, value, most, name) {
  const color = Number.isFinite(value) && value > 0 ? anchorAt(data.colors.sequential, value / (most || 1)) : "none";
  const text = Number.isNaN(value) ? "" : value === 0 ? "=" : rough(value, 2), style = color === "none" ? "" : `fill:${inkOn(color)}`;
  return [el("svg:rect", { class: "cell", x: x + 1, y: y + 1, width: WIDE - 2, height: PROFILE_TALL - 2, fill: color }, el("svg:title", {}, `${name}: ${Number.isNaN(value) ? "no partner" : rough(value, 6)}`)),
    el("svg:text", { x: x + WIDE / 2, y: y + 17, "text-anchor": "middle", style }, text)];
}
