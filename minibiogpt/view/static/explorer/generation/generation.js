// Generation: token by token, with what each rule removes, the random number that chooses, and the cache that grows.

import { ARROW_STEPS, copyText, el, percentOf } from "../../base.js";
import { cacheFacts, describeStrip, drawCache, drawStrip } from "./generation_draw.js";
import { drawRules, ruleColumns, ruleRows } from "./generation_rules.js";
import { GENERATION_SETTINGS, generatedText, generationOf, generationState, generationSteps, pythonCall } from "./generation_steps.js";
import { figure } from "../exports/figure.js";
import { tipBox } from "../overview/overview_tip.js";

const GENERATION_RUN = 20; // tokens that "run" adds
const gen = { cells: [], here: [0, 0] }; // the elements, the cells of the rules, and the one that Tab reaches

export const generationView = {
  id: "generation",
  title: "Generation",
  about: "Token by token: what each rule removes from the whole vocabulary, the random number that chooses, and the cache that grows.",
  keys: [["n", "next token"], ["r", `run ${GENERATION_RUN}`], ["b", "back one step"], ["0", "reset"],
    ["← →", "previous and next step; in the table: rules"], ["↑ ↓", "in the table: tokens"]],
  build: buildGeneration,
  update: updateGeneration,
  onKey: generationKey,
};

function buildGeneration(app) {
  const button = (text, title, act) => el("button", { type: "button", title, onclick: act }, text);
  gen.controls = GENERATION_SETTINGS.map((setting) => settingControl(app, setting));
  gen.greedy = el("select", { "aria-label": "greedy or sampled",
    onchange: () => changeGeneration(app, { doSample: gen.greedy.value === "sample" }) },
    el("option", { value: "sample" }, "sample: draw at random"), el("option", { value: "greedy" }, "greedy: the most probable token"));
  gen.next = button("next token", "choose the next token (n)", () => advanceGeneration(app, 1));
  gen.run = button(`run ${GENERATION_RUN}`, `choose ${GENERATION_RUN} tokens (r)`, () => advanceGeneration(app, GENERATION_RUN));
  gen.back = button("back", "take the last token back (b)", () => advanceGeneration(app, -1));
  gen.reset = button("reset", "take all new tokens back (0)", () => changeGeneration(app, { count: 0, at: null }));
  gen.use = button("use as text", "put the text with what was generated into the text box", () => useAsText(app));
  gen.status = el("p", { role: "status" });
  gen.tokens = el("ol", { class: "tokens gen-tokens", "aria-label": "the new tokens; choose one to see its step" });
  gen.text = el("p", { class: "text", dir: "auto" });
  gen.rules = genPicture(app, "rules", "probabilities after each rule", describeRules, exportedLogits);
  gen.strip = genPicture(app, "strip", "the cumulative distribution, in the order of the token ids, and the number that chooses",
    () => describeStrip(app, gen.step, gen.chosen), () => [[`step.${gen.step.step}-probabilities`, oneRow(gen.step.probs)]]);
  gen.cache = genPicture(app, "cache", () => cacheTitle(app), describeCache, () => []);
  gen.tip = tipBox(gen.rules.figure);
  gen.python = el("code", { class: "gen-python" });
  gen.copied = el("span", { class: "soft", role: "status" });
  gen.note = el("p", { class: "soft" });
  listenGeneration(app);
  const call = el("p", { class: "gen-call" }, gen.python, " ",
    button("copy", "copy the call", () => copyText(gen.python.textContent, (text) => { gen.copied.textContent = text; })), " ", gen.copied);
  return el("div", { class: "generation-view" },
    el("details", { class: "gen-settings", open: window.innerWidth >= 960 }, el("summary", {}, "settings"),
      el("label", {}, "mode ", gen.greedy), gen.controls.map(({ element }) => element)),
    el("div", {}, el("div", { class: "draws" }, gen.next, gen.run, gen.back, gen.reset, app.live ? gen.use : null), gen.status,
      el("div", { class: "strip" }, gen.tokens),
      gen.text, gen.rules.figure, gen.strip.figure, gen.cache.figure, el("h2", {}, "The same in Python"), call, gen.note));
}

const oneRow = (numbers) => ({ shape: [1, numbers.length], dtype: numbers instanceof Float32Array ? "float32" : "float64", numbers });

/** The logits of the step, and those after each rule. */
function exportedLogits() {
  const { step, logits, stages } = gen.step;
  return [[`step.${step}-logits`, oneRow(logits)],
    ...stages.map(({ rule, after }, i) => [`step.${step}-processors.${i}.${rule}.after`, oneRow(after)])];
}

/** A figure whose picture is an <svg> in a box that scrolls. */
function genPicture(app, name, title, describe, arrays) {
  const svg = el("svg:svg", { class: `overview gen-${name}`, role: name === "rules" ? "group" : "img" });
  const box = el("div", { class: "box" }, svg);
  return { svg, box, figure: figure({ title, describe: () => describe(app), arrays, picture: box, className: "overview-figure" }) };
}

