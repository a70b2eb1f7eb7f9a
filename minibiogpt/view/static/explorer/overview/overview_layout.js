// Layout of the model view: where everything is. The studied token's column is open; the others are narrow.

export const TOP_TOKENS = 10; // next tokens with a bar of their own
const BAR_LINE = 14; // height of such a bar's line
const WIDE_COLUMN = 64; // columns at least this wide have horizontal labels

/** Sizes and positions in pixels, for L layers, T tokens, the studied row, and the width available. y grows downwards. */
export function layoutOf({ L, T, row, width }) {
  const small = width < 480, left = small ? 134 : 150, right = small ? 158 : 200;
  const column = T > 1 ? Math.max(small ? 24 : 28, Math.min(92, Math.floor((width - left - right - 8) / (T - 1)))) : 0;
  const wide = column >= WIDE_COLUMN, tall = L <= 4 ? 76 : L <= 8 ? 68 : 56, box = L <= 8 ? 30 : 23;
  const answers = 16 + (TOP_TOKENS + 1) * BAR_LINE, logits = answers + 30, norm = logits + 30, top = norm + 20;
  const bottom = top + L * tall, tokens = bottom + 48;
  const x = (t) => (t < row ? (t + 0.5) * column : t === row ? row * column + left : (t - 0.5) * column + left + right);
  return {
    L, T, row, left, right, column, wide, tall, box, answers, logits, norm, top, bottom, tokens, x, line: BAR_LINE,
    width: (T - 1) * column + left + right, height: tokens + (wide ? 22 : 96),
    floor: (layer) => bottom - layer * tall,
    attention: (layer) => bottom - layer * tall - 0.28 * tall,
    feed: (layer) => bottom - layer * tall - 0.73 * tall,
    embeddings: bottom + 22,
  };
}

/** The token and the level at a point of the drawing: {t, y}; t is null beside the columns. */
export function columnAt(layout, x) {
  const { row, column, left, right, T } = layout, start = row * column;
  if (x < 0 || x >= layout.width) return null;
  if (x < start) return Math.floor(x / column);
  if (x < start + left + right) return row;
  return Math.min(T - 1, row + 1 + Math.floor((x - start - left - right) / column));
}

/** The outline of a stream from its embeddings upwards: levels are [y, half of the width], from the bottom to the top. */
export function streamPath(x, levels, top) {
  const right = [], left = [];
  levels.forEach(([y, half], i) => {
    const until = i + 1 < levels.length ? levels[i + 1][0] : top;
    right.push(`${x + half} ${y}`, `${x + half} ${until}`);
    left.push(`${x - half} ${until}`, `${x - half} ${y}`);
  });
  const back = [];
  for (let i = levels.length - 1; i >= 0; i--) back.push(left[2 * i], left[2 * i + 1]);
  return `M${right.join("L")}L${back.join("L")}Z`;
}
