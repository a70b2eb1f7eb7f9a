// Layer: one layer, step by step, and every number taken apart: the stepper over the arrays of the current run.

import { data, el, isDark } from "../../base.js";
import { Stepper } from "../../stepper/stepper.js";
import { STEPPER_KEYS } from "../../stepper/stepper_parts.js";
import { stepInLayer } from "../../stepper/stepper_source.js";
import { csvOf, download, npyOf } from "../exports/exports.js";
import { pngOf, svgText } from "../exports/exports_svg.js";
import { fileName, withType } from "../exports/figure.js";
import { oncePerRun } from "../runs/run.js";

const layerParts = { stepper: null, layers: null, box: null, drawn: "" };

export const layerView = {
  id: "layer",
  title: "Layer",
  about: "One layer, step by step, with what comes before the first and after the last. Point at a cell to see how its number is computed.",
  keys: STEPPER_KEYS.filter(([keys]) => !["[ ]", ", ."].includes(keys)),

  build() {
    layerParts.box = el("div");
    layerParts.layers = el("div", { class: "layers", role: "group", "aria-label": "layers" });
    return layerParts.box;
  },

  update(app) {
    const { state } = app, source = sourceOfRun(app, state.layer);
    const place = { step: state.step, head: state.head, row: app.row, col: state.col };
    const drawn = JSON.stringify([place, isDark(), layerParts.box.clientWidth, window.innerHeight]);
    if (layerParts.stepper?.source === source && drawn === layerParts.drawn) return;
    layerParts.drawn = drawn;
    showLayers(app);
    if (layerParts.stepper) {
      layerParts.stepper.setSource(source, place);
      return;
    }
    layerParts.stepper = new Stepper(layerParts.box, source, {
      changed: (stepper) => follow(app, stepper), tools: [layerParts.layers], exports: exportButtons(),
    });
    layerParts.stepper.setSource(source, place);
  },

  files: (kind) => filesOfStep(kind),

  onKey(event) {
    if ("[],.".includes(event.key) && !event.shiftKey) return false; // the page moves the head and the token
    return layerParts.stepper?.onKey(event) ?? false;
  },
};

/** Copy what was changed in the stepper to the state of the page. */
function follow(app, stepper) {
  const { head, row, col, pinned } = stepper.state;
  app.set({ step: stepper.key, head, row: row === app.run.T - 1 && app.state.row === null ? null : row, col: pinned ? col : null });
  const place = { step: app.state.step, head: app.state.head, row: app.row, col: app.state.col };
  layerParts.drawn = JSON.stringify([place, isDark(), layerParts.box.clientWidth, window.innerHeight]);
}

function showLayers(app) {
  const count = app.config.num_hidden_layers;
  const button = (_, l) => el("button", {
    type: "button", class: "small", "aria-pressed": String(l === app.state.layer), "aria-label": `layer ${l}`,
    onclick: () => app.set({ layer: l }),
  }, String(l));
  layerParts.layers.replaceChildren(el("span", { class: "soft" }, "layer "), ...Array.from({ length: count }, button));
}

function exportButtons() {
  const kinds = [["svg", "SVG", "the picture as SVG"], ["png", "PNG", "the picture as PNG"], ["npy", ".npy", "the array as .npy"],
    ["csv", "CSV", "the array as CSV"]];
  return kinds.map(([kind, text, label]) => el("button", { type: "button", "aria-label": `save ${label}`,
    onclick: async () => download(...withType((await filesOfStep(kind))[0])) }, text));
}

/** The file of the shown step: its picture, or its array. */
async function filesOfStep(kind) {
  const { step, map } = layerParts.stepper, array = layerParts.stepper.array();
  const make = { svg: () => svgText(map.box, step.name), png: () => pngOf(map.box), npy: () => npyOf(array), csv: () => csvOf(array) };
  return [[`${fileName(step.name)}.${kind}`, await make[kind]()]];
}

// The source of a layer of a run ---------------------------------------------------------------------------------------

const sourceOfRun = (app, layer) => oncePerRun(app.run, `source ${layer}`, () => makeSource(app, app.run, layer));

function makeSource(app, run, layer) {
  const { config } = run, { T } = run, D = config.hidden_size, H = config.num_attention_heads;
  const headMask = run.options?.headMask?.[layer] ?? null; // of an experiment
  const array = (name) => run.array(name);
  return {
    layer, heads: H, headSize: D / H, tokens: run.tokens, padding: run.tokens.map(() => false), headMask,
    steps: stepsShown(layer, Boolean(headMask)).filter((step) => array(step.name)),
    sizes: { B: 1, T, S: T, D, H, Dh: D / H, F: config.intermediate_size, V: config.vocab_size, L: config.num_hidden_layers },
    leftOut: "The page does not contain the weights of this model, so their products are not listed.",
    vocabulary: data.labels ?? null,
    facts: {
      activation: config.hidden_act, eps: 1e-5, dtype: run.dtype, lowest: run.lowest,
      scaleEmbedding: config.scale_embedding, positionOffset: 2,
    },
    array, parameter: (name) => run.parameter(name), changed: app.state.changes.length > 0,
  };
}

const stepsOfLayers = new Map();

/** The steps before the layers, of one layer with its input, and after the layers. masked: whether a head mask makes the weights. */
function stepsShown(layer, masked) {
  const key = `${layer} ${masked}`;
  if (!stepsOfLayers.has(key)) {
    const { before, layer: own, after, head_mask: weights } = data.explanations;
    const input = layer ? [stepInLayer(own.at(-1), layer - 1)] : [];
    const steps = own.map((step) => stepInLayer(masked && step.name === weights.name ? weights : step, layer));
    stepsOfLayers.set(key, [...before, ...input, ...steps, ...after]);
  }
  return stepsOfLayers.get(key);
}
