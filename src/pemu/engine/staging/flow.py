"""Variables, conditions and loops in code that is being emitted."""

from __future__ import annotations

from contextlib import contextmanager

from pemu.engine.host.x86_64 import PARAMETERS
from pemu.engine.staging.values import Emitter, StagingError, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


class Variable:
    """A mutable value (for loops and both arms of a condition)."""

    __slots__ = ("_emitter", "_pointer", "width")

    def __init__(self, emitter: Emitter, width: int, pointer: str) -> None:
        self._emitter = emitter
        self._pointer = pointer
        self.width = width

    @property
    def value(self) -> Value:
        """The present value."""
        return self._emitter.raw_load(self._pointer, self.width)

    @value.setter
    def value(self, value: Value | int) -> None:
        if isinstance(value, int):
            value = self._emitter.const(value, self.width)
        if value.width != self.width:
            raise StagingError(f"variable of {self.width} bits given {value.width}")
        self._emitter.raw_store(self._pointer, value)


class Otherwise:
    """The handle that `cpu.if_` yields; `otherwise()` opens the other arm."""

    __slots__ = ("_builder", "_else", "_end")

    def __init__(self, builder: Emitter, other: str, end: str) -> None:
        self._builder = builder
        self._else = other
        self._end = end

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """Emit what happens where the condition does not hold. Directly after the `if_` block."""
        lines = self._builder.lines
        if lines[-1] != f"{self._end}:":
            raise StagingError("otherwise() must directly follow its if_ block")
        del lines[-2:]  # the empty arm's jump and the common end; the else label stays
        yield
        self._builder.do(f"br label %{self._end}")
        self._builder.place(self._end)


class Code(Emitter):
    """An emitter with variables, conditions and loops that the running code decides."""

    __slots__ = ("entry_lines",)

    def __init__(self) -> None:
        super().__init__()
        self.entry_lines: list[str] = []

    def var(self, width: int, initial: Value | int = 0) -> Variable:
        """Return a new variable of `width` bits."""
        self._temporaries += 1
        pointer = f"%v{self._temporaries}"
        self.entry_lines.append(f"  {pointer} = alloca i{width}")
        variable = Variable(self, width, pointer)
        variable.value = initial if isinstance(initial, Value) else self.const(initial, width)
        return variable

    def hand_over(self, handler: str, op: str, *words: str, mem: str = "%mem") -> None:
        """Go on in a handler (see `staging.function`); ends the basic block.

        `handler`, `op`, `mem`: pointer operands. `words`: the first of the operands of 64 bits,
        the carry before those that regions hand to each other.
        """
        rest = ["poison"] * (PARAMETERS - 3 - len(words))
        listed = ", ".join(f"i64 {word}" for word in (*words, *rest))
        self.do(
            f"musttail call preserve_nonecc void {handler}(ptr {op}, ptr %state, ptr {mem}, "
            f"{listed})"
        )
        self.do("ret void")

    def go_on(self, label: str) -> None:
        """Start a basic block that is entered only from what has just been emitted."""
        self.place(label)

    def if_(self, condition: Value, *, unlikely: bool = False) -> AbstractContextManager[Otherwise]:
        """Emit the `with` block's code so that it runs only where `condition` (one bit) is 1.

        `with cpu.if_(c) as arm: ...` may be followed directly by `with arm.otherwise(): ...`.
        """
        return self._if(condition, unlikely)

    @contextmanager
    def _if(self, condition: Value, unlikely: bool) -> Iterator[Otherwise]:
        then, other, end = self.label("then"), self.label("else"), self.label("end")
        weights = ", !prof !0" if unlikely else ""
        self.do(f"br i1 {condition.ir}, label %{then}, label %{other}{weights}")
        self.place(then)
        yield Otherwise(self, other, end)
        self.do(f"br label %{end}")
        self.place(other)
        self.do(f"br label %{end}")
        self.place(end)

    @contextmanager
    def while_(self, condition: Callable[[], Value]) -> Iterator[None]:
        """Loop: `condition()` is emitted at the top, the `with` block's code is the body."""
        head, body, end = self.label("head"), self.label("body"), self.label("done")
        self.do(f"br label %{head}")
        self.place(head)
        self.do(f"br i1 {condition().ir}, label %{body}, label %{end}")
        self.place(body)
        yield
        self.do(f"br label %{head}")
        self.place(end)
