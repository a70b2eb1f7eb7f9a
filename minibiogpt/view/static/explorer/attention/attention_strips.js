// Attention, its strips: where one token looks, and who looks at one token, as shaded tokens with exact numbers.

import { el, exact } from "../../base.js";

/** A list of the tokens, shaded by a number each. pick(position) on a click. */
export class TokenStrip {
  constructor(pick) {
    this.title = el("h2", { class: "minor" });
    this.list = el("ol", { class: "shaded", tabindex: "0" });
    this.list.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (item) pick([...this.list.children].indexOf(item));
    });
    this.box = el("div", { class: "token-strip" }, this.title, this.list);
  }

  /** title: texts and elements; numbers, hidden: functions of the position; here: the position of the cell under study. */
  draw({ title, tokens, numbers, hidden, here, scale, dtype }) {
    this.title.replaceChildren(...title);
    this.list.setAttribute("aria-label", this.title.textContent);
    const items = this.list.children;
    if (items.length !== tokens.length) this.list.replaceChildren(...tokens.map(() => el("li", {}, el("bdi"), el("span"))));
    tokens.forEach((token, i) => {
      const item = items[i], [label, value] = item.children, x = numbers(i), masked = hidden(i);
      if (label.textContent !== token.label) label.textContent = token.label;
      value.textContent = masked ? "masked" : exact(x, dtype);
      item.className = (masked ? "hatched" : "") + (i === here ? " here" : "");
      item.style.cssText = masked ? "" : `background:${scale.color(x)};color:${scale.ink(x)}`;
    });
  }

  /** Scroll the list, not the page, to a token. */
  reveal(i) {
    const item = this.list.children[i], { list } = this;
    if (item.offsetTop < list.scrollTop || item.offsetTop + item.offsetHeight > list.scrollTop + list.clientHeight) {
      list.scrollTop = item.offsetTop - list.clientHeight / 2;
    }
  }
}
