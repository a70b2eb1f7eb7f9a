// Lens, the parts of a logit: a map of layers and heads, and the parts sorted by size.

import { el, exact, rough, setAll, signedBar } from "../../base.js";
import { fittedText } from "./lens_table.js";

const PARTS_NAMES = 84, PARTS_TOP = 22, PARTS_ROW = 24; // CSS pixels: width of the row labels, height of the column labels and of a row

const OTHER_PARTS = { embed_tokens: "token embedding", embed_positions: "position embedding", "layer_norm.bias": "bias of the final norm" };

/** What a part is called on the page, and where it leads: { label, go } with go the state to open, or null. */
export function partOf(name) {
  const [, l, rest] = /^layers\.(\d+)\.(.+)$/.exec(name) ?? [null, null, name], layer = Number(l);
  const head = /^self_attn\.heads\.(\d+)$/.exec(rest)?.[1];
  if (head) return { label: `head ${l}.${head}`, go: { view: "attention", layer, head: Number(head), step: "self_attn.probs", col: null } };
  if (rest === "fc2") return { label: `feed-forward of layer ${l}`, go: { view: "layer", layer, step: "fc2" } };
  if (l !== null) return { label: `attention bias of layer ${l}`, go: { view: "layer", layer, step: "self_attn.out_proj" } };
  return { label: OTHER_PARTS[rest], go: null };
}

/**
 * The map: the embeddings, below them the names of the heads and one row for each layer, and the bias of the final norm.
 * Callbacks: over(index or null), pick(index).
 */
export class PartsMap {
  constructor({ over, pick }) {
    this.svg = el("svg:svg", { class: "parts-map" });
    this.box = el("div", { class: "parts-box box" }, this.svg);
    const indexOf = ({ target }) => (target.dataset.part === undefined ? null : Number(target.dataset.part));
    this.svg.addEventListener("pointermove", (event) => over(indexOf(event)));
    this.svg.addEventListener("pointerleave", () => over(null));
    this.svg.addEventListener("click", (event) => {
      if (indexOf(event) !== null) pick(indexOf(event));
    });
  }

  draw({ names, values, layers, heads, scale, width, dtype }) {
    const wide = Math.max(30, Math.min(64, Math.floor((width - PARTS_NAMES) / (heads + 2)))), rows = [];
    const top = (row) => row * PARTS_ROW + (row < 2 ? 0 : PARTS_TOP), heading = 2 * PARTS_ROW + 16; // no head is above the first two rows
    const place = (index, row, column) => ({ index, x: PARTS_NAMES + column * wide, y: top(row) });
    const places = [place(0, 0, 0), place(1, 1, 0)];
    for (let l = 0; l < layers; l++) {
      rows.push([`layer ${l}`, l + 2]);
      for (let column = 0; column < heads + 2; column++) places.push(place(2 + l * (heads + 2) + column, l + 2, column));
    }
    places.push(place(names.length - 1, layers + 2, 0));
    const across = [...Array.from({ length: heads }, (_, h) => String(h)), "bias", fittedText("feed-fwd", wide, 6.2)];
    const size = [PARTS_NAMES + wide * (heads + 2) + 2, top(layers + 3) + 2];
    setAll(this.svg, { width: size[0], height: size[1], viewBox: `0 0 ${size.join(" ")}` });
    const text = (x, y, anchor, words, className = "name") => el("svg:text", { x, y, "text-anchor": anchor, class: className }, words);
    const nameAt = (y, word) => text(PARTS_NAMES - 6, y, "end", word);
    const written = [
      nameAt(heading, "head →"), ...across.map((word, column) => text(PARTS_NAMES + (column + 0.5) * wide, heading, "middle", word)),
      ...[["token", 0], ["position", 1], ...rows, ["norm bias", layers + 2]].map(([word, row]) => nameAt(top(row) + 16, word)),
    ];
    this.svg.replaceChildren(...written, ...places.flatMap(({ index, x, y }) => {
      const value = values[index], title = el("svg:title", {}, `${names[index]}: ${partText(value, dtype)}`), fill = scale.color(value);
      const cell = el("svg:rect", { x: x + 1, y: y + 1, width: wide - 2, height: PARTS_ROW - 2, rx: 2, fill, "data-part": index }, title);
      const number = text(x + wide / 2, y + 16, "middle", wide < 38 ? "" : rough(value, 2), "number");
      setAll(number, { fill: scale.ink(value) });
      return [cell, number];
    }));
  }
}

/** A table of the parts from the largest to the smallest absolute value: the first `most`, then the sum of the others. */
export function partsTable({ names, values, dtype, most, open }) {
  const order = names.map((_, i) => i).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]) || a - b);
  const shown = order.slice(0, most), rest = order.slice(most), others = rest.reduce((sum, i) => sum + values[i], 0);
  const largest = Math.max(...shown.map((i) => Math.abs(values[i])), Math.abs(others)) || 1;
  const row = (label, x) => el("tr", {}, el("td", {}, label), el("td", { class: "n mono" }, partText(x, dtype)),
    el("td", {}, signedBar(x, largest)));
  const rows = shown.map((i) => {
    const { label, go } = partOf(names[i]), title = names[i];
    const link = go && el("button", { type: "button", class: "link", title, onclick: () => open(go) }, label);
    return row(link ?? el("span", { title }, label), values[i]);
  });
  if (rest.length) rows.push(row(`${rest.length} others, summed`, others));
  const head = el("tr", {}, el("th", {}, "part"), el("th", { class: "n" }, "adds to the logit"), el("td"));
  return el("table", { class: "parts-table" }, el("thead", {}, head), el("tbody", {}, rows));
}

/** A number with its sign; of a float32 run as float32, because the sum of its products is known no better. */
export function partText(x, dtype) {
  const text = exact(dtype === "float32" ? Math.fround(x) : x, dtype);
  return x > 0 ? `+${text}` : text;
}
