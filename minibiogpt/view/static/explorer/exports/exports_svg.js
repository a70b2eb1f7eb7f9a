// Pictures of the page as SVG and PNG files: computed styles are written into them, texts stay texts.

import { el, wellFormed } from "../../base.js";

const INITIAL = { // the properties that are written, and what they are where no style sets them
  fill: "rgb(0, 0, 0)", "fill-opacity": "1", stroke: "none", "stroke-width": "1px", "stroke-dasharray": "none", "stroke-linecap": "butt",
  "stroke-linejoin": "miter", "stroke-opacity": "1", opacity: "1", "font-family": "", "font-size": "", "font-style": "normal",
  "font-weight": "400", "text-anchor": "start", "dominant-baseline": "auto", "writing-mode": "horizontal-tb", visibility: "visible",
  display: "inline", "paint-order": "normal", "image-rendering": "auto", "marker-end": "none",
};
const NOT_INHERITED = new Set(["opacity", "display", "dominant-baseline"]);
const PAGE_ONLY = ["class", "style", "tabindex", "aria-label", "aria-hidden", "role", "data-key"];

/** The size of a picture in CSS pixels. */
function sizeOfPicture(picture) {
  const { width, height } = picture.getBoundingClientRect();
  const whole = picture instanceof SVGElement ? [width, height]
    : [Math.max(width, picture.scrollWidth), Math.max(height, picture.scrollHeight)];
  return whole.map((x) => Math.max(1, Math.ceil(x)));
}

/** An SVG file of an <svg>, of a <canvas>, or of an element with canvases and texts such as a heat map with its labels. */
export async function svgText(picture, title = "", description = "") {
  const [width, height] = sizeOfPicture(picture);
  const parts = picture instanceof SVGSVGElement ? [styledCopy(picture, width, height)] : await boxParts(picture);
  const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim() || "#ffffff";
  const made = el("svg:svg", { width, height, viewBox: `0 0 ${width} ${height}` }, title ? el("svg:title", {}, title) : "",
    description ? el("svg:desc", {}, description) : "", el("svg:rect", { width, height, fill: paper }), ...parts);
  return `${writable(new XMLSerializer().serializeToString(made))}\n`;
}

/** XML has no control characters and no lone surrogates. */
const writable = (text) => wellFormed(text).replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "\ufffd");

/** A copy of an <svg> that looks the same without the page's styles. */
function styledCopy(picture, width, height) {
  const copy = picture.cloneNode(true), from = [picture, ...picture.querySelectorAll("*")], to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((node, i) => {
    const style = getComputedStyle(node), above = i ? getComputedStyle(node.parentNode) : null;
    for (const name of Object.keys(INITIAL)) { // inherited and initial values are not written
      const value = style.getPropertyValue(name);
      const without = above && !NOT_INHERITED.has(name) ? above.getPropertyValue(name) : INITIAL[name];
      to[i].removeAttribute(name);
      if (value && value !== without) to[i].setAttribute(name, value);
    }
    for (const name of PAGE_ONLY) to[i].removeAttribute(name);
  });
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  return copy;
}

/** The canvases of an element as images and its visible texts as texts, at their places. */
async function boxParts(box) {
  if (box instanceof HTMLCanvasElement) return [imageOf(box, box.getBoundingClientRect(), box.getBoundingClientRect())];
  const scrolled = [box, ...box.querySelectorAll("*")].filter((node) => node.scrollLeft || node.scrollTop)
    .map((node) => [node, node.scrollLeft, node.scrollTop]);
  for (const [node] of scrolled) node.scrollTo({ left: 0, top: 0, behavior: "instant" });
  const origin = box.getBoundingClientRect(), parts = groundsOf(box, origin);
  for (const canvas of box.querySelectorAll("canvas")) {
    if (isVisible(canvas)) parts.push(imageOf(canvas, canvas.getBoundingClientRect(), origin));
  }
  for (const inner of box.querySelectorAll("svg")) {
    const rect = inner.getBoundingClientRect();
    if (!isVisible(inner) || inner.parentElement.closest("svg")) continue;
    const copy = styledCopy(inner, rect.width, rect.height);
    copy.setAttribute("x", rect.left - origin.left);
    copy.setAttribute("y", rect.top - origin.top);
    parts.push(copy);
  }
  parts.push(...textsOf(box, origin));
  for (const [node, left, top] of scrolled) node.scrollTo({ left, top, behavior: "instant" });
  return parts;
}

