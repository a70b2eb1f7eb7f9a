// Parts of the model view: the opened column of the studied token, with a box for each part that writes into its stream.

import { el, rough, setAll } from "../../base.js";
import { levelsOf, shareOf } from "./overview_columns.js";
import { streamPath } from "./overview_layout.js";
import { normsOf, PART_TITLES, partsOf } from "./overview_numbers.js";

const BOX_GAP = 26; // between the stream and a box

/** The elements of the opened column for L layers; draw(app, layout, scales) draws the numbers of the studied token. */
export function openColumn(L) {
  const stream = el("svg:path", { class: "ov-stream" }), names = el("svg:g", { class: "ov-names", "aria-hidden": "true" });
  const parts = partsOf(L).map((part) => ({ ...part, ...(part.kind === "stream" ? streamNode(part) : partBox(part)) }));
  const group = el("svg:g", { class: "ov-open" }, stream, names, parts.map((part) => part.group));
  return {
    group, parts,
    draw(app, layout, scales) {
      group.setAttribute("transform", `translate(${layout.x(layout.row)} 0)`);
      stream.setAttribute("d", streamPath(0, levelsOf(app.run, layout.row, layout, scales, 18), layout.norm));
      names.replaceChildren(...Array.from({ length: L }, (_, l) =>
        el("svg:text", { x: 8 - layout.left, y: layout.feed(l) + 4 }, `layer ${l}`)));
      for (const part of parts) part.place(layout), part.show(app, layout, scales);
    },
  };
}

const partButton = (part, ...children) =>
  el("svg:g", { class: `ov-part ${part.kind}`, role: "button", tabindex: "-1", "data-part": part.key }, ...children);

/** A box beside the stream (attention to the left), or on it (norm, logits), with a bar for the norm of what it wrote. */
function partBox(part) {
  const side = { tokens: -1, attention: -1, positions: 1, feed: 1 }[part.kind] ?? 0;
  const made = {
    side, frame: el("svg:rect", { class: "frame", rx: 5 }), bar: el("svg:rect", { class: "size", rx: 1 }),
    gap: el("svg:rect", { class: "gap", width: 2 }), was: el("svg:rect", { class: "was", width: 2 }),
    name: el("svg:text", {}, PART_TITLES[part.kind]), value: el("svg:text", { class: "value" }), arrow: el("svg:path", { class: "arrow" }),
    plus: el("svg:g", { class: "plus" }, el("svg:circle", { r: 7 }), el("svg:path", { d: "M-4 0H4M0 -4V4" })),
  };
  const { frame, bar, gap, was, name, value, arrow, plus } = made;
  const group = partButton(part, side ? [arrow, plus] : [], frame, side ? [bar, gap, was] : [], name, value);
  return {
    group,
    place: (layout) => (side ? placeBeside : placeOnStream)(part, made, layout),
    show({ run, baseline }, layout, scales) {
      if (part.kind === "logits") {
        value.textContent = `V = ${run.config.vocab_size}`;
        return;
      }
      const norm = normsOf(run, part.written ?? part.after)?.[layout.row];
      value.textContent = norm === undefined ? "not stored" : rough(norm, 3);
      if (!side) return;
      const size = shareOf(norm, scales.written) * made.longest;
      setAll(bar, { x: side < 0 ? made.from - size : made.from, width: size });
      setAll(gap, { x: made.from + side * (made.longest - 5), display: norm > scales.written ? "inline" : "none" });
      const before = shareOf(normsOf(baseline, part.written)?.[layout.row], scales.written) * made.longest; // without the experiments
      setAll(was, { x: made.from + side * before - 1, display: run === baseline ? "none" : "inline" });
    },
  };
}

function placeBeside(part, made, { left, right, box, ...layout }) {
  const { side, frame, bar, name, value, arrow, plus } = made, y = partLevel(part, layout), tall = box > 25;
  const width = (side < 0 ? left : right) - BOX_GAP - 8, x = side < 0 ? -BOX_GAP - width : BOX_GAP, text = y - box / 2 + (tall ? 15 : 13);
  setAll(frame, { x, y: y - box / 2, width, height: box });
  setAll(name, { x: x + 7, y: text });
  setAll(value, { x: x + width - 7, y: text, "text-anchor": "end" });
  setAll(plus, { transform: `translate(0 ${y})` });
  const reads = part.before ? `M0 ${y + box / 2 + 6}Q${side * BOX_GAP} ${y + box / 2 + 6} ${side * (BOX_GAP + 14)} ${y + box / 2}` : "";
  setAll(arrow, { d: `${reads}M${side * BOX_GAP} ${y}H${side * 8}m${side * 6} -4l${-side * 6} 4l${side * 6} 4` });
  for (const [each, more] of [[bar, 0], [made.gap, 1], [made.was, 2]]) {
    setAll(each, { y: y + box / 2 - (tall ? 9 : 6) - more, height: (tall ? 5 : 3) + 2 * more });
  }
  Object.assign(made, { from: side < 0 ? x + width - 6 : x + 6, longest: width - 12 });
}

function placeOnStream(part, { frame, name, value }, layout) {
  const y = layout[part.kind];
  setAll(frame, { x: -68, y: y - 11, width: 136, height: 22 });
  setAll(name, { x: -60, y: y + 4 });
  setAll(value, { x: 60, y: y + 4, "text-anchor": "end" });
}

const partLevel = (part, layout) => (part.layer === undefined ? layout.embeddings : layout[part.kind](part.layer));

/** The stream after a layer: a dot on it, with its norm. */
function streamNode(part) {
  const dot = el("svg:circle", { r: 5, class: "dot" }), hit = el("svg:rect", { class: "frame clear", rx: 5 }),
    value = el("svg:text", { class: "value ov-soft", "text-anchor": "end" });
  return {
    group: partButton(part, hit, dot, value),
    place(layout) {
      const y = layout.floor(part.layer + 1) + 4;
      setAll(dot, { cy: y });
      setAll(hit, { x: -100, y: y - 9, width: 112, height: 17 });
      setAll(value, { x: -13, y: y + 4 });
    },
    show({ run }, layout) {
      value.textContent = `stream ${rough(normsOf(run, part.after)[layout.row], 3)}`;
    },
  };
}
