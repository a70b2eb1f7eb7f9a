// Byte-pair encoding of a word.

import { ensure, valueInWords } from "../errors.js";
import { pythonSplit } from "./moses.js";

export const END_OF_WORD = "</w>";

/** Map "left right" -> rank, from pairs or the text of merges.txt. Further columns, and text after the last newline, are ignored. */
export function mergeRanks(merges) {
  const isPair = (pair) => Array.isArray(pair) && (pair.length === 0 || (pair.length === 2 && pair.every((x) => typeof x === "string")));
  const isText = typeof merges === "string" && (merges.includes("\n") || !merges); // not the name of the file
  const must = 'merges must be the text of merges.txt, or pairs [["a", "b</w>"]]', list = Array.isArray(merges);
  const found = list ? valueInWords(merges.find((pair) => !isPair(pair))) : valueInWords(merges);
  ensure(isText || (list && merges.every(isPair)), must, found, 'read it as text: readFileSync(path, "utf8")');
  const lines = typeof merges === "string" ? merges.split("\n").slice(0, -1).map((line) => pythonSplit(line).slice(0, 2)) : merges;
  return new Map(lines.filter((pair) => pair.length).map((pair, rank) => [pair.join(" "), rank]));
}

/**
 * The pieces of a word, each { piece, length } with its length in characters: merge all occurrences of the pair of lowest rank, until
 * no pair has a rank. The last character of the word carries END_OF_WORD.
 */
export function mergeWord(characters, ranks) {
  let pieces = characters.map((c, i) => ({ piece: i + 1 < characters.length ? c : c + END_OF_WORD, length: 1 }));
  const rankOf = (left, right) => ranks.get(`${left.piece} ${right.piece}`) ?? Infinity;
  let pairs = pieces.slice(1).map((right, i) => rankOf(pieces[i], right)); // the rank of pieces i and i + 1
  for (;;) {
    const lowest = pairs.reduce((least, rank) => Math.min(least, rank), Infinity);
    if (lowest === Infinity) return pieces;
    const merged = [], ranksOfMerged = [];
    for (let i = 0, joinedBefore = false; i < pieces.length; i++) {
      const joins = pairs[i] === lowest;
      const piece = joins ? { piece: pieces[i].piece + pieces[i + 1].piece, length: pieces[i].length + pieces[i + 1].length } : pieces[i];
      if (merged.length) ranksOfMerged.push(joins || joinedBefore ? rankOf(merged.at(-1), piece) : pairs[i - 1]);
      merged.push(piece);
      if (joins) i += 1;
      joinedBefore = joins;
    }
    pieces = merged;
    pairs = ranksOfMerged;
  }
}
