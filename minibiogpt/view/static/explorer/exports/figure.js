// Figure: a picture with its description for screen readers, and buttons that export it and its arrays.

import { el } from "../../base.js";
import { csvOf, download, downloadAll, npyOf } from "./exports.js";
import { pngOf, svgText } from "./exports_svg.js";

/**
 * A figure element for a picture.
 * title: text or function. describe: function to the description. arrays: function to [[file name, array, labels or null]].
 * picture: an <svg> or <canvas>, or an element that contains them. Call element.refresh() after drawing.
 * element.files(kind) are the files [name, content] of "svg", "png", "npy" or "csv".
 */
export function figure({ title, describe, arrays = () => [], picture, className = "" }) {
  const text = (x) => (typeof x === "function" ? x() : x);
  const caption = el("figcaption"), long = el("p", { class: "described" });
  const status = el("span", { class: "soft", role: "status" });
  const kinds = [["svg", "SVG", "the picture as SVG"], ["png", "PNG", "the picture as PNG"], ["npy", ".npy", "the array as .npy"],
    ["csv", "CSV", "the array as CSV"]];
  const buttons = kinds.map(([kind, name, label]) => el("button",
    { type: "button", class: "small", title: `save ${label}`, onclick: () => save(kind) }, name));
  const group = el("div", { class: "exports", role: "group", "aria-label": "export" }, buttons, status);
  const made = el("figure", { class: `picture ${className}` }, caption, picture,
    el("details", { class: "words" }, el("summary", {}, "in words"), long), group);

  async function save(kind) {
    try {
      const files = await made.files(kind);
      if (files.length === 1) download(...withType(files[0]));
      else downloadAll(`${fileName(text(title))}.${kind === "npy" ? "npz" : "zip"}`, "", files);
      status.textContent = files.length === 1 ? `saved ${files[0][0]}` : `saved ${files.length} files as one`;
    } catch (error) {
      status.textContent = `not saved: ${error.message}`;
    }
  }

  made.files = async (kind) => {
    const name = fileName(text(title));
    if (kind === "svg") return [[`${name}.svg`, await svgText(shownIn(picture), text(title), describe())]];
    if (kind === "png") return [[`${name}.png`, await pngOf(shownIn(picture))]];
    return arrays().map(([one, array]) => [`${fileName(one)}.${kind}`, kind === "npy" ? npyOf(array) : csvOf(array)]);
  };
  made.refresh = () => {
    caption.textContent = text(title);
    long.textContent = describe();
    const target = picture.matches("svg, canvas") ? picture : picture.querySelector("svg, canvas");
    target?.setAttribute("role", target.getAttribute("role") ?? "img");
    target?.setAttribute("aria-label", `${text(title)}. ${describe()}`);
    const any = arrays().length > 0;
    buttons.forEach((button, i) => {
      button.setAttribute("aria-label", `save ${kinds[i][2]}: ${text(title)}`);
      if (i > 1) button.disabled = !any;
    });
    status.textContent = "";
    reachBoxes(made);
  };
  return made;
}

/** Let Tab reach each box in an element that scrolls and that holds nothing to reach, so that keys scroll it. */
export function reachBoxes(element) {
  for (const box of element.querySelectorAll(".box:not([role])")) { // one with a role can always be reached
    if (box.scrollWidth > box.clientWidth && !box.querySelector('[tabindex="0"], button, input, select')) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  }
}

/** What is exported of a picture: an <svg> or <canvas> alone, or the element with everything around it. */
function shownIn(picture) {
  if (picture.matches("svg, canvas")) return picture;
  const inner = picture.querySelectorAll("svg, canvas");
  return inner.length === 1 && inner[0] instanceof SVGSVGElement ? inner[0] : picture;
}

const TYPES = { svg: "image/svg+xml", png: "image/png", csv: "text/csv", npy: "application/octet-stream" };
/** The arguments of download for a file. */
export const withType = ([name, content]) => [name, TYPES[name.split(".").at(-1)], content];

/** A name for a file: letters of any script, digits, dots and dashes, not too long. */
export function fileName(text) {
  return text.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+|[-.]+$/g, "").slice(0, 80) || "picture";
}
