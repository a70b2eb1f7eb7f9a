// BioGptTokenizer: text to tokens and back, as minibiogpt.BioGptTokenizer without added tokens.

import { ensure, valueInWords } from "../errors.js";
import { END_OF_WORD, mergeRanks, mergeWord } from "./bpe.js";
import { mosesText, mosesWords, pythonSplit } from "./moses.js";

const UNKNOWN = "<unk>", SEPARATOR = "</s>";
const SPECIAL_TOKENS = [UNKNOWN, "<s>", SEPARATOR, "<pad>"];
const SPECIAL_PATTERN = /<unk>|<s>|<\/s>|<pad>/g;
const CONTINUES = "·"; // appended to the label of a token that does not end its word

function checkVocabulary(vocab) {
  const isTable = vocab instanceof Object && !(Array.isArray(vocab) || vocab instanceof Map);
  const must = "vocab must be the object of vocab.json";
  ensure(isTable, must, valueInWords(vocab), "pass JSON.parse of its text");
  const wrong = Object.keys(vocab).find((piece) => !(Number.isInteger(vocab[piece]) && vocab[piece] >= 0));
  ensure(wrong === undefined, "vocab must map pieces to ids", `${valueInWords(vocab[wrong])} for ${wrong}`, "correct vocab.json");
}

/** Tokens of texts. vocab: { piece: id }; merges: the text of merges.txt, or pairs. */
export class BioGptTokenizer {
  constructor({ vocab, merges } = {}) {
    checkVocabulary(vocab);
    this.ids = new Map(Object.entries(vocab));
    // Numbered in Python's order: the number of tokens so far.
    for (const token of SPECIAL_TOKENS) if (!this.ids.has(token)) this.ids.set(token, this.ids.size);
    this.pieces = new Map(Array.from(this.ids, ([piece, id]) => [id, piece]));
    this.largestId = Array.from(this.pieces.keys()).reduce((most, id) => Math.max(most, id), 0);
    this.ranks = mergeRanks(merges);
    this.special = new Set(SPECIAL_TOKENS.map((token) => this.ids.get(token)));
  }

  /**
   * Tokens { id, piece, start, end } of a text, or of a pair, each after a leading </s>. [start, end) counts UTF-16 code units of the
   * token's own text.
   */
  encode(text, pair = null) {
    ensure(typeof text === "string", "encode takes a text, and another for a pair", valueInWords(text), "encode texts one at a time");
    const tokens = [this.specialAt(SEPARATOR, 0, 0)];
    let done = 0;
    for (const { 0: token, index } of text.matchAll(SPECIAL_PATTERN)) {
      tokens.push(...this.plainTokens(text, done, index));
      done = index + token.length;
      tokens.push(this.specialAt(token, index, done));
    }
    tokens.push(...this.plainTokens(text, done, text.length));
    return pair === null ? tokens : [...tokens, ...this.encode(pair)];
  }

  specialAt(piece, start, end) {
    return { id: this.ids.get(piece), piece, start, end };
  }

  /** Tokens of text[from:to], in which special tokens are not looked for. */
  plainTokens(text, from, to) {
    return mosesWords(text.slice(from, to)).flatMap((word) => {
      let first = 0;
      return mergeWord(word.map((g) => g.c), this.ranks).map(({ piece, length }) => {
        const start = from + word[first].start, end = from + word[first + length - 1].end;
        first += length;
        return { id: this.ids.get(piece) ?? this.ids.get(UNKNOWN), piece, start, end };
      });
    });
  }

  /** The text of ids. Moses decides where spaces go, so it is not always the text that was encoded. */
  decode(ids, options = {}) {
    const { skipSpecialTokens = false, ...others } = options ?? {}, unknown = Object.keys(others)[0];
    ensure(unknown === undefined, "the only option of decode is skipSpecialTokens", unknown, "pass { skipSpecialTokens: true }");
    const isList = Array.isArray(ids) || ArrayBuffer.isView(ids), must = "decode takes a list of ids";
    ensure(isList, must, valueInWords(ids), "pass [2, 5]; of the tokens of encode(), take token.id");
    const plain = Array.from(ids, (id) => (typeof id === "bigint" ? Number(id) : id));
    const kept = plain.filter((id) => !skipSpecialTokens || !this.special.has(id));
    const written = kept.map((id) => this.piece(id).replaceAll(" ", "").replaceAll(END_OF_WORD, " ")).join("");
    return mosesText(pythonSplit(written));
  }

  /** The piece of an id, as in vocab.json. */
  piece(id) {
    const piece = this.pieces.get(id);
    const must = `an id must be an integer of the vocabulary, 0 to ${this.largestId}`;
    ensure(piece !== undefined, must, valueInWords(id), "use this tokenizer's ids; of the tokens of encode(), take token.id");
    return piece;
  }

  /** The label of an id on a page: its text, with · if the token does not end its word; "id 7" if there is no such token. */
  label(id) {
    const piece = this.pieces.get(id);
    if (piece === undefined) return `id ${id}`;
    if (this.special.has(id)) return piece;
    return piece.endsWith(END_OF_WORD) ? piece.slice(0, -END_OF_WORD.length) : piece + CONTINUES;
  }
}
