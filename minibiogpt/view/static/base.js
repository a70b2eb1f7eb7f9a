// Shared by all pages: the data, helpers for elements and numbers, the theme, and copying.

export const data = JSON.parse(document.getElementById("data").textContent);
export const root = document.documentElement;

/** Create an element. Attributes that start with "on" are listeners; children are elements or text, never HTML. */
export function el(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Set attributes of an element, and its text if one is given. */
export function setAll(element, attributes, text = null) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null && element.textContent !== text) element.textContent = text;
}

/** The steps [down, right] of the arrow keys in a grid. */
export const ARROW_STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** The shortest decimal that round-trips x in its dtype. */
export function exact(x, dtype = "float64") {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "NaN" : x > 0 ? "inf" : "-inf";
  if (dtype === "float64") return String(x);
  for (let digits = 6; digits <= 9; digits++) {
    const short = Number(x.toPrecision(digits));
    if (Math.fround(short) === x) return String(short);
  }
  return String(x);
}

/** x with a few significant digits, for tables and scales. */
export function rough(x, digits = 4) {
  if (!Number.isFinite(x) || x === 0) return exact(x);
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-4 ? x.toExponential(digits - 1) : String(Number(x.toPrecision(digits)));
}

/** A probability as a percentage with two decimals. */
export function percentOf(p) {
  if (Number.isNaN(p)) return "NaN";
  return p > 0 && p < 0.0001 ? "< 0.01 %" : `${p === 0 ? 0 : (100 * p).toFixed(2)} %`;
}

/** A text, or its first characters and an ellipsis, at most `most` characters together. */
export function shortened(text, most) {
  const characters = [...text];
  return characters.length > most ? `${characters.slice(0, Math.max(1, most - 1)).join("")}…` : text;
}

/** The text with U+FFFD for lone surrogates, which neither addresses nor files in UTF-8 can hold. */
export const wellFormed = (text) => text.replace(/\p{Surrogate}/gu, "\ufffd");

/** A horizontal bar for a signed number, at most 90 pixels long; hatched if negative. */
export function signedBar(x, largest) {
  const width = largest > 0 && Number.isFinite(x) ? Math.max(x === 0 ? 0 : 1, (Math.abs(x) / largest) * 90) : 0;
  return el("span", { class: x < 0 ? "bar below" : "bar", style: `width:${width}px`, "aria-hidden": "true" });
}

/** Text whose direction (left to right or not) does not affect the text around it. */
export function isolated(text) {
  return el("bdi", {}, text);
}

const darkSystem = window.matchMedia("(prefers-color-scheme: dark)");
export const isDark = () => root.dataset.theme === "dark" || (root.dataset.theme === "auto" && darkSystem.matches);
export const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

/** A button that cycles through auto, light and dark; redraw is called after the colors change. */
export function themeButton(redraw) {
  const order = ["auto", "light", "dark"];
  const button = el("button", { type: "button", id: "theme" });
  const update = () => {
    button.textContent = `theme: ${root.dataset.theme}`;
    button.setAttribute("aria-label", `theme: ${root.dataset.theme}; click to change`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = order[(order.indexOf(root.dataset.theme) + 1) % order.length];
    update();
    redraw();
  });
  darkSystem.addEventListener("change", redraw);
  update();
  return button;
}

/** Open a modal dialog; Esc closes it. */
export function openDialog(title, ...children) {
  const close = el("button", { type: "button", onclick: () => dialog.close() }, "close");
  const dialog = el("dialog", { "aria-label": title }, el("h3", {}, title), ...children, el("p", {}, close));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Copy text to the clipboard. If the browser refuses, as in a frame, show a text field to copy from. */
export async function copyText(text, report) {
  try {
    await navigator.clipboard.writeText(text);
    report("copied");
  } catch {
    const field = el("textarea", { readonly: true, "aria-label": "values" });
    field.value = text;
    openDialog("Copy from here", field);
    field.select();
    report("select and copy");
  }
}
