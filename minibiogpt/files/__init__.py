"""Files: text and JSON, safetensors, atomic writes, and the folder that a model's name stands for.

This wing knows file formats and the Hugging Face hub. It does not know what is in a model.
"""
