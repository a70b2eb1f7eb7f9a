// The stops of the tour. What they say of single heads and answers holds for the demo model only.

const ASK = "Ibuprofen is best used for";
const COPY = "Sample P321 was sequenced for BRCA1. A mutation in BRCA1 was found in sample";
const OTHER = "Metformin is best used for";

/** Every stop: title, text, task, and the state of the page. demo: only for the demo model; live: only where the page runs the model. */
const STOPS = [
  { title: "The whole way", state: { view: "model", text: ASK }, live: true,
    text: "The text at the bottom is cut into tokens. Every token has a column, the residual stream: each layer reads from it and adds to it. On top is what the model expects next.",
    task: "Type one more word at the end of the text, and watch everything follow." },
  { title: "Text becomes tokens", state: { view: "model", text: ASK },
    text: "The model does not see letters. It sees tokens: pieces of words from a fixed vocabulary. A dot after a piece (I·) says that the word goes on in the next token. </s> starts every text.",
    task: "Count the tokens of the first word in the row above the tabs." },
  { title: "A token becomes a vector", state: { view: "layer", layer: 0, step: "embed_tokens" },
    text: "Each token's id selects a row of a table with D numbers, which is multiplied by the square root of D.",
    task: "Point at a number: the page shows the entry of the table that it comes from." },
  { title: "Where a token stands", state: { view: "layer", layer: 0, step: "embed_positions" },
    text: "A second table has a row for each position. Position 0 uses row 2, because the first two rows are not used.",
    task: "Go to the next step: both are added, and the sum starts the residual stream." },
  { title: "Layer norm", state: { view: "layer", layer: 0, step: "self_attn_layer_norm" },
    text: "Before a layer reads the stream, it subtracts the mean of each row and divides by its standard deviation; then come a gain and a bias for each column.",
    task: "Click a number and follow it through mean, variance, gain and bias." },
  { title: "Queries, keys, values", state: { view: "layer", layer: 0, step: "self_attn.q" },
    text: "Every head makes three vectors for each token: a query (what it looks for), a key (what it offers to be found by) and a value (what it hands on).",
    task: "Press ] to see the queries of the other heads." },
  { title: "A score is a dot product", state: { view: "layer", layer: 0, step: "self_attn.scores" },
    text: "How well a query fits a key is the sum of the products of their numbers, divided by the square root of their length.",
    task: "Click a cell and find the largest of its products in the table." },
  { title: "No look into the future", state: { view: "layer", layer: 0, step: "self_attn.scores_masked" },
    text: "A token may look at itself and at earlier tokens. All other scores are replaced by the lowest number there is; the picture hatches them.",
    task: "Click a hatched cell: the page says why it is masked." },
  { title: "Softmax", state: { view: "layer", layer: 0, step: "self_attn.probs" },
    text: "The softmax turns each row of scores into weights that sum to 1. The first token can only look at itself, so its row has one cell, 1.",
    task: "Choose a row and compare the three largest weights with their scores." },
  { title: "Many heads", state: { view: "attention", text: ASK, layer: 0, head: 0 }, demo: true,
    text: "Every layer has several heads, and each looks at something else. Head 0.0 (layer 0, head 0) nearly always looks one token back.",
    task: "Find another head that looks back, and one that spreads its attention." },
  { title: "The head that copies", state: { view: "attention", text: COPY, layer: 1, head: 0 }, demo: true, live: true,
    text: "Head 1.0 looks for an earlier place where the same token stood, and attends to what followed it. With head 0.0 it makes an induction circuit: that is how the model repeats a code that it has never seen.",
    task: "Look at the last row: “sample” attends to the first piece of the code that came after “Sample” before." },
  { title: "What attention writes", state: { view: "layer", layer: 1, head: 0, step: "self_attn.out_proj" },
    text: "Each head returns the weighted average of the values. The averages of all heads are put side by side, multiplied by one matrix, and added to the stream.",
    task: "Step on to attn_residual: it is the sum of what was there and what attention wrote." },
  { title: "The feed-forward part", state: { view: "layer", layer: 1, step: "activation_fn" },
    text: "Then every token is processed on its own: widened to F numbers, passed through GELU, and narrowed again. Most numbers end up near 0.",
    task: "Click a number and see where it lies on the curve of GELU." },
  { title: "Reading the stream early", state: { view: "lens", text: ASK },
    text: "The logit lens asks after each layer: if the model had to answer now, what would it say?",
    task: "Read the last column from the first layer to the last. When does the answer appear?" },
  { title: "Who made it likely?", state: { view: "lens", text: ASK },
    text: "The logit of a token is a sum: so much from the embeddings, from each head, from each feed-forward part.",
    task: "Find the part that adds the most to the most probable token." },
  { title: "From logits to a choice", state: { view: "generation", text: ASK },
    text: "The softmax of the logits gives a probability to every token of the vocabulary. A temperature below 1 sharpens them, above 1 flattens them.",
    task: "Set the temperature to 2, then to 0.5, and compare the bars." },
  { title: "Top-k and top-p", state: { view: "generation", text: ASK }, live: true,
    text: "Before a token is drawn, unlikely ones can be removed: all but the k most probable, or all beyond a total probability p.",
    task: "Set top-p to 0.5 and see how many tokens are left." },
  { title: "The cache", state: { view: "generation", text: ASK }, live: true,
    text: "Keys and values of earlier tokens never change. The model keeps them, and computes only one new column for each new token.",
    task: "Generate five tokens, one at a time, and watch the cache grow." },
  { title: "Without one head", state: { view: "experiments", text: COPY, changes: [{ kind: "head", layer: 1, head: 0, scale: 0 }] }, demo: true, live: true,
    text: "Attribution shows what a part wrote. To learn what the answer depends on, take the part away: here head 1.0, which copies, is switched off.",
    task: "Compare the next token with that of the untouched run, then switch the head on again." },
  { title: "A trap for porters", state: { view: "experiments", text: ASK }, live: true,
    text: "Some mistakes hardly show: another eps, another GELU. The text that is generated stays the same, and only the numbers tell.",
    task: "Switch on one of the traps, and look how far each layer moves." },
  { title: "Two texts", state: { view: "compare", text: ASK, other: OTHER }, live: true,
    text: "Where two texts begin alike, all arrays begin alike, because no token sees the future. From the first different token on, every layer differs.",
    task: "Find the first array that differs, and its position." },
  { title: "Take it with you", state: { view: "model", text: ASK },
    text: "Every picture can be saved as SVG or PNG, every array as .npy or CSV, and the whole run as a trace file for Python. A link holds the place where you are.",
    task: "Copy the link to this place. Then leave the tour, and type a text of your own." },
];

/** The stops that hold for the page's model. In a recorded page no stop changes the text. */
export function stopsFor({ live, facts }) {
  return STOPS.filter((stop) => (live || !stop.live) && (facts.demo || !stop.demo))
    .map((stop) => (live && facts.demo ? stop : { ...stop, state: withoutText(stop.state) }));
}

function withoutText({ text, other, ...state }) {
  return state;
}
