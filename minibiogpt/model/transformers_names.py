"""What to write for names of models in transformers, PyTorch and TransformerLens that differ or are missing here."""

from __future__ import annotations

_TRAINING = "models here are not trained yet: train in PyTorch, and load the checkpoint"
_DEVICE = "load the model with backend='cupy' or device='cuda'"

ATTRIBUTES = {
    "register_forward_hook": "record arrays with model(..., trace=Trace()), and change them with edits=",
    "register_forward_pre_hook": "record arrays with model(..., trace=Trace()), and change them with edits=",
    "register_full_backward_hook": _TRAINING,
    "gradient_checkpointing_enable": _TRAINING,
    "gradient_checkpointing_disable": "leave it out: there are no gradients",
    "enable_input_require_grads": _TRAINING,
    "zero_grad": _TRAINING,
    "push_to_hub": "write model.save_pretrained(folder) and upload the folder",
    "add_adapter": _TRAINING,
    "load_adapter": "load the model with from_pretrained(..., adapter=FOLDER)",
    "merge_and_unload": "the adapter of from_pretrained(..., adapter=FOLDER) is already merged",
    "resize_position_embeddings": "positions are learned; build a new model with another max_position_embeddings",
    "prune_heads": "write model(..., ablate=[(layer, head)])",
    "modules": "iterate over model.named_parameters()",
    "named_modules": "iterate over model.named_parameters()",
    "children": "iterate over model.named_parameters()",
    "named_children": "iterate over model.named_parameters()",
    "buffers": "a BioGPT has no buffers",
    "named_buffers": "a BioGPT has no buffers",
    "apply": "iterate over model.named_parameters()",
    "get_submodule": "the modules are attributes: model.biogpt.layers[0].self_attn",
    "get_parameter": "write model.state_dict()[name]",
    "init_weights": "write type(model)(config, seed=0)",
    "post_init": "write type(model)(config, seed=0)",
    "compile": "leave it out: there is nothing to compile",
    "share_memory": "leave it out",
    "set_input_embeddings": "assign to model.get_input_embeddings().weight",
    "set_output_embeddings": "assign to model.get_output_embeddings().weight",
    "bettertransformer": "leave it out",
    "to_bettertransformer": "leave it out",
    "get_extended_attention_mask": "the mask of attention is the array scores_masked of a trace",
    "xpu": _DEVICE,
    "mps": _DEVICE,
    "transformer": "the base model is model.base_model (model.biogpt)",
    "model": "the base model is model.base_model (model.biogpt)",
    "lm_head": "write model.output_projection",
    "get_decoder": "write model.base_model",
    "hf_device_map": "write model.device",
    "num_labels": "write model.config.num_labels",
    "loss_function": "pass labels to the model; the loss is outputs.loss",
}
_GROUPS = {
    _TRAINING: "register_backward_hook register_full_backward_pre_hook disable_input_require_grads "
    "supports_gradient_checkpointing is_gradient_checkpointing floating_point_ops estimate_tokens dummy_inputs",
    "record arrays with model(..., trace=Trace()), and change them with edits=": "add_memory_hooks "
    "reset_memory_hooks_state register_state_dict_post_hook register_state_dict_pre_hook "
    "register_load_state_dict_pre_hook register_load_state_dict_post_hook can_record_outputs",
    "an adapter is merged when it is loaded: from_pretrained(..., adapter=FOLDER)": "active_adapters set_adapter "
    "delete_adapter enable_adapters disable_adapters get_adapter_state_dict retrieve_modules_from_names",
    "write model.state_dict() and model.load_state_dict(...)": "get_buffer get_parameter_or_buffer get_extra_state "
    "set_extra_state set_submodule add_module register_module register_buffer register_parameter",
    "the arrays and the mask of a call are in a trace": "get_head_mask invert_attention_mask "
    "create_extended_attention_mask_for_decoder warn_if_padding_and_no_attention_mask get_position_embeddings",
    "write model.generate(input_ids, attention_mask=..., max_new_tokens=...)": "greedy_search sample beam_search "
    "beam_sample contrastive_search group_beam_search constrained_beam_search assisted_decoding generate_batch "
    "init_continuous_batching prepare_inputs_for_generation heal_tokens get_compiled_call load_custom_generate",
    "the whole model is on one device, in one dtype": "to_empty type ipu mtia tp_plan pp_plan ep_plan tp_size "
    "supports_tp_plan supports_pp_plan is_parallelizable is_backend_compatible kernelize use_kernels",
    "leave it out: it has no meaning here": "framework main_input_name config_class add_model_tags model_tags "
    "loss_type register_for_auto_class get_init_context warnings_issued extra_repr call_super_init "
    "dump_patches T_destination get_correct_attn_implementation reverse_bettertransformer "
    "tie_embeddings_and_encoder_decoder smart_apply",
    "write type(model)(config, seed=0)": "initialize_weights",
    "write model.base_model": "set_decoder",
    "record every array: trace = Trace(); output = model(ids, trace=trace)": "run_with_cache "
    "add_caching_hooks cache_all",
    "change arrays with model(ids, edits={name: function}), without adding anything to the model": "run_with_hooks "
    "hooks add_hook add_perma_hook reset_hooks hook_dict hook_points",
    "the tokenizer does this: BioGptTokenizer.from_pretrained(...)": "to_tokens to_string to_str_tokens "
    "to_single_token to_single_str_token prepend_bos",
    "write model.config": "cfg",
    "the layers are model.base_model.layers": "blocks h",
    "the parameters are in model.state_dict(), each matrix (outputs, inputs)": "W_E W_pos W_U b_U W_Q W_K W_V W_O b_Q "
    "b_K b_V b_O W_in W_out b_in b_out W_E_pos",
    "write model.output_projection": "unembed",
    "write model.base_model.layer_norm": "ln_final ln_f",
    "leave it out: weights are never folded or centered": "fold_layer_norm center_unembed center_writing_weights "
    "fold_value_biases process_weights_ set_use_attn_result set_use_split_qkv_input set_use_hook_mlp_in",
}
ATTRIBUTES |= {name: advice for advice, names in _GROUPS.items() for name in names.split()}
GENERATION = "only BioGptForCausalLM generates: load the checkpoint with that class"
OF_A_LANGUAGE_MODEL = dict.fromkeys(("generate", "generation_config", "compute_transition_scores"), GENERATION)

# Keyword arguments of a model call.
CALL = {
    "labels": "use a class with a head: the base model has no loss",
    "input": "write input_ids",
    "inputs": "write input_ids, or model(**inputs)",
    "mask": "write attention_mask",
    "past": "write past_key_values",
    "max_new_tokens": "pass it to generate",
    "max_length": "pass it to the tokenizer, or to generate",
    "num_beams": "pass it to generate",
    "do_sample": "pass it to generate",
    "encoder_hidden_states": "BioGPT has no cross-attention",
    "offset_mapping": "take it out of the encoding first: enc.pop('offset_mapping')",
    "overflow_to_sample_mapping": "take it out of the encoding first",
    "special_tokens_mask": "take it out of the encoding first",
    "length": "take it out of the encoding first",
}
