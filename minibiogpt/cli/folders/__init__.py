"""The commands that make a folder of a model: download, convert and quantize."""
