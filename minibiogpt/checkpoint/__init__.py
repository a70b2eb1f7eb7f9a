"""Checkpoints: load and save weights, merge LoRA adapters, and convert pickled checkpoints to safetensors.

``weights`` loads, checks and saves; ``source`` finds what to load, ``names`` and ``quantized`` look at the tensors that
a file holds. ``lora`` is the arithmetic of an adapter, ``adapter`` and ``adapter_config`` read one. ``convert`` reads
published checkpoints (``originals``) from files of ``torch.save`` (``torch_archive``) as data, without running any code
in them (``unpickle``). ``quantize`` writes a checkpoint with weights of 4 or 8 bits. The names and shapes of the
tensors are in ``minibiogpt.catalog.parameters``. This subpackage imports no layers.
"""
