// Answers of the model view: bars for the most probable next tokens of the whole vocabulary, on top of the drawing.

import { el, percentOf, setAll, shortened } from "../../base.js";
import { TOP_TOKENS } from "./overview_layout.js";
import { nextTokens } from "./overview_numbers.js";
import { rankOf } from "../runs/next_tokens.js";

/** The elements of the bars; draw(app, layout) draws those of the studied token. */
export function answers() {
  const title = el("svg:text", { class: "title", "text-anchor": "middle", y: 11 });
  const bars = Array.from({ length: TOP_TOKENS + 1 }, (_, i) => barOf(i)),
    others = el("svg:text", { class: "ov-soft", "text-anchor": "middle" });
  const group = el("svg:g", { class: "ov-answers" }, title, bars.map((bar) => bar.group), others);
  return {
    group, bars,
    draw(app, layout) {
      const { run } = app, { top, probs, others: count, rest } = nextTokens(run, layout.row, TOP_TOKENS);
      const shown = top.includes(app.token) ? top : [...top, app.token];
      group.setAttribute("transform", `translate(${layout.x(layout.row)} 0)`);
      title.textContent = `the next token after “${shortened(run.tokens[layout.row].label, 16)}”`;
      bars.forEach((bar, i) => bar.show(app, layout, shown[i], probs, i));
      setAll(others, { y: 12 + layout.line * (shown.length + 1) });
      others.textContent = `the other ${count.toLocaleString("en")} tokens together: ${percentOf(rest)}`;
    },
  };
}

function barOf(i) {
  const hit = el("svg:rect", { class: "frame clear", rx: 3 }), bar = el("svg:rect", { class: "size" });
  const name = el("svg:text", { "text-anchor": "end" }), value = el("svg:text", { class: "value", "text-anchor": "end" });
  const group = el("svg:g", { class: "ov-part answer", role: "button", tabindex: "-1", "data-part": `answer ${i}` }, hit, bar, name, value);
  return {
    group, kind: "answer", key: `answer ${i}`, id: null,
    show(app, layout, id, probs, place) {
      this.id = id ?? null;
      group.setAttribute("display", id === undefined ? "none" : "inline");
      if (id === undefined) return;
      const y = 4 + layout.line * (place + 1), room = layout.right - 74;
      setAll(hit, { x: 6 - layout.left, y: y - 2, width: layout.left + layout.right - 14, height: layout.line });
      setAll(bar, { x: 0, y: y + 1, width: Math.max(0.5, room * probs[id] || 0), height: layout.line - 5 });
      setAll(name, { x: -7, y: y + 9 });
      setAll(value, { x: layout.right - 12, y: y + 9 });
      name.textContent = shortened(app.facts.labels[id], Math.floor((layout.left - 16) / 7));
      value.textContent = place < TOP_TOKENS ? percentOf(probs[id])
        : `rank ${rankOf(app.run.row("logits", layout.row), id)}: ${percentOf(probs[id])}`;
      setAll(group, { "aria-pressed": String(id === app.token) });
    },
  };
}
