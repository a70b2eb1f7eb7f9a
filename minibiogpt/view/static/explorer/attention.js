// Attention: where each head of each layer looks.

import { el } from "../base.js";

export const attentionView = {
  id: "attention",
  title: "Attention",
  about: "Where each head of each layer looks.",
  keys: [],
  build() {
    return el("p", {}, "");
  },
  update() {},
};
