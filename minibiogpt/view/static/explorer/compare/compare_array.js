// Compare, one array: a row of it in each of the two runs, and their difference.

import { el, exact, isolated, rough, setAll } from "../../base.js";
import { positiveRamp, signedRamp } from "../../shades.js";
import { rowsAt } from "./compare_runs.js";
import { topIndices } from "../runs/next_tokens.js";
import { labelOf } from "../experiments/experiments_results.js";
import { figure } from "../exports/figure.js";

const BAND = 30, COMPARED_LABELS = 84; // pixels
const LISTED = 8; // largest differences
const EQUAL_ROWS = "The rows are equal, bit for bit.";

/** The part of the view that compares rows. element.refresh(shown) after each change. */
export function arrayRows(app) {
  const select = el("select", { "aria-label": "array", onchange: () => app.set({ array: select.value, col: null }) });
  const svg = el("svg:svg", { class: "drawing", tabindex: "0" }), readout = el("p", { class: "mono", role: "status" }),
    table = el("div", { class: "box" });
  const state = { rows: null, at: null };
  const made = figure({ title: () => state.title, describe: () => state.words, picture: svg,
    arrays: () => ["a", "b"].map((key) => [`${state.name}-${key}`, state.shown[key].array(state.name)]) });
  svg.addEventListener("pointermove", (event) => point(columnAt(event)));
  svg.addEventListener("pointerleave", () => point(app.state.col));
  svg.addEventListener("click", (event) => app.set({ col: columnAt(event) }));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !state.rows) return;
    app.set({ col: Math.min(state.rows[0].length - 1, Math.max(0, (state.at ?? 0) + step)) });
    event.preventDefault();
  });
  const box = el("section", { class: "array-rows", "aria-label": "one array in both runs" },
    el("p", {}, el("label", {}, "array ", select)), made, readout, table);

  function columnAt(event) {
    const rect = svg.getBoundingClientRect(), n = state.rows[0].length;
    return Math.min(n - 1, Math.max(0, Math.floor(((event.clientX - rect.left - COMPARED_LABELS) / (rect.width - COMPARED_LABELS)) * n)));
  }

  function point(col) {
    if (!state.rows) return;
    const n = state.rows[0].length;
    state.at = Number.isInteger(col) && col >= 0 && col < n ? col : state.best;
    const [x, y] = state.rows.map((row) => row[state.at]), { dtype } = state, [one, other] = state.shown.names;
    readout.textContent = `${state.label(state.at)}: ${one} ${exact(x, dtype)}, ${other} ${exact(y, dtype)}, difference ${rough(y - x)}`;
  }

  box.refresh = (shown) => {
    const names = shown.a.names.filter((name) => shown.b.array(name) && shown.a.array(name).shape.length > 1);
    fillWithNames(select, names);
    const wanted = app.state.array || `layers.${app.state.layer}${app.state.step && `.${app.state.step}`}`;
    state.name = select.value = names.includes(wanted) ? wanted : names[0];
    Object.assign(state, { shown, ...comparedRows(app, state.name, shown) });
    setAll(svg, { height: 0 });
    for (const element of [svg, readout, table]) element.replaceChildren();
    if (state.rows) {
      drawBands(svg, state, shown.names, Math.max(280, made.clientWidth || 600));
      table.replaceChildren(tableOfDifferences(state));
      point(app.state.col);
    }
    made.refresh();
  };
  return box;
}

/** Put the names into a list to choose from, if they have changed. */
function fillWithNames(select, names) {
  const key = names.join(" ");
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
}

/**
 * The rows at the positions t and u: { rows, dtype, top, best, label, title, words }. rows is null if t has no partner.
 * top: the columns of the largest differences; best: the first of them; label(column): its name.
 */
