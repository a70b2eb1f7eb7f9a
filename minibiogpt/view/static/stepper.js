// Stepper: the steps of one layer, one at a time: the state, how it is drawn, and what keys and buttons change.

const last = data.steps.length - 1;
const state = { step: 0, head: 0, row: data.tokens.length - 1, col: 0, pinned: false };
const stepNumber = new Map(data.steps.map((step, i) => [step.name, i]));
const main = document.getElementById("stepper");
const parts = { map: new HeatMap({ over: hoverAt, pick: pinAt }) };

const stepNow = () => data.steps[state.step];
const arrayNow = () => arrayOf(stepNow().name);
const byHead = (step) => step.axes.includes("H");
const headName = (head) => `${data.layer}.${head}`;
const isToken = (letter) => letter === "T" || letter === "S";
const isProbability = (step) => step.kind === "softmax" || step.kind === "headmask";
const matrixNow = () => matrixOf(arrayNow(), state.head);

/** The array whose values show which cells of a step are masked: the masked scores for them and the steps after them. */
function scoresOf(step) {
  return ["mask", "softmax", "headmask"].includes(step.kind) ? arrayOf(data.masked) : arrayOf(step.name);
}

/** A function that says whether a cell of the step is masked. */
function hiddenOf(step, head) {
  if (scoresOf(step) === arrayOf(step.name) && step.kind !== "mask") return () => false;
  const matrix = matrixOf(scoresOf(step), head);
  return (i, j) => isMasked(matrix.at(i, j));
}

/** The cell selected by default: the largest visible value in an attention row, otherwise the value farthest from 0. */
function largestOfRow(row) {
  const matrix = matrixNow(), tokens = isToken(stepNow().axes.at(-1));
  const masked = tokens ? matrixOf(arrayOf(data.masked), state.head) : null;
  let best = 0, size = -Infinity;
  for (let j = 0; j < matrix.columns; j++) {
    const here = tokens ? (isMasked(masked.at(row, j)) ? -Infinity : matrix.at(row, j)) : Math.abs(matrix.at(row, j));
    if (here > size) [best, size] = [j, here];
  }
  return best;
}

function goTo(step) {
  const before = stepNow().axes.at(-1);
  state.step = Math.max(0, Math.min(last, step));
  const same = stepNow().axes.at(-1) === before || (isToken(before) && isToken(stepNow().axes.at(-1)));
  if (!state.pinned || !same || state.col >= matrixNow().columns) state.col = largestOfRow(state.row);
  show();
}

function setHead(head) {
  if (!byHead(stepNow())) return;
  state.head = (head + data.heads) % data.heads;
  if (!state.pinned) state.col = largestOfRow(state.row);
  show();
}

function moveTo(row, col, pinned = state.pinned) {
  const { rows, columns } = matrixNow();
  state.row = Math.max(0, Math.min(rows - 1, row));
  state.pinned = pinned;
  state.col = col === null ? largestOfRow(state.row) : Math.max(0, Math.min(columns - 1, col));
  showCell(state);
  parts.map.reveal(state);
}

function hoverAt(cell) {
  showCell(cell ? { ...state, ...cell } : state, cell);
}

function pinAt(cell) {
  if (cell) moveTo(cell.row, cell.col, true);
}

// Drawing ----------------------------------------------------------------------------------------------------------

function show() {
  const step = stepNow();
  parts.position.textContent = `step ${state.step + 1} of ${last + 1}`;
  parts.slider.value = state.step;
  parts.slider.setAttribute("aria-valuetext", `${state.step + 1}: ${step.name}`);
  parts.previous.disabled = state.step === 0;
  parts.next.disabled = state.step === last;
  [...parts.list.querySelectorAll("button")].forEach((button, i) => {
    if (i === state.step) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  });
  parts.title.textContent = `${state.step + 1}. ${step.name}`;
  parts.what.textContent = `${state.step === 0 ? `Input of layer ${data.layer}. ` : ""}${step.what[0].toUpperCase()}${step.what.slice(1)}.`;
  parts.equation.replaceChildren(...equationOf(step));
  parts.symbols.replaceChildren(...symbolsOf(step));
  parts.about.replaceChildren(...aboutOf(step));
  parts.code.replaceChildren(...codeOf(step));
  scrollToMark(parts.code);
  showPicture();
}

