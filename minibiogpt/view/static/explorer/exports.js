// Exports: pictures as SVG and PNG, arrays as .npy and CSV, and files to save.

import { el } from "../base.js";

/** Save a file from the page. content: text, bytes, or a Blob. */
export function download(name, type, content) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** The bytes of a .npy file of format 1.0. */
export function npyOf({ shape, dtype, numbers }) {
  const descr = { float32: "<f4", float64: "<f8" }[dtype] ?? "<f8";
  const tuple = `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  header += `${" ".repeat(63 - ((10 + header.length) % 64))}\n`;
  const numbersOf = descr === "<f4" ? Float32Array.from(numbers) : Float64Array.from(numbers);
  const bytes = new Uint8Array(10 + header.length + numbersOf.byteLength);
  bytes.set([0x93, ...[..."NUMPY"].map((c) => c.charCodeAt(0)), 1, 0, header.length & 255, header.length >> 8]);
  bytes.set([...header].map((c) => c.charCodeAt(0)), 10);
  bytes.set(new Uint8Array(numbersOf.buffer), 10 + header.length);
  return bytes;
}

/** The array as lines of indices and value. */
export function csvOf({ shape, numbers }) {
  const lines = [[...shape.map((_, i) => `axis${i}`), "value"].join(",")];
  const index = shape.map(() => 0);
  for (let at = 0; at < numbers.length; at++) {
    lines.push([...index, numbers[at]].join(","));
    for (let axis = shape.length - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0;
  }
  return `${lines.join("\n")}\n`;
}

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-family", "font-size", "font-weight", "text-anchor",
  "dominant-baseline", "writing-mode", "visibility", "display"];

/** An SVG file of an <svg>, with its computed styles written into it, or of a <canvas>, as an image in it. */
export async function svgText(picture) {
  const { width, height } = picture.getBoundingClientRect();
  if (picture instanceof HTMLCanvasElement) {
    const image = el("svg:image", { width, height, href: picture.toDataURL("image/png") });
    return `${new XMLSerializer().serializeToString(el("svg:svg", { width, height }, image))}\n`;
  }
  const copy = picture.cloneNode(true), from = [picture, ...picture.querySelectorAll("*")], to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((node, i) => {
    const style = getComputedStyle(node);
    for (const name of STYLES) to[i].setAttribute(name, style.getPropertyValue(name));
    to[i].removeAttribute("class");
  });
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  return `${new XMLSerializer().serializeToString(copy)}\n`;
}

/** A PNG of a picture at twice its size. */
export async function pngOf(picture, scale = 2) {
  const { width, height } = picture.getBoundingClientRect();
  const canvas = el("canvas", { width: Math.ceil(width * scale), height: Math.ceil(height * scale) });
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(scale, scale);
  if (picture instanceof HTMLCanvasElement) context.drawImage(picture, 0, 0, width, height);
  else {
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await svgText(picture))}`;
    await image.decode();
    context.drawImage(image, 0, 0, width, height);
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
