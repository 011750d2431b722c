"""Translates the marked methods of a class of devices (`pemu.machine.native`) for native code.

What is exported, all of it taking host addresses and integers of 64 bits:

    load_<register>(cells, value, number), store_<register>    an access to a register
    load_<register>_swapped                                    the same in the other byte order
    mmio_<method>(cells, value, number)                        number: offset * 16 + size
    call_<method>(cells)                                       of a method without arguments
    sink_<lines>(cells, number, level)                         of input lines

They yield the value that is read, or `IN_PYTHON` where Python is to make the access instead.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pemu.engine.layout.native_devices import IN_PYTHON
from pemu.engine.staging.function import Function
from pemu.engine.staging.values import Value
from pemu.machine.declare import Declaring, Inputs
from pemu.machine.native import CELL, methods
from pemu.machine.registers import Register

if TYPE_CHECKING:
    from pemu.engine.staging.flow import Variable

NONE = 1 << 62
"""Stands for None where a method yields an integer or None."""

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Is: "eq",
    ast.IsNot: "ne",
    ast.Lt: "slt",
    ast.LtE: "sle",
    ast.Gt: "sgt",
    ast.GtE: "sge",
}

_OPERATIONS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "ashr",
}

_LINES = """
define void @line_set(ptr %line, i64 %unused, i64 %level) nounwind {
  %old = load i64, ptr %line, align 8
  %same = icmp eq i64 %old, %level
  br i1 %same, label %end, label %changes
changes:
  store i64 %level, ptr %line, align 8
  %at1 = getelementptr i64, ptr %line, i64 1
  %at2 = getelementptr i64, ptr %line, i64 2
  %at3 = getelementptr i64, ptr %line, i64 3
  %sink = load ptr, ptr %at1, align 8
  %first = load ptr, ptr %at2, align 8
  %second = load i64, ptr %at3, align 8
  call void %sink(ptr %first, i64 %second, i64 %level)
  br label %end
end:
  ret void
}

define void @line_nothing(ptr %unused, i64 %unused2, i64 %level) nounwind {
  ret void
}

