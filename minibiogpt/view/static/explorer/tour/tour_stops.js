// The stops of the tour. What they say about single heads and answers holds for the demo model only.

const ASK = "Ibuprofen is best used for";
const COPY = "Sample P321 was sequenced for BRCA1. A mutation in BRCA1 was found in sample";
const OPEN = "Ibuprofen";
const OTHER = "Ibuprofen acts by";
const WITHOUT = [{ kind: "head", layer: 1, head: 0, scale: 0 }];

/** The state of a stop in the view Layer: the step, and what else differs from the start. */
const inLayer = (step, state = {}) => ({ view: "layer", text: ASK, step, ...state });

/**
 * Every stop: title, text, task, the state of the page, and spot, the selector of what the text is about.
 * demo: only for the demo model; live: only where the page runs the model.
 */
const STOPS = [
  { title: "The whole way", state: { view: "model", text: ASK }, live: true, demo: true, spot: ".entry",
    text: "A text goes in here; the answer is beside the tokens, as “next”. Below is everything that happens in between: every token " +
      "has a column, the residual stream, and each layer reads from it and adds to it, upwards.",
    task: "Add the word pain at the end of the text, and watch the answer and the drawing follow." },
  { title: "Text becomes tokens", state: { view: "model", text: ASK }, spot: ".tokens",
    text: "The model does not see letters. It sees tokens: words, or pieces of words, from a fixed vocabulary. A dot after a piece " +
      "(I·) says that the word goes on in the next token. </s> starts every text.",
    task: "Count the tokens of the first word, and point at one to see its id." },
  { title: "A token becomes a vector", state: inLayer("embed_tokens"), spot: ".stepper .map",
    text: "Each token's id selects one row of a table, D numbers, which are multiplied by the square root of D. Rows here are tokens, " +
      "columns are the D numbers.",
    task: "Point at a cell (or tap it): the page shows the entry of the table that it comes from." },
  { title: "Position becomes a vector", state: inLayer("embed_positions"), spot: ".stepper .map",
    text: "A second table has a row for each position. Position 0 uses row 2 of it: the first two rows are never used.",
    task: "Press “next”: the next step adds both, and the sum starts the residual stream." },
  { title: "Layer norm", state: inLayer("self_attn_layer_norm"), spot: ".stepper .map",
    text: "Before attention reads the stream, each row is normalized: minus its mean, divided by its standard deviation. Then come a " +
      "gain and a bias for each column.",
    task: "Click a cell and follow it through mean, variance, gain and bias." },
  { title: "Queries, keys, values", state: inLayer("self_attn.q"), spot: ".stepper .heads",
    text: "Every head makes three vectors for each token: a query (what it looks for), a key (what it offers to be found by) and a " +
      "value (what it passes on).",
    task: "Choose another head to see its queries; press “next” for the keys." },
  { title: "A score is a dot product", state: inLayer("self_attn.scores"), spot: ".stepper .map",
    text: "How well a query (row) fits a key (column) is the sum of the products of their numbers, divided by the square root of how " +
      "many they are (Dh).",
    task: "Click a cell and find the largest of its products in the table." },
  { title: "No look into the future", state: inLayer("self_attn.scores_masked"), spot: ".stepper .map",
    text: "A token may look at itself and at earlier tokens. All other scores are replaced by the lowest number there is; the picture " +
      "hatches them.",
    task: "Click a hatched cell: the page says why it is masked." },
  { title: "Softmax", state: inLayer("self_attn.probs", { head: 1 }), spot: ".stepper .map",
    text: "The softmax turns each row of scores into weights that sum to 1. The first token can only look at itself, so its row has " +
      "one cell, 1.",
    task: "Click a cell in the last row, and compare its three largest weights with their scores." },
  { title: "Many heads", state: { view: "attention", text: ASK, measure: "previous" }, demo: true, spot: ".heads-box",
    text: "Every layer has several heads, and each looks at something else. Head 0.0 (layer 0, head 0) nearly always looks one token " +
      "back: the number on each head says how much.",
    task: "Set the measure to “to the first token”, and find the head that looks there most." },
  { title: "The head that copies", state: { view: "attention", text: COPY, layer: 1, head: 0, measure: "induction" },
    demo: true, live: true, spot: ".token-strip",
    text: "Head 1.0 looks for an earlier place like this one, and attends to what followed it: after “sample” it looks at “P3·”, the " +
      "token after “Sample”. It can do so because head 0.0 writes into each token which one came before it. Both together are an " +
      "induction circuit.",
    task: "Read where “sample” looks, and what the page expects next (“next”, above)." },
  { title: "What attention writes", state: inLayer("self_attn.out_proj", { layer: 1 }), spot: ".stepper .map",
    text: "Each head returns a weighted average of the values. The averages of all heads are put side by side, multiplied by one " +
      "matrix, and added to the stream.",
    task: "Press “next”: attn_residual is the sum of what was there and what attention wrote." },
  { title: "The feed-forward part", state: inLayer("activation_fn", { layer: 1 }), spot: ".stepper .map",
    text: "Then every token is processed on its own: widened to F numbers, passed through GELU, and narrowed again. Most of the F " +
      "numbers end up close to 0.",
    task: "Click a dark cell and see where it lies on the curve of GELU." },
  { title: "Reading the stream early", state: { view: "lens", text: ASK, layer: 1 }, spot: ".lens-box",
    text: "The logit lens asks after each layer: if the model had to answer now, what would it say?",
    task: "Read the last column downwards. After which layer does the final answer appear?" },
  { title: "Who made it likely?", state: { view: "lens", text: ASK }, spot: ".parts-box",
    text: "The logit of a token is a sum: so much from the embeddings, from each head, from each feed-forward part.",
    task: "Find the part that adds the most. The list beside the picture leads to it: click its name." },
  { title: "From logits to a choice", state: { view: "generation", text: OPEN }, spot: '.gen-setting:has([aria-label="temperature"])',
    text: "The softmax of the logits gives a probability to every token of the vocabulary. A temperature below 1 sharpens them, above " +
      "1 flattens them.",
    task: "Set the temperature to 2, then to 0.5, and compare the bars." },
  { title: "Top-k and top-p", state: { view: "generation", text: OPEN }, live: true, spot: '.gen-setting:has([aria-label="top-p"])',
    text: "Before a token is drawn, unlikely ones can be removed: all but the k most probable, or all that are not needed to reach a " +
      "total probability of p.",
    task: "Set top-p to 0.5 and read how many tokens are left to choose from." },
  { title: "The cache", state: { view: "generation", text: ASK, generation: { doSample: false, count: 1 } },
    live: true, spot: ".generation-view .box:has(.gen-cache)",
    text: "Keys and values of earlier tokens never change. The model keeps them, and computes those of one new position for each new " +
      "token.",
    task: "Press the key n (or “next token”, above) four times: the cache grows by one column each time." },
  { title: "Without one head", state: { view: "experiments", text: COPY, layer: 1, head: 0, changes: WITHOUT }, demo: true, live: true,
    spot: ".effect",
    text: "The sum of parts shows what a part wrote. To learn what the answer depends on, take the part away: here head 1.0, which " +
      "copies, is switched off, and the code is lost.",
    task: "Read what follows. Then switch head 1.0 on again and head 1.1 off: is it as important?" },
  { title: "A trap for porters", state: { view: "experiments", text: ASK }, live: true, spot: ".traps",
    text: "Some mistakes of those who port a model hardly show. With another GELU or another eps the answer stays the same, and only " +
      "the numbers tell.",
    task: "Switch on “tanh GELU”, and read under “What follows” how far each layer moves." },
  { title: "Two texts", state: { view: "compare", text: ASK, other: OTHER, row: 5 }, demo: true, live: true, spot: ".comparison .wide",
    text: "Where two texts begin alike, all arrays begin alike, because no token sees the future. From the first different token on, " +
      "every layer differs.",
    task: "Find the first array that differs, and its position. Then change the second text." },
  { title: "Take it with you", state: { view: "model", text: ASK }, spot: ".bar-tools",
    text: "Every picture can be saved as SVG or PNG, every array as .npy or CSV, and the whole run as a trace file for Python " +
      "(“save”). A link holds the place where you are.",
    task: "Press “copy link”. Then finish the tour, and type a text of your own." },
];

/** The stops that hold for the page's model. In a recorded page, and for another model, no stop changes the text. */
export function stopsFor({ live, facts }) {
  return STOPS.filter((stop) => (live || !stop.live) && (facts.demo || !stop.demo))
    .map((stop) => (live && facts.demo ? stop : { ...stop, state: withoutText(stop.state) }));
}

function withoutText({ text, ...state }) {
  return state;
}