function showPicture() {
  const step = stepNow(), array = arrayNow(), matrix = matrixNow();
  const scale = scaleOf(array, scoresOf(step), isProbability(step)), hidden = hiddenOf(step, state.head);
  showHeads(step, array, scale);
  parts.map.draw(matrix, scale, hidden, labelsOf(step), main.querySelector(".step").clientWidth);
  const anyHidden = ["mask", "softmax", "headmask"].includes(step.kind) && data.tokens.some((_, s) => hidden(0, s));
  parts.scale.replaceChildren(legendOf(scale, anyHidden));
  const text = pictureText(step, array, matrix, hidden);
  parts.caption.textContent = text;
  parts.map.canvas.setAttribute("aria-label", text);
  showCell(state);
  parts.map.reveal(state);
}

function showHeads(step, array, scale) {
  const buttons = byHead(step) ? Array.from({ length: data.heads }, (_, head) => {
    const small = matrixOf(array, head), canvas = el("canvas", { "aria-hidden": "true" });
    paint(canvas, small, scale, hiddenOf(step, head), isToken(step.axes.at(-1)) ? 44 : 64, 44);
    return el("button", {
      type: "button", "aria-pressed": String(head === state.head), "aria-label": `head ${headName(head)}`, onclick: () => setHead(head),
    }, canvas, headName(head));
  }) : [];
  parts.heads.hidden = !buttons.length;
  parts.heads.replaceChildren(...buttons);
}

function labelsOf(step) {
  const [down, across] = step.axes.slice(-2);
  const labels = { down: data.tokens.map((token) => token.label), corner: `${down} ↓ ${across} →` };
  if (isToken(across)) return { ...labels, across: labels.down };
  const heads = /self_attn\.(context|[qkv]_proj)$/.test(step.name); // each head has columns of its own
  return { ...labels, across: heads ? { size: data.headSize, name: (i) => `head ${headName(i)}` } : null };
}

/** A description of the heat map. */
function pictureText(step, array, matrix, hidden) {
  const { low, high } = limitsOf(array, scoresOf(step));
  const head = byHead(step) ? `, head ${headName(state.head)}` : "";
  const sides = step.axes.slice(-2);
  const [down, across] = isToken(sides[1]) ? [`${sides[0]}, queries`, `${sides[1]}, keys`] : [`${sides[0]}, tokens`, sides[1]];
  const size = `${matrix.rows} rows (${down}) and ${matrix.columns} columns (${across})`;
  const over = byHead(step) ? ", over all heads" : "";
  const text = low < 0 ? `${step.name}${head}: ${size}; no values to show.`
    : `${step.name}${head}: ${size}. Smallest ${valueAt(step, array, low)}, largest ${valueAt(step, array, high)}${over}.`;
  const nans = array.numbers.filter(Number.isNaN).length;
  const full = nans ? `${text} NaN values: ${nans}, drawn in the color of the text.` : text;
  return isProbability(step) ? `${full} ${largestWeights(matrix, hidden)}` : full;
}

/** The value at a flat index of an array, and its index on each axis. */
function valueAt(step, array, flat) {
  let rest = flat;
  const index = [...array.shape].reverse().map((size) => {
    const i = rest % size;
    rest = Math.floor(rest / size);
    return i;
  }).reverse();
  const names = step.axes.slice(1).map((letter, i) => (isToken(letter) ? quoted(letter, index[i + 1]) : `${letter} ${index[i + 1]}`));
  return `${rough(array.numbers[flat])} (${names.join(", ")})`;
}

function largestWeights(matrix, hidden) {
  const rows = Array.from({ length: matrix.rows }, (_, t) => {
    let best = 0;
    for (let s = 1; s < matrix.columns; s++) if (!hidden(t, s) && matrix.at(t, s) > matrix.at(t, best)) best = s;
    return `${quoted("T", t)} → ${quoted("S", best)} (${rough(matrix.at(t, best), 2)})`;
  });
  const most = 10;
  return `Largest weight of ${rows.length > most ? `each of the last ${most} queries` : "each query"}: ${rows.slice(-most).join(", ")}.`;
}

