// The grid of heads: a factor from 0 to 2 for the attention weights of each head.

import { ARROW_STEPS, el } from "../../base.js";
import { headMaskOf } from "../runs/changes.js";

const STEP = 0.1, MOST = 2;

/** The grid and the slider of the chosen head. element.refresh() after each change of the state. */
export function headGrid(app) {
  const { num_hidden_layers: L, num_attention_heads: H } = app.config;
  const cells = Array.from({ length: L }, (_, layer) => Array.from({ length: H }, (_, head) => el("button", {
    type: "button", class: "head-cell", onclick: () => toggleHead(app, layer, head),
    onfocus: () => app.set({ layer, head }), onkeydown: (event) => moveBetweenHeads(event, cells, layer, head),
  })));
  const top = el("tr", {}, el("td"), Array.from({ length: H }, (_, h) => el("th", { scope: "col" }, `head ${h}`)));
  const rows = cells.map((row, l) => el("tr", {}, el("th", { scope: "row" }, `layer ${l}`), row.map((cell) => el("td", {}, cell))));
  const named = el("span", { class: "head-name" });
  const inputs = [el("input", { type: "range" }), el("input", { type: "number", class: "factor" })];
  for (const input of inputs) {
    for (const [name, x] of Object.entries({ min: 0, max: MOST, step: 0.05 })) input.setAttribute(name, x);
    input.addEventListener("input", () => input.value !== "" && scaleHead(app, Number(input.value)));
  }
  const reset = el("button", { type: "button", class: "small", onclick: () => scaleHead(app, 1) }, "back to 1");
  const box = el("div", { class: "head-grid" },
    el("p", { class: "soft" }, "A click (Enter) switches a head off or on again. " +
      "The factor multiplies the head's attention weights after the softmax."),
    el("div", { class: "box" }, el("table", {}, el("thead", {}, top), el("tbody", {}, rows))),
    el("p", { class: "factor-row" }, named, ...inputs, reset));
  box.refresh = () => {
    const factors = headMaskOf(app.state.changes, app.config), { layer, head } = app.state;
    cells.forEach((row, l) => row.forEach((cell, h) => showFactor(cell, `${l}.${h}`, factors[l][h], l === layer && h === head)));
    named.textContent = `head ${layer}.${head}`;
    for (const input of inputs) {
      input.setAttribute("aria-label", `factor of head ${layer}.${head}`);
      if (document.activeElement !== input || Number(input.value) !== factors[layer][head]) input.value = factors[layer][head];
    }
    reset.disabled = factors[layer][head] === 1;
  };
  return box;
}

function showFactor(cell, name, factor, here) {
  cell.textContent = factor === 0 ? "off" : `× ${factor}`;
  cell.setAttribute("aria-label", `head ${name}: ${factor === 0 ? "off" : `factor ${factor}`}`);
  cell.setAttribute("aria-pressed", String(factor === 0));
  cell.classList.toggle("touched", factor !== 1);
  cell.classList.toggle("here", here);
  cell.tabIndex = here ? 0 : -1;
  cell.style.setProperty("--factor", `${(100 * factor) / MOST}%`);
}

/** Switch a head off, or back to 1. */
export function toggleHead(app, layer, head) {
  const off = headMaskOf(app.state.changes, app.config)[layer][head] === 0;
  app.set({ layer, head });
  app.change({ kind: "head", layer, head, scale: off ? 1 : 0 });
}

/** Set the factor of the chosen head. */
function scaleHead(app, factor) {
  const { layer, head } = app.state, scale = Math.min(MOST, Math.max(0, Math.round(factor * 100) / 100));
  if (Number.isFinite(scale)) app.change({ kind: "head", layer, head, scale });
}

/** The factor of the chosen head, one step up or down. */
export function nudgeHead(app, direction) {
  const { layer, head } = app.state;
  scaleHead(app, headMaskOf(app.state.changes, app.config)[layer][head] + direction * STEP);
}

function moveBetweenHeads(event, cells, layer, head) {
  const [down, right] = ARROW_STEPS[event.key] ?? [0, 0];
  const next = cells[layer + down]?.[head + right];
  if (!next || (!down && !right)) return;
  next.focus();
  event.preventDefault();
}
