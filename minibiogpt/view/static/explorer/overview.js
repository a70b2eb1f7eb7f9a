// Model: the whole model: tokens at the bottom, layers that read from and add to the residual stream, the next token on top.

import { el } from "../base.js";

export const modelView = {
  id: "model",
  title: "Model",
  about: "The whole model: tokens at the bottom, layers that read from and add to the residual stream, the next token on top.",
  keys: [],
  build() {
    return el("p", {}, "");
  },
  update() {},
};
