// Attention, what is shown: the array, the measure, the head, the cell and the color scale that follow from the state.

import { ATTENTION_ARRAYS, attentionArray, headMeasures, headOrder, maskedCells, MEASURES } from "./attention_data.js";
import { symmetricLimit } from "./attention_paint.js";
import { rough } from "../../base.js";
import { shadeScale } from "../../shades.js";
import { oncePerRun } from "../runs/run.js";

/** Which of ATTENTION_ARRAYS is shown: the step of the state, if it is one of them. */
export function attentionKind({ state }) {
  const kind = state.step.replace("self_attn.", "");
  return kind in ATTENTION_ARRAYS ? kind : "probs";
}

export const measureShown = ({ state }) => (Object.hasOwn(MEASURES, state.measure) ? state.measure : "");

/** What is drawn: the array and the mask of the chosen layer, and the numbers of the chosen head. */
export function headShown(app) {
  const { run, state } = app, { T } = run, kind = attentionKind(app), start = state.head * T * T;
  const array = attentionArray(run, state.layer, kind), hidden = maskedCells(run, state.layer);
  return {
    array, hidden, kind, start, T, name: `layers.${state.layer}.self_attn.${kind}`, head: `${state.layer}.${state.head}`,
    at: (t, s) => array.numbers[start + t * T + s], masked: (t, s) => Boolean(hidden[start + t * T + s]),
  };
}

/** What the experiments of the run multiply the weights of a head by. */
export const headFactor = (run, layer, head) => run.options?.headMask?.[layer][head] ?? 1;

/** That in a word or two, behind the name of the head; "" for 1. */
export function factorWords(run, layer, head) {
  const factor = headFactor(run, layer, head);
  return factor === 1 ? "" : factor === 0 ? " off" : ` × ${rough(factor, 3)}`;
}

/** The column of the largest visible number of a row. */
function largestOfRow(shown, row) {
  let best = 0;
  for (let s = 1; s < shown.T; s++) {
    if (!shown.masked(row, s) && (shown.masked(row, best) || shown.at(row, s) > shown.at(row, best))) best = s;
  }
  return best;
}

/** The cell under study: the chosen one; by default the largest of the row. */
export function cellShown(app, shown) {
  const { row } = app, { col } = app.state;
  return { row, col: Number.isInteger(col) && col >= 0 && col < shown.T ? col : largestOfRow(shown, row) };
}

/** The scale of an array: 0 to 1 for probabilities, else symmetric and the same for all heads. */
export function scaleShown(app, kind) {
  if (kind === "probs") return shadeScale();
  const { run } = app;
  const [limit, low, high] = oncePerRun(run, `limit ${kind}`, () => {
    const layers = Array.from({ length: run.config.num_hidden_layers }, (_, l) => l);
    const lists = layers.map((l) => ({ numbers: attentionArray(run, l, kind).numbers, hidden: maskedCells(run, l) }));
    return [symmetricLimit(lists), ...extremesOf(lists)];
  });
  if (kind === "weights" && low >= 0 && high <= 1.001) return shadeScale();
  return shadeScale(limit, Math.max(-low, high) > limit);
}

function extremesOf(lists) {
  let low = 0, high = 0;
  for (const { numbers, hidden } of lists) {
    for (let i = 0; i < numbers.length; i++) {
      if (hidden[i]) continue;
      if (numbers[i] < low) low = numbers[i];
      if (numbers[i] > high) high = numbers[i];
    }
  }
  return [low, high];
}

// Words ------------------------------------------------------------------------------------------------------------

/** every: how many cells across a pixel of the small maps shows. */
export function headsTitle(app, sorted, every) {
  const columns = sorted && measureShown(app) ? "largest first" : "layers downward, heads across";
  const pooled = every > 1 ? `; a pixel shows the number farthest from 0 of ${every} × ${every} cells` : "";
  return `${attentionKind(app)} of all heads, named layer.head: ${columns}${pooled}`;
}

export function headsInWords(app) {
  const { run } = app, { num_hidden_layers: L, num_attention_heads: H } = run.config, id = measureShown(app);
  const size = `${L * H} small maps of ${run.T} × ${run.T} cells, one for each head of ${L} layers; rows are queries, columns keys.`;
  if (!id) return size;
  const numbers = headMeasures(run, id), listed = headOrder(run, id, true).slice(0, 10);
  const heads = listed.map(([l, h]) => `${l}.${h} ${rough(numbers[l * H + h], 3)}`);
  return `${size} Measure ${MEASURES[id].name}, largest first: ${heads.join(", ")}.`;
}

export function oneHeadTitle(app) {
  const { kind, head } = headShown(app);
  return `${kind} of head ${head}: ${ATTENTION_ARRAYS[kind]}`;
}

export function oneHeadInWords(app) {
  const shown = headShown(app), { tokens } = app.run, most = 10, rows = [];
  for (let t = Math.max(0, shown.T - most); t < shown.T; t++) {
    const s = largestOfRow(shown, t);
    rows.push(`T ${t} “${tokens[t].label}” → S ${s} “${tokens[s].label}” (${rough(shown.at(t, s), 2)})`);
  }
  return `Largest of ${rows.length < shown.T ? `each of the last ${most} queries` : "each query"}: ${rows.join(", ")}.`;
}
