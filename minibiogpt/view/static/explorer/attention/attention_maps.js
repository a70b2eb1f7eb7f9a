// Attention, its pictures: the small maps of all heads on one canvas, and one head enlarged, with its tokens.

import { css, el, rough } from "../../base.js";
import { hatching, sizedCanvas } from "../../heatmap.js";
import { cellImage } from "./attention_paint.js";

const MAP_GAP = 8, LABEL_LINE = 14; // CSS pixels between small maps; height of a line of text
const MAP_FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';

/** The small maps: one canvas, and over each map a button that chooses its head. */
export class SmallMaps {
  constructor(choose) {
    this.canvas = el("canvas", {});
    this.buttons = el("div", { class: "head-buttons", role: "group", "aria-label": "heads; arrow keys move, Enter chooses" });
    this.buttons.addEventListener("click", ({ target }) => {
      if (target.dataset.head) choose(...target.dataset.head.split(".").map(Number));
    });
    this.buttons.addEventListener("keydown", (event) => this.move(event));
    this.sheet = el("div", { class: "head-sheet" }, this.canvas, this.buttons);
    this.box = el("div", { class: "heads-box box" }, this.sheet);
  }

  /**
   * order: heads [layer, head]; columns: maps in a row; matrix(layer): {numbers, hidden}; measure: numbers of all heads, or null;
   * note(layer, head): what an experiment does to a head, or "".
   */
  draw({ order, columns, T, matrix, scale, measure, chosen, width, note }) {
    const side = Math.max(32, Math.min(110, Math.floor(width / columns) - MAP_GAP));
    const lines = measure ? 2 : 1, pitch = [side + MAP_GAP, side + lines * LABEL_LINE + MAP_GAP];
    const rows = Math.ceil(order.length / columns), size = [columns * pitch[0], rows * pitch[1]];
    const { context, ratio } = sizedCanvas(this.canvas, ...size);
    const hatch = hatching(context, ratio), every = Math.max(1, Math.ceil(T / (side * ratio)));
    const most = measure ? Math.max(...measure.filter((x) => !Number.isNaN(x))) : 0;
    context.font = MAP_FONT.replace("12px", side < 44 ? "10px" : "12px");
    const ink = css("--ink"), soft = css("--soft"), bar = css("--bar");
    order.forEach(([layer, head], i) => {
      const x = 4 + (i % columns) * pitch[0], y = 4 + Math.floor(i / columns) * pitch[1], top = y + lines * LABEL_LINE;
      context.fillStyle = ink;
      context.fillText(`${layer}.${head}${note(layer, head)}`, x, y + 10, side);
      const value = measure?.[layer * columns + head];
      if (measure) {
        context.fillStyle = bar;
        if (value > 0) context.fillRect(x, y + 24, (side * value) / most, 3);
        context.fillStyle = soft;
        context.fillText(Number.isNaN(value) ? "–" : rough(value, 2), x, y + 22);
      }
      context.fillStyle = hatch;
      context.fillRect(x, top, side, side);
      const { numbers, hidden } = matrix(layer);
      context.drawImage(cellImage(numbers, hidden, head * T * T, T, scale, every), x, top, side, side);
    });
    this.place({ order, columns, pitch, measure, chosen, note });
    return every;
  }

  place({ order, columns, pitch, measure, chosen, note }) {
    if (this.buttons.children.length !== order.length) {
      this.buttons.replaceChildren(...order.map(() => el("button", { type: "button" })));
    }
    this.columns = columns;
    order.forEach(([layer, head], i) => {
      const button = this.buttons.children[i], here = layer === chosen[0] && head === chosen[1], value = measure?.[layer * columns + head];
      button.dataset.head = `${layer}.${head}`;
      const known = measure ? Number.isNaN(value) ? ", not defined" : `, ${rough(value, 3)}` : "";
      button.title = `head ${layer}.${head}${note(layer, head)}${known}`;
      button.setAttribute("aria-label", button.title);
      button.setAttribute("aria-pressed", String(here));
      button.tabIndex = here ? 0 : -1;
      button.style.cssText = `left:${(i % columns) * pitch[0]}px;top:${Math.floor(i / columns) * pitch[1]}px;` +
        `width:${pitch[0]}px;height:${pitch[1]}px`;
    });
  }