function settingControl(app, setting) {
  const { key, name, min, max, step, hint } = setting, change = (event) => {
    const x = Number(event.target.value);
    if (event.target.value !== "" && Number.isFinite(x)) changeGeneration(app, { [key]: x });
  };
  const range = key === "seed" ? null : el("input", { type: "range", min, max, step, "aria-label": name, oninput: change });
  const number = el("input", { type: "number", min, max, step, "aria-label": name, oninput: change,
    onchange: () => updateGeneration(app) });
  const element = el("div", { class: "gen-setting" }, el("span", {}, name), number, range, el("span", { class: "soft hint" }, hint));
  return { setting, element, range, number };
}

/** Change settings; what is not named stays. */
function changeGeneration(app, changes) {
  app.set({ generation: generationState(generationOf({ generation: { ...generationOf(app.state), ...changes } })) });
}

function advanceGeneration(app, by) {
  const settings = generationOf(app.state), wanted = Math.max(0, settings.count + by);
  const { steps } = generationSteps(app, settings, wanted);
  changeGeneration(app, { count: Math.min(wanted, steps.length), at: null });
}

function useAsText(app) {
  const settings = generationOf(app.state), { steps } = generationSteps(app, settings, settings.count),
    tokens = steps.slice(0, settings.count).map(({ token }) => token);
  app.set({ text: generatedText(app, [...app.run.ids, ...tokens]), row: null, col: null,
    generation: generationState({ ...settings, count: 0, at: null }) });
}

// Drawing -----------------------------------------------------------------------------------------------------------

function updateGeneration(app) {
  const settings = generationOf(app.state), { steps, error, ended } = generationSteps(app, settings, Math.max(1, settings.count));
  const count = Math.min(settings.count, steps.length), at = Math.min(settings.at ?? count - 1, count - 1);
  showSettings(settings, count, ended && count === steps.length, app.live);
  gen.chosen = count > 0;
  gen.step = steps[Math.max(0, at)];
  gen.status.textContent = error || stepStatus(app, count, at);
  gen.python.textContent = pythonCall(app, settings, count);
  gen.note.textContent = pythonNote(app);
  for (const { figure: each } of [gen.rules, gen.strip, gen.cache]) each.hidden = !gen.step;
  if (!gen.step) return;
  gen.strip.figure.hidden = !settings.doSample;
  showGenerated(app, steps.slice(0, count), at);
  const width = gen.rules.box.clientWidth, focused = gen.cells.some(({ group }) => group === document.activeElement);
  gen.cells = drawRules(gen.rules.svg, app, gen.step, gen.chosen, width);
  drawStrip(gen.strip.svg, app, gen.step, gen.chosen, Math.max(300, width));
  drawCache(gen.cache.svg, app, gen.step, gen.step.ids, Math.max(300, width));
  for (const { figure: each, box } of [gen.rules, gen.strip, gen.cache]) {
    each.refresh();
    if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0"); // so that keys scroll it
    else box.removeAttribute("tabindex");
  }
  reachRuleCell(focused);
}

function showSettings(settings, count, atEnd, live) {
  for (const { setting: { key, sampling }, range, number } of gen.controls) {
    if (range) range.value = settings[key];
    if (document.activeElement !== number) number.value = settings[key];
    for (const input of [range, number]) if (input) input.disabled = Boolean(sampling) && !settings.doSample;
  }
  gen.greedy.value = settings.doSample ? "sample" : "greedy";
  gen.next.disabled = atEnd && count > 0;
  gen.run.disabled = !live || gen.next.disabled;
  gen.back.disabled = gen.reset.disabled = count === 0;
  gen.use.disabled = count === 0;
}

function stepStatus(app, count, at) {
  const { step, chosen } = gen;
  if (!step) return "";
  const left = step.probs.reduce((n, p) => n + (p > 0 ? 1 : 0), 0), V = step.probs.length,
    can = `${left.toLocaleString("en")} of ${V.toLocaleString("en")} tokens can be chosen`;
  if (!chosen) return `Step 0, nothing chosen yet: ${can}. Press “next token”.`;
  const how = step.uniform === null ? "is the most probable" : `is drawn with probability ${percentOf(step.probs[step.token])}`;
  const end = step.ended ? " It ends the text." : "";
  return `Step ${at} (of 0 to ${count - 1}): ${can}; “${app.facts.labels[step.token]}” ${how}.${end}`;
}

/** The new tokens as buttons, and the whole text. */
function showGenerated(app, steps, at) {
  const focused = gen.tokens.contains(document.activeElement);
  gen.tokens.replaceChildren(...steps.map(({ token, step }) => el("li", {}, el("button", {
    type: "button", dir: "auto", "aria-pressed": String(step === at), title: `step ${step}, id ${token}`,
    onclick: () => changeGeneration(app, { at: step }),
  }, app.facts.labels[token]))));
  if (focused) gen.tokens.children[at]?.firstChild.focus();
  const ids = [...app.run.ids, ...steps.map(({ token }) => token)];
  gen.text.textContent = app.live ? generatedText(app, ids) : ids.map((id) => app.facts.labels[id]).join(" ");
}

