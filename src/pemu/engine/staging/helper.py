"""Functions out of line that emitted code calls."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Helper:
    """A function written in the same staged style, compiled once, called from emitted code.

    `parameters`: LLVM types of the arguments after the state pointer; `result`: LLVM type. `body`
    receives an `Emitter` and the argument operands (`%a0`, ...) and must emit the `ret`. It may
    touch registers declared `memory=True` through `%state` and their offsets, no others.
    """

    __slots__ = ("body", "convention", "name", "parameters", "result")

    def __init__(
        self,
        name: str,
        parameters: tuple[str, ...],
        result: str,
        body: Callable[..., None],
        convention: str = "preserve_mostcc",
    ) -> None:
        self.name = name
        self.parameters = parameters
        self.result = result
        self.body = body
        self.convention = convention
