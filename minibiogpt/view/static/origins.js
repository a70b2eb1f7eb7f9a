// Origins: how one value of each kind of step is computed, repeated in float64 from the arrays in the page.
//
// Each function takes (step, {head, row, col}) and returns {text, lines, table, computed, size, terms}: an explanation,
// lines [label, number or text], a table of terms {heads, rows: [{cells, bar, here}], most}, the value (null if the page
// cannot compute it), and for the rounding error bound the magnitude it is relative to and the number of terms added.

const sourceOf = (step, symbol) => arrayOf(step.where[symbol]);
const tokenAt = (i) => data.tokens[i].label;
const quoted = (letter, i) => `${letter} ${i} “${tokenAt(i)}”`; // how every text of the page names a token at an index
const isLater = (t, s) => s > t; // without a cache, position t is row t

/** sum_i |x_i|, the magnitude that the rounding error of a sum is relative to. */
const sizeOf = (numbers) => numbers.reduce((sum, x) => sum + Math.abs(x), 0);
const sumOf = (numbers) => numbers.reduce((sum, x) => sum + x, 0);

/** erf by a series without cancellation: 2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (1 3 5 ... (2n+1)). */
function erf(x) {
  if (Math.abs(x) >= 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const ACTIVATIONS = {
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
  gelu_new: (x) => (x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))) / 2,
  relu: (x) => Math.max(x, 0),
  selu: (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x)),
};

/** The largest score, e_i = exp(x_i - max x), and the sum of e. */
function exponentials(scores) {
  const largest = Math.max(...scores);
  const e = Array.from(scores, (x) => Math.exp(x - largest));
  return { largest, e, total: sumOf(e) };
}

