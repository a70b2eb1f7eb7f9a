// Heat maps: a matrix on a canvas, with sticky labels, cell markers, and events for pointing at and clicking cells.

import { limitsOf, quantileOf } from "./arrays.js";
import { css, el, isolated, rough } from "./base.js";
import { positiveRamp, rgbOf, signedRamp } from "./shades.js";

/** How a color scale is chosen, by name: the text of the choice. */
export const SCALES = { array: "whole array", row: "each row", 0.95: "clipped at 95 %", 0.8: "clipped at 80 %" };

/**
 * The color scale {color: (number, row) to [r, g, b], ramp, ends}: 0 to 1 for probabilities, otherwise symmetric about 0.
 * kind: one of SCALES. A scale for each row needs the matrix. lowest: the value of masked scores.
 */
export function scaleOf(array, scores, probabilities, kind = "array", matrix = null, lowest = -Infinity) {
  const ramp = probabilities ? positiveRamp() : signedRamp();
  const place = probabilities ? (x, limit) => x / limit : (x, limit) => 0.5 + x / limit / 2;
  const low = (text) => (probabilities ? "0" : `-${text}`), middle = probabilities ? "" : "0";
  if (kind === "row" && matrix) {
    const limits = Array.from({ length: matrix.rows }, (_, i) => largestIn(matrix.row(i), lowest));
    return { color: (x, i) => ramp(place(x, limits[i])), ramp, ends: [low("largest of the row"), middle, "largest of the row"] };
  }
  const found = limitsOf(array, scores, lowest), part = Number(kind);
  const largest = probabilities ? 1 : found.sorted.at(-1) || 1;
  const limit = part > 0 ? quantileOf(found.sorted, part) || largest : probabilities ? 1 : found.limit;
  const clipped = limit < largest, text = rough(limit, 3);
  const ends = [low(text) + (clipped && !probabilities ? " and below" : ""), middle, text + (clipped ? " and above" : "")];
  return { color: (x) => ramp(place(x, limit)), ramp, ends };
}

/** The largest absolute value of a row that is neither masked nor infinite, or 1. */
function largestIn(row, lowest) {
  let largest = 0;
  for (const x of row) if (Number.isFinite(x) && x > -1e30 && x !== lowest) largest = Math.max(largest, Math.abs(x));
  return largest || 1;
}

