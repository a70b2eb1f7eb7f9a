"""What each named array of a model call is, and each parameter.

``steps`` is the table and the graph: every name, its shape, its equation and where the equation's symbols come from.
``descriptions`` and ``aliases`` hold what people and other tools call it, ``explain`` puts it all together for one
name. This wing knows the config and text. It computes no array and knows no layer.
"""