define void @line_processor(ptr %input, i64 %unused, i64 %level) nounwind {
  %at1 = getelementptr i64, ptr %input, i64 1
  %at2 = getelementptr i64, ptr %input, i64 2
  %at3 = getelementptr i64, ptr %input, i64 3
  %levels = load ptr, ptr %input, align 8
  %look = load ptr, ptr %at1, align 8
  %awake = load ptr, ptr %at2, align 8
  %wide = load i64, ptr %at3, align 8
  %bit = trunc i64 %wide to i32
  %old = load volatile i32, ptr %levels, align 4
  %is_high = icmp ne i64 %level, 0
  br i1 %is_high, label %high, label %low
high:
  %more = or i32 %old, %bit
  store volatile i32 %more, ptr %levels, align 4
  store volatile i8 1, ptr %look, align 1
  store i64 1, ptr %awake, align 8
  ret void
low:
  %others = xor i32 %bit, -1
  %less = and i32 %old, %others
  store volatile i32 %less, ptr %levels, align 4
  ret void
}
"""


class UnknownConstruct(Exception):
    """A marked method has something that cannot be translated."""


def translate(cls: type[Declaring]) -> str:
    """The module of a class, as LLVM IR text. Raises UnknownConstruct."""
    return _Module(cls).text()


class _Module:
    def __init__(self, cls: type[Declaring]) -> None:
        self.cls = cls
        self.layout = cls.native_layout
        self.methods = methods(cls)
        self.done: dict[str, _Method] = {}
        self._functions: list[str] = []
        self._declarations: set[str] = set()

    def text(self) -> str:
        for name in self.methods:
            self.method(name)
        for declared in self.cls.declarations.values():
            if isinstance(declared, Register):
                self._register(declared)
            elif isinstance(declared, Inputs) and declared.name in self.done:
                self._sink(declared.name)
        for name, method in self.done.items():
            if method.parameters == ["offset", "size"]:
                self._export(f"mmio_{name}", partial(_mmio, name, ""))
            elif method.parameters == ["offset", "value", "size"]:
                self._export(f"mmio_{name}", partial(_mmio, name, "i64 %value, "))
            elif not method.parameters and not name.startswith("_"):
                self._export(f"call_{name}", partial(_own, name))
        return "\n".join([_LINES, *sorted(self._declarations), *self._functions])

    def method(self, name: str) -> _Method:
        """A method of the class, translated when it is first asked for."""
        if name not in self.done:
            made = _Method(self, name, self.methods[name])
            self.done[name] = made
            made.emit()
            self.add(made.function)
            made.complete = True
        if not self.done[name].complete:
            raise UnknownConstruct(f"{self.cls.__name__}.{name} calls itself")
        return self.done[name]

    def add(self, function: Function) -> None:
        self._declarations |= function.declarations
        self._functions.append(function.text)

    def _export(self, name: str, body: Callable[[Function], Value]) -> None:
        f = Function(f"i64 @{name}(ptr %self, i64 %value, i64 %number) nounwind")
        f.do(f"ret i64 {body(f).ir}")
        self.add(f)

    def _sink(self, name: str) -> None:
        if self.done[name].may_leave:
            raise UnknownConstruct(
                f"{self.cls.__name__}.{name} is for lines, and leaves for Python"
            )
        f = Function(f"void @sink_{name}(ptr %self, i64 %number, i64 %level) nounwind")
        f.op(f"call i64 @m_{name}(ptr %self, i64 %number, i64 %level)")
        f.do("ret void")
        self.add(f)

    def _callback(self, method: Callable[..., Any] | None) -> str | None:
        """The name of a register's callback, "" where it has none, None where Python has it."""
        if method is None:
            return ""
        return method.__name__ if method.__name__ in self.methods else None

    def _register(self, register: Register) -> None:
        read, write = self._callback(register._read), self._callback(register._write)
        place = self.layout.get(register.name)
        if read:
            self._export(f"load_{register.name}", partial(_own, read))
            if register.bits > 8:
                self._export(f"load_{register.name}_swapped", partial(_swapped, read, register))
        elif read == "" and place is not None:
            self._export(f"load_{register.name}", partial(_cell, place.first))
        if write is not None and (place is not None or write and not register.writable):
            self._export(f"store_{register.name}", partial(self._store, register, write))

    def _store(self, register: Register, written_to: str, f: Function) -> Value:
        place = self.layout.get(register.name)
        value = f.name("%value", 64) & register.mask
        old = f.at("%self", CELL * place.first) if place else f.const(0, 64)
        mask = register.writable
        if mask or register.clears:
            assert place is not None
            if written_to and self.done[written_to].may_leave:
                raise UnknownConstruct(f"{written_to} leaves for Python after its register changed")
            new = (old & ~mask & ~(value & register.clears)) | (value & mask)
            f.set_at("%self", CELL * place.first, new)
        if not written_to:
            return f.const(0, 64)
        arguments = f"ptr %self, i64 {value.ir}, i64 {old.ir}"
        return f.name(f.op(f"call i64 @m_{written_to}({arguments})"), 64)


def _cell(index: int, f: Function) -> Value:
    return f.at("%self", CELL * index)


def _own(name: str, f: Function) -> Value:
    return f.name(f.op(f"call i64 @m_{name}(ptr %self)"), 64)


def _swapped(name: str, register: Register, f: Function) -> Value:
    result = _own(name, f)
    swapped = result.trunc(register.bits).bswap().zext(64)
    return result.eq(IN_PYTHON).select(result, swapped)


def _mmio(name: str, value: str, f: Function) -> Value:
    number = f.name("%number", 64)
    arguments = f"ptr %self, i64 {number.lshr(4).ir}, {value}i64 {(number & 15).ir}"
    return f.name(f.op(f"call i64 @m_{name}({arguments})"), 64)


