// Lens, its table: the most probable next token after each layer (rows) and each token (columns), as a drawing.

import { el, rough, setAll, shortened } from "../../base.js";

const LENS_NAMES = 104, LENS_TOP = 26, LENS_ROW = 38; // CSS pixels: width of the row labels, height of the column labels and of a row

/** Callbacks: over({stage, t} or null), pick({stage, t}). */
export class LensTable {
  constructor({ over, pick }) {
    this.svg = el("svg:svg", { class: "lens-table", tabindex: "0" });
    this.names = el("div", { class: "lens-names", "aria-hidden": "true" });
    this.box = el("div", { class: "lens-box box" }, this.names, this.svg);
    this.cells = [];
    this.svg.addEventListener("pointermove", (event) => over(this.cellAt(event)));
    this.svg.addEventListener("pointerleave", () => over(null));
    this.svg.addEventListener("click", (event) => {
      const cell = this.cellAt(event);
      if (cell) pick(cell);
    });
  }

  /** names: of the rows; tokens: labels of the columns; at(stage, t): { label, prob, same } or null. */
  draw({ names, tokens, at, scale, width }) {
    this.wide = Math.max(62, Math.min(104, Math.floor((width - LENS_NAMES) / tokens.length)));
    const size = [LENS_NAMES + this.wide * tokens.length + 2, LENS_TOP + LENS_ROW * names.length + 2];
    this.resize(names.length, tokens.length);
    setAll(this.svg, { width: size[0], height: size[1], viewBox: `0 0 ${size.join(" ")}` });
    const place = (top, height, name) => el("span", { style: `top:${top}px;height:${height}px` }, name);
    this.names.replaceChildren(place(0, LENS_TOP, ""), ...names.map((name, i) => place(LENS_TOP + i * LENS_ROW, LENS_ROW, name)));
    names.forEach((name, i) => setAll(this.rowNames[i], { x: LENS_NAMES - 8, y: LENS_TOP + (i + 0.5) * LENS_ROW + 4 }, name));
    tokens.forEach((label, t) => setAll(this.heads[t], { x: LENS_NAMES + (t + 0.5) * this.wide, y: 15 }, fittedText(label, this.wide)));
    names.forEach((_, stage) => tokens.forEach((_, t) => this.fill(stage, t, at(stage, t), scale)));
  }

  /** Make elements for new columns, and drop those of columns that are no more: a key press changes few. */
  resize(rows, columns) {
    const text = (className, anchor = "middle") => el("svg:text", { class: className, "text-anchor": anchor });
    if (this.rows !== rows) {
      this.rowNames = Array.from({ length: rows }, () => text("name", "end"));
      this.frames = ["frame", "frame pointed"].map((className) => el("svg:rect", { class: className, visibility: "hidden" }));
      this.heads = [];
      this.cells = this.rowNames.map(() => []);
      this.groups = Array.from({ length: rows + 1 }, () => el("svg:g", {})); // the heads, then the cells of each row
      this.svg.replaceChildren(...this.rowNames, ...this.groups, ...this.frames);
    }
    for (let t = this.heads.length; t < columns; t++) {
      this.heads.push(text("name"));
      this.groups[0].append(this.heads[t]);
      this.cells.forEach((row, stage) => {
        row.push({ parts: [el("svg:rect", {}), text("word"), text("prob")], drawn: "" });
        this.groups[stage + 1].append(...row[t].parts);
      });
    }
    for (const head of this.heads.splice(columns)) head.remove();
    for (const { parts } of this.cells.flatMap((row) => row.splice(columns))) parts.forEach((part) => part.remove());
    Object.assign(this, { rows, columns });
  }

  fill(stage, t, cell, scale) {
    const place = this.cells[stage][t], drawn = `${this.wide} ${cell?.label} ${cell?.prob} ${cell?.same} ${cell && scale.color(cell.prob)}`;
    if (place.drawn === drawn) return;
    place.drawn = drawn;
    const [box, word, prob] = place.parts, x = LENS_NAMES + t * this.wide, y = LENS_TOP + stage * LENS_ROW;
    setAll(box, { x: x + 1, y: y + 1, width: this.wide - 2, height: LENS_ROW - 2, rx: 3, fill: cell ? scale.color(cell.prob) : "none" });
    const ink = cell ? scale.ink(cell.prob) : "none";
    const middle = x + this.wide / 2, weight = cell?.same ? 700 : 400;
    setAll(word, { x: middle, y: y + 16, fill: ink, "font-weight": weight }, cell ? fittedText(cell.label, this.wide) : "");
    setAll(prob, { x: middle, y: y + 31, fill: ink }, cell ? rough(cell.prob, 3) : "");
  }

  cellAt(event) {
    const box = this.svg.getBoundingClientRect();
    const t = Math.floor((event.clientX - box.left - LENS_NAMES) / this.wide);
    const stage = Math.floor((event.clientY - box.top - LENS_TOP) / LENS_ROW);
    return t >= 0 && stage >= 0 && t < this.columns && stage < this.rows ? { stage, t } : null;
  }

  /** Frame the chosen cell, and the one under the pointer. */
  mark(chosen, pointed) {
    [chosen, pointed].forEach((cell, i) => {
      const at = cell ? { x: LENS_NAMES + cell.t * this.wide + 1, y: LENS_TOP + cell.stage * LENS_ROW + 1 } : {};
      setAll(this.frames[i], { ...at, width: this.wide - 2, height: LENS_ROW - 2, rx: 3, visibility: cell ? "visible" : "hidden" });
    });
  }

  /** Scroll the box, not the page, to a cell. */
  reveal({ t, stage }) {
    const x = LENS_NAMES + t * this.wide, y = LENS_TOP + stage * LENS_ROW, { box } = this;
    if (x < box.scrollLeft + LENS_NAMES || x + this.wide > box.scrollLeft + box.clientWidth) box.scrollLeft = x - box.clientWidth / 2;
    if (y < box.scrollTop || y + LENS_ROW > box.scrollTop + box.clientHeight) box.scrollTop = y - box.clientHeight / 2;
  }
}

/** The start of a text that fits a width in CSS pixels. */
export const fittedText = (text, width, letter = 7.4) => shortened(text, Math.max(2, Math.floor((width - 8) / letter)));
