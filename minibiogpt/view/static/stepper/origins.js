// Origins: how one value of each kind of step is computed, repeated in float64 from the arrays in the page.
//
// Each function takes (source, step, {head, row, col}) and returns {text, lines, table, computed, size, terms}: an
// explanation, lines [label, number or text], a table of terms {heads, rows: [{cells, bar, here}], most}, the value (null
// if the page cannot compute it), and for the rounding error bound the magnitude it is relative to and the number of terms
// added. The source (see stepper_source.js) has the arrays, the parameters and the constants of the call.

import { isMasked, matrixOf } from "../arrays.js";
import { isolated, rough } from "../base.js";

/** How every text of the page names a token at an index. */
export const quotedToken = (source, letter, i) => `${letter} ${i} “${source.tokens[i].label}”`;

const inputOf = (source, step, symbol, head = 0) => matrixOf(source.array(step.where[symbol]), head);
const isLater = (t, s) => s > t; // without a cache, position t is row t

/** sum_i |x_i|, the magnitude that the rounding error of a sum is relative to. */
const absoluteSum = (numbers) => numbers.reduce((sum, x) => sum + Math.abs(x), 0);
export const sumNumbers = (numbers) => numbers.reduce((sum, x) => sum + x, 0);

/** erf by a series without cancellation: 2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (1 3 5 ... (2n+1)). */
function erfTaylor(x) {
  if (Math.abs(x) >= 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const ACTIVATION_CURVES = {
  gelu: (x) => (x * (1 + erfTaylor(x / Math.SQRT2))) / 2,
  gelu_new: (x) => (x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))) / 2,
  relu: (x) => Math.max(x, 0),
  selu: (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x)),
};

/** The largest score, e_i = exp(x_i - max x), and the sum of e. */
function shiftedExponentials(scores) {
  const largest = Math.max(...scores);
  const e = Array.from(scores, (x) => Math.exp(x - largest));
  return { largest, e, total: sumNumbers(e) };
}

/** The products of a row of the array x and a row of the weights W or E, without bias. */
function rowProduct(source, step, symbol, row, col) {
  const weight = "W" in step.where ? "W" : "E", weights = source.parameter(step.where[weight]);
  if (!weights) return { text: source.leftOut, computed: null };
  const x = inputOf(source, step, symbol).row(row), w = matrixOf(weights).row(col);
  const products = x.map((value, i) => value * w[i]), sum = sumNumbers(products);
  const rows = Array.from(products, (bar, i) => ({ cells: [i, rough(x[i]), rough(w[i]), rough(bar)], bar }));
  rows.sort((a, b) => Math.abs(b.bar) - Math.abs(a.bar));
  return {
    text: `Row ${row} of ${step.where[symbol]} times row ${col} of ${step.where[weight]}: ${x.length} products, largest first.`,
    table: { heads: ["i", symbol, weight, "product"], rows, most: 12 },
    lines: [["sum of all products", sum]], computed: sum, size: absoluteSum(products), terms: x.length,
  };
}

