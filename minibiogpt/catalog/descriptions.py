"""What each array of a trace is, what other tools call it, and where people go wrong."""

from __future__ import annotations

WHAT = {
    "position_ids": "each token's position, counted from 0 over the real tokens; -1 for padding",
    "embed_tokens": "the row of the embedding table for each token's id",
    "embed_positions": "the row of the position table for each token's position",
    "embeddings": "what goes into the first layer: token plus position; the start of the residual stream",
    "layers.{l}.self_attn_layer_norm": "the norm before attention",
    "layers.{l}.self_attn.q_proj": "the queries of all heads side by side: what each position looks for",
    "layers.{l}.self_attn.k_proj": "the keys of all heads side by side: what each position can be found by",
    "layers.{l}.self_attn.v_proj": "the values of all heads side by side: what each position hands on",
    "layers.{l}.self_attn.q": "the queries, head by head",
    "layers.{l}.self_attn.k": "the keys, head by head, those of the cache in front",
    "layers.{l}.self_attn.v": "the values, head by head, those of the cache in front",
    "layers.{l}.self_attn.scores": "how well each query fits each key",
    "layers.{l}.self_attn.scores_masked": "the scores, with the lowest number where a query may not look",
    "layers.{l}.self_attn.probs": "how much each position looks at each other: every row sums to 1",
    "layers.{l}.self_attn.weights": "the probabilities after the head mask: what the values are mixed by",
    "layers.{l}.self_attn.context": "the mixed values of all heads, side by side again",
    "layers.{l}.self_attn.head_out": "what each head alone adds to the residual stream",
    "layers.{l}.self_attn.out_proj": "what attention adds to the residual stream",
    "layers.{l}.attn_residual": "the residual stream after attention",
    "layers.{l}.final_layer_norm": "the norm before the feed-forward",
    "layers.{l}.fc1": "the feed-forward, widened",
    "layers.{l}.activation_fn": "the feed-forward after its activation",
    "layers.{l}.fc2": "what the feed-forward adds to the residual stream",
    "layers.{l}": "what the layer hands to the next: the residual stream after it",
    "layer_norm": "the norm after the last layer: what the head reads",
    "score": "the scores of each class at every position",
    "logits": "the scores that the model returns",
    "loss": "the mean loss over the labels that count; natural logarithms",
    "processors.{i}.{rule}.before": "what a rule of the generation was given",
    "processors.{i}.{rule}.after": "what the rule made of it; -inf is a token that it forbids",
    "origins": "beam search: which row of the step before each row goes on from",
    "tokens": "the ids that were chosen, one for each row",
}

EPS = "The norm adds 1e-5 to the variance, whatever layer_norm_eps in config.json says (1e-12): so does transformers."
NOTES = {
    "position_ids": "Counted over real tokens, as in transformers 4.x: a padded row has the positions of the unpadded "
    "one. transformers 5.x counts padding too unless it is told the positions.",
    "embed_tokens": "Scaled by sqrt(D) when the config says scale_embedding; the head uses the same table unscaled. "
    "inputs_embeds must be scaled already.",
    "embed_positions": "The table has N + 2 rows: position 0 is row 2, a pad is row 1, row 0 is nobody's. Positions "
    "are not scaled.",
    "embeddings": "hidden_states[0] of transformers.",
    "layers.{l}.self_attn_layer_norm": EPS,
    "layers.{l}.self_attn.q": "Unscaled: the scores are divided by sqrt(Dh). fairseq, biogpt.cpp and older "
    "transformers scale q instead.",
    "layers.{l}.self_attn.k": "S positions, those of the cache included: T and S differ as soon as there is a past. "
    "TransformerLens shows the new positions alone.",
    "layers.{l}.self_attn.v": "S positions, those of the cache included. TransformerLens shows the new ones alone.",
    "layers.{l}.self_attn.scores": "Before the mask; no other tool shows it. TransformerLens' hook_attn_scores comes "
    "after the mask: equal where a query may look.",
    "layers.{l}.self_attn.scores_masked": "Hidden scores hold the dtype's lowest finite number; others write -inf or "
    "add it. A row that may see nothing (a pad on the left) comes out uniform, never NaN.",
    "layers.{l}.self_attn.probs": "transformers' attentions are the weights, which are these only without a head mask. "
    "TransformerLens writes 0 into a row that sees nothing.",
    "layers.{l}.self_attn.weights": "transformers applies a head mask in eager attention only; sdpa, its default, "
    "passes over it without a word. Its (H,) mask is taken for one number a layer in 4.57.",
    "layers.{l}.self_attn.context": "Head h has columns h Dh to (h + 1) Dh. After out_proj the heads are mixed: they "
    "cannot be told apart any more.",
    "layers.{l}.self_attn.head_out": "No trace holds it: it is worked out from context. Summed over the heads, plus "
    "the bias, it is out_proj.",
    "layers.{l}.self_attn.out_proj": "The bias belongs to no head.",
    "layers.{l}.final_layer_norm": "Despite its name it is not the last norm of the model, nor of the layer: it stands "
    f"BEFORE the feed-forward. The last is layer_norm. {EPS}",
    "layers.{l}.activation_fn": "gelu is the exact form with erf; its approximation by tanh is gelu_new.",
    "layers.{l}": "hidden_states[l + 1] of transformers 4.x: before the final norm, of the last layer too. In 5.x the "
    "last of hidden_states is layer_norm.",
    "layer_norm": f"last_hidden_state of transformers; hidden_states[-1] of 4.x is the last layer, before this. {EPS}",
    "logits": "Unnormalised. Tied, the head is the embedding table itself, unscaled. A sequence classifier reads each "
    "row's rightmost real token; in generation they are those after the last position.",
    "loss": "Labels of -100 do not count; when none counts it is NaN. The language model shifts the labels itself.",
    "origins": "The cache is put into this order before the next step.",
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
"""What a forward hook or an output of transformers 4.57 has: by our name, of logits with their axes."""

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
"""The hooks of a HookedTransformer of TransformerLens 2, and their layouts: by our name."""
