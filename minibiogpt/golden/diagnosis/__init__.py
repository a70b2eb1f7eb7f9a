"""Say why a candidate differs: recompute each of its arrays from its own sources, and try the mistakes that ports make.

``run`` recomputes arrays, by the catalogue's equations or another way. ``ways`` holds these other ways and how to
estimate their parameters, ``library`` describes each cause in words. ``search`` finds the causes that explain the
errors, ``diagnosis`` is the result.
"""
