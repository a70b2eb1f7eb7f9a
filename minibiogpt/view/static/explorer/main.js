// Main: builds the page of the explorer: the text box, the tokens, the tabs of the views, and the keys.

import { copyText, data, el, openDialog, root, themeButton } from "../base.js";
import { BioGpt, BioGptTokenizer } from "../biogpt.js";
import { lettersFolded } from "../stepper/stepper_parts.js";
import { App } from "./app.js";
import { modelView } from "./overview/overview.js";
import { attentionView } from "./attention/attention.js";
import { layerView } from "./layer/layer.js";
import { lensView } from "./lens/lens.js";
import { generationView } from "./generation/generation.js";
import { experimentsView } from "./experiments/experiments.js";
import { compareView } from "./compare/compare.js";
import { answerOf, entryLabel } from "./entry.js";
import { openBundle } from "./runs/bundle.js";
import { experimentBanner } from "./experiments/experiments_banner.js";
import { saveMenu } from "./exports/exports_menu.js";
import { reachBoxes } from "./exports/figure.js";
import { printable } from "./print.js";
import { RecordedRun } from "./runs/recorded.js";
import { Tour } from "./tour/tour.js";

const VIEWS = [modelView, attentionView, layerView, lensView, generationView, experimentsView, compareView];
const DELAY = 120; // milliseconds without a key press before a long text is run
const LONG = 64; // tokens

let app = null, tour = null;
const frame = {}; // the elements around the view
const built = new Map(); // view id -> its element

async function boot() {
  const parameters = await openBundle(data.parameters);
  const arrays = await openBundle(data.arrays);
  const model = data.live ? new BioGpt(data.config, parameters, { dtype: "float32" }) : null;
  const tokenizer = data.live ? new BioGptTokenizer({ vocab: data.vocab, merges: data.merges }) : null;
  const { text, tokens, config, dtype } = data;
  const recorded = data.live ? null : new RecordedRun({ text, tokens, config, dtype, arrays, parameters });
  app = new App({ facts: data, model, tokenizer, parameters, recorded, views: VIEWS });
  buildFrame();
  app.on("run", showTokens);
  app.on("state", showView);
  showTokens();
  showView();
  tour = new Tour(app, document.getElementById("explorer"));
  document.addEventListener("keydown", onKey);
  printable(app, frame.view, elementOf, showView);
  let resized = 0;
  window.addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(showView, 80);
  });
  root.dataset.readyAt = performance.now();
  root.dataset.ready = "true";
}

/** The text box, the tokens and the tabs. */
function buildFrame() {
  frame.text = el("textarea", { id: "text", rows: 1, dir: "auto", spellcheck: "false", autocomplete: "off", readonly: !app.live,
    oninput: typed });
  frame.note = el("p", { class: "soft", role: "status" });
  frame.tokens = el("ol", { class: "tokens", "aria-label": "tokens; choose one to study what the model says after it" });
  frame.answer = el("p", { class: "next-answer" });
  frame.tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "views" }, VIEWS.map((view, i) => el("button", {
    type: "button", role: "tab", id: `tab-${view.id}`, "aria-controls": "view", title: `${view.about} (key ${i + 1})`,
    onclick: () => app.set({ view: view.id }),
  }, view.title)));
  frame.tabs.addEventListener("keydown", onTabKey);
  frame.view = el("section", { id: "view", role: "tabpanel", tabindex: "-1" });
  const button = (text, label, act) => el("button", { type: "button", "aria-label": label, onclick: act }, text);
  frame.copied = el("span", { class: "soft", role: "status" });
  const figures = () => [...frame.view.querySelectorAll("figure.picture")].filter((each) => each.files);
  const tools = el("div", { class: "bar-tools" }, el("button", { type: "button", id: "tour", onclick: () => tour.start() }, "guided tour"),
    button("copy link", "copy a link to this place", copyLink), saveMenu(app, figures), themeButton(showView),
    button("keys", "keyboard help", help), frame.copied);
  frame.banner = experimentBanner(app);
  const line = el("div", { class: "token-line" }, el("div", { class: "strip" }, frame.tokens), frame.answer);
  document.getElementById("explorer").replaceChildren(entryLabel(app, takeExample), el("div", { class: "entry" }, frame.text, tools),
    frame.note, line, frame.banner, frame.tabs, frame.view);
}

/** Take one of the examples. */
function takeExample(text) {
  clearTimeout(waiting);
  app.set({ text, row: null, col: null, token: null, against: null });
}

let waiting = 0;

function typed() {
  const text = frame.text.value;
  clearTimeout(waiting);
  if (app.run.T < LONG) app.set({ text, row: null, col: null });
  else waiting = setTimeout(() => app.set({ text, row: null, col: null }), DELAY);
}

