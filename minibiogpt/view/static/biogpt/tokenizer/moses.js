// Moses' word tokenizer and its inverse, for English, as sacremoses 0.2 has them: dashes split, special characters escaped.

import { ABBREVIATIONS, MOSES, NUMBERED } from "./characters.js";

const ESCAPED = { "&": "&amp;", "|": "&#124;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;", "[": "&#91;", "]": "&#93;" };
const UNESCAPED = {
  ...Object.fromEntries(Object.entries(ESCAPED).map(([character, written]) => [written, character])),
  "&bar;": "|", "&bra;": "[", "&ket;": "]", // of older versions of Moses
};
const ENTITY = new RegExp(Object.keys(UNESCAPED).join("|"), "g");
const RUN_DOT = "\0"; // a dot of a run of dots; it stays apart from other dots until the end. Moses drops this character from texts
const KEPT_IN_WORDS = new Set(" .'`,-");
const OPENING = new Set([...MOSES.currency, ..."([{¿¡"]), CLOSING = new Set(",.?!:;\\%}])");
const QUOTES = new Set("'\"„“`"), CURLY_QUOTES = new Set("„“");
const CJK_RANGES = [
  [0x1100, 0x11ff], [0x2e80, 0xa4cf], [0xa840, 0xa87f], [0xac00, 0xd7af], [0xf900, 0xfaff], [0xfe30, 0xfe4f], [0xff65, 0xffdc],
  [0x17000, 0x18aff], [0x1b000, 0x1b12f], [0x1b170, 0x1b2ff], [0x20000, 0x2ffff],
];
const PYTHON_SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;

/** The words of a text, split at what Python takes for spaces; JavaScript's own list differs. */
export const pythonSplit = (text) => text.split(PYTHON_SPACES).filter((word) => word);

/** A character and the part of the text that it stands for, [start, end) in UTF-16 code units. */
const glyph = (c, { start, end }) => ({ c, start, end });
const SPACE = { c: " ", start: 0, end: 0 };

/**
 * The words of a text, each a list of { c, start, end }: its characters after escaping, and where they come from.
 * Lone surrogates are characters of their own.
 */
export function mosesWords(text) {
  let glyphs = readGlyphs(text);
  glyphs = glyphs.flatMap((g) => (MOSES.alnum.has(g.c) || KEPT_IN_WORDS.has(g.c) ? [g] : [SPACE, g, SPACE]));
  glyphs = glyphs.flatMap((g, i) => (isInnerDash(glyphs, i) ? [SPACE, glyph("@", g), g, glyph("@", g), SPACE] : [g]));
  glyphs = splitCommas(markDotRuns(glyphs));
  const alpha = (g) => MOSES.alpha.has(g.c), other = (g) => !alpha(g), number = (g) => MOSES.number.has(g.c);
  glyphs = splitApostrophes(glyphs, other, other, true);
  glyphs = splitApostrophes(glyphs, (g) => other(g) && !number(g), alpha, true);
  glyphs = splitApostrophes(glyphs, alpha, other, true);
  glyphs = splitApostrophes(glyphs, alpha, alpha, false);
  glyphs = splitApostrophes(glyphs, number, (g) => g.c === "s", false);
  return splitFinalQuote(splitFinalDots(wordsOf(glyphs))).map(restoreDots).map(escapeWord);
}

/** The characters that Moses keeps: spaces become one, other control characters go, and both ends are stripped. */
function readGlyphs(text) {
  const glyphs = [];
  let start = 0, spaced = false;
  for (const c of text) {
    const end = start + c.length;
    const isSpace = PYTHON_SPACES.test(c);
    if (isSpace && !spaced && glyphs.length) glyphs.push(SPACE);
    if (!isSpace && c >= " ") glyphs.push({ c, start, end });
    spaced = isSpace;
    start = end;
  }
  while (glyphs.length && glyphs.at(-1) === SPACE) glyphs.pop();
  return glyphs;
}

/** Whether there is a dash between two letters or digits. */
function isInnerDash(glyphs, i) {
  return glyphs[i].c === "-" && i > 0 && i + 1 < glyphs.length && MOSES.alnum.has(glyphs[i - 1].c) && MOSES.alnum.has(glyphs[i + 1].c);
}

/** Make each run of two or more dots a word of its own. */
function markDotRuns(glyphs) {
  const isDot = (i) => glyphs[i]?.c === ".";
  return glyphs.flatMap((g, i) => {
    if (!isDot(i) || (!isDot(i - 1) && !isDot(i + 1))) return [g];
    const dot = [glyph(RUN_DOT, g)];
    return [...(isDot(i - 1) ? [] : [SPACE]), ...dot, ...(isDot(i + 1) ? [] : [SPACE])];
  });
}

/** Split off commas, except those between two numbers. Of commas in a row a pass skips each that follows one it has split off. */
function splitCommas(glyphs) {
  const isComma = (i) => glyphs[i]?.c === ",", isNumber = (i) => MOSES.number.has(glyphs[i].c);
  const padded = (comma) => [SPACE, comma, SPACE];
  glyphs = inPairs(glyphs, (i) => isComma(i + 1) && !isNumber(i), (left, comma) => [left, ...padded(comma)]);
  glyphs = inPairs(glyphs, (i) => isComma(i) && !isNumber(i + 1), (comma, right) => [...padded(comma), right]);
  const last = glyphs.length - 1;
  return last > 0 && isComma(last) && isNumber(last - 1) ? [...glyphs.slice(0, last), ...padded(glyphs[last])] : glyphs;
}

