"""File access: text and JSON, safetensors, atomic writes, and finding a model's folder by name.

This subpackage knows file formats and the Hugging Face hub. It does not know what a model contains.
"""
