"""The BioGPT base model. Read the files in this order:

1. ``ops``: the equations, one function each: linear, layer norm, softmax, GELU.
2. ``attention``: the mask, the heads, and eager and blocked attention.
3. ``layers``: the modules that hold weights, and the decoder layer.
4. ``biogpt``: BioGptModel, from token ids to hidden states.
5. ``cache``: the KV cache.
6. ``inputs``, ``outputs``: validation of a call's inputs; what a call returns.
7. ``pretrained``: building, loading, resizing and saving, as transformers' PreTrainedModel; ``module``: what it has of
   PyTorch's Module; ``loading_options``, ``resize``, ``transformers_names``: keywords, new rows, names of transformers.
8. ``batching``, ``pooling``: batches of rows of unequal length; text embeddings.

How the data flows (``x`` is the residual stream)::

    input_ids (B, T)         position_ids (B, T)
          |                          |
     embed_tokens             embed_positions
          |                          |
          +------------ + -----------+
                        |
                        x  (B, T, D)                                  embeddings
                        |
           .------------+                                     -.
           |            |                                       |
           |   self_attn_layer_norm                             |
           |            |                                       |
           |        self_attn  (the cache keeps k and v)        |
           |            |                                       |
           '----------> +                                       |     layers.{l}.attn_residual
                        |                                       |
           .------------+                                       |     L layers
           |            |                                       |
           |    final_layer_norm                                |
           |            |                                       |
           |   fc1 -> activation_fn -> fc2                      |
           |            |                                       |
           '----------> +                                       |     layers.{l}
                        |                                     -'
                   layer_norm                                         last_hidden_state (B, T, D)
                        |
                     a head  (minibiogpt.heads)                       logits

This subpackage does not import generation, heads, golden or view.
"""

from minibiogpt.model.biogpt import BioGptModel

__all__ = ["BioGptModel"]
