// What every page has: its data, elements made of text, numbers as text, the theme, and copying.

const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;

/** An element; attributes that start with "on" are listeners; children are elements or text, never HTML. */
function el(tag, attributes = {}, ...children) {
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

/** The shortest decimal that gives x again in its dtype. */
function exact(x, dtype = "float64") {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "NaN" : x > 0 ? "inf" : "-inf";
  if (dtype === "float64") return String(x);
  for (let digits = 6; digits <= 9; digits++) {
    const short = Number(x.toPrecision(digits));
    if (Math.fround(short) === x) return String(short);
  }
  return String(x);
}

/** Four digits, for a table or the end of a scale. */
function rough(x, digits = 4) {
  if (!Number.isFinite(x) || x === 0) return exact(x);
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-4 ? x.toExponential(digits - 1) : String(Number(x.toPrecision(digits)));
}

/** What a page's text is: in its own direction, whatever stands around it. */
function named(text) {
  return el("bdi", {}, text);
}

const darkSystem = window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => root.dataset.theme === "dark" || (root.dataset.theme === "auto" && darkSystem.matches);
const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

/** A button that goes from auto to light to dark; redraw is called when the colours have changed. */
function themeButton(redraw) {
  const order = ["auto", "light", "dark"];
  const button = el("button", { type: "button", id: "theme" });
  const say = () => {
    button.textContent = `theme: ${root.dataset.theme}`;
    button.setAttribute("aria-label", `theme: ${root.dataset.theme}; change it`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = order[(order.indexOf(root.dataset.theme) + 1) % order.length];
    say();
    redraw();
  });
  darkSystem.addEventListener("change", redraw);
  say();
  return button;
}

/** A window over the page; Esc closes it. */
function openDialog(title, ...children) {
  const close = el("button", { type: "button", onclick: () => dialog.close() }, "close");
  const dialog = el("dialog", { "aria-label": title }, el("h3", {}, title), ...children, el("p", {}, close));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** To the clipboard; where that is refused, as in a frame, to a field that can be copied from. */
async function copyText(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    said("copied");
  } catch {
    const field = el("textarea", { readonly: true, "aria-label": "the numbers" });
    field.value = text;
    openDialog("Copy from here", field);
    field.select();
    said("select and copy");
  }
}
