"""What a function declares - parameters, types, defaults, the first line of its docstring - read from source, without importing it.

So options of a recipe are checked against the real signatures, and `compress list` prints them, with no torch in the process.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
_TYPES: dict[str, Any] = {t.__name__: t for t in (str, int, float, bool, list, tuple, dict)} | {"Any": Any, "Literal": Literal}


def declaration(entry: str) -> Callable[..., Any]:
    """A stand-in for the function of "module:function" (or "file.py:function"): its name, signature, annotations and docstring.

    A class stands for its __init__ without self. Types that are not plain become Any. Raises LookupError when there is no such function.
    """
    module, name = entry.rsplit(":", 1)
    node = next((n for n in _parse(source_file(module)).body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == name), None)
    if node is None:
        raise LookupError(f"{source_file(module)} defines no function or class {name!r}, which a table names")
    return _stand_in(node)


def annotation(entry: str, parameter: str) -> str:
    """What the function of "module:function" writes behind the name of a parameter; "" where it writes nothing."""
    module, name = entry.rsplit(":", 1)
    functions = (n for n in _parse(source_file(module)).body if isinstance(n, ast.FunctionDef) and n.name == name)
    arguments = [a for n in functions for a in [*n.args.posonlyargs, *n.args.args, *n.args.kwonlyargs]]
    return next((ast.unparse(a.annotation) for a in arguments if a.arg == parameter and a.annotation), "")


def returned(entry: str) -> str:
    """The "module:class" that the function of "module:function" says it returns, where that is a class of the same module by name; else ""."""
    module, name = entry.rsplit(":", 1)
    functions = (n for n in _parse(source_file(module)).body if isinstance(n, ast.FunctionDef) and n.name == name)
    return next((f"{module}:{n.returns.id}" for n in functions if isinstance(n.returns, ast.Name)), "")


def first_line(entry: str) -> str:
    """The first line of the docstring of a function."""
    return (declaration(entry).__doc__ or "").split("\n")[0]


def module_line(module: str) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(_parse(source_file(module))) or "").split("\n")[0]


def literal_table(module: str, name: str) -> dict[str, str]:
    """The keys of a module's dict literal, each with the first line of its function's docstring, or the keywords of a call.

    Raises LookupError when the module has no such dict.
    """
    for node in _parse(source_file(module)).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
        named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        if named and isinstance(table := getattr(node, "value", None), ast.Dict):
            return {str(k.value): _gloss(module, v) for k, v in zip(table.keys, table.values, strict=True) if isinstance(k, ast.Constant)}
    raise LookupError(f"{source_file(module)} has no dict literal {name}")


def class_literal(entry: str, name: str) -> Any:
    """The literal that the class of "module:class" (or "file.py:class") gives to an attribute in its body, read without running it.

    Raises LookupError when there is none.
    """
    module, kind = entry.rsplit(":", 1)
    body = next((n.body for n in _parse(source_file(module)).body if isinstance(n, ast.ClassDef) and n.name == kind), [])
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == name and value is not None:
            try:
                return ast.literal_eval(value)
            except ValueError as error:
                raise LookupError(f"{source_file(module)}:{node.lineno} {kind}.{name} is no literal: {error}") from None
    raise LookupError(f"{source_file(module)}: class {kind} gives {name} no literal in its body")


def stated(entry: str, name: str) -> Any:
    """The same, and None where the class leaves it to the one that it is made of, or there is no entry."""
    try:
        return class_literal(entry, name) if entry else None
    except LookupError:
        return None


def literal(file: Path, name: str) -> Any:
    """The literal that a module gives to a name, alone or as one of several (`A, B = 1, 2`), read without running it.

    Raises LookupError when there is none.
    """
    for node in _parse(file).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and target.id == name:
                return ast.literal_eval(node.value)
            names = [t.id for t in target.elts if isinstance(t, ast.Name)] if isinstance(target, ast.Tuple) else []
            if name in names and isinstance(node.value, ast.Tuple):
                return ast.literal_eval(node.value.elts[names.index(name)])
    raise LookupError(f"{file}: gives {name} no literal")


def source_file(module: str) -> Path:
    """The file of one of our modules, or of a plugin's path; found by name, because find_spec would import its packages."""
    if module.endswith(".py"):
        return Path(module)
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise LookupError(f"{path}: no such file, but a table names a function in it") from None


def _gloss(module: str, value: ast.expr) -> str:
    if isinstance(value, ast.Name):
        return first_line(f"{module}:{value.id}")
    return ", ".join(map(ast.unparse, value.keywords)) if isinstance(value, ast.Call) else ast.unparse(value)


def _stand_in(node: ast.FunctionDef | ast.ClassDef) -> Callable[..., Any]:
    arguments = _arguments(node)
    annotations = {a.arg: _type(a.annotation) for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs] if a.annotation}
    positional = [a.arg for a in [*arguments.posonlyargs, *arguments.args]]
    if isinstance(node, ast.ClassDef):
        positional = positional[1:]  # self
    keyword = [
        inspect.Parameter(a.arg, inspect.Parameter.KEYWORD_ONLY, default=_default(d), annotation=annotations.get(a.arg, Any))
        for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]

    def stand_in() -> None:
        raise TypeError(f"{node.name} was only read, not imported")

    stand_in.__name__ = node.name
    stand_in.__doc__ = ast.get_docstring(node)
    stand_in.__annotations__ = annotations
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in positional]
    stand_in.__signature__ = inspect.Signature([*parameters, *keyword])  # type: ignore[attr-defined]
    return stand_in


def _arguments(node: ast.FunctionDef | ast.ClassDef) -> ast.arguments:
    if isinstance(node, ast.FunctionDef):
        return node.args
    own = (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    return next((n.args for n in own), ast.arguments([], [ast.arg("self")], None, [], [], None, []))


def _default(node: ast.expr | None) -> Any:
    if node is None:
        return inspect.Parameter.empty
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...  # some expression: there is a default, and its value does not matter here


def _type(node: ast.expr) -> Any:
    """The type that an annotation writes, of the plain ones that YAML can give; Any for all others."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name):
            return _TYPES.get(name, Any)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            first, second = _type(left), _type(right)
            return Any if Any in (first, second) else first | second if first is not None else second | None
        case ast.Subscript(value=ast.Name(id="Literal"), slice=content):
            value = ast.literal_eval(content)
            return Literal[value]
        case ast.Subscript(value=ast.Name(id=name), slice=content) if name in ("list", "tuple", "dict"):
            parts = content.elts if isinstance(content, ast.Tuple) else [content]
            return _TYPES[name][tuple(... if _is_ellipsis(part) else _type(part) for part in parts)]
    return Any


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...
