// Tour: short stops through the page, in the order of the notebooks, each with one thing to do.

import { openDialog } from "../base.js";

export function startTour() {
  openDialog("Guided tour");
}
