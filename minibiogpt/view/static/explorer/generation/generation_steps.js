// Steps of the generation view: its settings, the steps that they give, computed once, and the call of Python that gives the same.

import { decodingSteps, KVCache } from "../../biogpt.js";
import { changed } from "../runs/changes.js";

/** The settings, in the order in which their rules are applied: name in Python, and what is valid. `sampling`: only when sampling. */
export const GENERATION_SETTINGS = [
  { key: "repetitionPenalty", name: "repetition penalty", python: "repetition_penalty", start: 1, min: 0.5, max: 2, step: 0.05,
    hint: "divides positive logits of tokens that occurred, multiplies negative ones; 1 does nothing" },
  { key: "noRepeatNgramSize", name: "no-repeat n-gram", python: "no_repeat_ngram_size", start: 0, min: 0, max: 6, step: 1,
    hint: "removes tokens that would repeat so many tokens in a row; 0 does nothing" },
  { key: "temperature", name: "temperature", python: "temperature", start: 1, min: 0.1, max: 3, step: 0.05, sampling: true,
    hint: "divides the logits: below 1 sharper, above 1 flatter" },
  { key: "topK", name: "top-k", python: "top_k", start: 50, min: 0, max: 200, step: 1, sampling: true,
    hint: "keeps the k most probable tokens; 0 keeps all" },
  { key: "topP", name: "top-p", python: "top_p", start: 1, min: 0.01, max: 1, step: 0.01, sampling: true,
    hint: "keeps the most probable tokens that sum to p or more; 1 keeps all" },
  { key: "minP", name: "min-p", python: "min_p", start: 0, min: 0, max: 1, step: 0.01, sampling: true,
    hint: "removes tokens less probable than p times the most probable one; 0 removes none" },
  { key: "seed", name: "seed", python: "seed", start: 0, min: 0, max: 2 ** 32 - 1, step: 1, sampling: true,
    hint: "of the random numbers, which are NumPy's" },
];
const GENERATION_MOST = 2 ** 31;

/** All settings of a state, with the number of tokens chosen (`count`) and the step shown (`at`); what is not valid is left out. */
export function generationOf({ generation }) {
  const given = typeof generation === "object" && generation !== null ? generation : {};
  const within = (x, min, max) => Math.min(max, Math.max(min, x)), number = (x) => (typeof x === "number" && Number.isFinite(x) ? x : null);
  const found = { doSample: given.doSample !== false };
  for (const { key, start, min, max, step } of GENERATION_SETTINGS) {
    const x = number(given[key]) ?? start;
    found[key] = within(step === 1 ? Math.round(x) : x, min, max);
  }
  found.count = within(Math.trunc(number(given.count) ?? 0), 0, GENERATION_MOST);
  found.at = number(given.at) === null ? null : within(Math.trunc(given.at), 0, Math.max(0, found.count - 1));
  return found;
}

/** What is stored in the state: only what differs from the start. */
export function generationState(settings) {
  const kept = {};
  if (!settings.doSample) kept.doSample = false;
  for (const { key, start } of GENERATION_SETTINGS) if (settings[key] !== start) kept[key] = settings[key];
  if (settings.count) kept.count = settings.count;
  if (settings.at !== null) kept.at = settings.at;
  return kept;
}

const generationCache = { key: "", run: null, steps: [], source: null, error: "" };

/** {steps, error, ended}: the first `wanted` steps after the run's text, fewer if generation ends before. */
export function generationSteps(app, settings, wanted) {
  const { run } = app, cached = generationCache, key = JSON.stringify({ ...settings, count: 0, at: 0 });
  if (cached.run !== run || cached.key !== key) Object.assign(cached, { run, key, steps: [], error: "", source: sourceOf(app, settings) });
  try {
    while (cached.steps.length < wanted && cached.source) {
      const { value, done } = cached.source.next();
      if (done) cached.source = null;
      else cached.steps.push(value);
    }
  } catch (error) {
    Object.assign(cached, { source: null, error: error.message });
  }
  const { steps, error } = cached, ended = Boolean(error) || steps.at(-1)?.ended || steps.length >= roomOf(app);
  return { steps, error, ended };
}

/** The largest number of new tokens: the last one needs no position. A recorded page has the logits of one step. */
const roomOf = ({ live, config, run }) => (live ? config.max_position_embeddings - run.T + 1 : 1);

/** The generator of steps. */
function sourceOf(app, settings) {
  const { run } = app, { doSample, minP, seed } = settings;
  const options = { doSample, seed, minP: minP || null, maxNewTokens: roomOf(app) };
  for (const key of ["temperature", "topK", "topP", "repetitionPenalty", "noRepeatNgramSize"]) options[key] = settings[key];
  if (!app.live) return decodingSteps(recordedModel(run), run.ids, options);
  const kept = run.changes.filter(({ kind }) => kind !== "patch"); // a patch fits one text
  const { model, options: inputs } = changed(app.model, kept), isSame = kept.length === run.changes.length;
  return decodingSteps(isSame ? continuing(model, run) : model, run.ids, { ...options, inputs });
}

/** A model that takes the prompt's logits and its cache from the run of the prompt. */
function continuing(model, run) {
  const layers = Array.from({ length: run.config.num_hidden_layers }, (_, l) =>
    Object.fromEntries(["k", "v"].map((name) => [name, run.array(`layers.${l}.self_attn.${name}`)])));
  const prompt = { logits: run.logits, cache: new KVCache(layers) };
  return { config: model.config, forward: (inputs) => (inputs.cache ? model.forward(inputs) : prompt) };
}

const recordedModel = (run) => ({ config: run.config, forward: () => ({ logits: run.logits, cache: { length: run.T } }) });

/** The text and what was generated, as text. */
export const generatedText = ({ tokenizer }, ids) => tokenizer.decode(ids, { skipSpecialTokens: true });

/** The call that gives the same tokens in Python. */
export function pythonCall({ run, live }, settings, count) {
  const ids = live && !run.left ? `tokenizer(${JSON.stringify(run.text)})["input_ids"]` : `[[${run.ids.join(", ")}]]`;
  const used = GENERATION_SETTINGS.filter(({ key, sampling, start }) => (sampling ? settings.doSample : settings[key] !== start));
  const parts = used.filter(({ key }) => key !== "minP" || settings.minP).map(({ key, python }) => `${python}=${settings[key]}`);
  const all = [ids, `max_new_tokens=${Math.max(1, count)}`, `do_sample=${settings.doSample ? "True" : "False"}`, ...parts];
  return `model.generate(${all.join(", ")})`;
}

/** What a stage of a step is called, with its parameters. */
export function stageTitle({ rule, parameters }) {
  const names = { RepetitionPenalty: "repetition", NoRepeatNGram: "n-gram", Temperature: "temperature", TopK: "top-k", TopP: "top-p",
    MinP: "min-p", TypicalP: "typical-p", MinLength: "minimum length" };
  const [value] = Object.values(parameters);
  return `${names[rule] ?? rule} ${value}`;
}
