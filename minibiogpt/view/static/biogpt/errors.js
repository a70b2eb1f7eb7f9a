// What the twin refuses, as minibiogpt words it: what must hold; what was found; what to do.

export class BioGptError extends Error {
  constructor(must, found, remedy) {
    super(`${must}; found ${found}; ${remedy}`);
    this.name = "BioGptError";
  }
}

/** Throw a BioGptError unless the condition holds. */
export function ensure(condition, must, found, remedy) {
  if (!condition) throw new BioGptError(must, found, remedy);
}
