"""Runs the chat template of a model, a Jinja program of someone else, without access and with bounds.

Names, filters and the ``{% generation %}`` block are those of transformers. The environment is jinja2's immutable
sandbox, which hides the attributes that lead to Python itself. It does not bound time or memory, so this module does:
each loop round, macro and call spends from a budget, and each operation that can make a value longer is checked.
"""

import functools
import json
import re
import string
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from kerora.models.chat_problem import END, START, TemplateProblem

MOST_STEPS = 1_000_000
"""Loop rounds, macros and calls of one rendering. A thousand turns need some ten thousand."""
MOST_SIZE = 8_000_000
"""Characters of a text, and elements of a list with the lists inside it."""
SECONDS = 20.0
"""Longest time of one rendering. It is only reached if single steps are slow."""
LONGEST_TEMPLATE = 500_000
_GROWING = frozenset(
    {
        "join",
        "replace",
        "ljust",
        "rjust",
        "center",
        "zfill",
        "expandtabs",
        "format",
        "format_map",
        "translate",
        "indent",
        "wordwrap",
        "batch",
        "slice",
    }
)
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(\d{5,}|\*)")


class _Generation(Extension):
    """The block ``{% generation %}`` of transformers, which marks what the assistant said."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        """Return the node of a block."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Any) -> str:
        return f"{START}{caller()}{END}"


class _Bounded(NodeTransformer):
    """Adds a step to each loop and macro, and a check to each expression that can grow without a call."""

    def visit_For(self, node: Any) -> Any:
        return self._stepping(node)

    def visit_Macro(self, node: Any) -> Any:
        return self._stepping(node)

    def visit_CallBlock(self, node: Any) -> Any:
        return self._stepping(node)

    def visit_Concat(self, node: Any) -> Any:
        self.generic_visit(node)
        return _call("joined", node.nodes)

    def visit_List(self, node: Any) -> Any:
        self.generic_visit(node)
        return _call("weighed", [node])

    visit_Dict = visit_List

    def visit_Tuple(self, node: Any) -> Any:
        self.generic_visit(node)
        # a tuple that is assigned to is no value
        return _call("weighed", [node]) if node.ctx == "load" else node

    def _stepping(self, node: Any) -> Any:
        self.generic_visit(node)
        node.body.insert(0, nodes.Output([_call("step", [])]))
        return node


def _call(name: str, arguments: list[Any]) -> Any:
    # An attribute of the environment and no name, because a template could assign to a name.
    return nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)


