// Words: what a picture shows, as text.

import { limitsOf, matrixOf } from "../arrays.js";
import { isolated, rough } from "../base.js";
import { quotedToken } from "./origins.js";
import { isByHead, isProbability, isTokenAxis, nameOfHead, stepHidden, stepScores } from "./stepper_cells.js";

/** A description of the heat map of a step. */
export function pictureText(source, step, head) {
  const array = source.array(step.name), { rows, columns } = matrixOf(array, head);
  const { low, high } = limitsOf(array, stepScores(source, step), source.facts.lowest);
  const which = isByHead(step) ? `, head ${nameOfHead(source, head)}` : "";
  const sides = step.axes.slice(-2);
  const [down, across] = isTokenAxis(sides[1]) ? [`${sides[0]}, queries`, `${sides[1]}, keys`] : [`${sides[0]}, tokens`, sides[1]];
  const size = `${rows} rows (${down}) and ${columns} columns (${across})`;
  const over = isByHead(step) ? ", over all heads" : "";
  const at = (flat) => valueAt(source, step, array, flat);
  const text = low < 0 ? `${step.name}${which}: ${size}; no values to show.`
    : `${step.name}${which}: ${size}. Smallest ${at(low)}, largest ${at(high)}${over}.`;
  const nans = array.numbers.filter(Number.isNaN).length;
  const full = nans ? `${text} NaN values: ${nans}, drawn in the color of the text.` : text;
  return isProbability(step) ? `${full} ${largestWeights(source, step, head)}` : full;
}

/** The value at a flat index of an array, and its index on each axis. */
function valueAt(source, step, array, flat) {
  let rest = flat;
  const index = [...array.shape].reverse().map((size) => {
    const i = rest % size;
    rest = Math.floor(rest / size);
    return i;
  }).reverse();
  const names = step.axes.slice(1).map((letter, i) =>
    (isTokenAxis(letter) ? quotedToken(source, letter, index[i + 1]) : `${letter} ${index[i + 1]}`));
  return `${rough(array.numbers[flat])} (${names.join(", ")})`;
}

function largestWeights(source, step, head) {
  const matrix = matrixOf(source.array(step.name), head), hidden = stepHidden(source, step, head);
  const rows = Array.from({ length: matrix.rows }, (_, t) => {
    let best = 0;
    for (let s = 1; s < matrix.columns; s++) if (!hidden(t, s) && matrix.at(t, s) > matrix.at(t, best)) best = s;
    return `${quotedToken(source, "T", t)} → ${quotedToken(source, "S", best)} (${rough(matrix.at(t, best), 2)})`;
  });
  const most = 10;
  return `Largest weight of ${rows.length > most ? `each of the last ${most} queries` : "each query"}: ${rows.slice(-most).join(", ")}.`;
}

/** The place of a cell in words. */
export function cellWords(source, step, { row, col }) {
  const across = step.axes.at(-1), token = (i) => isolated(source.tokens[i].label);
  if (isTokenAxis(across)) return [`query T ${row} “`, token(row), `”, key S ${col} “`, token(col), "”"];
  const word = across === "V" && source.vocabulary ? [" “", isolated(source.vocabulary[col]), "”"] : [];
  return [`T ${row} “`, token(row), `”, ${across} ${col}`, ...word];
}

/** What the cell that is chosen by default is the largest of. */
export function chosenWords(step) {
  if (isProbability(step)) return "largest weight in its row";
  if (step.kind === "logits") return "largest logit in its row";
  return isTokenAxis(step.axes.at(-1)) ? "largest visible score in its row" : "farthest from 0 in its row";
}
