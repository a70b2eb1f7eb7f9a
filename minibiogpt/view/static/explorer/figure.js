// Figure: a picture with its description for screen readers, and buttons that export it and its arrays.

import { el } from "../base.js";
import { download, npyOf, csvOf, pngOf, svgText } from "./exports.js";

/**
 * A figure element for a picture.
 * title: text or function. describe: function to the description. arrays: function to [[file name, array, labels or null]].
 * picture: an <svg> or <canvas>, or an element that contains one. Call element.refresh() after drawing.
 */
export function figure({ title, describe, arrays = () => [], picture, className = "" }) {
  const text = (x) => (typeof x === "function" ? x() : x);
  const caption = el("figcaption"), long = el("p", { class: "described" });
  const status = el("span", { class: "soft", role: "status" });
  const file = () => text(title).replace(/[^\w.-]+/g, "-");
  const drawn = () => (picture.matches("svg, canvas") ? picture : picture.querySelector("svg, canvas"));
  const button = (name, label, act) => el("button", { type: "button", class: "small", "aria-label": label, onclick: act }, name);
  const buttons = el("div", { class: "exports", role: "group", "aria-label": "export" },
    button("SVG", "save the picture as SVG", async () => download(`${file()}.svg`, "image/svg+xml", await svgText(drawn()))),
    button("PNG", "save the picture as PNG", async () => download(`${file()}.png`, "image/png", await pngOf(drawn()))),
    button(".npy", "save the array as .npy", () => arrays().forEach(([name, array]) => download(`${name}.npy`, "application/octet-stream", npyOf(array)))),
    button("CSV", "save the array as CSV", () => arrays().forEach(([name, array]) => download(`${name}.csv`, "text/csv", csvOf(array)))),
    status);
  const made = el("figure", { class: `picture ${className}` }, caption, picture, el("details", { class: "words" }, el("summary", {}, "in words"), long), buttons);
  made.refresh = () => {
    caption.textContent = text(title);
    long.textContent = describe();
    const target = drawn();
    target?.setAttribute("role", target.getAttribute("role") ?? "img");
    target?.setAttribute("aria-label", `${text(title)}. ${describe()}`);
    const any = arrays().length > 0;
    [...buttons.querySelectorAll("button")].slice(2).forEach((each) => { each.disabled = !any; });
  };
  return made;
}
