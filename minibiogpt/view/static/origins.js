// Origins: how one number of each kind of step is made, computed again in float64 from the arrays in the page.
//
// Each takes (step, {head, row, col}) and returns {lines, table, computed, size, terms}: lines [label, number or text],
// a table of terms {heads, rows: [{cells, bar, here}], most}, the number itself (null when it cannot be computed here),
// and what its rounding is judged by: how many terms were added, and the size that rounding is relative to.

const sourceOf = (step, symbol) => arrayOf(step.where[symbol]);
const tokenAt = (i) => data.tokens[i].label;
const isLater = (t, s) => s > t; // without a cache, position t is row t

/** sum_i |x_i|, what the rounding of a sum is relative to. */
const sizeOf = (numbers) => numbers.reduce((sum, x) => sum + Math.abs(x), 0);
const sumOf = (numbers) => numbers.reduce((sum, x) => sum + x, 0);

/** erf by its series without cancellation: 2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (1 3 5 ... (2n+1)). */
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

/** e_i = exp(x_i - max x), and what follows. */
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
    return { table: { heads: ["", "from", "number"], rows }, computed: sumOf(numbers), size: sizeOf(numbers), terms: 2 };
  },

  norm(step, { row, col }) {
    const x = matrixOf(sourceOf(step, "x")).row(row);
    const g = parameterOf(step.where.g).numbers[col], b = parameterOf(step.where.b).numbers[col];
    const mean = sumOf(x) / x.length;
    const variance = sumOf(x.map((value) => (value - mean) ** 2)) / x.length;
    const deviation = Math.sqrt(variance + data.eps);
    const normal = (x[col] - mean) / deviation;
    const lines = [
      ["the number before, x", x[col]], [`mean of the ${x.length} numbers of this row`, mean],
      ["their variance", variance], [`sqrt(variance + ${data.eps})`, deviation],
      ["(x - mean) / that", normal], ["times the gain g", g], ["plus the bias b", b],
    ];
    const size = ((Math.abs(x[col]) + sizeOf(x) / x.length) / deviation) * Math.abs(g) + Math.abs(b);
    return { lines, computed: normal * g + b, size, terms: x.length };
  },

  linear(step, { row, col }) {
    const x = matrixOf(sourceOf(step, "x")).row(row);
    const bias = parameterOf(step.where.b).numbers[col], weights = parameterOf(step.where.W);
    if (!weights) return { lines: [["the bias", bias]], told: data.left_out, computed: null };
    const w = matrixOf(weights).row(col);
    const products = Array.from(x, (value, i) => value * w[i]);
    const rows = products.map((product, i) => ({ cells: [i, rough(x[i]), rough(w[i]), rough(product)], bar: product }));
    rows.sort((a, b) => Math.abs(b.bar) - Math.abs(a.bar));
    return {
      told: `Row ${row} of ${step.where.x} times row ${col} of ${step.where.W}: ${x.length} products, the largest first.`,
      table: { heads: ["i", "x", "W", "product"], rows, most: 12 },
      lines: [["sum of all products", sumOf(products)], ["plus the bias", bias]],
      computed: sumOf(products) + bias, size: sizeOf(products) + Math.abs(bias), terms: x.length,
    };
  },

  split(step, { head, row, col }) {
    const column = head * data.headSize + col;
    const x = matrixOf(sourceOf(step, "x")).at(row, column);
    const told = `Head ${data.layer}.${head} has columns ${head * data.headSize} to ${(head + 1) * data.headSize - 1} of ` +
      `${step.where.x}: column ${col} here is column ${head} × ${data.headSize} + ${col} = ${column} there, the same row.`;
    return { told, lines: [[`${step.where.x}, row ${row}, column ${column}`, x]], computed: x, size: 0, terms: 0 };
  },

  scores(step, { head, row, col }) {
    const q = matrixOf(sourceOf(step, "q"), head).row(row), k = matrixOf(sourceOf(step, "k"), head).row(col);
    const products = Array.from(q, (value, i) => value * k[i]);
    const rows = products.map((product, i) => ({ cells: [i, rough(q[i]), rough(k[i]), rough(product)], bar: product }));
    const root = Math.sqrt(q.length);
    const told = `The query of “${tokenAt(row)}” and the key of “${tokenAt(col)}”, element by element:`;
    const lines = [["sum of the products, q · k", sumOf(products)], [`divided by sqrt(Dh) = sqrt(${q.length})`, root]];
    const table = { heads: ["i", "q", "k", "q × k"], rows };
    return { told, table, lines, computed: sumOf(products) / root, size: sizeOf(products) / root, terms: q.length };
  },

  mask(step, { head, row, col }) {
    const score = matrixOf(sourceOf(step, "scores"), head).at(row, col);
    const later = isLater(row, col), padding = data.padding[col];
    const reasons = [later ? `“${tokenAt(col)}” (position ${col}) comes later than “${tokenAt(row)}” (position ${row})` : "",
      padding ? `position ${col} is padding` : ""].filter(Boolean);
    const told = reasons.length
      ? `Hidden: ${reasons.join(", and ")}. In its place stands the lowest number of the dtype.`
      : `Visible: “${tokenAt(col)}” is no later than “${tokenAt(row)}”, and no padding. The score stays.`;
    const computed = reasons.length ? data.lowest : score;
    return { told, lines: [["the score before", score], ["the number here", computed]], computed, size: 0, terms: 0 };
  },

  softmax(step, { head, row, col }) {
    const scores = matrixOf(sourceOf(step, "scores"), head).row(row);
    const { largest, e, total } = exponentials(scores);
    const seen = scores.some((x) => !isMark(x));
    const rows = Array.from(scores, (x, s) => ({
      cells: [named(tokenAt(s)), isMark(x) ? "hidden" : rough(x), rough(e[s])], bar: e[s], here: s === col,
    }));
    const told = seen ? `Row of “${tokenAt(row)}”: exp(score - largest score), so that nothing overflows; hidden ones give 0.`
      : "This row may see nothing (it is padding): all its scores are equal, and so are its probabilities.";
    const lines = [["largest score", seen ? largest : "hidden"], ["the sum of all exp", total], ["this one", e[col]]];
    const computed = e[col] / total;
    const reach = seen && !isMark(scores[col]) ? largest - scores[col] + Math.abs(largest) : 0;
    const table = { heads: ["token", "score", "exp(score - largest)"], rows };
    return { told, table, lines, computed, size: computed * (1 + reach), terms: scores.length };
  },

  headmask(step, { head, row, col }) {
    const p = matrixOf(sourceOf(step, "probs"), head).at(row, col);
    const factor = data.headMask ? unpack(data.headMask).numbers[head] : 1;
    const told = data.headMask ? `The head mask multiplies head ${data.layer}.${head} by ${factor}.`
      : "No head mask was given, so these are the probabilities themselves.";
    return { told, lines: [["the probability", p], ["times", factor]], computed: p * factor, size: p * factor, terms: 0 };
  },

  merge(step, { row, col }) {
    const head = Math.floor(col / data.headSize), inner = col % data.headSize;
    const w = matrixOf(sourceOf(step, "weights"), head).row(row), v = matrixOf(sourceOf(step, "v"), head);
    const products = Array.from(w, (weight, s) => weight * v.at(s, inner));
    const rows = products.map((product, s) => ({
      cells: [named(tokenAt(s)), rough(w[s]), rough(v.at(s, inner)), rough(product)], bar: product,
    }));
    const told = `Column ${col} is number ${inner} of head ${data.layer}.${head}: the values of all tokens, mixed by how much ` +
      `“${tokenAt(row)}” looks at each.`;
    const table = { heads: ["token", "weight", "v", "product"], rows };
    return { told, table, computed: sumOf(products), size: sizeOf(products), terms: w.length };
  },

  activation(step, { row, col }) {
    const x = matrixOf(sourceOf(step, "x")).at(row, col), f = ACTIVATIONS[data.activation];
    const lines = [["the number before, x", x], [`${data.activation}(x)`, f(x)]];
    return { lines, curve: { f, x }, computed: f(x), size: Math.abs(x), terms: 4 };
  },
};

const ROUNDING = { float64: 2 ** -53, float32: 2 ** -24, float16: 2 ** -11, bfloat16: 2 ** -8 };

/** What is said of the number computed here and the one in the array: equal, equal to rounding, or different. */
function verdictOf({ computed, size, terms }, value) {
  if (computed === null) return { good: true, text: "not computed here" };
  const error = Math.abs(computed - value);
  if (computed === value || (Number.isNaN(computed) && Number.isNaN(value))) return { good: true, text: "the same number" };
  // A sum of n terms is off by at most about n units of rounding of the sum of their sizes (Higham 2002, section 4.2).
  const allowed = (terms + 8) * ROUNDING[data.dtype] * (size + Math.abs(value));
  if (error <= allowed) return { good: true, text: `equal to the rounding of ${data.dtype}` };
  return { good: false, text: "another number: something is wrong" };
}