class _Namespace(Namespace):
    """A namespace without private names, as in transformers."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, values = args[0], dict(*args[1:], **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise TemplateProblem(f"it stores the private name {name!r:.60}")


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        # Without the optimizer: it would compute constant expressions unchecked while it compiles.
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[_Generation, loopcontrols])
        self.steps, self.deadline = 0, 0.0
        # jinja's own `tojson` escapes HTML. `lipsum` makes texts of any length.
        self.filters["tojson"] = _tojson
        for name in _GROWING & set(self.filters):
            self.filters[name] = self._bounded_filter(name, self.filters[name])
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _refuse, "strftime_now": _now, "namespace": _Namespace}

    def begin(self) -> None:
        """Start the budget of a rendering."""
        self.steps, self.deadline = 0, time.monotonic() + SECONDS

    def step(self) -> str:
        """Spend one step."""
        self.steps += 1
        if self.steps > MOST_STEPS or (self.steps % 64 == 0 and time.monotonic() > self.deadline):
            raise TemplateProblem(f"it does not end within {MOST_STEPS:,} steps or {SECONDS:.0f} seconds")
        return ""

    def joined(self, *values: Any) -> str:
        """Join values as the operator ``~`` does."""
        self.step()
        texts = [str(value) for value in values]
        _check_size(sum(map(len, texts)))
        return "".join(texts)

    def weighed(self, value: Any) -> Any:
        """Return a new list, tuple or dict. Lists that hold themselves several times grow without a loop."""
        self.step()
        _weigh(value, 0)
        return value

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function of the template."""
        self.step()
        name = getattr(called, "__name__", "")
        _check_growth(name, getattr(called, "__self__", None), (*args, *kwargs.values()))
        return _checked(super().call(context, called, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Any:
        """Return the safe form of ``str.format``, or None for other functions."""
        if isinstance(text := getattr(value, "__self__", None), str) and value.__name__ in ("format", "format_map"):
            _check_format(text, operator=False)
        return super().wrap_str_format(value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute an operator that can make long values."""
        if operator == "**" or (operator == "*" and not _is_small_product(left, right)):
            raise TemplateProblem(f"it computes a value that is too large with {operator!r}")
        if operator == "%" and isinstance(left, str):
            _check_format(left, operator=True)
        value = super().call_binop(context, operator, left, right)
        if isinstance(value, list | tuple):
            _weigh(value, 0)
        return _checked(value)

    def _bounded_filter(self, name: str, original: Any) -> Any:
        # jinja passes context or environment to a filter by the marks that `wraps` copies.
        @functools.wraps(original)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            self.step()
            texts = [value for value in (*args, *kwargs.values()) if isinstance(value, str | int | list | tuple)]
            _check_growth(name, texts[0] if texts else "", tuple(texts[1:]))
            return _checked(original(*args, **kwargs))

        return bounded


class Sandbox:
    """A compiled template.

    Args:
        source: the Jinja source.

    Raises:
        TemplateProblem: it is too long, or no Jinja.
    """

    def __init__(self, source: str) -> None:
        if len(source) > LONGEST_TEMPLATE:
            raise TemplateProblem(f"it has {len(source):,} characters, more than {LONGEST_TEMPLATE:,}")
        self._environment = _Environment()
        try:
            tree = _Bounded().visit(self._environment.parse(source))
            self.has_marks = any("_marked" in str(node) for node in tree.find_all(nodes.CallBlock))
            self._template = self._environment.from_string(tree)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateProblem(f"line {error.lineno}: {_line(error)}") from error
        except RecursionError as error:
            raise TemplateProblem("it is nested too deep") from error

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text, with `START` and `END` around the marked parts.

        Raises:
            TemplateProblem: the template raises an error, or spends its budget.
        """
        self._environment.begin()
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(values):
                size += len(piece)
                _check_size(size)
                pieces.append(piece)
        except TemplateProblem:
            raise
        # Whatever a program of someone else raises is a problem of that program.
        except Exception as error:
            raise TemplateProblem(_line(error)) from error
        return "".join(pieces)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, jinja2.TemplateError) and text else f"{type(error).__name__}: {text}"


def _refuse(message: Any) -> None:
    raise TemplateProblem(" ".join(str(message).split())[:200])


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    _weigh(value, 0)
    if (isinstance(indent, int) and indent > 64) or (isinstance(indent, str) and len(indent) > 64):
        raise TemplateProblem(f"it indents by {indent!r:.40}")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _size(value: Any) -> int:
    if isinstance(value, bool):
        return 1
    if isinstance(value, int):
        return min(abs(value), MOST_SIZE + 1)
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1


def _check_size(size: int) -> None:
    if size > MOST_SIZE:
        raise TemplateProblem(f"it makes a text or list longer than {MOST_SIZE:,}")


def _checked(value: Any) -> Any:
    if isinstance(value, str | list | tuple | dict):
        _check_size(len(value))
    elif isinstance(value, int) and value.bit_length() > 4096:
        raise TemplateProblem("it computes a number that is too large")
    return value


def _is_small_product(left: Any, right: Any) -> bool:
    if isinstance(left, str | list | tuple) or isinstance(right, str | list | tuple):
        return _size(left) * _size(right) <= MOST_SIZE
    return True


def _check_growth(name: str, owner: Any, arguments: tuple[Any, ...]) -> None:
    """Refuse a call whose result can be too long: at most every place of a text becomes the longest argument."""
    if name not in _GROWING:
        return
    # The filter `format` is the operator %, the method is checked where it is read.
    if name in ("format", "do_format") and isinstance(owner, str):
        _check_format(owner, operator=True)
    longest = max((_total(value) for value in arguments), default=1)
    _check_size((_total(owner) + 1) * max(1, longest))


def _total(value: Any) -> int:
    """Return the size of a value, with the texts in a list."""
    inner = sum(_size(item) for item in value) if isinstance(value, list | tuple) else 0
    return max(_size(value), inner)


def _check_format(text: str, operator: bool) -> None:
    """Refuse a format whose fields have a width of five digits, or one that is a value."""
    wide = bool(_WIDE_FORMAT.search(text))
    if not operator:
        fields = string.Formatter().parse(text)
        wide = any("{" in spec or re.search(r"\d{5,}", spec) for _, _, spec, _ in fields if spec)
    if wide:
        raise TemplateProblem(f"it formats with a wide field: {text!r:.60}")


def _weigh(value: Any, size: int) -> int:
    """Return `size` plus the number of elements of a value and of the values inside it."""
    size += 1
    _check_size(size * 8)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return size
    for item in value:
        size = _weigh(item, size)
    return size
