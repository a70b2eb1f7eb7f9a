"""Checkpoints: weights in and out, and pickled checkpoints converted to safetensors.

``weights`` loads, checks and saves. ``convert`` reads what others published (``published``, ``fairseq``) from the files
of ``torch.save`` (``torch_archive``) as data, running nothing in them (``unpickle``). This wing knows names and shapes.
It knows no layer.
"""
