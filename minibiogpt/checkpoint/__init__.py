"""Checkpoints: load and save weights, and convert pickled checkpoints to safetensors.

``weights`` loads, checks and saves. ``convert`` reads published checkpoints (``published``, ``fairseq``) from files of
``torch.save`` (``torch_archive``) as data, without running any code in them (``unpickle``). The names and
shapes of the tensors are in ``minibiogpt.catalog.parameters``. This subpackage imports no layers.
"""