/** The colored backgrounds of elements as rectangles. */
function groundsOf(box, origin) {
  const found = [];
  for (const node of box.querySelectorAll("*")) {
    if (node.closest("svg") || node instanceof HTMLCanvasElement || !isVisible(node)) continue;
    const { backgroundColor: fill, borderTopLeftRadius: radius } = getComputedStyle(node), rect = node.getBoundingClientRect();
    if (fill === "transparent" || /, 0\)$/.test(fill)) continue;
    found.push(el("svg:rect", { ...placeOfRect(rect, origin), rx: parseFloat(radius) || 0, fill }));
  }
  return found;
}

const isVisible = (node) => node.getClientRects().length > 0 && getComputedStyle(node).visibility !== "hidden";

const placeOfRect = ({ left, top, width, height }, origin) => ({ x: left - origin.left, y: top - origin.top, width, height });

function imageOf(canvas, rect, origin) {
  return el("svg:image", { ...placeOfRect(rect, origin), preserveAspectRatio: "none", href: canvas.toDataURL("image/png") });
}

function textsOf(box, origin) {
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT), range = document.createRange(), texts = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest("svg, select, script, style") || !isVisible(parent)) continue;
    const style = getComputedStyle(parent), size = parseFloat(style.fontSize);
    const turned = style.writingMode.startsWith("vertical"); // like the column labels of a heat map, read from the bottom to the top
    for (const { text, rect } of turned ? wholeText(node, range) : brokenLines(node, range)) {
      const [x, y] = turned ? [rect.left - origin.left + rect.width / 2 + size * 0.35, rect.bottom - origin.top]
        : [rect.left - origin.left, rect.top - origin.top + rect.height / 2 + size * 0.35];
      texts.push(el("svg:text", {
        x, y, fill: style.color, "font-family": style.fontFamily, "font-size": style.fontSize, "font-weight": style.fontWeight,
        transform: turned ? `rotate(-90 ${x} ${y})` : null,
      }, text));
    }
  }
  return texts;
}

/** A text node as one line. */
function wholeText(node, range) {
  range.selectNodeContents(node);
  const rect = range.getBoundingClientRect();
  return rect.width && rect.height ? [{ text: node.data.trim(), rect }] : [];
}

/** The lines that a text node is broken into, each with its place: SVG breaks no lines. */
function brokenLines(node, range) {
  range.selectNodeContents(node);
  if (range.getClientRects().length < 2) return wholeText(node, range);
  const lines = [];
  for (const { 0: word, index } of node.data.matchAll(/\S+/g)) {
    for (const part of brokenWord(node, range, index, word)) {
      const line = lines.at(-1);
      if (line && Math.abs(line.rect.top - part.rect.top) < line.rect.height / 2) line.text += (part.inside ? "" : " ") + part.text;
      else lines.push({ text: part.text, rect: part.rect });
    }
  }
  return lines;
}

/** The parts of a word, which is broken only if it is wider than its line. */
function brokenWord(node, range, index, word) {
  const placed = (start, end) => {
    range.setStart(node, start);
    range.setEnd(node, end);
    return range.getClientRects();
  };
  const rects = placed(index, index + word.length);
  if (rects.length < 2) return rects.length ? [{ text: word, rect: rects[0], inside: false }] : [];
  let at = index;
  return [...word].map((text) => {
    const rect = placed(at, at += text.length)[0];
    return { text, rect, inside: at > index + text.length };
  }).filter(({ rect }) => rect);
}

/** A PNG of a picture at twice its size. */
export async function pngOf(picture, scale = 2) {
  const [width, height] = sizeOfPicture(picture), factor = Math.min(scale, 16000 / width, 16000 / height); // the most that browsers draw
  const canvas = el("canvas", { width: Math.round(width * factor), height: Math.round(height * factor) }), image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await svgText(picture))}`;
  await image.decode();
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => { canvas.toBlob(done, "image/png"); });
  return new Uint8Array(await blob.arrayBuffer());
}
