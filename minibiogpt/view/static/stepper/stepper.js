// Stepper: the steps of one layer, one at a time, from a source (see stepper_source.js): what is shown, and what keys and
// buttons change. The place {step, head, row, col, pinned} stays when the source is replaced.

import { matrixOf } from "../arrays.js";
import { ARROW_STEPS, el, exact } from "../base.js";
import { HeatMap, SCALES, legendOf, paint, scaleOf } from "../heatmap.js";
import { showOrigin } from "./origin.js";
import {
  isByHead, isMaskedStep, isProbability, isRepeated, isTokenAxis, nameOfHead, stepHidden, stepLabels, stepScores,
  strongestColumn,
} from "./stepper_cells.js";
import { buildStepper, listOfSteps } from "./stepper_parts.js";
import { aboutOf, codeOf, equationOf, scrollToMark, symbolsOf } from "./stepper_panels.js";
import { cellWords, chosenWords, pictureText } from "./stepper_words.js";

export class Stepper {
  /**
   * start: name of the first step shown; changed: called after each change of place;
   * tools, exports: more elements for its bar and below its picture.
   */
  constructor(container, source, { start = "", changed = () => {}, tools = [], exports = [] } = {}) {
    this.source = source;
    this.changed = changed;
    this.scaleKind = "array";
    this.unfolded = false;
    this.state = { step: 0, head: 0, row: source.tokens.length - 1, col: 0, pinned: false };
    this.map = new HeatMap({ over: (cell) => this.hover(cell), pick: (cell) => cell && this.moveTo(cell.row, cell.col, true) });
    this.parts = buildStepper(this, tools, exports);
    container.replaceChildren(this.parts.root);
    this.list();
    this.state.step = Math.max(0, this.find(start));
    this.state.col = this.strongest();
    let resized = 0;
    window.addEventListener("resize", () => {
      clearTimeout(resized);
      resized = setTimeout(() => this.draw(), 80);
    });
    this.show();
  }

  get step() {
    return this.source.steps[this.state.step];
  }

  get last() {
    return this.source.steps.length - 1;
  }

  array() {
    return this.source.array(this.step.name);
  }

  matrix() {
    return matrixOf(this.array(), this.state.head);
  }

  strongest() {
    return strongestColumn(this.source, this.step, this.state.head, this.state.row);
  }

  /** The index of a step by its name, or by its name without "layers.{l}."; -1 if there is none. */
  find(name) {
    const { steps, layer } = this.source, own = `layers.${layer}`;
    const full = name === "input" ? (layer ? `layers.${layer - 1}` : "embeddings") : name;
    return steps.findIndex((step) => step.name === full || step.name === (full ? `${own}.${full}` : own));
  }

  /** The name of the step without "layers.{l}.": "" for the output of the layer, "input" for that of the layer before. */
  get key() {
    const { layer } = this.source, { name } = this.step;
    if (name === `layers.${layer - 1}`) return "input";
    return name === `layers.${layer}` ? "" : name.replace(`layers.${layer}.`, "");
  }

  // Changing the place ---------------------------------------------------------------------------------------------------

  /** Show another source, at the same place or at another one: {step: name, head, row, col: column, or null for the strongest}. */
  setSource(source, place = null) {
    const { state } = this, key = this.key, last = source.tokens.length - 1, follows = state.row === this.source.tokens.length - 1;
    this.source = source;
    const step = this.find(place?.step ?? key);
    state.step = step < 0 ? Math.max(0, this.find("input")) : step;
    state.head = Math.min(place?.head ?? state.head, source.heads - 1);
    state.row = Math.min(place?.row ?? (follows ? last : state.row), last);
    const col = place ? place.col : state.pinned ? state.col : null;
    state.pinned = col !== null && col >= 0 && col < this.matrix().columns;
    state.col = state.pinned ? col : this.strongest();
    this.list();
    this.show();
  }

  /** Go to a step, by index or by name. */
  goTo(step) {
    const before = this.step.axes.at(-1), state = this.state;
    state.step = Math.max(0, Math.min(this.last, typeof step === "string" ? this.find(step) : step));
    const after = this.step.axes.at(-1), same = after === before || (isTokenAxis(before) && isTokenAxis(after));
    if (!same || state.col >= this.matrix().columns) state.pinned = false;
    if (!state.pinned) state.col = this.strongest();
    this.show();
    this.changed(this);
  }

  setHead(head) {
    if (!isByHead(this.step)) return;
    this.state.head = (head + this.source.heads) % this.source.heads;
    if (!this.state.pinned) this.state.col = this.strongest();
    this.show();
    this.changed(this);
  }

  moveTo(row, col, pinned = this.state.pinned) {
    const { rows, columns } = this.matrix(), state = this.state;
    state.row = Math.max(0, Math.min(rows - 1, row));
    state.pinned = pinned;
    state.col = col === null ? this.strongest() : Math.max(0, Math.min(columns - 1, col));
    this.showCell(state);
    this.map.reveal(state);
    this.changed(this);
  }

  hover(cell) {
    this.showCell(cell ? { ...this.state, ...cell } : this.state, cell);
  }

  // Drawing --------------------------------------------------------------------------------------------------------------

  /** Rebuild the list of steps if their names have changed. */
  list() {
    const names = this.source.steps.map((step) => step.name).join();
    if (names === this.listed) return;
    this.listed = names;
    this.parts.list.replaceChildren(...listOfSteps(this));
    this.parts.slider.max = this.last;
  }

