// Print: a printed page has all views, each on a page of its own, in light colors.

import { el, isolated, root } from "../base.js";

const PRINTED_WIDTH = 700; // pixels, as wide as A4 in portrait; pictures measure it when they are drawn

/** Show every view before printing, and the one view again afterwards. elementOf: view to element; restore: shows the view. */
export function printable(app, box, elementOf, restore) {
  let theme = root.dataset.theme, shrunk = [];
  window.addEventListener("beforeprint", () => {
    if (root.dataset.printing) return;
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    root.dataset.printing = "true";
    document.body.style.width = `${PRINTED_WIDTH}px`;
    const { length } = app.state.changes, changed = length ? `, with ${length} change${length > 1 ? "s" : ""} of the model` : "";
    box.replaceChildren(el("p", { class: "printed" }, "The text: “", isolated(app.run.text), `”${changed}`));
    for (const view of app.views) {
      const element = elementOf(view);
      box.append(el("h2", { class: "printed" }, view.title), element); // in the page first: views measure their width
      view.update(app);
    }
    shrunk = shrunkIn(box);
  });
  window.addEventListener("afterprint", () => {
    for (const element of shrunk) element.style.zoom = "";
    root.dataset.theme = theme;
    delete root.dataset.printing;
    document.body.style.width = "";
    restore();
  });
}

/** Shrink what would have to be scrolled sideways to the width that is there; return it. */
function shrunkIn(box) {
  const wide = [...box.querySelectorAll(".box, .map")].filter((one) => one.scrollWidth > one.clientWidth && one.clientWidth > 0);
  return wide.flatMap((one) => {
    const zoom = one.clientWidth / one.scrollWidth;
    for (const child of one.children) child.style.zoom = zoom;
    return [...one.children];
  });
}