function describeRules(app) {
  const { step, chosen } = gen, columns = ruleColumns(step, app.run), { labels } = app.facts;
  const rules = columns.slice(1).map(({ title, removed, mass }) =>
    `${title} ${removed.size ? `removes ${removed.size} tokens, together ${percentOf(mass)}` : "removes none"}`);
  const best = ruleRows(step, chosen).slice(0, 5).map((id) =>
    `“${labels[id]}” ${percentOf(columns[0].probs[id])} by the model, ${percentOf(columns.at(-1).probs[id])} at the end`);
  return `${rules.length ? rules.join("; ") : "No rule changes the logits"}. ${best.join("; ")}.`;
}

function cacheTitle(app) {
  const { bytes } = cacheFacts(app, gen.step);
  return `the cache in step ${gen.step.step}: ${bytes.toLocaleString("en")} bytes; keys above values, this step's in strong color`;
}

function describeCache(app) {
  const { layers, D, positions, fresh, itemsize, bytes } = cacheFacts(app, gen.step);
  const computed = fresh === 1 ? "one position" : `the ${fresh} positions of the prompt`;
  return `Keys (upper half of a row) and values (lower half) of ${positions} positions in ${layers} layers: ` +
    `2 × ${layers} × ${positions} × ${D} numbers of ${itemsize} bytes = ${bytes.toLocaleString("en")} bytes. ` +
    `This step computed ${computed}, the marked ones; all others were read from the cache.`;
}

function pythonNote(app) {
  if (!app.live) return "A recorded page has the logits after its text only, so it shows the first step; in Python the model continues.";
  const used = "Here model and tokenizer are those of the page, loaded with from_pretrained; the random numbers are the same.";
  const experiments = "This page's experiments, all but patches, change its tokens; the call in Python has none of them.";
  return app.run.changes.length ? `${used} ${experiments}` : used;
}

// Pointer and keys --------------------------------------------------------------------------------------------------

function listenGeneration(app) {
  const cellAt = (event) => gen.cells.find(({ group }) => group.contains(event.target));
  gen.rules.svg.addEventListener("pointermove", (event) => showRuleCell(cellAt(event)));
  gen.rules.svg.addEventListener("pointerleave", () => gen.tip.hide());
  gen.rules.svg.addEventListener("click", (event) => pickRuleCell(app, cellAt(event)));
  gen.rules.box.addEventListener("focusin", (event) => {
    const cell = cellAt(event);
    if (!cell) return;
    gen.here = [cell.row, cell.column];
    reachRuleCell();
    showRuleCell(cell);
  });
  gen.rules.box.addEventListener("focusout", () => gen.tip.hide());
}

function showRuleCell(cell) {
  if (!cell) return gen.tip.hide();
  const box = cell.group.getBoundingClientRect();
  return gen.tip.show(`${cell.row} ${cell.column} ${gen.step.step}`, cell.words,
    { x: box.left + box.width / 2, y: box.bottom, above: box.top });
}

function pickRuleCell(app, cell) {
  if (cell && cell.words.id !== null) app.set({ token: cell.words.id });
}

/** Make one cell of the rules reachable with Tab; focus: whether it gets the focus, which drawing again has removed. */
function reachRuleCell(focus = false) {
  const last = gen.cells.at(-1), at = [Math.min(gen.here[0], last.row), Math.min(gen.here[1], last.column)];
  for (const { group, row: r, column: c } of gen.cells) {
    const here = r === at[0] && c === at[1];
    group.setAttribute("tabindex", here ? "0" : "-1");
    if (here && focus) group.focus();
  }
}

function generationKey(event, app) {
  const cell = gen.cells.find(({ group }) => group === event.target),
    move = ARROW_STEPS[event.key];
  if (cell && move) {
    gen.here = [Math.max(0, cell.row + move[0]), Math.max(0, cell.column + move[1])];
    reachRuleCell(true);
    return true;
  }
  if (cell && (event.key === "Enter" || event.key === " ")) {
    pickRuleCell(app, cell);
    return true;
  }
  if (event.target.matches("button") && event.key === " ") return false;
  const settings = generationOf(app.state), shown = settings.at ?? settings.count - 1;
  const acts = { n: () => gen.next.click(), r: () => gen.run.click(), b: () => gen.back.click(), 0: () => gen.reset.click(),
    ArrowLeft: () => changeGeneration(app, { at: Math.max(0, shown - 1) }),
    ArrowRight: () => changeGeneration(app, { at: Math.min(settings.count - 1, shown + 1) }) };
  acts[event.key]?.();
  return event.key in acts;
}
