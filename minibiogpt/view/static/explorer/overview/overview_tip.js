// Tip: a small box beside the pointer or the focused element, with a title and named numbers.

import { el } from "../../base.js";

/** A tip inside an element: show(key, {title, lines, go}, {x, y, above}) in coordinates of the window, and hide(). */
export function tipBox(parent) {
  const box = el("div", { class: "ov-tip", "aria-hidden": "true", hidden: true });
  parent.append(box);
  return {
    box, key: null,
    show(key, { title, lines, go }, { x, y, above }) {
      const rows = lines.map(([what, name, number]) =>
        el("tr", {}, el("td", {}, el("bdi", {}, what)), el("td", { class: "soft mono" }, name), el("td", { class: "n" }, number)));
      const hint = go ? el("p", { class: "soft" }, `click or Enter: ${go}`) : "";
      if (this.key !== key) box.replaceChildren(el("b", {}, title), el("table", {}, el("tbody", {}, rows)), hint);
      this.key = key;
      box.hidden = false;
      const outer = parent.getBoundingClientRect(), { offsetWidth: wide, offsetHeight: tall } = box;
      const below = y + 14 + tall <= window.innerHeight || (above ?? y) - tall - 14 < 0;
      box.style.left = `${Math.max(0, Math.min(outer.width - wide, x - outer.left - wide / 2))}px`;
      box.style.top = `${(below ? y + 14 : (above ?? y) - tall - 14) - outer.top}px`;
    },
    hide() {
      box.hidden = true;
      this.key = null;
    },
  };
}
