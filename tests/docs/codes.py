"""What the code says about itself, read from its syntax trees: error codes, reasons, story kinds, audit actions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

from deploy.processes import ROOT

ROOMS = ("handlers", "operations", "campaigns", "rewards", "customers", "services")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module:
    """One file: every call in it with the function around it, and the texts that an expression can be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.constants = {
            node.targets[0].id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        self.dicts = {
            target.id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }

    @cached_property
    def _found(self) -> list[tuple[ast.Call, Function | None, str]]:
        return list(self._calls(self.tree, None, ""))

    def calls(self) -> list[tuple[ast.Call, Function | None, str]]:
        """(call, the innermost function around it, the class around it)."""
        return self._found

    def _calls(
        self, node: ast.AST, function: Function | None, owner: str
    ) -> Iterator[tuple[ast.Call, Function | None, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield child, function, owner
            inner = child if isinstance(child, Function) else function
            yield from self._calls(child, inner, child.name if isinstance(child, ast.ClassDef) else owner)

    def texts(self, node: ast.AST, function: Function | None) -> set[str]:
        """Every text that `node` can be, as far as this file tells; of an f-string, how it begins."""
        match node:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.IfExp():
                return self.texts(node.body, function) | self.texts(node.orelse, function)
            case ast.BoolOp():
                return set().union(*(self.texts(value, function) for value in node.values))
            case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]):
                return {start}
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[_, *default]) if (
                name in self.dicts
            ):
                return set().union(*(self.texts(value, function) for value in [*self.dicts[name].values, *default]))
            case ast.Name(id=name) if isinstance(self.constants.get(name), ast.Constant):
                return self.texts(self.constants[name], None)
            case ast.Name() if function is not None:
                return self._assigned(node.id, function) | self._given(node.id, function)
        return set()

    def _assigned(self, name: str, function: Function) -> set[str]:
        found: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                found |= self.texts(node.value, function)
        return found

    def _given(self, name: str, function: Function) -> set[str]:
        """What callers in this file, and the default, give for a parameter."""
        parameters = [parameter.arg for parameter in function.args.args]
        if name not in parameters:
            return set()
        place = parameters.index(name)
        found: set[str] = set()
        from_the_end = place - len(parameters)
        if -from_the_end <= len(function.args.defaults):
            found |= self.texts(function.args.defaults[from_the_end], None)
        for call, around, _ in self.calls():
            if name_of(call) == function.name and place < len(call.args) and around is not function:
                found |= self.texts(call.args[place], around)
        return found


def name_of(call: ast.Call) -> str:
    """The last part of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def receiver_of(call: ast.Call) -> str:
    """The last part of the object whose method is called."""
    value = call.func.value if isinstance(call.func, ast.Attribute) else None
    return value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")


@cache
def modules() -> list[Module]:
    """Every file of the rooms, read once."""
    return [Module(path) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def error_statuses(files: list[Module]) -> dict[str, int]:
    """The HTTP status of every error class, by its name."""
    classes = {node.name: node for file in files for node in ast.walk(file.tree) if isinstance(node, ast.ClassDef)}
    known: dict[str, int] = {"YinqiaoError": 500}
    while True:
        fresh = {
            name: _attribute(node, "status", known[base.id])
            for name, node in classes.items()
            for base in node.bases
            if isinstance(base, ast.Name) and base.id in known and name not in known
        }
        if not fresh:
            return known
        known |= fresh


def _attribute(node: ast.ClassDef, name: str, default: int) -> int:
    for line in node.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        value = getattr(line, "value", None)
        if getattr(target, "id", "") == name and isinstance(value, ast.Constant) and isinstance(value.value, int):
            return value.value
    return default


def error_codes() -> dict[str, set[int]]:
    """Every code that a caller can be answered with, and its statuses (none for what HTTP itself refuses)."""
    files = modules()
    statuses = error_statuses(files)
    found: dict[str, set[int]] = {}
    for file in files:
        for code, error in [*_raised(file, statuses), *_named(file, statuses)]:
            found.setdefault(code, set()).update({statuses[error]} if error in statuses else set())
    for reason in returned_by("rewards/catalogue.py", "why_closed"):
        found.setdefault(reason, set()).add(statuses["Conflict"])
    for reason in returned_by("rewards/limits.py", "reason_of") | arguments("Bound", 4):
        found.setdefault(reason, set()).add(statuses["Conflict"])
    for code in given("Kind", "decided", "changed"):  # customers/approvals raises them
        found.setdefault(code, set()).add(statuses["Conflict"])
    for keyword, error in (("unknown", "NotFound"), ("edited", "Conflict")):  # customers/approvals/versioned does
        for code in given("Documents", keyword):
            found.setdefault(code, set()).add(statuses[error])
    return {code: at for code, at in found.items() if code}


def raised_in(path: Path) -> set[str]:
    """The codes of the errors that one file makes."""
    statuses = error_statuses(modules())
    return {code for file in modules() if file.path == path for code, _ in _raised(file, statuses)}


def _raised(file: Module, statuses: dict[str, int]) -> Iterator[tuple[str, str]]:
    """(code, error class) wherever an error, or an answer of HTTP's own, is made."""
    for call, function, owner in file.calls():
        called = owner if name_of(call) == "__init__" else name_of(call)
        place = 1 if called == "Refusal" else 0
        if (called in statuses or called == "Refusal") and len(call.args) > place:
            for code in file.texts(call.args[place], function):
                yield code, called


def _named(file: Module, statuses: dict[str, int]) -> Iterator[tuple[str, str]]:
    """(code, error class) of the classes whose `name` is their code; the root of such a tree is never raised itself."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ClassDef) and node.name in statuses and node.name != "PlatformError":
            for line in node.body:
                match line:
                    case ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str(code))):
                        yield code, node.name


def given(name: str, *keywords: str) -> set[str]:
    """The texts, not empty, that calls of `name` have under these keywords."""
    found: set[str] = set()
    for file in modules():
        for call, function, _ in file.calls():
            if name_of(call) == name:
                wanted = (one.value for one in call.keywords if one.arg in keywords)
                found = found.union(*(file.texts(value, function) for value in wanted))
    return found - {""}


def returned_by(path: str, function: str) -> set[str]:
    """The texts, not empty, that a function returns."""
    file = Module(ROOT / path)
    (found,) = [node for node in ast.walk(file.tree) if isinstance(node, Function) and node.name == function]
    returns = [node.value for node in ast.walk(found) if isinstance(node, ast.Return) and node.value is not None]
    return set().union(*(file.texts(value, found) for value in returns)) - {""}


def arguments(name: str, place: int, receiver: str = "") -> set[str]:
    """The texts, not empty, that calls of `name` (on `receiver`, if given) have at `place`."""
    found: set[str] = set()
    for file in modules():
        for call, function, _ in file.calls():
            if name_of(call) == name and (not receiver or receiver_of(call) == receiver) and place < len(call.args):
                found |= file.texts(call.args[place], function)
    return found - {""}
