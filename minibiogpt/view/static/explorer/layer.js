// Layer: one layer, step by step, and every number taken apart.

import { el } from "../base.js";

export const layerView = {
  id: "layer",
  title: "Layer",
  about: "One layer, step by step, and every number taken apart.",
  keys: [],
  build() {
    return el("p", {}, "");
  },
  update() {},
};
