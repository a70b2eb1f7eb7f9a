// Exports: files to save, arrays as .npy and CSV, and several files as one archive.

import { el, exact } from "../../base.js";

const FORMATS = { float32: ["<f4", Float32Array], float64: ["<f8", Float64Array], int64: ["<i8", BigInt64Array],
  bool: ["|b1", Uint8Array] };
const KEPT = 20_000; // milliseconds for which the browser may read a saved file

/** Save a file from the page. content: text, bytes, or a Blob. */
export function download(name, type, content) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT);
}

/** Save one file as it is, several [name, content] as an archive of the name. */
export function downloadAll(archive, type, files) {
  if (files.length === 1) download(files[0][0], type, files[0][1]);
  else if (files.length) download(archive, "application/zip", zipOf(files.map(([name, content]) => [name, bytesOf(content)])));
}

const bytesOf = (content) => (typeof content === "string" ? new TextEncoder().encode(content) : content);

/** The bytes of a .npy file of format 1.0, which numpy.load reads with the same bits. */
export function npyOf({ shape, dtype, numbers }) {
  const [descr, Kind] = FORMATS[dtype];
  const tuple = `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  header += `${" ".repeat(63 - ((10 + header.length) % 64))}\n`;
  const values = dtype === "int64" ? Kind.from(numbers, (x) => BigInt(x)) : Kind.from(numbers);
  const bytes = new Uint8Array(10 + header.length + values.byteLength);
  bytes.set([0x93, ...[..."NUMPY"].map((c) => c.charCodeAt(0)), 1, 0, header.length & 255, header.length >> 8]);
  bytes.set([...header].map((c) => c.charCodeAt(0)), 10);
  bytes.set(new Uint8Array(values.buffer), 10 + header.length); // browsers run on little-endian machines
  return bytes;
}

/** The array as lines of indices and value; a value is the shortest decimal that gives the same number of its dtype. */
export function csvOf({ shape, dtype, numbers }) {
  const lines = [[...shape.map((_, i) => `axis${i}`), "value"].join(",")];
  const index = shape.map(() => 0);
  for (let at = 0; at < numbers.length; at++) {
    lines.push([...index, exact(numbers[at], dtype)].join(","));
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
  }
  return `${lines.join("\n")}\n`;
}

/** The bytes of a .zip file of [name, bytes], not compressed. An archive of .npy files is an .npz file. */
function zipOf(files) {
  const parts = [], entries = [];
  let at = 0;
  const put = (...more) => more.forEach((bytes) => { parts.push(bytes); at += bytes.length; });
  for (const [name, bytes] of files) {
    const text = new TextEncoder().encode(name), sum = crcOf(bytes), offset = at;
    const sizes = [[bytes.length, 4], [bytes.length, 4], [text.length, 2], [0, 2]];
    const common = [[20, 2], [0x0800, 2], [0, 2], [0, 2], [0x21, 2], [sum, 4], ...sizes];
    put(littleEndian([[0x04034b50, 4], ...common]), text, bytes);
    entries.push([littleEndian([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), text]);
  }
  const start = at;
  for (const entry of entries) put(...entry);
  put(littleEndian([[0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [at - start, 4], [start, 4], [0, 2]]));
  const all = new Uint8Array(at);
  parts.reduce((to, bytes) => (all.set(bytes, to), to + bytes.length), 0);
  return all;
}

/** The bytes of numbers [value, width]. */
function littleEndian(fields) {
  return Uint8Array.from(fields.flatMap(([value, width]) => Array.from({ length: width }, (_, i) => (value >>> (8 * i)) & 255)));
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/** The checksum CRC-32 of bytes. */
function crcOf(bytes) {
  let c = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) c = CRC_TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}
