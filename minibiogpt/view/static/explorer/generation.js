// Generation: how the next tokens are chosen, step by step.

import { el } from "../base.js";

export const generationView = {
  id: "generation",
  title: "Generation",
  about: "How the next tokens are chosen, step by step.",
  keys: [],
  build() {
    return el("p", {}, "");
  },
  update() {},
};
