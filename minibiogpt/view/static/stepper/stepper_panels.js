// Panels: the equation of a step, what its symbols are, its names in other tools, and its source code.

import { el } from "../base.js";

/** "(B 1, T 3)": letters with their sizes. */
function lettersWithSizes(axes, sizes) {
  return `(${axes.map((letter) => (letter in sizes ? `${letter} ${sizes[letter]}` : letter)).join(", ")})`;
}

/** A button that goes to another step. */
function stepLink(name, text, go, mono = false) {
  return el("button", { type: "button", class: mono ? "link mono" : "link", title: name, onclick: () => go(name) }, text);
}

/** The equation, with its symbols as links to the steps that compute them. has: whether there is a step of a name. */
export function equationOf(step, has, go) {
  return step.equation.split(/(?<![.\w])([A-Za-z_]\w*)/).map((part, i) => {
    const name = step.where[part];
    return i % 2 === 0 || !name || !has(name) || name === step.name ? part : stepLink(name, part, go, true);
  });
}

/** The rows of the table of symbols. */
export function symbolsOf(source, step, has, go) {
  const row = (label, mono, ...cells) => el("tr", {}, el("th", { scope: "row", class: mono ? "mono" : null }, label), el("td", {}, cells));
  const rows = step.symbols.map(({ symbol, text, name, axes }) => {
    const shape = axes.length ? ` ${lettersWithSizes(axes, source.sizes)}` : "";
    const link = has(name) && name !== step.name ? stepLink(name, name, go) : name;
    return row(symbol, true, link, name ? shape + text : text + shape);
  });
  rows.unshift(row("shape", false, `${lettersWithSizes(step.axes, source.sizes)}, ${source.facts.dtype}`));
  const letters = step.letters.filter((letter) => letter in source.sizes).map((letter) => `${letter} ${source.sizes[letter]}`);
  if (letters.length) rows.push(row("letters", false, letters.join(", ")));
  return el("tbody", {}, rows);
}

/** The rows of the table of the note and the names in other tools. */
export function aboutOf(step) {
  const rows = Object.entries(step.names).map(([tool, name]) => [`in ${tool}`, name]);
  if (step.note) rows.unshift(["note", step.note]);
  return el("tbody", {}, rows.map(([label, text]) => el("tr", {}, el("th", { scope: "row" }, label), el("td", {}, text))));
}

/** The listings of the source code, with the marked line. */
export function codeOf(step) {
  return [el("h3", {}, "Source code"), ...step.code.flatMap(({ location, first, mark, text }) => {
    const lines = text.split("\n").map((line, i) => el("span", { class: first + i === mark ? "here" : null },
      el("i", {}, `${first + i === mark ? "▶ " : ""}${first + i}`), line));
    const label = `source of ${location}`;
    return [el("div", { class: "soft mono" }, location), el("pre", { tabindex: "0", role: "group", "aria-label": label }, lines)];
  })];
}

/** Scroll each listing, but not the page, to its marked line. */
export function scrollToMark(box) {
  for (const pre of box.querySelectorAll("pre")) {
    const line = pre.querySelector(".here");
    if (line) pre.scrollTop = line.offsetTop - pre.clientHeight / 3;
  }
}
