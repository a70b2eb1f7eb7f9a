"""What each named array of a model call is, and each parameter.

``steps`` lists every array, in order: its name, shape, equation, and where the symbols of the equation come from.
``parameters`` lists the names and shapes of the weights. ``descriptions`` and ``aliases`` hold the descriptions and the
names in other tools, ``explain`` combines them for one name. ``foreign`` understands the names that callers write, and
``similar`` suggests corrections. ``evaluate`` computes an array from the text of its equation. This subpackage depends
on the config only.
"""
