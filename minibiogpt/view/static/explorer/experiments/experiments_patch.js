// The patch: an array of a second text in place of this text's, at one position or at all that both have.

import { el } from "../../base.js";
import { patchedNames } from "../runs/changes.js";

/** The form of a patch. element.refresh() after each change of the state. */
export function patchForm(app) {
  const chosen = { name: `layers.${app.state.layer}`, head: null, row: null, from: null };
  const text = el("textarea", { rows: 1, dir: "auto", spellcheck: "false", "aria-label": "second text", placeholder: "a second text",
    oninput: () => app.set({ other: text.value }) });
  const choose = (key, label, read) => el("select", { "aria-label": label, onchange: (event) => {
    chosen[key] = read(event.target.value);
    if (key === "row") chosen.from = chosen.row;
    box.refresh();
  } });
  const number = (value) => (value === "" ? null : Number(value));
  const selects = { name: choose("name", "array", String), head: choose("head", "head", number),
    row: choose("row", "position in this text", number), from: choose("from", "position in the second text", number) };
  selects.name.append(...groupedNames(app.config));
  const fromLabel = el("label", {}, "from the second text's ", selects.from), headLabel = el("label", {}, "columns of ", selects.head);
  const act = el("button", { type: "button", onclick: () => app.change({ kind: "patch", text: app.state.other, ...chosen }) },
    "patch it in");
  const note = el("p", { class: "soft", role: "status" });
  const box = el("div", { class: "patch-form" },
    el("p", { class: "soft" }, "The model runs the second text, untouched. " +
      "Its array then replaces the array of this text, and all that follows uses it."),
    text, el("p", { class: "patch-row" }, el("label", {}, "array ", selects.name), headLabel, el("label", {}, "at ", selects.row),
      fromLabel, act), note);
  box.refresh = () => {
    if (text.value !== app.state.other) text.value = app.state.other;
    const other = app.untouchedRun(app.state.other), { run } = app, both = Math.min(run.T, other.T);
    selects.name.value = chosen.name;
    if (!chosen.name.endsWith(".context")) chosen.head = null;
    headLabel.hidden = !chosen.name.endsWith(".context");
    if (chosen.row !== null && chosen.row >= run.T) chosen.row = chosen.from = null;
    if (chosen.from !== null) chosen.from = Math.min(chosen.from, other.T - 1);
    const heads = Array.from({ length: app.config.num_attention_heads }, (_, h) => [h, `head ${h}`]);
    fill(selects.head, [["", "all heads"], ...heads], chosen.head);
    fill(selects.row, [["", `all ${both} positions that both have`], ...positionsIn(run)], chosen.row);
    fill(selects.from, positionsIn(other), chosen.from);
    fromLabel.hidden = chosen.row === null;
    note.textContent = lengthNote(run, other, chosen);
  };
  return box;
}

function groupedNames(config) {
  const groups = new Map();
  for (const name of patchedNames(config)) {
    const layer = name.match(/^layers\.(\d+)/)?.[1];
    const group = layer === undefined ? (name === "layer_norm" ? "after the layers" : "before the layers") : `layer ${layer}`;
    groups.set(group, [...(groups.get(group) ?? []), name]);
  }
  const option = (name) => el("option", { value: name }, /^layers\.\d+$/.test(name) ? `${name} (the stream after it)` : name);
  return [...groups].map(([label, names]) => el("optgroup", { label }, names.map(option)));
}

function fill(select, options, value) {
  const key = JSON.stringify(options);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...options.map(([x, label]) => el("option", { value: x }, label)));
  }
  select.value = value ?? "";
}

const positionsIn = (run) => run.tokens.map(({ label }, t) => [t, `position ${t} “${label}”`]);

function lengthNote(run, other, { row, from }) {
  const lengths = `This text has ${run.T} token${run.T === 1 ? "" : "s"}, the second has ${other.T}.`;
  if (row !== null) return `${lengths} Only position ${row} of this text changes: it gets the numbers of position ${from} of the second.`;
  if (run.T === other.T) return `${lengths} Every position is replaced.`;
  const both = Math.min(run.T, other.T), last = run.T - 1;
  const kept = last > both ? ` Positions ${both} to ${last} of this text stay as they are.` : last === both
    ? ` Position ${both} of this text stays as it is.` : "";
  return `${lengths} Positions are paired by their number, 0 to ${both - 1}.${kept}`;
}
