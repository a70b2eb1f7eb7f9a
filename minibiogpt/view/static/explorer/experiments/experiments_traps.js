// The traps as switches: rules of the model that ports get wrong. docs/traps.md describes them.

import { el } from "../../base.js";
import { TRAPS } from "../../biogpt.js";

/** {key of a trap: [its number in docs/traps.md, the heading there]}. */
const SECTIONS = {
  eps: [2, "The norm's eps"], unbiased: [2, "The norm's eps"], unitGain: [2, "The norm's eps"],
  activation: [3, "The tanh approximation of GELU"], positionOffset: [4, "The position table has two extra rows"],
  countPads: [5, "Positions and padding"], scaleEmbedding: [6, "What is scaled by sqrt(D), and what is not"],
  scalePositions: [6, "What is scaled by sqrt(D), and what is not"], scaleHead: [6, "What is scaled by sqrt(D), and what is not"],
  maskAdds: [7, "Additive masks"], causal: [8, "Causal and padding masks"], paddingMask: [8, "Causal and padding masks"],
  scaleScores: [9, "The attention scale and the softmax"], interleavedHeads: [10, "Layouts of heads and weights"],
  swapQueriesAndKeys: [10, "Layouts of heads and weights"], transpose: [10, "Layouts of heads and weights"],
  zeroBias: [11, "Missing biases"], preNorm: [12, "Norms and residuals"], swapNorms: [12, "Norms and residuals"],
  finalNorm: [12, "Norms and residuals"], layerOrder: [12, "Norms and residuals"],
};

/** The list of traps. element.refresh() after each change of the state. */
export function trapList(app) {
  const boxes = TRAPS.map((trap) => {
    const impossible = trap.first === null, id = `trap-${trap.key}-${trap.value}`;
    const input = el("input", { type: "checkbox", id, disabled: impossible, "aria-describedby": `${id}-about`,
      onchange: () => (input.checked ? app.change({ kind: "trap", key: trap.key, value: trap.value })
        : app.unchange({ kind: "trap", key: trap.key })) });
    return { trap, input, id };
  });
  const list = el("ul", { class: "traps" }, boxes.map(({ trap, input, id }) => el("li", {}, input, el("span", {},
    el("label", { for: id }, trap.label), el("span", { class: "soft", id: `${id}-about` },
      ` ${trap.about}${conditionOf(trap)} ${sourceOfTrap(trap)}`)))));
  const box = el("div", {},
    el("p", { class: "soft" }, "Mistakes that ports of BioGPT make, known from public ports and listed in docs/traps.md. " +
    "The weights stay; the model computes something else from them."), list);
  box.refresh = () => {
    const on = new Map(app.state.changes.filter(({ kind }) => kind === "trap").map(({ key, value }) => [key, value]));
    for (const { trap, input } of boxes) input.checked = on.has(trap.key) && on.get(trap.key) === trap.value;
  };
  return box;
}

function conditionOf({ first, reaches, needs }) {
  if (first === null) return ` It takes ${needs}, which a text on this page does not have.`;
  return reaches ? "" : ` To reach the logits it takes ${needs}.`;
}

function sourceOfTrap({ key }) {
  const [number, heading] = SECTIONS[key] ?? [];
  return number ? `(trap ${number}: ${heading})` : "";
}