function showTokens() {
  const { run } = app;
  if (frame.text.value !== run.text) frame.text.value = run.text;
  const cut = app.cut ? ` The text was ${app.cut} characters too long for the page; its end is left out.` : "";
  const all = run.T + run.left; // tokens of the text
  const left = run.left ? ` The model has ${run.T} positions; the last ${run.left} of the text's ${all} tokens are left out.` : "";
  frame.note.textContent = (app.live ? "" : `A recorded run, whose text can't be changed: ${data.why}.`) + cut + left;
  const button = ({ id, label }, t) => el("button", { type: "button", dir: "auto", title: `position ${t}, id ${id}`,
    onclick: () => app.set({ row: t, col: null }) }, label);
  frame.tokens.replaceChildren(...run.tokens.map((token, t) => el("li", {}, button(token, t))));
}

/** The element of a view, made when it is first needed. */
function elementOf(view) {
  if (!built.has(view.id)) built.set(view.id, el("div", { class: `view ${view.id}` }, aboutView(view), view.build(app)));
  return built.get(view.id);
}

/** What a view shows, and the letters; the layer's view has them beside its steps. */
function aboutView(view) {
  return el("div", { class: "about" }, el("p", { class: "soft" }, view.about), view.id === "layer" ? null : lettersFolded());
}

function showView() {
  if (root.dataset.printing) return; // all views are there
  const { view } = app, element = elementOf(view), focused = frame.view.contains(document.activeElement);
  if (frame.view.firstChild !== element || frame.view.children.length > 1) frame.view.replaceChildren(element);
  if (focused && !frame.view.contains(document.activeElement)) frame.view.focus({ preventScroll: true });
  frame.view.setAttribute("aria-labelledby", `tab-${view.id}`);
  for (const tab of frame.tabs.children) {
    const here = tab.id === `tab-${view.id}`;
    tab.setAttribute("aria-selected", String(here));
    tab.tabIndex = here ? 0 : -1;
    if (here) intoBox(frame.tabs, tab);
  }
  [...frame.tokens.children].forEach((item, t) => item.firstChild.setAttribute("aria-pressed", String(t === app.row)));
  intoBox(frame.tokens.parentElement, frame.tokens.children[app.row]);
  frame.answer.replaceChildren(...answerOf(app));
  refreshBanner();
  view.update(app);
  reachBoxes(element); // those in figures, and the others
}

/** Draw the changes again; the focus goes to the next of them, or to the tab of the view. */
function refreshBanner() {
  const focused = frame.banner.contains(document.activeElement);
  frame.banner.refresh();
  if (!focused) return;
  if (frame.banner.hidden) document.getElementById(`tab-${app.view.id}`).focus();
  else if (!frame.banner.contains(document.activeElement)) frame.banner.querySelector("button").focus();
}

/** Scroll a box sideways until an element in it is visible. */
function intoBox(box, element) {
  const { left, right } = element.getBoundingClientRect(), outer = box.getBoundingClientRect();
  if (left < outer.left) box.scrollLeft -= outer.left - left + 24;
  else if (right > outer.right) box.scrollLeft += right - outer.right + 24;
}

function copyLink() {
  const address = location.href.split("#")[0], saved = address !== "about:srcdoc"; // a frame in a notebook has no address
  const report = saved ? (text) => text : (text) => `${text}: the end of a link; write it after the name of the saved page`;
  copyText(`${saved ? address : ""}#${app.hashOf()}`, (text) => { frame.copied.textContent = report(text); });
}

// Keys -------------------------------------------------------------------------------------------------------------

const SHARED = [["1 to 7", "a view"], ["/", "the text box"], [", .", "previous and next token"], ["[ ]", "previous and next head"],
  ["{ }", "previous and next layer"], ["t", "guided tour"], ["Esc", "leave the text box, or the tour"], ["?", "this list"]];

function help() {
  const rows = [...app.view.keys, ...SHARED].map(([keys, text]) => el("tr", {}, el("td", {}, el("kbd", {}, keys)), el("td", {}, text)));
  openDialog(`Keys: ${app.view.title}`, el("table", {}, el("tbody", {}, rows)));
}

function onTabKey(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = (VIEWS.indexOf(app.view) + step + VIEWS.length) % VIEWS.length;
  app.set({ view: VIEWS[next].id });
  frame.tabs.children[next].focus();
  event.preventDefault();
  event.stopPropagation();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") (event.target === frame.text ? document.getElementById(`tab-${app.view.id}`) : frame.view).focus();
    return;
  }
  if (app.view.onKey?.(event, app) || app.commonKey(event)) event.preventDefault();
  else if (VIEWS[Number(event.key) - 1]) app.set({ view: VIEWS[Number(event.key) - 1].id });
  else if (event.key === "/") {
    frame.text.focus();
    event.preventDefault();
  } else if (event.key === "?") help();
  else if (event.key === "t") tour.running ? tour.leave() : tour.start();
  else if (event.key === "Escape" && tour.running) tour.leave();
}

boot();
