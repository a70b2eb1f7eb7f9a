// Read and write safetensors: 8 bytes with the header's length, a JSON header, then the values, little-endian and row-major.

import { BioGptError, ensure, valueInWords } from "./errors.js";
import { isArray, makeArray, sizeOfShape } from "./ops.js";

const WIDTHS = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 };
const DTYPES = { F64: "float64", F32: "float32", F16: "float32", BF16: "float32", BOOL: "bool" }; // any other: int64
const REMEDY = "copy or download the file again";

/** Read the bytes of a safetensors file (Uint8Array): {tensors: Map from name to array, metadata}. Half precision is widened. */
export function readSafetensors(content) {
  const isBytes = content instanceof Uint8Array || content instanceof ArrayBuffer;
  ensure(isBytes, "readSafetensors takes the bytes of a file, a Uint8Array", valueInWords(content), "read the file: readFileSync(path)");
  const bytes = content instanceof ArrayBuffer ? new Uint8Array(content) : content;
  const { header, start } = readHeader(bytes);
  const metadata = header.__metadata__ ?? {}, isTexts = Object.values(metadata).every((text) => typeof text === "string");
  ensure(metadata instanceof Object && isTexts, "__metadata__ must map names to texts", JSON.stringify(metadata).slice(0, 80), REMEDY);
  const tensors = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name !== "__metadata__") tensors.set(name, readTensor(bytes, start, name, entry));
  }
  checkRanges(header, bytes.length - start);
  return { tensors, metadata };
}

/** Check that the tensors fill the rest of the file, one after the other. */
function checkRanges(header, size) {
  const ranges = Object.entries(header).filter(([name]) => name !== "__metadata__").map(([name, entry]) => [name, ...entry.data_offsets]);
  let end = 0;
  for (const [name, begin, next] of ranges.sort(([, a, b], [, c, d]) => a - c || b - d)) {
    ensure(begin === end, "the tensors of a file must follow each other", `${name} at byte ${begin}, not ${end}`, REMEDY);
    end = next;
  }
  ensure(end === size, "the tensors must fill the file", `${size - end} bytes after the last`, REMEDY);
}

function readHeader(bytes) {
  const must = "a safetensors file must begin with the length of its header and the header";
  ensure(bytes.length >= 8, must, `${bytes.length} bytes`, REMEDY);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  ensure(length <= bytes.length - 8, must, `a header of ${length} bytes in a file of ${bytes.length}`, REMEDY);
  try {
    const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length)));
    if (header && typeof header === "object" && !Array.isArray(header)) return { header, start: 8 + length };
  } catch { /* the error below says it */ }
  throw new BioGptError(must, "a header that is not a JSON object", REMEDY);
}

function readTensor(bytes, start, name, entry) {
  const { dtype, shape, data_offsets: offsets } = entry ?? {};
  const isComplete = [shape, offsets].every((list) => Array.isArray(list) && list.every((x) => Number.isInteger(x) && x >= 0));
  ensure(isComplete && offsets.length === 2, `the header must give ${name} a shape and data_offsets`, JSON.stringify(entry), REMEDY);
  ensure(Object.hasOwn(WIDTHS, dtype), `the dtype of ${name} must be one of ${Object.keys(WIDTHS).join(", ")}`, dtype, "convert the file");
  const size = sizeOfShape(shape), [begin, end] = offsets;
  const fits = end - begin === size * WIDTHS[dtype], isInside = start + end <= bytes.length;
  ensure(fits, `${name} must have the bytes of its shape`, `${end - begin} for ${dtype} [${shape}]`, REMEDY);
  ensure(isInside, `${name} must be within the file`, `bytes ${start + begin} to ${start + end} of ${bytes.length}`, REMEDY);
  const view = new DataView(bytes.buffer, bytes.byteOffset + start + begin, end - begin);
  const array = makeArray(shape, DTYPES[dtype] ?? "int64");
  readNumbers(view, dtype, array.numbers);
  const isExact = dtype !== "I64" || array.numbers.every(Number.isSafeInteger);
  ensure(isExact, `the integers of ${name} must be within 2 ** 53`, "larger ones", "store smaller numbers");
  return array;
}

function readNumbers(view, dtype, out) {
  const read = {
    F64: (i) => view.getFloat64(8 * i, true), F32: (i) => view.getFloat32(4 * i, true),
    F16: (i) => fromHalf(view.getUint16(2 * i, true)), BF16: (i) => fromBfloat(view.getUint16(2 * i, true)),
    I64: (i) => Number(view.getBigInt64(8 * i, true)), I32: (i) => view.getInt32(4 * i, true),
    I16: (i) => view.getInt16(2 * i, true), I8: (i) => view.getInt8(i), U8: (i) => view.getUint8(i), BOOL: (i) => view.getUint8(i),
  }[dtype];
  for (let i = 0; i < out.length; i++) out[i] = read(i);
}

/** The number that 16 bits are in float16: sign, 5 bits of exponent, 10 of fraction. */
export function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * (1024 + fraction) * 2 ** (exponent - 25) : sign * fraction * 2 ** -24;
}

const bfloatBits = new Uint32Array(1), bfloatValue = new Float32Array(bfloatBits.buffer);

/** The number that 16 bits are in bfloat16: the upper half of a float32. */
export function fromBfloat(bits) {
  bfloatBits[0] = bits << 16;
  return bfloatValue[0];
}

const CODES = { float64: "F64", float32: "F32", int64: "I64", bool: "BOOL" };

/** Write arrays (Map from name to array) and metadata ({key: text}) as the bytes of a safetensors file. */
export function writeSafetensors(tensors, metadata = {}) {
  ensure(tensors instanceof Map, "writeSafetensors takes a Map from names to arrays", valueInWords(tensors), "pass new Map(...)");
  const header = Object.keys(metadata).length ? { __metadata__: metadata } : {};
  let end = 0;
  for (const [name, array] of tensors) {
    const { shape, dtype, numbers } = array ?? {};
    checkWritten(name, { shape, dtype, numbers });
    const begin = end;
    end += numbers.length * WIDTHS[CODES[dtype]];
    header[name] = { dtype: CODES[dtype], shape, data_offsets: [begin, end] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = 8 * Math.ceil(text.length / 8); // values start at a multiple of 8
  const bytes = new Uint8Array(8 + length + end).fill(32, 8 + text.length, 8 + length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(length), true);
  bytes.set(text, 8);
  for (const [name, array] of tensors) writeNumbers(view, 8 + length + header[name].data_offsets[0], array);
  return bytes;
}

function checkWritten(name, array) {
  const must = `${name} must be an array { shape, dtype, numbers }, of ${Object.keys(CODES).join(", ")}`;
  const { shape, dtype, numbers } = array, found = numbers ? `[${shape}], ${dtype}, ${numbers.length} numbers` : valueInWords(numbers);
  ensure(isArray(array) && name !== "__metadata__", must, found, "make it with makeArray(shape, dtype, numbers)");
  const isExact = dtype !== "int64" || numbers.every(Number.isSafeInteger);
  ensure(isExact, `the numbers of ${name} must be integers within 2 ** 53`, "others", "write them as float64");
}

function writeNumbers(view, start, { dtype, numbers }) {
  for (let i = 0; i < numbers.length; i++) {
    if (dtype === "float64") view.setFloat64(start + 8 * i, numbers[i], true);
    else if (dtype === "float32") view.setFloat32(start + 4 * i, numbers[i], true);
    else if (dtype === "int64") view.setBigInt64(start + 8 * i, BigInt(numbers[i]), true);
    else view.setUint8(start + i, numbers[i]);
  }
}
