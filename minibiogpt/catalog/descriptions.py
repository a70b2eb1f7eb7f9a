"""Summary, notes and names in other tools for each array of a trace."""

from __future__ import annotations

SUMMARIES = {
    "position_ids": "position of each token, counted from 0 over the real tokens; -1 at padding",
    "embed_tokens": "token embeddings: the row of the embedding table for each id",
    "embed_positions": "position embeddings: the row of the position table for each position",
    "embeddings": "input of the first layer: token plus position embeddings; the start of the residual stream",
    "layers.{l}.self_attn_layer_norm": "layer norm before attention",
    "layers.{l}.self_attn.q_proj": "queries of all heads, concatenated: what each position looks for",
    "layers.{l}.self_attn.k_proj": "keys of all heads, concatenated: what the queries are compared with",
    "layers.{l}.self_attn.v_proj": "values of all heads, concatenated: what the attention weights average",
    "layers.{l}.self_attn.q": "queries, split into heads",
    "layers.{l}.self_attn.k": "keys, split into heads; cached keys come first",
    "layers.{l}.self_attn.v": "values, split into heads; cached values come first",
    "layers.{l}.self_attn.scores": "attention scores before the mask: scaled dot products of queries and keys",
    "layers.{l}.self_attn.scores_masked": "attention scores after the mask; masked entries are finfo(dtype).min",
    "layers.{l}.self_attn.probs": "attention probabilities after the softmax; each row sums to 1",
    "layers.{l}.self_attn.weights": "attention weights applied to the values: the probabilities after the head mask",
    "layers.{l}.self_attn.context": "weighted sums of the values, heads concatenated",
    "layers.{l}.self_attn.head_out": "contribution of each head to the residual stream",
    "layers.{l}.self_attn.out_proj": "attention output, which is added to the residual stream",
    "layers.{l}.attn_residual": "residual stream after attention",
    "layers.{l}.final_layer_norm": "layer norm before the feed-forward network",
    "layers.{l}.fc1": "first linear layer of the feed-forward network, before the activation",
    "layers.{l}.activation_fn": "output of the feed-forward network's activation function",
    "layers.{l}.fc2": "feed-forward output, which is added to the residual stream",
    "layers.{l}": "output of the layer: the residual stream after the feed-forward network",
    "layer_norm": "final layer norm; its output is what the head reads",
    "score": "class scores at every position",
    "logits": "unnormalized scores that the model returns",
    "loss": "mean loss over the labels that are not ignored (natural logarithm)",
    "processors.{i}.{rule}.before": "input of a logits processor",
    "processors.{i}.{rule}.after": "output of a logits processor; -inf at the tokens that it suppresses",
    "origins": "beam search: for each row, the row of the previous step that it continues",
    "tokens": "ids of the chosen tokens, one per row",
}

EPS = "eps is 1e-5, whatever layer_norm_eps in config.json says (1e-12); transformers ignores that field too."
NOTES = {
    "position_ids": "Counted over real tokens, as in transformers 4.x: a padded row has the same positions as "
    "the unpadded one. transformers 5.x counts padding too unless you pass position_ids.",
    "embed_tokens": "Scaled by sqrt(D) if the config sets scale_embedding; the head uses the same table unscaled. "
    "inputs_embeds must already be scaled.",
    "embed_positions": "The table has N + 2 rows: position 0 is row 2, padding is row 1, row 0 is unused. Position "
    "embeddings are not scaled.",
    "embeddings": "hidden_states[0] of transformers.",
    "layers.{l}.self_attn_layer_norm": EPS,
    "layers.{l}.self_attn.q": "Unscaled: the scores are divided by sqrt(Dh). fairseq, biogpt.cpp and older versions of "
    "transformers scale q instead.",
    "layers.{l}.self_attn.k": "S positions, including the cached ones: T and S differ as soon as there is a cache. "
    "TransformerLens returns only the new positions.",
    "layers.{l}.self_attn.v": "S positions, including the cached ones. TransformerLens returns only the new positions.",
    "layers.{l}.self_attn.scores": "Before the mask; no other tool exposes this array. hook_attn_scores of "
    "TransformerLens is taken after the mask; the two are equal wherever attention is allowed.",
    "layers.{l}.self_attn.scores_masked": "Masked scores hold the dtype's lowest finite value; other implementations "
    "write -inf or add that value. A fully masked row (left padding) becomes uniform, never NaN.",
    "layers.{l}.self_attn.probs": "The attentions of transformers are the weights, which equal probs only without a "
    "head mask. TransformerLens writes 0 into a fully masked row.",
    "layers.{l}.self_attn.weights": "transformers applies a head mask in eager attention only; sdpa, its default, "
    "silently ignores it. transformers 4.57 reads an (H,) mask as one value per layer.",
    "layers.{l}.self_attn.context": "Head h has columns h * Dh to (h + 1) * Dh. out_proj mixes the heads; after it "
    "they can no longer be separated.",
    "layers.{l}.self_attn.head_out": "Not stored in a trace; computed from context. Summed over the heads, plus the "
    "bias, it is out_proj.",
    "layers.{l}.self_attn.out_proj": "The bias belongs to no head.",
    "layers.{l}.final_layer_norm": "Despite its name, this is neither the last norm of the model nor of the layer: it "
    f"is applied BEFORE the feed-forward network. The model's last norm is layer_norm. {EPS}",
    "layers.{l}.activation_fn": "gelu is the exact form with erf; gelu_new is its tanh approximation.",
    "layers.{l}": "hidden_states[l + 1] of transformers 4.x, taken before the final norm for the last layer too. In "
    "5.x the last entry of hidden_states is layer_norm.",
    "layer_norm": "last_hidden_state of transformers. hidden_states[-1] of 4.x is the output of the last layer, before "
    f"this norm. {EPS}",
    "logits": "Unnormalized. With tied weights the head is the embedding table itself, unscaled. A sequence classifier "
    "returns the scores at each row's rightmost real token; a generation step has those of the last position.",
    "loss": "Labels of -100 are ignored; if all labels are ignored, the loss is NaN. The language model shifts the "
    "labels itself.",
    "origins": "The cache is reordered by these indices before the next step.",
}

