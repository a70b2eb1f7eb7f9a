// The activation functions of a config's hidden_act, and erf, which JavaScript lacks.

import { ensure } from "./errors.js";
import { makeArray } from "./ops.js";

const TWO_OVER_ROOT_PI = 2 / Math.sqrt(Math.PI);

/** The error function, to about 4e-16: a series of positive terms up to 2, a continued fraction from there on. */
export function errorFunction(x) {
  const size = Math.abs(x);
  if (!(size < 6)) return Number.isNaN(x) ? NaN : Math.sign(x); // 1 - erf(6) is 2e-17
  return Math.sign(x) * (size < 2 ? errorSeries(size) : 1 - complementFraction(size));
}

/** 2 / sqrt(pi) exp(-x^2) (x + 2 x^3 / 3 + 4 x^5 / 15 + ...) */
function errorSeries(x) {
  const square = x * x;
  let term = x, sum = x;
  for (let n = 3; term > 1e-17 * sum; n += 2) {
    term *= 2 * square / n;
    sum += term;
  }
  return TWO_OVER_ROOT_PI * Math.exp(-square) * sum;
}

/** 1 - erf(x) = exp(-x^2) / sqrt(pi) / (x + (1/2) / (x + (2/2) / (x + (3/2) / ...))) */
function complementFraction(x) {
  let below = x;
  for (let n = 60; n > 0; n--) below = x + n / 2 / below;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / below;
}

/** The functions that hidden_act may name. */
export const ACTIVATION_FUNCTIONS = {
  gelu: (x) => x * (1 + errorFunction(x * Math.SQRT1_2)) / 2,
  gelu_new: (x) => x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))) / 2,
  relu: (x) => (x > 0 ? x : 0),
  selu: (x) => 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * Math.expm1(x)),
};

/** What ports take for them: traps. */
const WRONG_ACTIVATIONS = {
  quick_gelu: (x) => x / (1 + Math.exp(-1.702 * x)),
  identity: (x) => x,
};

/** The activation `name` of each element. */
export function activate(x, name) {
  const known = { ...ACTIVATION_FUNCTIONS, ...WRONG_ACTIVATIONS };
  ensure(Object.hasOwn(known, name), `the activation must be one of ${Object.keys(known).join(", ")}`, name, "choose one of them");
  const f = known[name];
  const y = makeArray(x.shape, x.dtype), out = y.numbers, numbers = x.numbers;
  for (let i = 0; i < out.length; i++) out[i] = f(numbers[i]);
  return y;
}
