// Tour: short stops through the page, in the order of the notebooks, each with one thing to do.

import { el } from "../../base.js";
import { stopsFor } from "./tour_stops.js";

const GAP = 12, CONTEXT = 44; // pixels around what a stop is about: at least, and above it

/** The panel of the tour, which the page shows while state.tour is the number of a stop. */
export class Tour {
  constructor(app, box) {
    this.app = app;
    this.stops = stopsFor(app);
    this.before = null; // the last state outside the tour
    this.arrived = false; // whether to scroll to what the stop is about, once it is drawn
    const button = (text, label, act) => el("button", { type: "button", "aria-label": label, onclick: act }, text);
    this.title = el("h2", { tabindex: "-1" });
    this.text = el("p");
    this.task = el("p", { class: "task" });
    this.count = el("span", { class: "soft" });
    this.fold = button("hide", "hide the text of the tour", () => this.setFolded(!this.words.hidden));
    this.words = el("div", { class: "tour-words" }, this.text, this.task);
    this.back = button("← back", "previous stop", () => this.goTo(this.at - 1));
    this.next = button("next →", null, () => (this.at + 1 < this.stops.length ? this.goTo(this.at + 1) : this.leave()));
    this.panel = el("aside", { class: "tour", "aria-label": "guided tour", hidden: true },
      el("div", { class: "tour-head" }, this.title, this.count, this.fold), this.words,
      el("div", { class: "tour-tools" }, this.back, this.next, button("again", "show this stop again", () => this.goTo(this.at)),
        button("leave", "leave the tour, back to your own text", () => this.leave())));
    this.panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.leave();
    });
    box.append(this.panel);
    app.on("state", () => this.show());
    this.show();
  }

  /** The number of the stop, or null. */
  get at() {
    const { tour } = this.app.state;
    return Number.isInteger(tour) ? Math.max(0, Math.min(this.stops.length - 1, tour)) : null;
  }

  get running() {
    return this.at !== null;
  }

  /** Go to a stop: the page shows what the stop is about. */
  goTo(number) {
    const { app } = this, at = Math.max(0, Math.min(this.stops.length - 1, number));
    if (!this.running) this.before = app.state;
    this.arrived = true;
    app.set({ ...app.start, ...this.stops[at].state, tour: at });
    app.schedule(false); // also if the state is that of the stop already
  }

  start() {
    this.goTo(this.at ?? 0);
  }

  /** Back to the text and the place that the reader had; after a link to a stop, to the start of the page. */
  leave() {
    if (!this.running) return;
    this.app.set({ ...(this.before ?? this.app.start), tour: null });
    document.getElementById("tour").focus();
  }

  setFolded(folded) {
    this.words.hidden = folded;
    this.fold.textContent = folded ? "show" : "hide";
    this.fold.setAttribute("aria-label", `${folded ? "show" : "hide"} the text of the tour`);
    this.fold.setAttribute("aria-expanded", String(!folded));
  }

  show() {
    const { at } = this;
    document.querySelector(".tour-spot")?.classList.remove("tour-spot");
    this.panel.hidden = at === null;
    if (at === null) this.before = this.app.state;
    if (at !== this.shown) this.arrived = true;
    this.shown = at;
    if (at === null) return;
    const { title, text, task, spot } = this.stops[at];
    this.title.textContent = title;
    this.text.textContent = text;
    this.task.replaceChildren(el("b", {}, "Do this: "), task);
    this.count.textContent = `${at + 1} of ${this.stops.length}`;
    this.back.disabled = at === 0;
    this.next.textContent = at + 1 < this.stops.length ? "next →" : "finish";
    this.next.setAttribute("aria-label", at + 1 < this.stops.length ? "next stop" : "finish the tour");
    const element = document.querySelector(spot);
    if (this.arrived) this.arrive(element);
    element?.classList.add("tour-spot");
  }

  /** Unfold what the stop is about and scroll to it, so that the panel does not cover it; move the focus for screen readers. */
  arrive(element) {
    this.arrived = false;
    this.setFolded(false);
    for (let fold = element?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    const drawn = document.querySelector("html[data-ready]"); // a page that was opened at a stop does not take the focus
    if (drawn) this.title.focus({ preventScroll: true });
    if (!element) return;
    const { top, bottom } = element.getBoundingClientRect(), room = window.innerHeight - this.panel.offsetHeight - 2 * GAP;
    if (top >= GAP && bottom <= room) return;
    const bar = document.querySelector(".view .tools"), sticks = bar && getComputedStyle(bar).position === "sticky";
    window.scrollBy(0, top - CONTEXT - (sticks ? bar.offsetHeight : 0));
  }
}
