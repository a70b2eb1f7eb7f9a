// Next tokens: the model's probabilities after a token.

/** softmax of the logits of a row, in float64, over the whole vocabulary. */
export function nextProbabilities(run, t) {
  const logits = run.row("logits", t), p = new Float64Array(logits.length);
  let most = -Infinity, total = 0;
  for (const x of logits) if (x > most) most = x;
  for (let i = 0; i < p.length; i++) total += p[i] = Math.exp(logits[i] - most);
  for (let i = 0; i < p.length; i++) p[i] /= total;
  return p;
}
