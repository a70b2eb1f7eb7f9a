"""What each named array of a model call is, and each parameter.

``steps`` is the table and the graph: every name, its shape, its equation and the sources of the equation's symbols.
``descriptions`` and ``aliases`` hold the descriptions and the names in other tools, ``explain`` combines them for one
name. This subpackage knows the config and text. It computes no array and knows no layer.
"""