const ORIGINS = {
  sum(source, step, { row, col }) {
    const parts = Object.entries(step.where).map(([symbol, name]) => [symbol, name, matrixOf(source.array(name)).at(row, col)]);
    const rows = parts.map(([symbol, name, x]) => ({ cells: [symbol, name, rough(x)], bar: x }));
    const numbers = parts.map(([, , x]) => x);
    return { table: { heads: ["symbol", "from", "value"], rows }, computed: sumNumbers(numbers), size: absoluteSum(numbers), terms: 2 };
  },

  norm(source, step, { row, col }) {
    const x = inputOf(source, step, "x").row(row);
    const [g, b] = [step.where.g, step.where.b].map((name) => source.parameter(name)?.numbers[col]);
    const mean = sumNumbers(x) / x.length;
    const variance = sumNumbers(x.map((value) => (value - mean) ** 2)) / x.length;
    const deviation = Math.sqrt(variance + source.facts.eps);
    const normal = (x[col] - mean) / deviation;
    const lines = [
      ["input x", x[col]], [`mean of the ${x.length} values in this row`, mean],
      ["variance of this row", variance], [`sqrt(variance + ${source.facts.eps})`, deviation],
      ["(x - mean) / sqrt(...)", normal],
    ];
    if (g === undefined) return { text: source.leftOut, lines, computed: null };
    lines.push(["× gain g", g], ["+ bias b", b]);
    const size = ((Math.abs(x[col]) + absoluteSum(x) / x.length) / deviation) * Math.abs(g) + Math.abs(b);
    return { lines, computed: normal * g + b, size, terms: x.length };
  },

  /** A row of the embedding table, times sqrt(D) if the config says so. */
  lookup(source, step, { row, col }) {
    const { id } = source.tokens[row], table = source.parameter(step.where.E);
    if (!table) return { text: source.leftOut, computed: null };
    const x = matrixOf(table).at(id, col), factor = source.facts.scaleEmbedding ? Math.sqrt(table.shape[1]) : 1;
    const text = `${quotedToken(source, "T", row)} has the id ${id}, so its embedding is row ${id} of ${step.where.E}.`;
    const lines = [[`${step.where.E}, row ${id}, column ${col}`, x]];
    if (source.facts.scaleEmbedding) lines.push([`× sqrt(D) = sqrt(${table.shape[1]})`, factor]);
    return { text, lines, computed: x * factor, size: Math.abs(x * factor), terms: 1 };
  },

  /** A row of the position table. */
  position(source, step, { row, col }) {
    const position = Number(source.array(step.where.position_ids)?.numbers[row] ?? row), table = source.parameter(step.where.P);
    if (!table) return { text: source.leftOut, computed: null };
    const index = position + source.facts.positionOffset, x = matrixOf(table).at(index, col);
    const text = `${quotedToken(source, "T", row)} is at position ${position}, ` +
      `and position p is row p + ${source.facts.positionOffset} of the table.`;
    return { text, lines: [[`${step.where.P}, row ${index}, column ${col}`, x]], computed: x, size: 0, terms: 0 };
  },

  linear(source, step, { row, col }) {
    const bias = source.parameter(step.where.b)?.numbers[col], origin = rowProduct(source, step, "x", row, col);
    if (origin.computed === null) return bias === undefined ? origin : { ...origin, lines: [["bias", bias]] };
    origin.lines.push(["+ bias", bias]);
    return { ...origin, computed: origin.computed + bias, size: origin.size + Math.abs(bias) };
  },

  /** The head: a row of the final norm times the embedding of a token. */
  logits(source, step, { row, col }) {
    return rowProduct(source, step, "h", row, col);
  },

  split(source, step, { head, row, col }) {
    const column = head * source.headSize + col;
    const x = inputOf(source, step, "x").at(row, column);
    const text = `Head ${source.layer}.${head} is columns ${head * source.headSize} to ${(head + 1) * source.headSize - 1} of ` +
      `${step.where.x}. Column ${col} here is column ${head} × ${source.headSize} + ${col} = ${column} there, in the same row.`;
    return { text, lines: [[`${step.where.x}, row ${row}, column ${column}`, x]], computed: x, size: 0, terms: 0 };
  },

  scores(source, step, { head, row, col }) {
    const q = inputOf(source, step, "q", head).row(row), k = inputOf(source, step, "k", head).row(col);
    const products = Array.from(q, (value, i) => value * k[i]);
    const rows = products.map((product, i) => ({ cells: [i, rough(q[i]), rough(k[i]), rough(product)], bar: product }));
    const root = Math.sqrt(q.length);
    const text = `The query of ${quotedToken(source, "T", row)} times the key of ${quotedToken(source, "S", col)}, element by element:`;
    const lines = [["sum of the products, q · k", sumNumbers(products)], [`divided by sqrt(Dh) = sqrt(${q.length})`, root]];
    const table = { heads: ["i", "q", "k", "q × k"], rows };
    return { text, table, lines, computed: sumNumbers(products) / root, size: absoluteSum(products) / root, terms: q.length };
  },

  mask(source, step, { head, row, col }) {
    const score = inputOf(source, step, "scores", head).at(row, col);
    const query = quotedToken(source, "T", row), key = quotedToken(source, "S", col);
    const later = isLater(row, col) ? [`${key} comes after ${query}`] : [];
    const reasons = source.padding[col] ? [...later, `${key} is padding`] : later;
    const text = reasons.length
      ? `Masked: ${reasons.join(", and ")}. The score is replaced by the lowest value of the dtype.`
      : `Visible: ${key} does not come after ${query} and is not padding. The score is unchanged.`;
    const computed = reasons.length ? source.facts.lowest : score;
    const lines = [["score before the mask", score], ["score after the mask", computed]];
    return { text, lines, computed, size: 0, terms: 0 };
  },

  softmax(source, step, { head, row, col }) {
    const scores = inputOf(source, step, "scores", head).row(row), masked = (x) => isMasked(x, source.facts.lowest);
    const { largest, e, total } = shiftedExponentials(scores);
    const visible = !scores.every(masked);
    const rows = Array.from(scores, (x, s) => ({
      cells: [isolated(source.tokens[s].label), masked(x) ? "masked" : rough(x), rough(e[s])], bar: e[s], here: s === col,
    }));
    const text = visible ? `Row of ${quotedToken(source, "T", row)}: exp(score - largest score) cannot overflow; masked scores give 0.`
      : "All keys are masked in this row (its query is padding), so all scores and all probabilities are equal.";
    const lines = [["largest score", visible ? largest : "masked"], ["sum of all exp", total], ["exp of this score", e[col]]];
    const computed = e[col] / total;
    const reach = visible && !masked(scores[col]) ? largest - scores[col] + Math.abs(largest) : 0;
    const table = { heads: ["token", "score", "exp(score - largest)"], rows };
    return { text, table, lines, computed, size: computed * (1 + reach), terms: scores.length };
  },

  headmask(source, step, { head, row, col }) {
    const p = inputOf(source, step, "probs", head).at(row, col);
    const factor = source.headMask ? source.headMask[head] : 1;
    const text = source.headMask ? `The head mask multiplies head ${source.layer}.${head} by ${factor}.`
      : "There is no head mask, so these are the unchanged probabilities.";
    return { text, lines: [["probability", p], ["× head mask", factor]], computed: p * factor, size: p * factor, terms: 0 };
  },

  merge(source, step, { row, col }) {
    const head = Math.floor(col / source.headSize), inner = col % source.headSize;
    const w = inputOf(source, step, "weights", head).row(row), v = inputOf(source, step, "v", head);
    const products = Array.from(w, (weight, s) => weight * v.at(s, inner));
    const rows = products.map((product, s) => ({
      cells: [isolated(source.tokens[s].label), rough(w[s]), rough(v.at(s, inner)), rough(product)], bar: product,
    }));
    const text = `Column ${col} is element ${inner} of head ${source.layer}.${head}: the sum of the values v of all tokens, ` +
      `weighted by how much ${quotedToken(source, "T", row)} attends to each.`;
    const table = { heads: ["token", "weight", "v", "product"], rows };
    return { text, table, computed: sumNumbers(products), size: absoluteSum(products), terms: w.length };
  },

  activation(source, step, { row, col }) {
    const x = inputOf(source, step, "x").at(row, col), f = ACTIVATION_CURVES[source.facts.activation];
    const lines = [["input x", x], [`${source.facts.activation}(x)`, f(x)]];
    return { lines, curve: { f, x }, computed: f(x), size: Math.abs(x), terms: 4 };
  },
};