/** Replace adjacent characters i and i + 1 where a rule applies. Each character is in at most one pair. */
function inPairs(glyphs, applies, replaced) {
  const found = [];
  for (let i = 0; i < glyphs.length; i++) {
    if (i + 1 < glyphs.length && applies(i)) found.push(...replaced(glyphs[i], glyphs[++i]));
    else found.push(glyphs[i]);
  }
  return found;
}

/** Split off apostrophes between two kinds of characters; each character is next to at most one of them. */
function splitApostrophes(glyphs, isLeft, isRight, spaceAfter) {
  const found = [];
  for (let i = 0; i < glyphs.length; i++) {
    found.push(glyphs[i]);
    if (i + 2 >= glyphs.length || glyphs[i + 1].c !== "'" || !isLeft(glyphs[i]) || !isRight(glyphs[i + 2])) continue;
    found.push(SPACE, glyphs[i + 1], ...(spaceAfter ? [SPACE] : []), glyphs[i + 2]);
    i += 2;
  }
  return found;
}

function wordsOf(glyphs) {
  const words = [[]];
  for (const g of glyphs) {
    if (g.c === " ") words.push([]);
    else words.at(-1).push(g);
  }
  return words.filter((word) => word.length);
}

/** Split off the dot at the end of a word, unless the word is an abbreviation or the next one begins with a small letter. */
function splitFinalDots(words) {
  return words.flatMap((word, i) => {
    if (word.length < 2 || word.at(-1).c !== ".") return [word];
    const before = word.slice(0, -1), text = before.map((g) => g.c).join(""), next = words[i + 1]?.[0].c;
    const isAbbreviation = ABBREVIATIONS.has(text) || (before.some((g) => g.c === ".") && before.some((g) => MOSES.alpha.has(g.c)));
    if (isAbbreviation || MOSES.lower.has(next) || (NUMBERED.has(text) && next >= "0" && next <= "9")) return [word];
    return [before, word.slice(-1)];
  });
}

/** Split .' at the end of the text. */
function splitFinalQuote(words) {
  const last = words.at(-1) ?? [];
  if (last.length < 2 || last.at(-1).c !== "'" || last.at(-2).c !== ".") return words;
  return [...words.slice(0, -1), last.slice(0, -2), last.slice(-2, -1), last.slice(-1)].filter((word) => word.length);
}

/** Write the dots of runs again. sacremoses marks k of them as k times DOT and MULTI, and reads that in the text as dots too. */
function restoreDots(word) {
  const glyphs = word.map((g) => (g.c === RUN_DOT ? glyph(".", g) : g));
  // One code unit for each character, so that indices agree.
  const text = glyphs.map((g) => (g.c.length > 1 ? "?" : g.c)).join("");
  const found = [];
  let done = 0;
  for (const { 0: mark, index } of text.matchAll(/(?:DOT)+MULTI/g)) {
    const span = { start: glyphs[index].start, end: glyphs[index + mark.length - 1].end };
    found.push(...glyphs.slice(done, index), ...Array(mark.lastIndexOf("DOT") / 3 + 1).fill(glyph(".", span)));
    done = index + mark.length;
  }
  return [...found, ...glyphs.slice(done)];
}

function escapeWord(word) {
  return word.flatMap((g) => [...(ESCAPED[g.c] ?? g.c)].map((c) => (c === g.c ? g : glyph(c, g))));
}

/** The text of Moses' words: dashes joined, characters unescaped, and spaces where English has them. */
export function mosesText(words) {
  const text = ` ${words.join(" ")} `.replaceAll(" @-@ ", "-").replace(ENTITY, (written) => UNESCAPED[written]);
  const tokens = pythonSplit(text);
  const quotes = new Map(); // how often each kind of quote was opened or closed
  let joined = "", space = " ";
  const put = (token, before, after) => {
    joined += before + token;
    space = after;
  };
  tokens.forEach((token, i) => {
    const characters = [...token], all = (set) => characters.every((c) => set.has(c));
    if (isCjk(characters[0])) put(token, i > 0 && isCjk([...tokens[i - 1]].at(-1)) ? "" : space, " ");
    else if (all(OPENING)) put(token, space, "");
    else if (all(CLOSING)) put(token, "", " ");
    else if (i > 0 && characters[0] === "'" && MOSES.letter.has(characters[1])) put(token, "", " ");
    else if (all(QUOTES)) {
      const kind = all(CURLY_QUOTES) ? '"' : token, count = quotes.get(kind) ?? 0;
      if (count % 2 === 0 && token === "'" && i > 0 && tokens[i - 1].endsWith("s")) return put(token, "", " ");
      quotes.set(kind, count + 1);
      if (count % 2 === 0) put(token, space, "");
      else put(token, "", " ");
    } else put(token, space, " ");
  });
  return joined.replace(/ {2,}/g, " ").replace(/^ +| +$/g, "");
}

function isCjk(character) {
  const code = character.codePointAt(0);
  return CJK_RANGES.some(([first, last]) => first <= code && code <= last);
}
