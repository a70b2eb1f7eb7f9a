// What the twin refuses, as minibiogpt words it: what must hold; what was found; what to do.

export class BioGptError extends Error {
  constructor(must, found, remedy) {
    super(`${must}; found ${found}; ${remedy}`);
    this.name = "BioGptError";
  }
}

/** A value in one short line, for errors: numbers and texts as they are, anything else by its kind. */
export function valueInWords(value) {
  if (value === null || value === undefined || typeof value === "boolean" || typeof value === "number") return String(value);
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value);
  if (typeof value === "bigint") return `${value}n`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  const kind = value.constructor?.name ?? "Object";
  return kind === "Object" ? "an object" : `a ${kind}`;
}

/** Throw a BioGptError unless the condition holds. */
export function ensure(condition, must, found, remedy) {
  if (!condition) throw new BioGptError(must, found, remedy);
}