  show() {
    const { step, parts, source, state } = this, number = state.step + 1;
    const has = (name) => source.steps.some((one) => one.name === name), go = (name) => this.goTo(name);
    parts.position.textContent = `step ${number} of ${this.last + 1}`;
    parts.slider.value = state.step;
    parts.slider.setAttribute("aria-valuetext", `${number}: ${step.name}`);
    parts.previous.disabled = state.step === 0;
    parts.next.disabled = state.step === this.last;
    [...parts.list.querySelectorAll("button")].forEach((button, i) => {
      if (i === state.step) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
    parts.title.textContent = `${number}. ${step.name}`;
    const input = this.key === "input" || (step.name === "embeddings" && !source.layer) ? `Input of layer ${source.layer}. ` : "";
    parts.what.textContent = `${input}${step.what[0].toUpperCase()}${step.what.slice(1)}.`;
    parts.equation.replaceChildren(...equationOf(step, has, go));
    parts.symbols.replaceChildren(symbolsOf(source, step, has, go));
    if (this.explained !== step.name) {
      this.explained = step.name;
      parts.about.replaceChildren(aboutOf(step));
      parts.code.replaceChildren(...codeOf(step));
      scrollToMark(parts.code);
    }
    this.draw();
  }

  /** Show the picture of a step that repeats the one before. */
  unfold() {
    this.unfolded = true;
    this.draw();
  }

  /** The color scale of the step for the matrix of one head. */
  scale(matrix) {
    const { source, step } = this;
    return scaleOf(this.array(), stepScores(source, step), isProbability(step), this.scaleKind, matrix, source.facts.lowest);
  }

  draw() {
    const { source, step, parts, state } = this;
    const folded = !this.unfolded && isRepeated(source, step);
    parts.repeated.hidden = !folded;
    parts.stage.hidden = folded;
    const width = parts.stage.clientWidth;
    if (!width) return; // not visible
    const matrix = this.matrix(), scale = this.scale(matrix), hidden = stepHidden(source, step, state.head);
    this.showHeads();
    const height = this.heightLeft();
    this.map.box.style.maxHeight = `${height + (isTokenAxis(step.axes.at(-1)) ? 110 : 24)}px`; // with the labels of the columns
    this.map.draw(matrix, scale, hidden, stepLabels(source, step), width, Math.min(480, height));
    const anyHidden = isMaskedStep(step) && source.tokens.some((_, s) => hidden(0, s));
    parts.legend.replaceChildren(legendOf(scale, anyHidden));
    const text = pictureText(source, step, state.head);
    parts.caption.textContent = text;
    this.map.canvas.setAttribute("aria-label", `${step.what}; ${text}`);
    this.showCell(state);
    this.map.reveal(state);
  }

  /** The height that the window has below the top of the picture, for its rows. */
  heightLeft() {
    const top = this.parts.stage.getBoundingClientRect().top + window.scrollY, around = isByHead(this.step) ? 300 : 170;
    return Math.max(220, window.innerHeight - top - around);
  }

  showHeads() {
    const { source, step, parts, state } = this;
    const buttons = isByHead(step) ? Array.from({ length: source.heads }, (_, head) => {
      const small = matrixOf(this.array(), head), canvas = el("canvas", { "aria-hidden": "true" });
      paint(canvas, small, this.scale(small), stepHidden(source, step, head), isTokenAxis(step.axes.at(-1)) ? 44 : 64, 44);
      return el("button", {
        type: "button", "aria-pressed": String(head === state.head), "aria-label": `head ${nameOfHead(source, head)}`,
        onclick: () => this.setHead(head),
      }, canvas, nameOfHead(source, head));
    }) : [];
    parts.heads.hidden = !buttons.length;
    parts.heads.replaceChildren(...buttons);
  }

  showCell(at, hovered = null) {
    const { source, step, parts, state } = this, value = this.matrix().at(at.row, at.col);
    const hidden = stepHidden(source, step, state.head)(at.row, at.col);
    const index = [0, ...(isByHead(step) ? [state.head] : []), at.row, at.col];
    this.map.mark(state, !state.pinned, hovered);
    const how = hovered ? "" : state.pinned ? "pinned; Esc unpins" : `${chosenWords(step)} · click a cell to pin it`;
    parts.readout.replaceChildren( // lines that do not wrap, so that the picture below stays where it is
      el("div", {}, el("b", { class: "mono" }, exact(value, this.array().dtype)), hidden ? " (masked)" : "",
        el("span", { class: "soft mono" }, ` [${index.join(", ")}]`)),
      el("div", { class: "soft" }, ...cellWords(source, step, at)), el("div", { class: "soft" }, how));
    if (state.pinned && hovered) return;
    showOrigin(parts.origin, source, step, { head: state.head, row: at.row, col: at.col }, value);
  }

  /** Choose how the color scale is found: one of SCALES. */
  setScale(kind) {
    this.scaleKind = kind in SCALES ? kind : "array";
    this.parts.scales.value = this.scaleKind;
    this.draw();
  }

  // Keys -----------------------------------------------------------------------------------------------------------------

  /** Handle a key; return whether it was one of the stepper's. */
  onKey(event) {
    const { step, head, row, col, pinned } = this.state;
    const beside = ARROW_STEPS[event.key];
    const kept = pinned ? col : null;
    const acts = {
      ArrowLeft: () => this.goTo(step - 1), ArrowRight: () => this.goTo(step + 1),
      Home: () => this.goTo(0), End: () => this.goTo(this.last),
      "[": () => this.setHead(head - 1), "]": () => this.setHead(head + 1),
      ",": () => this.moveTo(row - 1, kept), ".": () => this.moveTo(row + 1, kept),
      Escape: pinned ? () => this.moveTo(row, null, false) : undefined,
    };
    const act = event.shiftKey && beside ? () => this.moveTo(row + beside[0], col + beside[1], true) : acts[event.key];
    if (!act || (event.shiftKey && !beside)) return false;
    act();
    return true;
  }
}