class _Method:
    """A method on its way to a function of native code.

    may_leave: whether it may yield IN_PYTHON; changes_ever: whether it changes anything.
    """

    def __init__(self, module: _Module, name: str, method: Callable[..., Any]) -> None:
        self.module = module
        self.name = name
        self.complete = False
        self.may_leave = False
        self.changes_ever = False
        self._changed = False  # whether something may have been changed at this point
        self._globals = inspect.unwrap(method).__globals__
        tree = ast.parse(textwrap.dedent(inspect.getsource(method))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        self._body = tree.body
        self.parameters = [one.arg for one in tree.args.args[1:]]
        given = "".join(f", i64 %{one}" for one in self.parameters)
        self.function = Function(f"internal i64 @m_{name}(ptr %self{given}) nounwind")
        self._locals: dict[str, Variable] = {}

    def emit(self) -> None:
        f = self.function
        for one in self.parameters:
            self._locals[one] = f.var(64, f.name(f"%{one}", 64))
        self._block(self._body)
        f.do(f"ret i64 {NONE}")

    def _unknown(self, node: ast.AST) -> UnknownConstruct:
        where = f"{self.module.cls.__name__}.{self.name}"
        return UnknownConstruct(f"{where}: cannot be native: {ast.unparse(node)}")

    # Statements

    def _block(self, body: list[ast.stmt]) -> bool:
        """Emit statements; whether what follows them can be reached."""
        for statement in body:
            if not self._statement(statement):
                self.function.place(self.function.label("dead"))
                return False
        return True

    def _statement(self, node: ast.stmt) -> bool:
        f = self.function
        if isinstance(node, ast.Return):
            f.do(f"ret i64 {self._value(node.value).ir if node.value else NONE}")
            return False
        if isinstance(node, ast.If):
            self._if(node)
        elif isinstance(node, ast.Assign):
            value = self._value(node.value)
            for target in node.targets:
                self._assign(target, value)
        elif isinstance(node, ast.AugAssign):
            value = self._operate(node.op, self._value(node.target), self._value(node.value), node)
            self._assign(node.target, value)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            pass  # the docstring
        elif isinstance(node, ast.Expr) and ast.unparse(node.value) == "in_python()":
            self._leave(node)
            f.do(f"ret i64 {IN_PYTHON}")
            return False
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            self._call(node.value)
        else:
            raise self._unknown(node)
        return True

    def _changes(self) -> None:
        self._changed = self.changes_ever = True

    def _leave(self, node: ast.AST) -> None:
        if self._changed:
            raise UnknownConstruct(f"{self._unknown(node)} (something has been changed before)")
        self.may_leave = True

    def _if(self, node: ast.If) -> None:
        with self.function.if_(self._condition(node.test)) as arm:
            before = self._changed
            after = self._block(node.body) and self._changed
        self._changed = before
        if node.orelse:
            with arm.otherwise():
                self._changed = self._block(node.orelse) and self._changed
        self._changed |= after

    def _assign(self, target: ast.expr, value: Value) -> None:
        f = self.function
        if isinstance(target, ast.Name):
            if target.id in self._locals:
                self._locals[target.id].value = value
            else:
                self._locals[target.id] = f.var(64, value)
            return
        f.raw_store(self._place(target), value, align=CELL)
        self._changes()

    # Expressions

    def _place(self, node: ast.expr) -> str:
        """Pointer operand of the cell that an attribute, or an element of one, lies in."""
        f = self.function
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            place = self.module.layout.get(node.attr)
            if place is not None and place.kind in ("value", "property", "line"):
                return f.offset("%self", CELL * place.first)
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
            place = self.module.layout.get(node.value.attr)
            if place is not None and place.kind in ("array", "line") and place.size > 1:
                if place.size & (place.size - 1):
                    raise self._unknown(node)  # no power of 2, by which an index is kept inside
                index = self._value(node.slice) & (place.size - 1)
                return f.offset("%self", (index + place.first) * CELL)
        raise self._unknown(node)

    def _line(self, node: ast.expr) -> str:
        """Pointer operand of the cells of a line."""
        f = self.function
        name = node.value if isinstance(node, ast.Subscript) else node
        place = self.module.layout.get(name.attr) if isinstance(name, ast.Attribute) else None
        if place is None or place.kind != "line":
            raise self._unknown(node)
        return f.pointer(f.raw_load(self._place(node), 64, align=CELL))

    def _value(self, node: ast.expr) -> Value:
        f = self.function
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, int)):
            return f.const(NONE if node.value is None else int(node.value), 64)
        if isinstance(node, ast.Name):
            if node.id in self._locals:
                return self._locals[node.id].value
            known = self._globals.get(node.id)
            if isinstance(known, int):
                return f.const(known, 64)
        elif isinstance(node, ast.Attribute):
            if node.attr == "level":
                return f.at(self._line(node.value), 0)
            return f.raw_load(self._place(node), 64, align=CELL)
        elif isinstance(node, ast.Subscript):
            return self._element(node)
        elif isinstance(node, ast.BinOp):
            return self._operate(node.op, self._value(node.left), self._value(node.right), node)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
            value = self._value(node.operand)
            return -value if isinstance(node.op, ast.USub) else ~value
        elif isinstance(node, ast.Compare) or isinstance(node, ast.UnaryOp):
            return self._condition(node).zext(64)
        elif isinstance(node, ast.IfExp):
            chosen = f.var(64, 0)
            with f.if_(self._condition(node.test)) as arm:
                chosen.value = self._value(node.body)
            with arm.otherwise():
                chosen.value = self._value(node.orelse)
            return chosen.value
        elif isinstance(node, ast.Call):
            return self._call(node)
        raise self._unknown(node)

    def _element(self, node: ast.Subscript) -> Value:
        f = self.function
        if not isinstance(node.value, ast.Name):
            return f.raw_load(self._place(node), 64, align=CELL)
        table = self._globals.get(node.value.id)
        if not isinstance(table, tuple) or not all(isinstance(one, int) for one in table):
            raise self._unknown(node)
        index = self._value(node.slice)
        found = f.const(table[-1], 64)
        for number, one in enumerate(table[:-1]):
            found = index.eq(number).select(f.const(one, 64), found)
        return found

    def _operate(self, op: ast.operator, left: Value, right: Value, node: ast.AST) -> Value:
        f = self.function
        operation = _OPERATIONS.get(type(op))
        if operation is None:
            raise self._unknown(node)
        if operation in ("shl", "ashr"):
            right = right & 63
        return f.name(f.op(f"{operation} i64 {left.ir}, {right.ir}"), 64)

    def _condition(self, node: ast.expr) -> Value:
        """One bit: the truth of an expression."""
        f = self.function
        if isinstance(node, ast.BoolOp):
            truth = f.var(1, self._condition(node.values[0]))
            for one in node.values[1:]:
                going_on = truth.value if isinstance(node.op, ast.And) else ~truth.value
                with f.if_(going_on):
                    truth.value = self._condition(one)
            return truth.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._condition(node.operand)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            other = self._other(node.left)
            is_none = isinstance(node.ops[0], ast.Is | ast.IsNot)
            if is_none and other is not None:
                given = f.at("%self", other).eq(0)
                return given if isinstance(node.ops[0], ast.Is) else ~given
            operation = _COMPARISONS.get(type(node.ops[0]))
            if operation is not None:
                left, right = self._value(node.left), self._value(node.comparators[0])
                return f.name(f.op(f"icmp {operation} i64 {left.ir}, {right.ir}"), 1)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "bool":
            return self._condition(node.args[0])
        return self._value(node).ne(0)

    def _other(self, node: ast.expr) -> int | None:
        """Where it stands what is known of another object that an attribute of `self` is."""
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            place = self.module.layout.get(node.attr)
            if place is not None and place.kind == "other":
                return CELL * place.first
        return None

    def _call(self, node: ast.Call) -> Value:
        f = self.function
        function = node.func
        if ast.unparse(function) == "bool":
            return self._condition(node).zext(64)
        if not isinstance(function, ast.Attribute):
            raise self._unknown(node)
        if ast.unparse(function.value) == "self":
            return self._call_own(node, function.attr)
        if function.attr == "bit_length" and not node.args:
            return f.const(64, 64) - self._value(function.value).clz()
        levels = {"raise_": [1], "lower": [0], "renew": [0, 1]}.get(function.attr, [])
        line = self._line(function.value)
        wanted: list[Value] = [f.const(level, 64) for level in levels]
        if function.attr == "set":
            wanted = [self._condition(node.args[0]).zext(64)]
        if not wanted:
            raise self._unknown(node)
        for level in wanted:
            f.do(f"call void @line_set(ptr {line}, i64 0, i64 {level.ir})")
        self._changes()
        return f.const(NONE, 64)

    def _call_own(self, node: ast.Call, name: str) -> Value:
        f = self.function
        other = self.module.layout.get(name)
        if other is not None and other.kind == "other" and not node.args:
            self._leave(node)
            called = f.pointer(f.at("%self", CELL * other.first))
            cells = f.pointer(f.at("%self", CELL * other.first + CELL))
            result = f.name(f.op(f"call i64 {called}(ptr {cells}, i64 0, i64 0)"), 64)
            self._changes()
        elif name in self.module.methods:
            method = self.module.method(name)
            arguments = "".join(f", i64 {self._value(one).ir}" for one in node.args)
            result = f.name(f.op(f"call i64 @m_{name}(ptr %self{arguments})"), 64)
            if method.may_leave:
                self._leave(node)
            if method.changes_ever:
                self._changes()
            if not method.may_leave:
                return result
        else:
            raise self._unknown(node)
        with f.if_(result.eq(IN_PYTHON)):
            f.do(f"ret i64 {IN_PYTHON}")
            f.place(f.label("dead"))
        return result
