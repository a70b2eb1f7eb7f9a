// Generation token by token: greedy, or by sampling with the random numbers of NumPy, as minibiogpt's generate.

import { ensure, valueInWords } from "../errors.js";
import { arrayFrom } from "../ops.js";
import { applyProcessors, largestOf, probabilitiesOf, processorsOf } from "./processors.js";
import { UniformNumbers } from "./random.js";

/** The options of generate and decodingSteps. Those that are null do nothing. seed: null draws a seed; inputs: more inputs of each call. */
export const GENERATION_DEFAULTS = {
  maxNewTokens: null, doSample: false, seed: 0, temperature: 1, topK: 50, topP: 1, minP: null, typicalP: null,
  repetitionPenalty: 1, noRepeatNgramSize: 0, minNewTokens: null, eosTokenId: undefined, inputs: {},
};
const withinRange = (low, high) => [(x) => Number.isFinite(x) && x >= low && x <= high, `a number in [${low}, ${high}]`];
const atLeast = (least) => [(x) => Number.isInteger(x) && x >= least, `an integer, ${least} or more`];
const VALID_OPTIONS = {
  maxNewTokens: atLeast(1), minNewTokens: atLeast(0), temperature: withinRange(1e-6, 1e6), topK: atLeast(0), topP: withinRange(0, 1),
  minP: withinRange(0, 1), typicalP: [(x) => x > 0 && x <= 1, "a number in (0, 1]"], noRepeatNgramSize: atLeast(0),
  repetitionPenalty: [(x) => Number.isFinite(x) && x > 0, "a finite number above 0"],
  doSample: [(x) => typeof x === "boolean", "true or false"], seed: [isSeed, "null or an integer, 0 or more"],
  inputs: [(x) => x instanceof Object && !("ids" in x || "cache" in x), "an object of inputs of forward(), without ids and cache"],
};

function isSeed(x) {
  return (Number.isInteger(x) && x >= 0) || (typeof x === "bigint" && x >= 0n) || (typeof x === "string" && /^\d+$/.test(x));
}

const UNSET_NEW_TOKENS = 20;
const SEEDS = 2 ** 53;

/** The ids of a prompt and of what follows it, up to an end token or maxNewTokens new ones. */
export function generate(model, ids, options = {}) {
  let sequence = plainIds(ids);
  for (const { ids: before, token, logits } of decodingSteps(model, sequence, options)) {
    const must = "logits must be finite to choose a token", found = `NaN or infinity after ${before.length} tokens`;
    ensure(logits.every(Number.isFinite), must, found, "check the weights, or use the dtype float64");
    sequence = [...before, token];
  }
  return sequence;
}

/**
 * Generate step by step. Each step is { step, ids, logits, stages, probs, uniform, token, ended, cacheLength }: the ids so far, the
 * logits of the next token (V,), what each processor made of them, the probabilities (V,) in float64 that remain, the uniform number that
 * chose the token (null: the most probable one was taken), and the number of positions in the cache.
 */
export function* decodingSteps(model, prompt, options = {}) {
  const head = model.head ?? "causal";
  ensure(head === "causal", "generation needs a language model", `the head ${head}`, "load a BioGptForCausalLM");
  const settings = checkedOptions(options);
  let ids = plainIds(prompt), cache = null, ended = false;
  const endTokens = endTokensOf(settings.eosTokenId, model.config);
  const count = newTokens(settings.maxNewTokens, ids.length, model.config);
  const processors = processorsOf(settings, ids.length, endTokens);
  const draws = settings.doSample ? new UniformNumbers(settings.seed ?? Math.floor(Math.random() * SEEDS)) : null;
  for (let step = 0; step < count && !ended; step++) {
    const out = model.forward({ ...settings.inputs, ids: [cache ? ids.slice(-1) : ids], cache });
    cache = out.cache;
    const V = out.logits.shape.at(-1), logits = out.logits.numbers.slice(-V);
    const { scores, stages } = applyProcessors(processors, ids, logits);
    const most = largestOf(scores);
    ensure(!stages.length || Number.isFinite(most), "the processors must leave a token to choose", `at most ${most}`, "relax the options");
    const probs = probabilitiesOf(Float64Array.from(scores)), uniform = draws ? draws.next() : null;
    const token = draws ? drawToken(probs, uniform) : scores.findIndex((x) => Object.is(x, most) || x === most);
    ended = endTokens.includes(token);
    yield { step, ids, logits, stages, probs, uniform, token, ended, cacheLength: cache.length };
    ids = [...ids, token];
  }
}

/** All options of a call, checked. */
function checkedOptions(options) {
  ensure(options instanceof Object, "options must be an object", valueInWords(options), "pass { maxNewTokens: 20 }");
  const known = Object.keys(GENERATION_DEFAULTS);
  for (const [name, value] of Object.entries(options)) {
    ensure(known.includes(name), `an option must be one of ${known.join(", ")}`, name, "correct the name");
    const [isValid, description] = VALID_OPTIONS[name] ?? [() => true], isZero = name === "temperature" && value === 0;
    const remedy = isZero ? "leave out doSample to take the most probable token" : "choose a different value";
    const fits = value === null || isValid(value) || (isZero && !options.doSample);
    ensure(fits, `${name} must be ${description}`, valueInWords(value), remedy);
  }
  return { ...GENERATION_DEFAULTS, ...options };
}

/** The first token whose cumulative probability exceeds u times the total. A token of probability 0 is never drawn. */
export function drawToken(probs, u) {
  let total = 0, sum = 0;
  for (const p of probs) total += p;
  for (let id = 0; id < probs.length; id++) {
    sum += probs[id];
    if (probs[id] > 0 && sum > u * total) return id;
  }
  return 0;
}

/** The ids of one sequence as a list, [2, 5] or [[2, 5]]. */
function plainIds(ids) {
  const array = arrayFrom(ids, "int64"), { shape, numbers } = array;
  const isOne = shape.length === 1 || (shape.length === 2 && shape[0] === 1);
  ensure(isOne && numbers.length > 0, "a prompt must be a list of ids, one text", `shape [${shape}]`, "pass [2, 5, 9]");
  return Array.from(numbers);
}

function endTokensOf(given, config) {
  const found = given !== undefined ? given : "eos_token_id" in config ? config.eos_token_id : 2;
  const tokens = found === null ? [] : [found].flat(), V = config.vocab_size ?? Infinity;
  const wrong = tokens.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < V));
  ensure(wrong < 0, `eosTokenId must be null, an id in [0, ${V}), or a list of ids`, valueInWords(tokens[wrong]), "write null for none");
  return tokens;
}

/** The largest number of new tokens. The last one is never an input of the model. */
function newTokens(wanted, length, config) {
  const N = config.max_position_embeddings ?? Infinity, fits = N - length + 1;
  ensure(fits >= 1, `a prompt must have at most N = ${N} tokens`, length, "shorten it");
  if (wanted === null) return Math.min(UNSET_NEW_TOKENS, fits);
  const remedy = `request at most ${fits} new tokens`;
  ensure(wanted <= fits, `prompt and new tokens must fit into N = ${N} positions`, `${length} and ${wanted}`, remedy);
  return wanted;
}
