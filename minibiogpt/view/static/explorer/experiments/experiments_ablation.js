// The ablation table: the probability of the token under study without each head, one run for each, in pieces.

import { el, percentOf, rough, setAll } from "../../base.js";
import { shadeScale } from "../../shades.js";
import { headMaskOf } from "../runs/changes.js";
import { nextProbabilities } from "../runs/next_tokens.js";
import { labelOf, studiedToken } from "./experiments_results.js";
import { figure } from "../exports/figure.js";

const RUNS_AT_ONCE = 64; // up to this many tokens the table is computed without being asked for
const CELL = [66, 34], LEFT = 58, ABLATION_TOP = 24; // pixels

/** The figure of the table. element.refresh() after each change of the state. */
export function ablationFigure(app) {
  const svg = el("svg:svg", { class: "drawing" }), status = el("p", { class: "soft", role: "status" });
  const table = { key: "", values: null, shape: [0, 0], done: 0 };
  const start = el("button", { type: "button", onclick: () => compute() }, "compute the table");
  const title = () => {
    const onTop = app.state.changes.length ? ", on top of the changes" : "";
    return `Probability of “${labelOf(app, table.id)}” at position ${app.row} without each head${onTop}`;
  };
  const made = figure({ title, describe: () => ablationInWords(table), picture: el("div", { class: "box" }, svg),
    arrays: () => (table.done ? [["ablation", { shape: table.shape, dtype: "float64", numbers: table.values }]] : []) });
  const box = el("div", { class: "ablation" }, made, status, start);

  function draw() {
    drawAblation(svg, app, table);
    made.refresh();
    const all = table.shape[0] * table.shape[1];
    status.textContent = table.done === all ? `With all heads: ${percentOf(table.whole)}. A click chooses a head.` : table.running
      ? `${table.done} of ${all} heads …` : "This text is long: the table takes a run of the model for each head.";
    start.hidden = table.running || table.done === all;
  }

  async function compute() {
    const { key } = table, [, H] = table.shape;
    table.running = true;
    for (let i = 0; i < table.values.length; i++) {
      await new Promise((next) => { setTimeout(next, 0); });
      if (table.key !== key) return; // the text, the token or the changes are different now
      if (!svg.isConnected) break;
      table.values[i] = withoutHead(app, Math.floor(i / H), i % H)[table.id];
      table.done = i + 1;
      draw();
    }
    table.running = false;
    draw();
  }

  box.refresh = () => {
    const { num_hidden_layers: L, num_attention_heads: H } = app.config, { experiment: run, row } = app;
    const id = studiedToken(app), key = JSON.stringify([run.text, run.changes, row, id]);
    if (key !== table.key) {
      Object.assign(table, { key, id, shape: [L, H], values: new Float64Array(L * H).fill(NaN), done: 0, running: false });
      table.whole = nextProbabilities(run, row)[table.id];
      clearTimeout(table.waiting);
      if (run.T <= RUNS_AT_ONCE) table.waiting = setTimeout(() => svg.isConnected && table.key === key && compute(), 150);
    } else if (!table.running && table.done < L * H && run.T <= RUNS_AT_ONCE) compute();
    draw();
  };
  return box;
}

/** The heads without which the probability changes most. */
function ablationInWords({ values, whole, shape: [, H], done }) {
  if (!done) return "Not computed yet.";
  const order = [...values.keys()].slice(0, done).sort((a, b) => Math.abs(values[b] - whole) - Math.abs(values[a] - whole));
  const without = order.slice(0, 3).map((i) => `Without head ${Math.floor(i / H)}.${i % H}: ${percentOf(values[i])}`);
  return `With all heads ${percentOf(whole)}. ${without.join(". ")}.`;
}

/** The next-token probabilities at the token under study, without one head. */
function withoutHead(app, layer, head) {
  const { experiment: run, row } = app;
  const headMask = headMaskOf(run.changes, app.config);
  headMask[layer][head] = 0;
  const ids = run.model.rules.causal ? run.ids.slice(0, row + 1) : run.ids; // what comes later has no effect
  const options = run.options.edits ? { ...run.options, ids: [run.ids] } : { ...run.options, ids: [ids] };
  const { logits } = run.model.forward({ ...options, headMask });
  return nextProbabilities({ row: () => logits.numbers.subarray(row * logits.shape[2], (row + 1) * logits.shape[2]) }, row);
}

function drawAblation(svg, app, { values, whole, shape: [L, H], done }) {
  const most = Math.max(...values.slice(0, done).map((x) => Math.abs(x - whole)), 1e-12);
  const scale = shadeScale(most);
  setAll(svg, { width: LEFT + H * CELL[0], height: ABLATION_TOP + L * CELL[1] });
  const texts = [...Array(H).keys()].map((h) => el("svg:text",
    { class: "name", x: LEFT + (h + 0.5) * CELL[0], y: 16, "text-anchor": "middle" }, `head ${h}`));
  for (let l = 0; l < L; l++) texts.push(el("svg:text", { class: "name", x: LEFT - 8, y: ABLATION_TOP + (l + 0.5) * CELL[1] + 4,
    "text-anchor": "end" }, `layer ${l}`));
  const cells = [...values].flatMap((x, i) => {
    const l = Math.floor(i / H), h = i % H, at = [LEFT + h * CELL[0], ABLATION_TOP + l * CELL[1]];
    const color = i < done ? scale.color(x - whole) : "none", here = l === app.state.layer && h === app.state.head;
    const title = i < done ? `without head ${l}.${h}: ${rough(x, 6)}, ${rough(x - whole, 3)} from ${rough(whole, 6)}` : `head ${l}.${h}`;
    return [el("svg:g", { class: "ablated", onclick: () => app.set({ layer: l, head: h }) },
      el("svg:rect", { x: at[0] + 1, y: at[1] + 1, width: CELL[0] - 2, height: CELL[1] - 2, fill: color,
        class: here ? "cell here" : "cell" }, el("svg:title", {}, title)),
      i < done ? el("svg:text", { x: at[0] + CELL[0] / 2, y: at[1] + CELL[1] / 2 + 4, "text-anchor": "middle",
        style: `fill:${scale.ink(x - whole)}` }, percentOf(x)) : "")];
  });
  svg.replaceChildren(...texts, ...cells);
}
