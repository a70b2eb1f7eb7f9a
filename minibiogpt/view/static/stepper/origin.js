// Origin: the panel beside the heat map that shows how origins.js computed one value.

import { el, exact, rough, signedBar } from "../base.js";
import { originOf, sumNumbers, verdictOf } from "./origins.js";

function termsOf({ heads, rows, most = rows.length }) {
  const shown = rows.slice(0, most), rest = rows.slice(most);
  const others = sumNumbers(rest.map((row) => row.bar));
  const largest = Math.max(0, ...[...shown.map((row) => row.bar), others].map(Math.abs).filter(Number.isFinite));
  const body = shown.map((row) => el("tr", { class: row.here ? "here" : null },
    row.cells.map((cell, i) => el("td", { class: i ? "n" : null }, cell instanceof Node ? cell : String(cell))),
    el("td", {}, signedBar(row.bar, largest))));
  if (rest.length) {
    const label = el("td", { colspan: heads.length - 1 }, `${rest.length} others, summed`);
    body.push(el("tr", {}, label, el("td", { class: "n" }, rough(others)), el("td", {}, signedBar(others, largest))));
  }
  const head = el("tr", {}, heads.map((text, i) => el("th", { class: i ? "n" : null }, text)), el("td"));
  return el("div", { class: "terms box", tabindex: "0", role: "group", "aria-label": "terms of this value" },
    el("table", {}, el("thead", {}, head), el("tbody", {}, body)));
}

function originLines(lines) {
  const shown = (x) => (typeof x === "number" ? rough(x, 7) : x);
  const rows = lines.map(([label, x]) => el("tr", {}, el("th", { scope: "row" }, label), el("td", { class: "n" }, shown(x))));
  return el("table", { class: "lines" }, el("tbody", {}, rows));
}

/** The graph of the function, with a dot at this value. */
function curveOf({ f, x }, name) {
  const wide = 200, tall = 110, reach = Math.max(3, Math.min(8, Math.abs(x) * 1.2));
  const high = Math.max(f(reach), 0.5), low = Math.min(-0.5, f(-reach), f(-0.75)) * 1.2;
  const pointAt = (u) => [((u + reach) / (2 * reach)) * wide, tall - ((f(u) - low) / (high - low)) * tall];
  const points = Array.from({ length: 81 }, (_, i) => pointAt(-reach + (i * reach) / 40).map((p) => p.toFixed(1)).join(" "));
  const [left, top] = pointAt(Math.max(-reach, Math.min(reach, x)));
  const zero = tall - ((0 - low) / (high - low)) * tall;
  const label = `graph of ${name}, with a dot at x = ${rough(x)}`;
  const viewBox = `-4 -4 ${wide + 8} ${tall + 20}`;
  return el("svg:svg", { class: "curve", viewBox, role: "img", "aria-label": label },
    el("svg:line", { x1: 0, x2: wide, y1: zero, y2: zero }), el("svg:line", { x1: wide / 2, x2: wide / 2, y1: 0, y2: tall }),
    el("svg:path", { d: `M${points.join("L")}` }), el("svg:circle", { cx: left, cy: top, r: 4 }),
    el("svg:text", { x: 0, y: tall + 12 }, rough(-reach, 2)),
    el("svg:text", { x: wide, y: tall + 12, "text-anchor": "end" }, rough(reach, 2)));
}

/** Fill the panel with the computation of one cell of a step, and compare the result with the value in the array. */
export function showOrigin(box, source, step, at, value) {
  const origin = originOf(source, step, at), verdict = verdictOf(origin, value, source), { computed } = origin;
  box.dataset.computed = computed === null ? "" : exact(computed);
  box.dataset.value = exact(value);
  box.dataset.good = verdict.good;
  const sum = [["in the array", exact(value, source.array(step.name).dtype)]];
  if (computed !== null) {
    sum.unshift(["recomputed here in float64", exact(computed)]);
    if (computed !== value) sum.push(["difference", rough(computed - value, 3)]);
  }
  const symbol = computed === null ? "" : verdict.good ? "✓ " : "✗ ";
  const result = el("p", { class: computed === null ? "soft" : verdict.good ? "good" : "bad" }, symbol, verdict.text);
  box.replaceChildren(...[
    el("h3", {}, "How this value is computed"),
    el("p", { class: "mono equation-small" }, step.equation),
    origin.text ? el("p", {}, origin.text) : null,
    origin.curve && !Number.isNaN(origin.curve.x) ? curveOf(origin.curve, source.facts.activation) : null,
    origin.table ? termsOf(origin.table) : null,
    origin.lines ? originLines(origin.lines) : null,
    el("div", { class: "verdict" }, originLines(sum), result),
  ].filter(Boolean));
  revealMarked(box);
}

/** Scroll the table of terms, if it is too tall, so that the marked row is seen below its header. */
function revealMarked(box) {
  const terms = box.querySelector(".terms"), here = box.querySelector("tr.here");
  if (!here || here.offsetTop + here.offsetHeight <= terms.clientHeight) return;
  terms.scrollTop = here.offsetTop - terms.clientHeight / 2;
}