function showCell(at, hovered = null) {
  const step = stepNow(), value = matrixNow().at(at.row, at.col);
  const hidden = hiddenOf(step, state.head)(at.row, at.col);
  const index = [0, ...(byHead(step) ? [state.head] : []), at.row, at.col];
  parts.map.mark(state, !state.pinned, hovered);
  parts.readout.replaceChildren(el("b", { class: "mono" }, exact(value, arrayNow().dtype)), hidden ? " (masked)" : "", el("br"),
    el("span", { class: "soft" }, el("span", { class: "mono" }, `[${index.join(", ")}] `), ...cellWords(step, at),
      hovered ? "" : state.pinned ? " · pinned; Esc unpins" : ` · ${isToken(step.axes.at(-1)) ? "largest" : "farthest from 0"} in its row; point at a cell to read it, click to pin it`));
  if (!state.pinned || !hovered) showOrigin(parts.origin, step, { head: state.head, row: at.row, col: at.col }, value);
}

function cellWords(step, { row, col }) {
  const across = step.axes.at(-1);
  if (isToken(across)) return [`query T ${row} “`, isolated(tokenAt(row)), `”, key S ${col} “`, isolated(tokenAt(col)), "”"];
  return [`T ${row} “`, isolated(tokenAt(row)), `”, ${across} ${col}`];
}

/** The equation, with its symbols as links to the steps that compute them. */
function equationOf(step) {
  return step.equation.split(/(?<![.\w])([A-Za-z_]\w*)/).map((part, i) => {
    const name = step.where[part];
    if (i % 2 === 0 || !name || !stepNumber.has(name) || name === step.name) return part;
    return el("button", { type: "button", class: "link mono", title: name, onclick: () => goTo(stepNumber.get(name)) }, part);
  });
}

function symbolsOf(step) {
  const rows = step.symbols.map(({ symbol, text, step: made }) => {
    const known = stepNumber.has(made) && made !== step.name;
    const shown = known ? [el("button", { type: "button", class: "link", onclick: () => goTo(stepNumber.get(made)) }, made), text.slice(made.length)] : [text];
    return el("tr", {}, el("th", { scope: "row", class: "mono" }, symbol), el("td", {}, shown));
  });
  rows.unshift(el("tr", {}, el("th", { scope: "row" }, "shape"), el("td", {}, `${step.shape}, ${data.dtype}`)));
  if (step.letters) rows.push(el("tr", {}, el("th", { scope: "row" }, "letters"), el("td", {}, step.letters)));
  return [el("tbody", {}, rows)];
}

function aboutOf(step) {
  const rows = Object.entries(step.names).map(([tool, name]) => [`in ${tool}`, name]);
  if (step.note) rows.unshift(["note", step.note]);
  return [el("tbody", {}, rows.map(([label, text]) => el("tr", {}, el("th", { scope: "row" }, label), el("td", {}, text))))];
}

function codeOf(step) {
  return [el("h3", {}, "Source code"), ...step.code.flatMap(({ location, first, mark, text }) => {
    const lines = text.split("\n").map((line, i) => el("span", { class: first + i === mark ? "here" : null },
      el("i", {}, `${first + i === mark ? "▶ " : ""}${first + i}`), line));
    return [el("div", { class: "soft mono" }, location), el("pre", { tabindex: "0", "aria-label": `source of ${location}` }, lines)];
  })];
}

/** Scroll each listing, but not the page, to its marked line. */
function scrollToMark(box) {
  for (const pre of box.querySelectorAll("pre")) {
    const line = pre.querySelector(".here");
    if (line) pre.scrollTop = line.offsetTop - pre.clientHeight / 3;
  }
}

function numbersNow() {
  const step = stepNow(), matrix = matrixNow(), labels = labelsOf(step);
  return { name: step.name, head: byHead(step) ? state.head : null, rows: labels.down, dtype: arrayNow().dtype,
    columns: isToken(step.axes.at(-1)) ? labels.across : Array.from({ length: matrix.columns }, (_, j) => j),
    numbers: Array.from({ length: matrix.rows }, (_, i) => Array.from(matrix.row(i))) };
}

function copyAs(kind) {
  const now = numbersNow();
  const line = (cells) => cells.map((cell) => String(cell).replace(/[\t\n\r]/g, " ")).join("\t");
  const table = [line([now.name, ...now.columns]), ...now.numbers.map((row, i) => line([now.rows[i], ...row.map((x) => exact(x, now.dtype))]))];
  copyText(kind === "JSON" ? JSON.stringify(now) : table.join("\n"), (text) => { parts.copied.textContent = text; });
}

