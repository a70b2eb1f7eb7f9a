"""Golden values: record them, write them in a format that needs no Python, and check other implementations with them.

``format`` writes and reads cases, ``kit`` makes the conformance kit, ``check`` compares a candidate with a case,
``report`` formats the result, and ``selftest`` corrupts correct arrays to verify that the check catches it. This
subpackage uses traces and the catalog, but no layer directly.
"""