  /** Arrow keys move the focus among the heads. */
  move(event) {
    const all = [...this.buttons.children], at = all.indexOf(event.target);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns }[event.key];
    if (!step || event.shiftKey || at < 0) return;
    all[at + step]?.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}

/** One head, enlarged: cells with the labels of their tokens. Callbacks: over(cell or null), pick(cell). */
export class BigMap {
  constructor({ over, pick }) {
    this.canvas = el("canvas", { tabindex: "0" });
    this.marks = ["row", "column", "cell"].map((name) => el("div", { class: `aim aim-${name}`, "aria-hidden": "true" }));
    this.sheet = el("div", { class: "head-sheet" }, this.canvas, this.marks);
    this.box = el("div", { class: "head-box box" }, this.sheet);
    this.canvas.addEventListener("pointermove", (event) => over(this.cellAt(event)));
    this.canvas.addEventListener("pointerleave", () => over(null));
    this.canvas.addEventListener("click", (event) => {
      const cell = this.cellAt(event);
      if (cell) pick(cell);
    });
  }

  draw({ numbers, hidden, start, labels, scale, width }) {
    const T = labels.length, context = this.canvas.getContext("2d");
    context.font = MAP_FONT;
    const longest = Math.min(110, Math.max(...labels.map((text) => context.measureText(text).width)));
    const left = Math.ceil(Math.max(longest, 44)) + 10;
    this.cell = Math.max(4, Math.min(34, Math.floor((width - left - 2) / T)));
    Object.assign(this, { T, left, top: left, side: this.cell * T });
    const { context: brush, ratio } = sizedCanvas(this.canvas, left + this.side + 1, left + this.side + 1);
    brush.fillStyle = hatching(brush, ratio);
    brush.fillRect(left, left, this.side, this.side);
    brush.drawImage(cellImage(numbers, hidden, start, T, scale), left, left, this.side, this.side);
    if (this.cell >= 14) this.separate(brush);
    this.write(brush, labels);
  }

  separate(brush) {
    brush.fillStyle = css("--paper");
    for (let i = 1; i < this.T; i++) {
      brush.fillRect(this.left + i * this.cell - 0.5, this.top, 1, this.side);
      brush.fillRect(this.left, this.top + i * this.cell - 0.5, this.side, 1);
    }
  }

  /** The labels, as many as fit. */
  write(brush, labels) {
    brush.font = MAP_FONT;
    brush.fillStyle = css("--ink");
    brush.textBaseline = "middle";
    const every = Math.ceil(13 / this.cell);
    for (let i = 0; i < this.T; i += every) {
      const middle = this.left + (i + 0.5) * this.cell;
      brush.textAlign = "right";
      brush.fillText(labels[i], this.left - 6, middle, this.left - 8);
      brush.save();
      brush.translate(middle, this.top - 6);
      brush.rotate(-Math.PI / 2);
      brush.textAlign = "left";
      brush.fillText(labels[i], 0, 0, this.top - 8);
      brush.restore();
    }
    brush.fillStyle = css("--soft");
    brush.textAlign = "left";
    brush.font = MAP_FONT.replace("12px", "10px");
    brush.fillText("key S →", 0, 8);
    brush.fillText("query T ↓", 0, 22);
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [col, row] = [event.clientX - box.left - this.left, event.clientY - box.top - this.top].map((x) => Math.floor(x / this.cell));
    return row >= 0 && col >= 0 && row < this.T && col < this.T ? { row, col } : null;
  }

  /** Outline the row, the column and the cell. */
  mark({ row, col }) {
    const [x, y] = [this.left + col * this.cell, this.top + row * this.cell], { cell, left, top, side } = this;
    const places = [[0, y, left + side, cell], [x, 0, cell, top + side], [x, y, cell, cell]];
    this.marks.forEach((mark, i) => {
      const [from, down, wide, tall] = places[i];
      mark.style.cssText = `left:${from}px;top:${down}px;width:${wide}px;height:${tall}px`;
    });
  }

  /** Scroll the box, not the page, to a cell. */
  reveal({ row, col }) {
    const x = this.left + col * this.cell, y = this.top + row * this.cell, { box } = this;
    if (x < box.scrollLeft + this.left || x + this.cell > box.scrollLeft + box.clientWidth) box.scrollLeft = x - box.clientWidth / 2;
    if (y < box.scrollTop || y + this.cell > box.scrollTop + box.clientHeight) box.scrollTop = y - box.clientHeight / 2;
  }
}