MODULES = {
    "embed_tokens": "biogpt.embed_tokens",
    "embed_positions": "biogpt.embed_positions",
    "embeddings": "hidden_states.0",
    "layers.{l}.self_attn_layer_norm": "biogpt.layers.{l}.self_attn_layer_norm",
    "layers.{l}.self_attn.q_proj": "biogpt.layers.{l}.self_attn.q_proj",
    "layers.{l}.self_attn.k_proj": "biogpt.layers.{l}.self_attn.k_proj",
    "layers.{l}.self_attn.v_proj": "biogpt.layers.{l}.self_attn.v_proj",
    "layers.{l}.self_attn.weights": "attentions.{l}",
    "layers.{l}.self_attn.out_proj": "biogpt.layers.{l}.self_attn.out_proj",
    "layers.{l}.final_layer_norm": "biogpt.layers.{l}.final_layer_norm",
    "layers.{l}.fc1": "biogpt.layers.{l}.fc1",
    "layers.{l}.activation_fn": "biogpt.layers.{l}.activation_fn",
    "layers.{l}.fc2": "biogpt.layers.{l}.fc2",
    "layers.{l}": "biogpt.layers.{l}",
    "layer_norm": "biogpt.layer_norm",
    "score": "score",
    "logits B T V": "output_projection",
    "logits B T labels": "classifier",
}
"""{our name: module or output of transformers 4.57}. The keys of logits include their axes."""

HOOKS = {
    "embed_tokens": ("hook_embed", "B T D"),
    "embed_positions": ("hook_pos_embed", "B T D"),
    "embeddings": ("blocks.0.hook_resid_pre", "B T D"),
    "layers.{l}.self_attn.q": ("blocks.{l}.attn.hook_q", "B T H Dh"),
    "layers.{l}.self_attn.k": ("blocks.{l}.attn.hook_k", "B S H Dh"),
    "layers.{l}.self_attn.v": ("blocks.{l}.attn.hook_v", "B S H Dh"),
    "layers.{l}.self_attn.scores_masked": ("blocks.{l}.attn.hook_attn_scores", "B H T S"),
    "layers.{l}.self_attn.probs": ("blocks.{l}.attn.hook_pattern", "B H T S"),
    "layers.{l}.self_attn.context": ("blocks.{l}.attn.hook_z", "B T H Dh"),
    "layers.{l}.self_attn.head_out": ("blocks.{l}.attn.hook_result", "B T H D"),
    "layers.{l}.self_attn.out_proj": ("blocks.{l}.hook_attn_out", "B T D"),
    "layers.{l}.attn_residual": ("blocks.{l}.hook_resid_mid", "B T D"),
    "layers.{l}.fc1": ("blocks.{l}.mlp.hook_pre", "B T F"),
    "layers.{l}.activation_fn": ("blocks.{l}.mlp.hook_post", "B T F"),
    "layers.{l}.fc2": ("blocks.{l}.hook_mlp_out", "B T D"),
    "layers.{l}": ("blocks.{l}.hook_resid_post", "B T D"),
}
"""{our name: (hook, axes)} of the HookedTransformer of TransformerLens 2."""
