"""Names that users of transformers type and that are called something else here, or do not exist here.

Each class looks an unknown attribute up in its table, so that the error says what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from minibiogpt.errors import InputError, nearest


def no_attribute(owner: object, name: str, advice: Mapping[str, str]) -> AttributeError:
    """Return the error for an attribute that ``owner`` does not have; an AttributeError, as ``hasattr`` needs.

    Parameters
    ----------
    advice : {name in transformers: what to write here}. Without an entry, the closest existing names are suggested.

    Examples
    --------
    >>> print(no_attribute(1, "imagg", {}))
    int has no attribute 'imagg'; did you mean imag?
    >>> print(no_attribute(1, "half", {"half": "write float(x)"}))
    int has no attribute 'half'; write float(x)
    """
    message = f"{type(owner).__name__} has no attribute {name!r}"
    if name.startswith("__"):
        return AttributeError(message)
    public = [known for known in {*dir(type(owner)), *vars_of(owner)} if not known.startswith("_")]
    return AttributeError(f"{message}; {advice.get(name) or did_you_mean(name, public, 'see its documentation')}")


def no_option(where: str, name: str, known: Iterable[str], advice: Mapping[str, str]) -> InputError:
    """Return the error for a keyword argument that ``where`` does not take; ``advice`` as in ``no_attribute``.

    Examples
    --------
    >>> print(no_option("generate", "num_beam", ["num_beams", "top_k"], {}))
    generate must be called with known arguments; found num_beam; did you mean num_beams?
    """
    remedy = advice.get(name) or did_you_mean(name, known, "see its documentation")
    return InputError(f"{where} must be called with known arguments", name, remedy)


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return a question with the closest known name, or ``otherwise`` if none is close."""
    close = nearest(name, sorted(known), 1)
    return f"did you mean {close[0]}?" if close else otherwise


def vars_of(owner: object) -> Iterable[str]:
    """Return the names of the instance's own attributes; none for an object without a ``__dict__``."""
    return getattr(owner, "__dict__", ())
