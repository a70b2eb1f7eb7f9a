// Experiments: change something inside the model, and see what follows.

import { el } from "../base.js";

export const experimentsView = {
  id: "experiments",
  title: "Experiments",
  about: "Change something inside the model, and see what follows.",
  keys: [],
  build() {
    return el("p", {}, "");
  },
  update() {},
};
