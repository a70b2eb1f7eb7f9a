"""BioGPT itself, and nothing else. Read the files in this order:

1. ``ops``: the equations, one function each: linear, layer norm, softmax, GELU.
2. ``attention``: the mask, the heads, and attention in its eager and its blocked form.
3. ``layers``: the parts that hold weights, and one decoder layer.
4. ``biogpt``: BioGptModel, the whole way from ids to hidden states.
5. ``cache``: keys and values of earlier positions, so that each is computed once.
6. ``inputs``, ``outputs``: what a call accepts, checked; what it returns.
7. ``pretrained``: made from files or at random, counted, saved.
8. ``batching``, ``pooling``: many texts at once, and one vector for each.

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

This wing knows neither generation nor heads, nor what looks at its arrays.
"""

from minibiogpt.model.biogpt import BioGptModel

__all__ = ["BioGptModel"]