const ROUNDOFF = { float64: 2 ** -53, float32: 2 ** -24, float16: 2 ** -11, bfloat16: 2 ** -8 };

/** Whether the recomputed value and the value in the array are equal, equal within rounding error, or different. */
export function verdictOf({ computed, size, terms }, value, source) {
  const { dtype } = source.facts;
  if (computed === null) return { good: true, text: "not recomputed here" };
  const error = Math.abs(computed - value);
  if (computed === value || (Number.isNaN(computed) && Number.isNaN(value))) return { good: true, text: "equal" };
  // The error of a sum of n terms is at most about n units of roundoff times the sum of |terms| (Higham 2002, section 4.2).
  const allowed = (terms + 8) * ROUNDOFF[dtype] * (size + Math.abs(value));
  if (error <= allowed) return { good: true, text: `equal within ${dtype} rounding` };
  return { good: false, text: source.changed ? "different: an experiment changes this step" : "different: something is wrong" };
}

/** How a value is computed; if the page lacks an array that it is computed from, only that it does. */
export function originOf(source, step, at) {
  const lacking = Object.values(step.where).find((name) =>
    !name.startsWith("inputs/") && !/\.(weight|bias)$/.test(name) && !source.array(name));
  if (lacking) return { text: `${lacking} is not in this page, so this value is not taken apart.`, computed: null };
  return ORIGINS[step.kind](source, step, at);
}
