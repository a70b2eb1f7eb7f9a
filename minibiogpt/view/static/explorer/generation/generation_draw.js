// Drawings of the generation view: the uniform number in the cumulative distribution, and the cache of keys and values.

import { el, exact, percentOf, setAll, shortened } from "../../base.js";

const DRAW = { height: 92, top: 30, strip: 30 };

/** The tokens that are left, in the order of their ids, with the ends of their segments of [0, 1]: {id, from, to}. */
function segmentsOf({ probs }) {
  const total = probs.reduce((sum, p) => sum + p, 0), found = [];
  let sum = 0;
  for (let id = 0; id < probs.length; id++) {
    const from = sum;
    sum += probs[id];
    if (probs[id] > 0) found.push({ id, from: from / total, to: sum / total });
  }
  return found;
}

/** The strip of the cumulative distribution, in the order of the ids, with the uniform number if it is drawn. */
export function drawStrip(svg, app, step, chosen, width) {
  const { top, strip, height } = DRAW, edge = 8, w = width - 2 * edge, x = (share) => edge + share * w, segments = segmentsOf(step);
  const parts = segments.map(({ id, from, to }, i) => {
    const wide = x(to) - x(from), here = chosen && id === step.token, label = app.facts.labels[id];
    const rect = el("svg:rect", { class: `gen-segment ${i % 2 ? "odd" : "even"}${here ? " here" : ""}`, x: x(from), y: top,
      width: Math.max(wide, here ? 1.5 : 0), height: strip },
      el("svg:title", {}, `“${label}”: from ${from} to ${to}`));
    const most = Math.floor((wide - 6) / 7);
    if (most < Math.min(3, label.length)) return [rect];
    const place = { x: x((from + to) / 2), y: top + 19, "text-anchor": "middle", class: here ? "gen-chosen" : null };
    return [rect, el("svg:text", place, shortened(label, most))];
  });
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => el("svg:text", { x: x(share), y: height - 12, class: "ov-soft",
    "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle" }, String(share)));
  const at = chosen && step.uniform !== null ? x(step.uniform) : null;
  const pointer = at === null ? [] : [
    el("svg:path", { class: "gen-pointer", d: `M${at} ${top - 4}v${strip + 12}M${at - 5} ${top - 11}h10l-5 7z` }),
    el("svg:text", { x: at, y: 13, "text-anchor": at < 130 ? "start" : at > width - 130 ? "end" : "middle" }, `u = ${exact(step.uniform)}`),
  ];
  setAll(svg, { width, height, viewBox: `0 0 ${width} ${height}` });
  svg.replaceChildren(...parts.flat(), ...ticks, ...pointer);
}

/** The strip in words. */
export function describeStrip(app, step, chosen) {
  const label = app.facts.labels[step.token], segment = segmentsOf(step).find(({ id }) => id === step.token);
  if (!chosen) return "Nothing is drawn yet.";
  if (!segment) return "The probabilities are NaN.";
  if (step.uniform === null) return `Greedy: the most probable token, “${label}”, is taken; no random number is drawn.`;
  const { from, to } = segment;
  return `The uniform number ${exact(step.uniform)} is in the segment of “${label}”, from ${from} to ${to}, ` +
    `${percentOf(to - from)} of the strip. Segments are in the order of the token ids.`;
}

// The cache ---------------------------------------------------------------------------------------------------------

/** Sizes of the cache at a step: {positions, fresh, layers, bytes}; fresh: how many positions this step computed. */
export function cacheFacts({ config, run }, step) {
  const { num_hidden_layers: layers, hidden_size: D } = config, positions = step.cacheLength, fresh = step.step ? 1 : run.T;
  const itemsize = run.logits.dtype === "float64" ? 8 : 4;
  return { layers, D, positions, fresh, itemsize, bytes: 2 * layers * positions * D * itemsize };
}

/** The cache: a row for the keys and one for the values of each layer, a column for each position. */
export function drawCache(svg, app, step, ids, width) {
  const { layers, positions, fresh } = cacheFacts(app, step), { T } = app.run, left = 64, longest = Math.max(positions, T + 8);
  const cell = Math.max(4, Math.min(22, Math.floor((width - left - 8) / longest))), [row, gap, top] = layers > 8 ? [6, 3, 18] : [11, 5, 18];
  const path = (from, to, kind) => {
    const parts = [];
    for (let l = 0; l < layers; l++) {
      const y = top + (layers - 1 - l) * (2 * row + gap) + kind * row;
      for (let s = from; s < to; s++) parts.push(`M${left + s * cell} ${y}h${cell - 1}v${row - 1}h${1 - cell}Z`);
    }
    return parts.join("");
  };
  const kept = positions - fresh, spans = [["prompt", 0, Math.min(T, kept)], ["earlier", T, kept], ["fresh", kept, positions]];
  const boxes = spans.filter(([, from, to]) => to > from).flatMap(([name, from, to]) =>
    [0, 1].map((kind) => el("svg:path", { class: `${name} ${kind ? "v" : "k"}`, d: path(from, to, kind) })));
  const names = Array.from({ length: layers }, (_, l) => l).filter((l) => layers <= 8 || l % 4 === 0).map((l) =>
    el("svg:text", { x: left - 6, y: top + (layers - 1 - l) * (2 * row + gap) + row + 4, "text-anchor": "end", class: "ov-soft" },
      `layer ${l}`));
  const bottom = top + layers * (2 * row + gap), turned = cell >= 14;
  const labels = turned ? ids.slice(0, positions).map((id, s) => {
    const x = left + s * cell + cell / 2 + 4, y = bottom + 6;
    const place = { x, y, transform: `rotate(-90 ${x} ${y})`, "text-anchor": "end", class: s >= kept ? "gen-chosen" : "ov-soft" };
    return el("svg:text", place, shortened(app.facts.labels[id], 10));
  }) : [];
  const height = bottom + (turned ? 84 : 8), wide = Math.max(width, left + longest * cell + 8);
  setAll(svg, { width: wide, height, viewBox: `0 0 ${wide} ${height}` });
  svg.replaceChildren(...boxes, ...names, ...labels, el("svg:text", { x: left, y: 12, class: "ov-soft" }, "position 0"),
    el("svg:text", { x: left + positions * cell, y: 12, "text-anchor": positions * cell < 160 ? "start" : "end", class: "ov-soft" },
      positions > 3 ? `${positions - 1}` : ""));
}
