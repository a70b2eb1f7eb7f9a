// The page of one layer: a stepper over the page's own data, with keys and a theme button.

import { data, el, openDialog, themeButton } from "../base.js";
import { Stepper } from "./stepper.js";
import { STEPPER_KEYS } from "./stepper_parts.js";
import { sourceOfData } from "./stepper_source.js";

function showKeys() {
  const rows = [...STEPPER_KEYS, ["?", "this list"]].map(([keys, text]) =>
    el("tr", {}, el("td", {}, keys.split(" ").map((key) => (key === "+" ? "+ " : el("kbd", {}, key)))), el("td", {}, text)));
  openDialog("Keyboard shortcuts", el("table", {}, el("tbody", {}, rows)), el("p", { class: "soft" }, "Click a cell to pin it."));
}

const stepper = new Stepper(document.getElementById("stepper"), sourceOfData(data), {
  start: data.start,
  tools: [
    themeButton(() => stepper.draw()),
    el("button", { type: "button", onclick: showKeys, "aria-label": "keyboard help" }, "keys"),
  ],
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog")) return;
  if (event.target.matches("input, select, textarea")) return;
  if (event.key === "?") showKeys();
  else if (!stepper.onKey(event)) return;
  event.preventDefault();
});