function comparedRows(app, name, shown) {
  const { a, b, t, u } = shown, array = a.array(name), other = b.array(name), byHead = array.shape.length === 4;
  if (u === null) {
    return { rows: null, title: `${name}: position ${t} has no partner`, words: "The chosen token has no partner in the second text." };
  }
  const length = Math.min(array.shape.at(-1), other.shape.at(-1)); // of rows over keys, those that both texts have
  const rowOf = (x, at) => rowsAt(x, at)[byHead ? app.state.head : 0].subarray(0, length), rows = [rowOf(array, t), rowOf(other, u)];
  const differences = Float64Array.from(rows[0], (x, i) => Math.abs(rows[1][i] - x));
  const top = topIndices(differences, LISTED).filter((i) => differences[i] > 0), best = top[0] ?? 0;
  const where = byHead ? `, head ${app.state.head}` : "", places = t === u ? `position ${t}` : `positions ${t} and ${u}`;
  const words = top.length ? `The largest difference is at ${best}: ${rough(rows[0][best])} and ${rough(rows[1][best])}.` : EQUAL_ROWS;
  return { rows, dtype: array.dtype, top, best, words, title: `${name}${where}: ${places}, and their difference`,
    label: columnLabels(app, name, array, shown) };
}

/** A function that names a column: a key, a vocabulary id, or an index. */
function columnLabels(app, name, { shape }, { a, b }) {
  const keys = shape.length === 4 && shape[2] === shape[3];
  const both = (i) => (a.ids[i] === b.ids[i] ? `“${labelOf(app, a.ids[i])}”`
    : `“${labelOf(app, a.ids[i])}” and “${labelOf(app, b.ids[i])}”`);
  return (i) => (keys ? `key ${i} ${both(i)}` : name === "logits" ? `id ${i} “${labelOf(app, i)}”` : `column ${i}`);
}

/** Two rows and their difference as bands of colors; the two rows share one scale. */
function drawBands(svg, { rows: [a, b], name }, names, width) {
  const probabilities = /\.(probs|weights)$/.test(name), difference = Float64Array.from(a, (x, i) => b[i] - x);
  const visible = (x) => Number.isFinite(x) && Math.abs(x) < 1e30; // not a masked score
  const largestOf = (row) => row.reduce((most, x) => (visible(x) ? Math.max(most, Math.abs(x)) : most), 1e-30);
  const limit = Math.max(largestOf(a), largestOf(b)), far = largestOf(difference), gray = [128, 128, 128];
  const signed = signedRamp();
  const colors = [probabilities ? positiveRamp() : (x) => signed(0.5 + x / limit / 2), (x) => signed(0.5 + x / far / 2)];
  const n = a.length, canvas = el("canvas", { width: n, height: 3 }), context = canvas.getContext("2d"),
    image = context.createImageData(n, 3);
  [a, b, difference].forEach((row, r) => row.forEach((x, i) => {
    const color = visible(x) ? colors[r === 2 ? 1 : 0](x) : gray;
    image.data.set([...color.map(Math.round), 255], 4 * (r * n + i));
  }));
  context.putImageData(image, 0, 0);
  setAll(svg, { width, height: 3 * BAND + 4 });
  svg.replaceChildren(
    el("svg:image", { x: COMPARED_LABELS, y: 0, width: width - COMPARED_LABELS, height: 3 * BAND, preserveAspectRatio: "none",
      style: "image-rendering:pixelated", href: canvas.toDataURL("image/png") }),
    ...[names[0], names[1], "difference"].map((text, r) => el("svg:text",
      { class: "name", x: COMPARED_LABELS - 8, y: r * BAND + 19, "text-anchor": "end" }, text)),
    ...[1, 2].map((r) => el("svg:rect", { x: COMPARED_LABELS, y: r * BAND - 1, width: width - COMPARED_LABELS, height: 2, class: "gap" })));
}

function tableOfDifferences({ rows: [a, b], shown: { names }, label, top, dtype }) {
  if (!top.length) return el("p", { class: "soft" }, EQUAL_ROWS);
  const cells = (list) => list.map((text, i) => el("td", { class: i ? "n" : "" }, text));
  const head = ["where", ...names, "difference"].map((text, i) => el("th", { class: i ? "n" : "", scope: "col" }, text));
  const rows = top.map((i) => el("tr", {}, cells([isolated(label(i)), exact(a[i], dtype), exact(b[i], dtype), rough(b[i] - a[i])])));
  return el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
}
