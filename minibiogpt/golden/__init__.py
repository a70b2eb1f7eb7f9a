"""Golden values: recorded, written in a format that needs no Python, and compared with what others compute.

``format`` writes and reads a case, ``kit`` makes the conformance kit, ``check`` compares, ``report`` says what was
found, ``selftest`` damages correct arrays to show that the check notices. This wing reads
traces and the catalog. It knows no layer.
"""