/** A small canvas with one pixel per cell. Masked cells have the color --hidden, NaN the color of the text. */
function pixelsOf(matrix, scale, hidden) {
  const canvas = el("canvas", { width: matrix.columns, height: matrix.rows });
  const context = canvas.getContext("2d");
  const image = context.createImageData(matrix.columns, matrix.rows);
  const [plain, ink] = ["--hidden", "--ink"].map((name) => rgbOf(css(name)));
  for (let i = 0, at = 0; i < matrix.rows; i++) {
    for (let j = 0; j < matrix.columns; j++, at += 4) {
      const x = matrix.at(i, j);
      image.data.set(hidden(i, j) ? plain : Number.isNaN(x) ? ink : scale.color(x, i), at);
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** A pattern for masked cells: diagonal lines on --hidden. */
export function hatching(context, ratio) {
  const size = Math.max(1, Math.round(6 * ratio)), tile = el("canvas", { width: size, height: size }), brush = tile.getContext("2d");
  brush.fillStyle = css("--hidden");
  brush.fillRect(0, 0, size, size);
  brush.scale(size / 6, size / 6);
  brush.strokeStyle = css("--hatch");
  brush.beginPath();
  for (const shift of [-6, 0, 6]) {
    brush.moveTo(shift - 1, 7);
    brush.lineTo(shift + 7, -1);
  }
  brush.stroke();
  const pattern = context.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix([6 / size, 0, 0, 6 / size, 0, 0]));
  return pattern;
}

/**
 * Give a canvas width x height CSS pixels at the screen's resolution, but at most `most` pixels in each direction.
 * Returns its context, scaled to CSS pixels, and the ratio of pixels to CSS pixels.
 */
export function sizedCanvas(canvas, width, height, most = 8000) {
  const ratio = Math.min(window.devicePixelRatio || 1, most / Math.max(width, height));
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.imageSmoothingEnabled = false;
  return { context, ratio };
}

/** Draw the matrix on a canvas of width x height CSS pixels; masked cells are hatched. */
export function paint(canvas, matrix, scale, hidden, width, height) {
  const { context, ratio } = sizedCanvas(canvas, width, height, 16000);
  context.drawImage(pixelsOf(matrix, scale, hidden), 0, 0, width, height);
  const cell = [width / matrix.columns, height / matrix.rows];
  context.fillStyle = hatching(context, ratio);
  for (let i = 0; i < matrix.rows; i++) {
    for (let j = 0; j < matrix.columns; j++) { // neighbors together: a long text has many thousand masked cells
      if (!hidden(i, j)) continue;
      const from = j;
      while (j + 1 < matrix.columns && hidden(i, j + 1)) j++;
      context.fillRect(from * cell[0], i * cell[1], (j + 1 - from) * cell[0], cell[1]);
    }
  }
  if (Math.min(...cell) >= 16) separate(context, matrix, cell);
}

/** Draw thin lines in the background color between cells. */
function separate(context, matrix, [wide, tall]) {
  context.fillStyle = css("--paper");
  for (let j = 1; j < matrix.columns; j++) context.fillRect(j * wide - 0.5, 0, 1, matrix.rows * tall);
  for (let i = 1; i < matrix.rows; i++) context.fillRect(0, i * tall - 0.5, matrix.columns * wide, 1);
}

/** A heat map with row and column labels. Callbacks: over(cell or null) when the pointer moves, pick(cell) on a click. */
export class HeatMap {
  constructor({ over, pick }) {
    this.canvas = el("canvas", { role: "img", tabindex: "0" });
    this.marker = el("div", { class: "marker", hidden: true });
    this.pointer = el("div", { class: "marker pointed", hidden: true });
    this.cells = el("div", { class: "cells" }, this.canvas, this.marker, this.pointer);
    this.across = el("div", { class: "across", "aria-hidden": "true" });
    this.down = el("div", { class: "down", "aria-hidden": "true" });
    this.corner = el("div", { class: "corner", "aria-hidden": "true" });
    const grid = el("div", { class: "grid" }, this.corner, this.across, this.down, this.cells);
    this.box = el("div", { class: "map box" }, grid);
    this.canvas.addEventListener("pointermove", (event) => over(this.cellAt(event)));
    this.canvas.addEventListener("pointerleave", () => over(null));
    this.canvas.addEventListener("click", (event) => pick(this.cellAt(event)));
  }

  /** labels: {down: texts, across: texts, column groups {size, name}, or null; corner}; width, height: available CSS pixels. */
  draw(matrix, scale, hidden, labels, width, height = 480) {
    this.matrix = matrix;
    const names = Array.isArray(labels.across); // then rows and columns are tokens, and the cells are square
    const left = Math.min(136, 20 + 7 * Math.max(...labels.down.map((text) => text.length)));
    const free = Math.max(120, width - left - 18);
    const fit = names ? Math.min(free / matrix.columns, height / matrix.rows) : free / matrix.columns;
    this.wide = Math.min(names ? 36 : 16, Math.max(names ? 13 : 3, Math.floor(fit)));
    this.tall = names ? this.wide : Math.min(26, Math.max(15, Math.floor((height - 60) / matrix.rows)));
    paint(this.canvas, matrix, scale, hidden, this.wide * matrix.columns, this.tall * matrix.rows);
    this.down.replaceChildren(...labels.down.map((text) => el("span", { style: `height:${this.tall}px`, dir: "auto" }, isolated(text))));
    this.corner.textContent = labels.corner;
    if (names) this.nameColumns(labels.across);
    else this.tickColumns(labels.across);
  }

  nameColumns(texts) {
    const longest = Math.min(105, 12 + 7.2 * Math.max(...texts.map((text) => text.length)));
    this.across.style.height = `${longest}px`;
    this.across.replaceChildren(...texts.map((text, j) => el("span", {
      class: "turned", style: `left:${j * this.wide + this.wide / 2 - 6}px`,
    }, isolated(text))));
  }

  /** Put a tick at the first column of each group, or wherever a number fits. */
  tickColumns(groups) {
    const every = groups ? groups.size : [4, 8, 16, 32, 64].find((n) => n * this.wide >= 48) ?? 64;
    const name = groups ? groups.name : (i) => String(i * every);
    const ticks = Array.from({ length: Math.ceil(this.matrix.columns / every) }, (_, i) =>
      el("span", { class: "tick", style: `left:${i * every * this.wide}px` }, every * this.wide < 24 && i % 4 ? "" : name(i)));
    this.across.style.height = "20px";
    this.across.replaceChildren(...ticks);
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const col = Math.floor(((event.clientX - box.left) / box.width) * this.matrix.columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * this.matrix.rows);
    const inside = col >= 0 && row >= 0 && col < this.matrix.columns && row < this.matrix.rows;
    return inside ? { row, col } : null;
  }

  /** Outline the selected cell, dashed unless it is pinned, and the cell under the pointer, if any. */
  mark(chosen, loose, pointed) {
    this.marker.className = loose ? "marker loose" : "marker";
    this.outline(this.marker, chosen);
    this.outline(this.pointer, pointed);
    this.highlight(pointed ?? chosen);
  }

  outline(marker, cell) {
    marker.hidden = !cell;
    if (!cell) return;
    const [wide, tall] = [Math.max(8, this.wide), Math.max(8, this.tall)];
    marker.style.cssText = `left:${(cell.col + 0.5) * this.wide - wide / 2}px;top:${(cell.row + 0.5) * this.tall - tall / 2}px;` +
      `width:${wide}px;height:${tall}px`;
  }

  /** Highlight the labels of a cell. */
  highlight({ row, col }) {
    [...this.down.children].forEach((span, i) => span.classList.toggle("lit", i === row));
    if (this.across.querySelector(".turned")) {
      [...this.across.children].forEach((span, j) => span.classList.toggle("lit", j === col));
    }
  }

  /** Scroll a cell into view, without scrolling the page. */
  reveal({ col, row }) {
    const x = col * this.wide, y = row * this.tall;
    const left = this.down.offsetWidth, top = this.across.offsetHeight;
    if (x < this.box.scrollLeft || x + this.wide > this.box.scrollLeft + this.box.clientWidth - left) {
      this.box.scrollLeft = x - (this.box.clientWidth - left) / 2;
    }
    if (y < this.box.scrollTop || y + this.tall > this.box.scrollTop + this.box.clientHeight - top) {
      this.box.scrollTop = y - (this.box.clientHeight - top) / 2;
    }
  }
}

/** The color bar with the values at its ends, and the meaning of hatching if any cell is hatched. */
export function legendOf(scale, anyHidden) {
  const bar = el("canvas", { width: 128, height: 1, "aria-hidden": "true" });
  const context = bar.getContext("2d");
  for (let i = 0; i < 128; i++) {
    context.fillStyle = `rgb(${scale.ramp(i / 127).map(Math.round).join(",")})`;
    context.fillRect(i, 0, 1, 1);
  }
  const [low, middle, high] = scale.ends;
  const center = el("span", {}, middle ? `(${middle} in the middle)` : "");
  return el("div", { class: "legend" }, el("span", { class: "low" }, low), bar, el("span", { class: "high" }, high), center,
    anyHidden ? el("span", {}, el("i"), " masked") : null);
}
