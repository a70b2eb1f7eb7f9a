// Sampler: sliders for the rules, bars of the most probable tokens, and draws beside what they should come to.

const logits = unpack(data.logits).numbers;
const settings = { temperature: 1, k: 0, p: 1 };
const draws = { counts: new Map(), total: 0, next: seeded(data.seed) };
const main = document.getElementById("sampler");
const parts = {};
const RULES = [
  { name: "temperature", key: "temperature", min: 0.1, max: 3, step: 0.05, hint: "logits / temperature: below 1 sharper, above 1 flatter" },
  { name: "top-k", key: "k", min: 0, max: Math.min(100, logits.length), step: 1, hint: "only the k most probable; 0: all" },
  { name: "top-p", key: "p", min: 0.01, max: 1, step: 0.01, hint: "the fewest most probable that exceed p together; 1: all" },
];

/** Places from the most probable on; of equal ones the first. The rules keep this order. */
const falling = Int32Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
const percent = (x) => (x === 0 ? "0 %" : x < 0.0001 ? "< 0.01 %" : `${(100 * x).toFixed(2)} %`);

function change(rule, text) {
  const value = Number(text);
  if (text === "" || !Number.isFinite(value)) return;
  const whole = rule.step === 1 ? Math.round(value) : value;
  settings[rule.key] = Math.min(rule.max, Math.max(rule.min, whole));
  forget();
  show();
}

function forget() {
  Object.assign(draws, { counts: new Map(), total: 0, next: seeded(data.seed) });
}

function draw(times) {
  const { probs } = shaped(logits, settings);
  for (let i = 0; i < times; i++) {
    const token = drawn(probs, draws.next());
    draws.counts.set(token, (draws.counts.get(token) ?? 0) + 1);
  }
  draws.total += times;
  parts.drawn.textContent = times === 1 ? "" : `${draws.total} tokens drawn`;
  show();
}

function show() {
  for (const rule of RULES) {
    parts[rule.key].range.value = settings[rule.key];
    if (document.activeElement !== parts[rule.key].number) parts[rule.key].number.value = settings[rule.key];
  }
  const { warm, probs, cut } = shaped(logits, settings);
  const shown = Array.from(falling.subarray(0, data.top)), rest = falling.subarray(data.top);
  const largest = Math.max(...shown.map((i) => Math.max(probs[i], warm[i])));
  const rows = shown.map((i) => rowOf({ label: data.pieces[i], id: i, logit: rough(logits[i]), probability: probs[i], before: warm[i], cut: cut[i], count: draws.counts.get(i) ?? 0 }, largest));
  if (rest.length) rows.push(rowOf(together(rest, warm, probs, cut), largest));
  parts.body.replaceChildren(...rows);
  const kept = probs.reduce((n, p) => n + (p > 0 ? 1 : 0), 0);
  parts.told.textContent = `${kept} of ${logits.length} tokens can be drawn; the most probable is “${data.pieces[falling[0]]}” with ${percent(probs[falling[0]])}.`;
  parts.total.textContent = draws.total ? `drawn of ${draws.total}` : "drawn";
}

/** All tokens that have no row of their own. */
function together(rest, warm, probs, cut) {
  let probability = 0, before = 0, count = 0, kept = 0;
  for (const i of rest) {
    probability += probs[i];
    before += warm[i];
    count += draws.counts.get(i) ?? 0;
    if (!cut[i]) kept += 1;
  }
  return { label: `the other ${rest.length}`, id: null, logit: "", probability, before, cut: kept ? "" : "all cut", count };
}

/** One line: what is cut keeps its bar from before, hatched. */
function rowOf({ label, id, logit, probability, before, cut, count }, largest) {
  const size = cut ? before : probability;
  const bar = el("span", { class: "bar", style: `width:${Math.min(100, (100 * size) / largest)}%`, "aria-hidden": "true" });
  return el("tr", { class: cut ? "cut" : null, "data-id": id, "data-p": exact(probability) }, el("td", {}, named(label)), el("td", { class: "n raw" }, logit),
    el("td", { class: "wide" }, bar), el("td", { class: "n" }, cut ? (cut === "all cut" ? cut : `cut by ${cut}`) : percent(probability)),
    el("td", { class: "n" }, draws.total ? String(count) : ""), el("td", { class: "n soft raw" }, draws.total ? (probability * draws.total).toFixed(1) : ""));
}

function control(rule) {
  const range = { type: "range", min: rule.min, max: rule.max, step: rule.step };
  const both = ["range", "number"].map((type) => el("input", { ...range, type, "aria-label": rule.name, oninput: (event) => change(rule, event.target.value), onchange: show }));
  parts[rule.key] = { range: both[0], number: both[1] };
  return el("div", { class: "rule" }, el("label", {}, rule.name), both, el("span", { class: "soft hint" }, rule.hint));
}

function build() {
  const button = (text, act) => el("button", { type: "button", onclick: act }, text);
  parts.body = el("tbody");
  parts.told = el("p", { role: "status" });
  parts.drawn = el("span", { class: "soft", role: "status" });
  parts.total = el("th", { class: "n" }, "drawn");
  const heads = el("tr", {}, el("th", {}, "token"), el("th", { class: "n raw" }, "logit"), el("th", {}, ""), el("th", { class: "n" }, "probability"), parts.total,
    el("th", { class: "n raw" }, "expected"));
  main.replaceChildren(
    el("div", { class: "settings" }, RULES.map(control)), parts.told,
    el("div", { class: "draws" }, [1, 100, 10000].map((times) => button(times === 1 ? "draw a token" : `draw ${times}`, () => draw(times))),
      button("start again", () => { forget(); parts.drawn.textContent = ""; show(); }), themeButton(show), parts.drawn),
    el("div", { class: "box" }, el("table", { class: "bars" }, el("caption", { class: "soft" }, "the most probable next tokens; what a rule has cut is hatched"), el("thead", {}, heads), parts.body)));
}

build();
show();
