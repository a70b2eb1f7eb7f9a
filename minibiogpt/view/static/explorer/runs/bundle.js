// Bundle: the arrays that minibiogpt.view.explorer.bundle packed, decompressed by the browser.

/** A Map from name to {shape, dtype, numbers} of the arrays in a bundle. */
export async function openBundle({ entries, deflate }) {
  const planes = await inflated(deflate), arrays = new Map();
  let at = 0;
  for (const { name, shape, dtype } of entries) {
    const numbers = new ({ float32: Float32Array, float64: Float64Array, int64: BigInt64Array })[dtype](shape.reduce((a, b) => a * b, 1));
    const bytes = new Uint8Array(numbers.buffer), width = numbers.BYTES_PER_ELEMENT, count = numbers.length;
    for (let byte = 0; byte < width; byte++, at += count) {
      for (let i = 0; i < count; i++) bytes[i * width + byte] = planes[at + i];
    }
    arrays.set(name, { shape, dtype, numbers: dtype === "int64" ? Float64Array.from(numbers, Number) : numbers });
  }
  return arrays;
}

async function inflated(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
