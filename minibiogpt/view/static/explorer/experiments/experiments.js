// Experiments: change the model, and see what follows, against the untouched run.

import { el } from "../../base.js";
import { ablationFigure } from "./experiments_ablation.js";
import { headGrid, nudgeHead, toggleHead } from "./experiments_heads.js";
import { patchForm } from "./experiments_patch.js";
import { pythonBox, pythonOfAblation, recordedNote } from "./experiments_python.js";
import { drawMoves, drawNextTokens, effectOf, effectTable, effectText, labelOf } from "./experiments_results.js";
import { trapList } from "./experiments_traps.js";
import { figure } from "../exports/figure.js";

const experiment = {}; // the parts of the view, once it is built

export const experimentsView = {
  id: "experiments",
  title: "Experiments",
  about: "Switch heads off, put in arrays of another text, or compute the model wrongly, and see what follows.",
  keys: [["x", "switch the chosen head off or on"], ["+ -", "raise or lower its factor"], ["Arrow keys", "in the grid: the next head"],
    ["u", "the untouched run and back"], ["Backspace", "remove the last change"]],
  build(app) {
    if (!app.live) {
      experiment.note = recordedNote(app, "Experiments run the model, and this page holds one recorded run. In Python, this switches the " +
        "chosen head off; edits= and patch_from= replace arrays.", pythonOfAblation);
      return experiment.note;
    }
    const panel = (title, content, open = false) => el("details", { class: "panel", open }, el("summary", {}, title), content);
    Object.assign(experiment, { heads: headGrid(app), patch: patchForm(app), traps: trapList(app), python: pythonBox(app),
      ablation: ablationFigure(app) });
    buildResults(app);
    return el("div", { class: "experiment" },
      el("div", { class: "controls" }, panel("Heads: switch off, or scale", experiment.heads, true),
        panel("Patch: an array of a second text", experiment.patch), panel("Traps: the model computed wrongly", experiment.traps),
        panel("The same in Python", experiment.python)),
      el("div", { class: "results" }, el("h2", { class: "minor" }, "What follows"), experiment.text, experiment.tokens, experiment.moves,
        experiment.ablation));
  },
  update(app) {
    if (!app.live) return experiment.note.refresh();
    for (const name of ["heads", "patch", "traps", "python", "ablation"]) experiment[name].refresh();
    drawResults(app);
  },
  onKey(event, app) {
    if (!app.live) return false;
    const { layer, head } = app.state, last = app.state.changes.at(-1);
    const acts = new Map([["x", () => toggleHead(app, layer, head)], ["+", () => nudgeHead(app, 1)], ["=", () => nudgeHead(app, 1)],
      ["-", () => nudgeHead(app, -1)], ["u", () => app.set({ untouched: !app.state.untouched })],
      ["Backspace", () => last && app.unchange(last)]]);
    acts.get(event.key)?.();
    return acts.has(event.key);
  },
};

function buildResults(app) {
  experiment.text = el("p", { class: "effect", "aria-live": "polite" });
  experiment.bars = el("svg:svg", { class: "drawing" });
  experiment.distances = el("svg:svg", { class: "drawing" });
  experiment.table = el("div", { class: "box" });
  const rows = (name) => [[`${name}-untouched`, app.baseline.array(name)], [`${name}-changed`, app.experiment.array(name)]];
  experiment.tokens = figure({ title: () => `Next token after “${labelOf(app, app.run.ids[app.row])}”, before and after`,
    describe: () => nextTokensText(app), picture: experiment.bars, arrays: () => rows("logits") });
  experiment.tokens.append(el("details", {}, el("summary", { class: "soft" }, "as a table"), experiment.table));
  experiment.moves = figure({ title: () => `How far the stream moved at position ${app.row}: |changed - untouched| / |untouched|`,
    describe: () => experiment.effect.stream.map(([name, x]) => `${name} ${x.toPrecision(3)}`).join(", "), picture: experiment.distances,
    arrays: () => rows(`layers.${app.config.num_hidden_layers - 1}`) });
}

function nextTokensText(app) {
  const { ids, p, q } = experiment.effect;
  return ids.map((id) => `${labelOf(app, id)}: ${p[id].toPrecision(4)} before, ${q[id].toPrecision(4)} after`).join("; ");
}

function drawResults(app) {
  const effect = experiment.effect = effectOf(app);
  experiment.text.textContent = effectText(app, effect);
  const width = Math.max(280, Math.min(720, experiment.tokens.clientWidth || 600));
  drawNextTokens(experiment.bars, app, effect, width);
  drawMoves(experiment.distances, app, effect, width);
  experiment.table.replaceChildren(effectTable(app, effect));
  experiment.tokens.refresh();
  experiment.moves.refresh();
}