const ORIGINS = {
  sum(step, { row, col }) {
    const parts = Object.entries(step.where).map(([symbol, name]) => [symbol, name, matrixOf(arrayOf(name)).at(row, col)]);
    const rows = parts.map(([symbol, name, x]) => ({ cells: [symbol, name, rough(x)], bar: x }));
    const numbers = parts.map(([, , x]) => x);
    return { table: { heads: ["", "from", "value"], rows }, computed: sumOf(numbers), size: sizeOf(numbers), terms: 2 };
  },

  norm(step, { row, col }) {
    const x = matrixOf(sourceOf(step, "x")).row(row);
    const g = parameterOf(step.where.g).numbers[col], b = parameterOf(step.where.b).numbers[col];
    const mean = sumOf(x) / x.length;
    const variance = sumOf(x.map((value) => (value - mean) ** 2)) / x.length;
    const deviation = Math.sqrt(variance + data.eps);
    const normal = (x[col] - mean) / deviation;
    const lines = [
      ["input x", x[col]], [`mean of the ${x.length} values in this row`, mean],
      ["variance of this row", variance], [`sqrt(variance + ${data.eps})`, deviation],
      ["(x - mean) / sqrt(...)", normal], ["× gain g", g], ["+ bias b", b],
    ];
    const size = ((Math.abs(x[col]) + sizeOf(x) / x.length) / deviation) * Math.abs(g) + Math.abs(b);
    return { lines, computed: normal * g + b, size, terms: x.length };
  },

  linear(step, { row, col }) {
    const x = matrixOf(sourceOf(step, "x")).row(row);
    const bias = parameterOf(step.where.b).numbers[col], weights = parameterOf(step.where.W);
    if (!weights) return { lines: [["bias", bias]], text: data.left_out, computed: null };
    const w = matrixOf(weights).row(col);
    const products = Array.from(x, (value, i) => value * w[i]);
    const rows = products.map((product, i) => ({ cells: [i, rough(x[i]), rough(w[i]), rough(product)], bar: product }));
    rows.sort((a, b) => Math.abs(b.bar) - Math.abs(a.bar));
    return {
      text: `Row ${row} of ${step.where.x} times row ${col} of ${step.where.W}: ${x.length} products, largest first.`,
      table: { heads: ["i", "x", "W", "product"], rows, most: 12 },
      lines: [["sum of all products", sumOf(products)], ["+ bias", bias]],
      computed: sumOf(products) + bias, size: sizeOf(products) + Math.abs(bias), terms: x.length,
    };
  },

  split(step, { head, row, col }) {
    const column = head * data.headSize + col;
    const x = matrixOf(sourceOf(step, "x")).at(row, column);
    const text = `Head ${data.layer}.${head} is columns ${head * data.headSize} to ${(head + 1) * data.headSize - 1} of ` +
      `${step.where.x}. Column ${col} here is column ${head} × ${data.headSize} + ${col} = ${column} there, in the same row.`;
    return { text, lines: [[`${step.where.x}, row ${row}, column ${column}`, x]], computed: x, size: 0, terms: 0 };
  },

  scores(step, { head, row, col }) {
    const q = matrixOf(sourceOf(step, "q"), head).row(row), k = matrixOf(sourceOf(step, "k"), head).row(col);
    const products = Array.from(q, (value, i) => value * k[i]);
    const rows = products.map((product, i) => ({ cells: [i, rough(q[i]), rough(k[i]), rough(product)], bar: product }));
    const root = Math.sqrt(q.length);
    const text = `The query of ${quoted("T", row)} times the key of ${quoted("S", col)}, element by element:`;
    const lines = [["sum of the products, q · k", sumOf(products)], [`divided by sqrt(Dh) = sqrt(${q.length})`, root]];
    const table = { heads: ["i", "q", "k", "q × k"], rows };
    return { text, table, lines, computed: sumOf(products) / root, size: sizeOf(products) / root, terms: q.length };
  },

  mask(step, { head, row, col }) {
    const score = matrixOf(sourceOf(step, "scores"), head).at(row, col);
    const query = quoted("T", row), key = quoted("S", col);
    const reasons = [isLater(row, col) ? `${key} comes after ${query}` : "", data.padding[col] ? `${key} is padding` : ""].filter(Boolean);
    const text = reasons.length
      ? `Masked: ${reasons.join(", and ")}. The score is replaced by the lowest value of the dtype.`
      : `Visible: ${key} does not come after ${query} and is not padding. The score is unchanged.`;
    const computed = reasons.length ? data.lowest : score;
    const lines = [["score before the mask", score], ["score after the mask", computed]];
    return { text, lines, computed, size: 0, terms: 0 };
  },

  softmax(step, { head, row, col }) {
    const scores = matrixOf(sourceOf(step, "scores"), head).row(row);
    const { largest, e, total } = exponentials(scores);
    const visible = scores.some((x) => !isMasked(x));
    const rows = Array.from(scores, (x, s) => ({
      cells: [isolated(tokenAt(s)), isMasked(x) ? "masked" : rough(x), rough(e[s])], bar: e[s], here: s === col,
    }));
    const text = visible ? `Row of ${quoted("T", row)}: exp(score - largest score) cannot overflow; masked scores give 0.`
      : "All keys are masked in this row (its query is padding), so all scores and all probabilities are equal.";
    const lines = [["largest score", visible ? largest : "masked"], ["sum of all exp", total], ["exp of this score", e[col]]];
    const computed = e[col] / total;
    const reach = visible && !isMasked(scores[col]) ? largest - scores[col] + Math.abs(largest) : 0;
    const table = { heads: ["token", "score", "exp(score - largest)"], rows };
    return { text, table, lines, computed, size: computed * (1 + reach), terms: scores.length };
  },

  headmask(step, { head, row, col }) {
    const p = matrixOf(sourceOf(step, "probs"), head).at(row, col);
    const factor = data.headMask ? unpack(data.headMask).numbers[head] : 1;
    const text = data.headMask ? `The head mask multiplies head ${data.layer}.${head} by ${factor}.`
      : "There is no head mask, so these are the unchanged probabilities.";
    return { text, lines: [["probability", p], ["× head mask", factor]], computed: p * factor, size: p * factor, terms: 0 };
  },

  merge(step, { row, col }) {
    const head = Math.floor(col / data.headSize), inner = col % data.headSize;
    const w = matrixOf(sourceOf(step, "weights"), head).row(row), v = matrixOf(sourceOf(step, "v"), head);
    const products = Array.from(w, (weight, s) => weight * v.at(s, inner));
    const rows = products.map((product, s) => ({
      cells: [isolated(tokenAt(s)), rough(w[s]), rough(v.at(s, inner)), rough(product)], bar: product,
    }));
    const text = `Column ${col} is element ${inner} of head ${data.layer}.${head}: the sum of the values v of all tokens, ` +
      `weighted by how much ${quoted("T", row)} attends to each.`;
    const table = { heads: ["token", "weight", "v", "product"], rows };
    return { text, table, computed: sumOf(products), size: sizeOf(products), terms: w.length };
  },

  activation(step, { row, col }) {
    const x = matrixOf(sourceOf(step, "x")).at(row, col), f = ACTIVATIONS[data.activation];
    const lines = [["input x", x], [`${data.activation}(x)`, f(x)]];
    return { lines, curve: { f, x }, computed: f(x), size: Math.abs(x), terms: 4 };
  },
};

const ROUNDING = { float64: 2 ** -53, float32: 2 ** -24, float16: 2 ** -11, bfloat16: 2 ** -8 };

/** Whether the recomputed value and the value in the array are equal, equal within rounding error, or different. */
function verdictOf({ computed, size, terms }, value) {
  if (computed === null) return { good: true, text: "not recomputed here" };
  const error = Math.abs(computed - value);
  if (computed === value || (Number.isNaN(computed) && Number.isNaN(value))) return { good: true, text: "equal" };
  // The error of a sum of n terms is at most about n units of roundoff times the sum of |terms| (Higham 2002, section 4.2).
  const allowed = (terms + 8) * ROUNDING[data.dtype] * (size + Math.abs(value));
  if (error <= allowed) return { good: true, text: `equal within ${data.dtype} rounding` };
  return { good: false, text: "different: something is wrong" };
}
