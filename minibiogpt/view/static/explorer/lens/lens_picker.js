// Lens, the choice of a token: a text box with completion over the vocabulary, and the most probable tokens as buttons.

import { el, isolated, rough } from "../../base.js";

const labelIds = new Map(); // label -> id, filled when it is first needed
let pickerCount = 0;

function idOfLabel(labels, text) {
  if (!labelIds.size) labels.forEach((label, id) => { if (!labelIds.has(label)) labelIds.set(label, id); });
  return labelIds.get(text) ?? null;
}

/** The ids that a text may mean: one token by its label or id, or the tokens of the text. */
function idsOfText(app, text) {
  const { labels } = app.facts, exactly = idOfLabel(labels, text);
  if (exactly !== null) return [exactly];
  const number = /^(?:id )?(\d+)$/.exec(text)?.[1];
  if (number !== undefined && Number(number) < labels.length) return [Number(number)];
  return app.tokenizer ? app.tokenizer.encode(text).slice(1).map(({ id }) => id) : [];
}

/** A labelled text box that chooses a token. choose(id); choose(null) if it is emptied. */
export class TokenPicker {
  constructor(app, label, choose) {
    Object.assign(this, { app, choose });
    this.list = el("datalist", { id: `tokens-${pickerCount++}` });
    this.input = el("input", { type: "text", list: this.list.id, spellcheck: "false", autocomplete: "off", size: 14,
      onfocus: () => this.complete(), onchange: () => this.read() });
    this.note = el("span", { class: "soft", role: "status" });
    this.box = el("span", { class: "token-picker" }, el("label", {}, `${label} `, this.input), this.list, this.note);
  }

  complete() {
    if (!this.list.children.length) this.list.append(...this.app.facts.labels.map((label) => el("option", { value: label })));
  }

  read() {
    const text = this.input.value.trim();
    if (!text) return void this.take(null);
    const ids = idsOfText(this.app, text);
    if (ids.length === 1) return void this.take(ids[0]);
    if (!ids.length) return void this.note.replaceChildren("No such token.");
    const { labels } = this.app.facts;
    const buttons = ids.map((id) => el("button", { type: "button", class: "small", onclick: () => this.take(id) }, isolated(labels[id])));
    this.note.replaceChildren(`“${text}” is ${ids.length} tokens; choose one: `, ...buttons);
  }

  take(id) {
    this.note.replaceChildren();
    this.choose(id);
  }

  /** Show a token's label, or nothing, unless the box is being written in. */
  show(id, disabled) {
    this.input.disabled = disabled;
    if (document.activeElement !== this.input) this.input.value = id === null ? "" : this.app.facts.labels[id];
  }
}

/** Buttons for tokens with their probabilities. */
export function tokenButtons(app, { ids, probs }, chosen, choose) {
  return ids.map((id, i) => {
    const attributes = { type: "button", class: "small", "aria-pressed": String(id === chosen), onclick: () => choose(id) };
    return el("button", attributes, isolated(app.facts.labels[id]), el("span", { class: "soft" }, ` ${rough(probs[i], 2)}`));
  });
}
