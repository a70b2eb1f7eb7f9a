// Print: a printed page has all views, one under the other, in light colors.

import { el, root } from "../base.js";

/** Show every view before printing, and the one view again afterwards. elementOf: view to element; restore: shows the view. */
export function printable(app, box, elementOf, restore) {
  let theme = root.dataset.theme;
  window.addEventListener("beforeprint", () => {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    const { text, changes } = app.state;
    const changed = changes.length ? ` (with ${changes.length} changes)` : "";
    box.replaceChildren(el("p", { class: "printed" }, `The text: “${text}”${changed}`));
    for (const view of app.views) {
      const element = elementOf(view);
      box.append(el("h2", { class: "printed" }, view.title), element); // in the page first: views measure their width
      view.update(app);
    }
  });
  window.addEventListener("afterprint", () => {
    root.dataset.theme = theme;
    restore();
  });
}
