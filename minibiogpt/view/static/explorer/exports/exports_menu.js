// The menu "save" of the page: the run as a trace file, and every picture or array of the view.

import { el } from "../../base.js";
import { download, downloadAll } from "./exports.js";
import { traceFileOf } from "./exports_trace.js";
import { fileName } from "./figure.js";

/** The menu. figures: function to the figures of the view that is shown. */
export function saveMenu(app, figures) {
  const status = el("span", { class: "soft", role: "status" });
  const act = (label, about, save) => el("li", {}, el("button", { type: "button", title: about, onclick: async () => {
    try {
      status.textContent = await save();
    } catch (error) {
      status.textContent = `not saved: ${error.message}`;
    }
  } }, label));
  const trace = (run, ending) => {
    const name = `trace${ending}.safetensors`;
    download(name, "application/octet-stream", traceFileOf(run, app.facts));
    return `saved ${name}: ${run.names.length} arrays`;
  };
  const every = async (kind, what) => {
    const shown = app.view.files ? [app.view, ...figures()] : figures();
    const files = (await Promise.all(shown.map((each) => each.files(kind)))).flat();
    if (!files.length) return `this view has no ${what}`;
    downloadAll(`${fileName(app.view.id)}.${kind === "npy" ? "npz" : "zip"}`, "application/octet-stream", distinct(files));
    return `saved ${files.length} ${what}`;
  };
  const shown = () => trace(app.run, app.run === app.baseline ? "" : "-changed");
  const untouched = act("the untouched run, as a trace file", "for Trace.load", () => trace(app.baseline, "-untouched"));
  const list = el("ul", {},
    act("this run, as a trace file", "safetensors: minibiogpt's Trace.load reads it", shown), untouched,
    act("all pictures here, as SVG", "", () => every("svg", "pictures")),
    act("all pictures here, as PNG", "", () => every("png", "pictures")),
    act("all arrays here, for NumPy", ".npy, or .npz if there are several", () => every("npy", "arrays")),
    act("all arrays here, as CSV", "", () => every("csv", "arrays")));
  const menu = el("details", { class: "save-menu" }, el("summary", { "aria-label": "save: the run, pictures, arrays" }, "save"),
    el("div", { class: "save-list" }, list, status));
  menu.addEventListener("toggle", () => {
    if (menu.open) untouched.hidden = app.run === app.baseline;
    else status.textContent = ""; // not when it opens: on a busy machine this event comes after the first key in the menu
  });
  closeOutside(menu);
  return menu;
}

/** Close a menu on Escape, and when the focus or a click goes elsewhere. */
function closeOutside(menu) {
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
    event.stopPropagation();
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  document.addEventListener("pointerdown", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
}

/** Files with distinct names: a second "a.svg" is "a-2.svg". */
function distinct(files) {
  const seen = new Map();
  return files.map(([name, content]) => {
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    return [count === 1 ? name : name.replace(/(\.\w+)$/, `-${count}$1`), content];
  });
}
