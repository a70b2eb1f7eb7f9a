// The banner of an experiment: in every view, while there is a change, what is changed and a switch to the untouched run.

import { el, isolated } from "../../base.js";
import { changeLabel, idleReason } from "../runs/changes.js";

/** The banner's element; element.refresh() after each change of the state. */
export function experimentBanner(app) {
  const box = el("section", { class: "experiment-banner", "aria-label": "experiment", hidden: true });
  box.refresh = () => {
    const { changes, untouched } = app.state;
    box.hidden = !changes.length;
    if (box.hidden) return;
    const focused = box.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    const count = el("b", {}, `${changes.length} change${changes.length === 1 ? "" : "s"}:`);
    const button = (act, text, onclick) => el("button", { type: "button", class: "small", "data-act": act, onclick }, text);
    box.replaceChildren(count, chipsOf(app),
      el("span", { role: "status" }, untouched ? "off for now: every number below is of the untouched model."
        : "every number below is of the changed model."),
      button("switch", untouched ? "show the changed run" : "show the untouched run", () => app.set({ untouched: !untouched })),
      button("clear", "remove all changes", () => app.set({ changes: [] })));
    if (app.problem) box.append(el("span", { class: "bad" }, `The changed model did not run: ${app.problem}`));
    if (focused) box.querySelector(`[data-act="${focused}"]`)?.focus();
  };
  return box;
}

/** A list of the changes, each with a button that removes it. */
function chipsOf(app) {
  const { experiment } = app;
  const tokens = (text) => app.untouchedRun(text).T;
  return el("ul", { class: "chips" }, app.state.changes.map((change) => {
    const label = changeLabel(change), idle = idleReason(change, experiment, tokens);
    return el("li", { class: idle ? "idle" : "" }, isolated(label), idle ? ` (does nothing: ${idle})` : "",
      el("button", { type: "button", "aria-label": `remove: ${label}`, title: "remove", onclick: () => app.unchange(change) }, "×"));
  }));
}
