"""Classes made of a mixin and a base class that is known only at run time."""

from functools import cache
from typing import Any


def with_mixin(mixin: Any, base: Any, named: tuple[Any, ...]) -> Any:
    """
    :param mixin: The mixin
    :param base: Class to put it in front of
    :param named: Classes that exist already (saved models refer to classes by name)
    :return: ``base`` itself if it has the mixin, else the class of ``named`` made from it, else a new class
    """
    if issubclass(base, mixin):
        return base
    for candidate in named:
        if candidate.__bases__ == (mixin, base):
            return candidate
    return _new_class(mixin, base)


@cache
def _new_class(mixin: Any, base: Any) -> Any:
    """For a user's own subclass."""
    attributes = {"__doc__": f"{base.__name__} with {mixin.__name__}.", "__module__": base.__module__}
    return type(f"Group{base.__name__}", (mixin, base), attributes)