// Elements and events ----------------------------------------------------------------------------------------------

const KEYS = [["← →", "previous and next step"], ["Home End", "first and last step"], ["[ ]", "previous and next head"], [", .", "previous and next token (row)"],
  ["Shift + arrows", "pin the neighboring cell"], ["Esc", "unpin the cell"], ["?", "this list"]];

function help() {
  openDialog("Keyboard shortcuts", el("table", {}, el("tbody", {}, KEYS.map(([keys, text]) =>
    el("tr", {}, el("td", {}, keys.split(" ").map((key) => (key === "+" ? "+ " : el("kbd", {}, key)))), el("td", {}, text))))),
  el("p", { class: "soft" }, "Click a cell to pin it. A token that ends in · continues in the next token."));
}

const SHORT = (name) => name.replace(/^layers\.\d+\.?/, "").replace(/^self_attn\./, "") || name;

function build() {
  const button = (text, act, label) => el("button", { type: "button", onclick: act, "aria-label": label }, text);
  parts.previous = button("← previous", () => goTo(state.step - 1), "previous step");
  parts.next = button("next →", () => goTo(state.step + 1), "next step");
  parts.slider = el("input", { type: "range", min: 0, max: last, value: 0, "aria-label": "step", oninput: (event) => goTo(Number(event.target.value)) });
  parts.position = el("span", { class: "where" });
  parts.list = el("ol", {}, data.steps.map((step, i) => el("li", { class: step.name.includes("self_attn.") ? "inner" : null },
    el("button", { type: "button", title: step.name, onclick: () => goTo(i) }, i === 0 ? step.name : SHORT(step.name)))));
  const folded = window.matchMedia("(max-width: 60rem)").matches;
  const nav = el("nav", { "aria-label": "steps" }, el("details", { open: !folded }, el("summary", {}, "all steps"), parts.list));
  for (const name of ["what", "caption"]) parts[name] = el(name === "caption" ? "figcaption" : "p");
  for (const name of ["heads", "scale", "code"]) parts[name] = el("div", { class: name });
  parts.title = el("h2", { "aria-live": "polite" });
  parts.equation = el("div", { class: "equation mono" });
  parts.symbols = el("table", { class: "symbols" });
  parts.about = el("table", { class: "notes" });
  parts.readout = el("div", { class: "readout", "aria-live": "polite" });
  parts.origin = el("section", { class: "origin", "aria-label": "how this value is computed" });
  parts.copied = el("span", { class: "soft", role: "status" });
  const copies = el("div", { class: "copy" }, button("copy as TSV", () => copyAs("TSV")), button("copy as JSON", () => copyAs("JSON")), parts.copied);
  const figure = el("figure", {}, parts.heads, parts.map.box, parts.scale, parts.readout, parts.caption, copies);
  const step = el("article", { class: "step" }, parts.title, parts.what, parts.equation, parts.symbols,
    el("div", { class: "stage" }, figure, parts.origin), parts.about, parts.code);
  main.replaceChildren(
    el("div", { class: "tools", role: "toolbar", "aria-label": "steps" }, parts.previous, parts.slider, parts.next, parts.position,
      themeButton(showPicture), button("keys", help, "keyboard help")),
    el("div", { class: "columns" }, nav, step));
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog")) return;
  if (event.target.matches("input, select, textarea")) return;
  const beside = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const acts = {
    ArrowLeft: () => goTo(state.step - 1), ArrowRight: () => goTo(state.step + 1), Home: () => goTo(0), End: () => goTo(last),
    "[": () => setHead(state.head - 1), "]": () => setHead(state.head + 1),
    ",": () => moveTo(state.row - 1, state.pinned ? state.col : null), ".": () => moveTo(state.row + 1, state.pinned ? state.col : null),
    Escape: () => moveTo(state.row, null, false), "?": help,
  };
  const act = event.shiftKey && beside ? () => moveTo(state.row + beside[0], state.col + beside[1], true) : acts[event.key];
  if (!act || (event.shiftKey && !beside && event.key !== "?")) return;
  event.preventDefault();
  act();
}

build();
document.addEventListener("keydown", onKey);
let resized = 0;
window.addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(showPicture, 80);
});
goTo(0);
