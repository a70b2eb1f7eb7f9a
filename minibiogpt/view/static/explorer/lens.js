// Logit lens: what the model would say after each layer, and which parts make a token likely.

import { el } from "../base.js";

export const lensView = {
  id: "lens",
  title: "Logit lens",
  about: "What the model would say after each layer, and which parts make a token likely.",
  keys: [],
  build() {
    return el("p", {}, "");
  },
  update() {},
};
