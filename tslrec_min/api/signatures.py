"""Functions whose keyword options are the fields of a configuration, named in their signature and help."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def with_options(config_class: type) -> Callable[[Callable[Parameters, Returned]], Callable[Parameters, Returned]]:
    """Show the fields of a configuration in the signature and the help of a function that takes ``**options``."""
    fields = dataclasses.fields(config_class)
    hints = typing.get_type_hints(config_class)

    def decorate(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
        signature = inspect.signature(function)
        own = [parameter for parameter in signature.parameters.values() if parameter.kind != parameter.VAR_KEYWORD]
        options = [inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default,
                                     annotation=hints[item.name]) for item in fields]
        function.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        described = "\n".join(f"    {item.name}: {item.metadata['help']}" for item in fields)
        function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nOptions:\n{described}\n"
        return function

    return decorate
