// Words of the model view: what hovering over a part shows, what a screen reader says, and where a click leads.

import { exact, rough } from "../../base.js";
import { rankOf } from "../runs/next_tokens.js";
import { answersOf, nextTokens, normsOf, PART_TITLES, partsOf, strongestHeads, weightsOf } from "./overview_numbers.js";

const NAMED_HEADS = 4; // heads named for one part
const sixDigits = (x) => rough(x, 6);
const normLine = (run, name, t) => [`|${name}[0, ${t}]|`, run.array(name) ? sixDigits(normsOf(run, name)[t]) : "not stored in this page"];
const tokenWords = (run, t) => `“${run.tokens[t].label}” (position ${t})`;

/** {title, lines: [[name, number]], go: what Enter and a click do} of a part, for the token under study. */
export function partWords(app, part) {
  const words = wordsFor(app, part);
  return app.run === app.baseline ? words : { ...words, lines: [...words.lines, untouchedLine(app, part)] };
}

/** The same without the experiments. */
function untouchedLine({ baseline, row: t, token }, part) {
  const what = "without the experiments";
  if (part.after && part.kind !== "logits") return [what, ...normLine(baseline, part.after, t)];
  const id = part.id ?? token;
  return [what, `softmax(logits[0, ${t}])[${id}]`, rough(nextTokens(baseline, t, 10).probs[id], 6)];
}

function wordsFor(app, part) {
  const { run, row: t } = app, { layer, kind } = part;
  const written = () => ["wrote", ...normLine(run, part.written, t)], after = ["stream after it", ...normLine(run, part.after, t)];
  const before = () => ["stream before it", ...normLine(run, part.before, t)];
  const kinds = {
    tokens: () => ({ title: `Embedding of ${tokenWords(run, t)}, id ${run.ids[t]}`, lines: [written(), after], go: "see its numbers" }),
    positions: () => ({ title: `Embedding of position ${t}`, lines: [written(), after], go: "see its numbers" }),
    attention: () => ({ title: `Layer ${layer}, attention, for ${tokenWords(run, t)}`,
      lines: [wroteLine(run, part, t), before(), after, ...strongestLines(run, layer, t)],
      go: "see its heads" }),
    feed: () => ({ title: `Layer ${layer}, feed-forward, for ${tokenWords(run, t)}`, lines: [wroteLine(run, part, t), before(), after],
      go: "see its steps" }),
    stream: () => ({ title: `The stream after layer ${layer}, for ${tokenWords(run, t)}`,
      lines: [["size", ...normLine(run, part.after, t)]],
      go: "see what the model would say here" }),
    norm: () => ({ title: `Final norm, for ${tokenWords(run, t)}`, lines: [before(), ["after it", ...normLine(run, part.after, t)]],
      go: "see how it is computed" }),
    logits: () => ({ title: `Logits after ${tokenWords(run, t)}`, lines: tokenLines(app, app.token), go: "see the logit lens" }),
    answer: () => ({ title: `Next token “${app.facts.labels[part.id]}”, id ${part.id}`, lines: tokenLines(app, part.id),
      go: "study this token" }),
  };
  return kinds[kind]();
}

/** What a part wrote; a large recorded page computes it from the stream before and after. */
function wroteLine(run, part, t) {
  if (run.array(part.written)) return ["wrote", ...normLine(run, part.written, t)];
  return ["wrote", `|${part.after}[0, ${t}] - ${part.before}[0, ${t}]|`, sixDigits(normsOf(run, part.written)[t])];
}

function strongestLines(run, layer, t) {
  const { name } = weightsOf(run, layer), found = strongestHeads(run, layer, t);
  const lines = found.slice(0, NAMED_HEADS).map(({ head, key, weight }) =>
    [`head ${head}, most at ${tokenWords(run, key)}`, `${name}[0, ${head}, ${t}, ${key}]`, exact(weight, run.array(name).dtype)]);
  return found.length > NAMED_HEADS ? [...lines, [`and ${found.length - NAMED_HEADS} more heads`, "", ""]] : lines;
}

function tokenLines({ run, row: t, facts }, id) {
  const { probs } = nextTokens(run, t, 10), { dtype } = run.logits, logits = run.row("logits", t);
  return [[`logit of “${facts.labels[id]}”`, `logits[0, ${t}, ${id}]`, exact(logits[id], dtype)],
    ["probability", `softmax(logits[0, ${t}])[${id}]`, rough(probs[id], 6)], ["rank", `of ${probs.length}`, String(rankOf(logits, id))]];
}

/** The words for another token's column, at the level of a layer, or null. */
export function columnWords({ run, facts }, t, layer) {
  const path = `layers.${layer}`, { id, p } = answersOf(run)[t];
  const parts = partsOf(run.config.num_hidden_layers).filter((part) => part.layer === layer && part.written);
  const wrote = parts.map((part) => [`${PART_TITLES[part.kind]} wrote`, ...wroteLine(run, part, t).slice(1)]);
  const lines = layer === null ? [["embeddings", ...normLine(run, "embeddings", t)]]
    : [...wrote, ["stream after the layer", ...normLine(run, path, t)]];
  return { title: `${tokenWords(run, t)}${layer === null ? "" : `, layer ${layer}`}`,
    lines: [...lines, [`next: “${facts.labels[id]}”`, `softmax(logits[0, ${t}])[${id}]`, rough(p, 6)]], go: "study this token" };
}

/** Where a click or Enter leads: the changes of the state. */
export function wayIn(part, L) {
  const { layer, kind } = part;
  return {
    attention: { view: "attention", layer }, feed: { view: "layer", layer, step: "fc2" }, stream: { view: "lens", layer },
    tokens: { view: "layer", layer: 0, step: "embed_tokens" }, positions: { view: "layer", layer: 0, step: "embed_positions" },
    norm: { view: "layer", layer: L - 1, step: "layer_norm" }, logits: { view: "lens", layer: L - 1 }, answer: { token: part.id },
  }[kind];
}

/** A sentence for the label of a part. */
export function sentenceOf({ title, lines, go }) {
  return `${title}. ${lines.map(([what, , number]) => `${what} ${number}`).join("; ")}. Enter: ${go}.`;
}

/** The whole drawing in words. */
export function describeModel({ run, row: t, facts }) {
  const L = run.config.num_hidden_layers, size = (name) => (normsOf(run, name) ? rough(normsOf(run, name)[t], 3) : "?");
  const layers = Array.from({ length: L }, (_, l) => {
    const path = `layers.${l}`;
    return `layer ${l}: attention ${size(`${path}.self_attn.out_proj`)}, feed-forward ${size(`${path}.fc2`)}, stream after ${size(path)}`;
  });
  const { top, probs, others, rest } = nextTokens(run, t, 10);
  const next = top.map((id) => `“${facts.labels[id]}” ${rough(probs[id], 3)}`);
  return `${run.T} tokens go through ${L} layers. For ${tokenWords(run, t)}, the sizes (L2 norms) written into the residual stream are: ` +
    `token embedding ${size("embed_tokens")}, position embedding ${size("embed_positions")}; ${layers.join("; ")}. ` +
    `The most probable next tokens: ${next.join(", ")}; the other ${others} together ${rough(rest, 3)}.`;
}
