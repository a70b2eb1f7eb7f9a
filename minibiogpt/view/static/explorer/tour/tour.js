// Tour: short stops through the page, in the order of the notebooks, each with one thing to do.

import { el } from "../../base.js";
import { stopsFor } from "./tour_stops.js";

/** The panel of the tour, which the page shows while state.tour is the number of a stop. */
export class Tour {
  constructor(app, box) {
    this.app = app;
    this.stops = stopsFor(app);
    const button = (text, act) => el("button", { type: "button", onclick: act }, text);
    this.title = el("h2", { tabindex: "-1" });
    this.text = el("p");
    this.task = el("p", { class: "task" });
    this.count = el("span", { class: "soft" });
    this.back = button("← back", () => this.goTo(this.at - 1));
    this.next = button("next →", () => (this.at + 1 < this.stops.length ? this.goTo(this.at + 1) : this.leave()));
    this.again = button("show this stop again", () => this.goTo(this.at));
    this.panel = el("aside", { class: "tour", "aria-label": "guided tour", hidden: true }, this.title, this.text, this.task,
      el("div", { class: "tour-tools" }, this.back, this.next, this.again, button("leave", () => this.leave()), this.count));
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
    const at = Math.max(0, Math.min(this.stops.length - 1, number)), { state } = this.stops[at];
    this.app.set({ row: null, col: null, token: null, changes: [], ...state, tour: at });
    this.title.focus({ preventScroll: true });
  }

  start() {
    this.goTo(this.at ?? 0);
  }

  leave() {
    this.app.set({ tour: null });
    document.getElementById("tour").focus();
  }

  show() {
    const { at } = this;
    this.panel.hidden = at === null;
    if (at === null) return;
    const { title, text, task } = this.stops[at];
    this.title.textContent = title;
    this.text.textContent = text;
    this.task.replaceChildren(el("b", {}, "Do this: "), task);
    this.count.textContent = `stop ${at + 1} of ${this.stops.length}`;
    this.back.disabled = at === 0;
    this.next.textContent = at + 1 < this.stops.length ? "next →" : "finish";
  }
}
