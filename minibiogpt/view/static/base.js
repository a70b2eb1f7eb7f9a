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

/** Text whose direction (left to right or not) does not affect the text around it. */
export function isolated(text) {
  return el("bdi", {}, text);
}

export const darkSystem = window.matchMedia("(prefers-color-scheme: dark)");
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
