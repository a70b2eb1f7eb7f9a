// Columns of the model view: the stream of each token, what was written into it, and the lines of attention.

import { el, shortened } from "../../base.js";
import { streamPath } from "./overview_layout.js";
import { answersOf, linesOf, nextTokens, normsOf, partsOf, scaleOfNorms } from "./overview_numbers.js";

const MOST_LINES = 8; // the most lines to one token and layer
const NEXT = 5; // next tokens named on top of another column

/** The scales of the drawing, of what parts write and of streams, over all tokens. */
export function scalesOf(run) {
  const parts = partsOf(run.config.num_hidden_layers);
  const names = (kinds, which) => parts.filter((part) => kinds.includes(part.kind)).map((part) => part[which]);
  return {
    written: scaleOfNorms(run, names(["tokens", "positions", "attention", "feed"], "written")),
    stream: scaleOfNorms(run, names(["tokens", "attention", "feed"], "after")),
  };
}

/** The levels of a token's stream: [y, half of the width] where it changes, from the bottom to the top. */
export function levelsOf(run, t, layout, scales, widest) {
  const half = (name) => 1 + (widest * shareOf(normsOf(run, name)[t], scales.stream)) / 2;
  const levels = [[layout.embeddings, half("embeddings")]];
  for (let l = 0; l < layout.L; l++) {
    levels.push([layout.attention(l), half(`layers.${l}.attn_residual`)], [layout.feed(l), half(`layers.${l}`)]);
  }
  return levels;
}

/** A norm as a share of its scale, from 0 to 1; 0 for NaN. */
export const shareOf = (norm, scale) => Math.min(1, Math.max(0, norm / scale || 0));

/** The elements for all columns, and draw(app, layout, scales), which draws them again. */
export function columns() {
  const layers = el("svg:g", { class: "ov-layers" }), lines = el("svg:g", { class: "ov-lines" }),
    over = el("svg:g", { class: "ov-lines over" });
  const streams = el("svg:path", { class: "ov-stream" }), tokens = el("svg:g", { class: "ov-tokens" });
  const written = { attention: el("svg:path", { class: "ov-attention" }), feed: el("svg:path", { class: "ov-feed" }) };
  const answers = el("svg:g", { class: "ov-tokens ov-soft" });
  const group = el("svg:g", { "aria-hidden": "true" }, layers, lines, over, streams, written.attention, written.feed, tokens, answers);
  return {
    group,
    draw({ run, facts }, layout, scales) {
      const others = run.tokens.map((_, t) => t).filter((t) => t !== layout.row);
      const widest = widestOf(layout);
      streams.setAttribute("d", others.map((t) => streamPath(layout.x(t), levelsOf(run, t, layout, scales, widest), layout.norm)).join(""));
      for (const kind of ["attention", "feed"]) written[kind].setAttribute("d", writtenPath(run, kind, others, layout, scales));
      layers.replaceChildren(...Array.from({ length: layout.L }, (_, l) => el("svg:rect", {
        x: 0, y: layout.floor(l + 1), width: layout.width, height: layout.tall, class: l % 2 ? "odd" : "even",
      })));
      tokens.replaceChildren(...run.tokens.map((token, t) => columnLabel(token.label, t, layout, layout.tokens + 14, "end")));
      answers.replaceChildren(...others.flatMap((t) => (layout.wide ? nextWords(run, facts, t, layout)
        : [columnLabel(facts.labels[answersOf(run)[t].id], t, layout, layout.norm - 8, "start")])));
    },
    drawLines: (app, layout) => lines.replaceChildren(...curvesTo(app, layout, layout.row)),
    drawOver: (app, layout, t) => over.replaceChildren(...(t === null || t === layout.row ? [] : curvesTo(app, layout, t))),
  };
}

/** The width of the widest stream beside the studied token. */
const widestOf = ({ column, wide }) => (wide ? 10 : column * 0.22);

/** Bars beside the streams, attention to the left and feed-forward to the right; length: the norm of what was written. */
function writtenPath(run, kind, others, layout, scales) {
  const start = widestOf(layout) / 2 + 1, longest = layout.column / 2 - start - 5, parts = [], height = Math.min(7, layout.tall / 9);
  for (let l = 0; l < layout.L; l++) {
    const norms = normsOf(run, `layers.${l}.${kind === "attention" ? "self_attn.out_proj" : "fc2"}`), y = layout[kind](l) - height / 2;
    if (!norms) continue;
    for (const t of others) {
      const side = kind === "attention" ? -1 : 1, x = layout.x(t) + side * start, size = side * longest * shareOf(norms[t], scales.written);
      parts.push(`M${x} ${y}h${size.toFixed(2)}v${height}H${x}Z`);
      if (norms[t] > scales.written) parts.push(`M${x + size + 2 * side} ${y}h${2 * side}v${height}h${-2 * side}Z`); // cut
    }
  }
  return parts.join("");
}

/** The most probable next tokens after another token, the first at the top, each on a bar for its probability. */
function nextWords(run, facts, t, layout) {
  const { top, probs } = nextTokens(run, t, NEXT), x = layout.x(t) - layout.column / 2 + 5, room = layout.column - 10;
  return top.flatMap((id, i) => {
    const y = layout.norm - 10 - (top.length - 1 - i) * layout.line;
    return [el("svg:rect", { class: "share", x, y: y - 10, width: Math.max(0.5, room * probs[id] || 0), height: layout.line - 2 }),
      el("svg:text", { x: x + 2, y }, shortened(facts.labels[id], Math.floor(room / 7)))];
  });
}

/** A token's label below or above its column; turned where columns are narrow. */
function columnLabel(text, t, layout, y, anchor) {
  const here = t === layout.row, x = layout.x(t), className = here ? "here" : null;
  if (here || layout.wide) {
    const room = Math.floor((here ? 200 : layout.column) / 7.5);
    return el("svg:text", { x, y, "text-anchor": "middle", class: className }, shortened(text, room));
  }
  return el("svg:text", { x, y, "text-anchor": anchor, transform: `rotate(-90 ${x} ${y})`, dy: 4, class: className }, shortened(text, 13));
}

/** Lines from the streams of the keys to the attention of the token t in each layer: the strongest, each at a height of its own. */
function curvesTo(app, layout, t) {
  const { run, state } = app, made = [], to = layout.x(t) - (t === layout.row ? layout.left - 8 : 0), apart = layout.box / MOST_LINES;
  for (let l = 0; l < layout.L; l++) {
    const found = linesOf(run, l, t, state.lines, state.head).map((line, s) => ({ ...line, s }));
    const kept = found.filter(({ s, weight }) => s !== t && weight > 0).sort((a, b) => b.weight - a.weight).slice(0, MOST_LINES);
    kept.sort((a, b) => b.s - a.s).forEach(({ s, weight }, i) => { // near keys run below far ones
      const x = layout.x(s), from = layout.floor(l) - 1, y = layout.attention(l) + layout.box / 2 - (i + 0.5) * apart,
        turn = Math.sign(to - x) * Math.min(18, layout.column / 2);
      made.push(el("svg:path", { d: `M${x} ${from}C${x} ${y} ${x} ${y} ${x + turn} ${y}H${to}`,
        "stroke-width": 0.5 + 3.2 * Math.min(1, weight), opacity: 0.2 + 0.8 * Math.min(1, weight) }));
    });
  }
  return made;
}
