// Compare: two texts side by side, and the first array that differs.

import { el } from "../base.js";

export const compareView = {
  id: "compare",
  title: "Compare",
  about: "Two texts side by side, and the first array that differs.",
  keys: [],
  build() {
    return el("p", {}, "");
  },
  update() {},
};
