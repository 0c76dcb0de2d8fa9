"""Turn syntax into variables: columns, functions of columns, factors and centering, and the groups they name."""

from __future__ import annotations

from mlm_ops.errors import FormulaError
from mlm_ops.language.model import (
    CENTERINGS,
    Column,
    Constant,
    Factor,
    Function,
    GroupingFactor,
    Poly,
    Variable,
    number_text,
    walk,
)
from mlm_ops.language.other_programs import function_here
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.language.syntax import ARITHMETIC, FUNCTIONS, Call, Group, Name, Number, Operation, Syntax, TextLiteral

_LANGUAGE = (*CENTERINGS, "C", "I", "poly", *FUNCTIONS)
#: The options that functions take by name; ``group``, ``coding`` and ``degree`` are a second argument.
_OPTIONS = {"C": {"coding", "ref"}, "poly": {"degree", "raw"}} | {
    w: set(mode.options) for w, mode in CENTERINGS.items()
}
_SECOND = {"group", "coding", "degree"}
_CODINGS = ("treatment", "sum")
#: Orthogonal polynomials of a higher degree have fewer than nine digits when they are computed from moments.
_HIGHEST_DEGREE = 8


class VariableCompiler:
    """Compiles the variables of one formula, whose text its error messages show."""

    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, message: str, node: Syntax) -> FormulaError:
        """Return the error, with a caret under the node."""
        return FormulaError(message, self.text, node.position)

    def variable(self, node: Syntax) -> Variable:
        """Compile a column, a function of columns, or a centered variable."""
        if isinstance(node, Group):
            return self.variable(node.inner)
        if isinstance(node, Name):
            return Column(node.name)
        if isinstance(node, Call):
            return self.call(node)
        if isinstance(node, TextLiteral):
            raise self.fail("A quoted string is no column; put unusual column names in backticks.", node)
        if isinstance(node, Number):
            raise self.fail(f"The number {node.value:g} is no column; a column is expected here.", node)
        if node.operator in {"|", "||"}:
            raise self.fail("A random part (… | group) must be a separate term among the predictors.", node)
        if node.left is None:
            raise self.fail(f"A term has two signs. Got {node.operator!r}; remove one.", node)
        raise self.fail("Put arithmetic on columns inside I(…): write I(x * z), I(x + z).", node)

    def call(self, node: Call) -> Variable:
        """Compile a call of one of the language's functions."""
        options: dict[str, Syntax] = {}
        for key, value in node.options:
            if key in options:
                raise self.fail(f"The option {key!r} of {node.function}() is given twice; keep one.", value)
            options[key] = value
        if node.function not in _LANGUAGE:
            hint = function_here(node.function) or did_you_mean(node.function, _LANGUAGE)
            raise self.fail(f"Unknown function {node.function!r}.{hint} There are {', '.join(_LANGUAGE)}.", node)
        takes = _OPTIONS.get(node.function, set())
        most = 2 if takes & _SECOND else 1
        if not 1 <= len(node.arguments) <= most:
            hint = " Its options have names: at=50 or over=school." if node.function == "center" else ""
            raise self.fail(
                f"{node.function}() takes {'one or two arguments' if most == 2 else 'one argument'}. "
                f"Got {len(node.arguments) or 'none'}.{hint}",
                node,
            )
        named_options = takes - _SECOND
        for key in options:
            if key not in named_options:
                instead = f"; it takes {', '.join(sorted(named_options))}" if named_options else " and takes none"
                raise self.fail(f"{node.function}() has no option {key!r}{instead}.", node)
        inner = node.arguments[0]
        if node.function == "C":
            return self.factor(node, inner, options.get("ref"))
        if node.function == "poly":
            return self.poly(node, self.variable(inner), options)
        if node.function == "I":
            return Function("I", (self.arithmetic(inner),))
        if node.function in FUNCTIONS:
            return Function(node.function, (self.arithmetic(inner),))
        return self.centering(node, self.variable(inner), options)

    def centering(self, node: Call, of: Variable, options: dict[str, Syntax]) -> Variable:
        """Compile ``within(x, g)``, ``between(x, over=…)`` or ``center(x, at=…)``."""
        if len(options) > 1:
            raise self.fail(f"{node.function}() takes {'= or '.join(sorted(options))}=, not both.", node)
        group = {"group": self.one_grouping(node.arguments[1])} if len(node.arguments) == 2 else {}
        over = {"over": self.one_grouping(options["over"])} if "over" in options else {}
        at = {"at": self.number(options["at"])} if "at" in options else {}
        return CENTERINGS[node.function](of, **group, **over, **at)

    def factor(self, node: Call, inner: Syntax, reference: Syntax | None) -> Factor:
        """Compile ``C(x, ref=…)`` or ``C(x, sum)``."""
        if not isinstance(inner, Name):
            raise self.fail("C() takes the name of a column; make other factors in a view or SELECT.", node)
        coding = "treatment"
        if len(node.arguments) == 2:
            name = node.arguments[1]
            if not isinstance(name, Name) or name.name not in _CODINGS:
                raise self.fail(f"The coding of C(x, coding) is one of {', '.join(_CODINGS)}, without quotes.", name)
            coding = name.name
        if reference is None:
            return Factor(inner.name, None, coding)
        if isinstance(reference, TextLiteral):
            return Factor(inner.name, reference.value, coding)
        if isinstance(reference, Number):
            return Factor(inner.name, number_text(reference.value), coding)
        raise self.fail("Put the reference level of C(x, ref=…) in quotes: write C(x, ref='a').", reference)

    def poly(self, node: Call, of: Variable, options: dict[str, Syntax]) -> Poly:
        """Compile ``poly(x, 2)`` or ``poly(x, 2, raw=True)``."""
        if len(node.arguments) != 2:
            raise self.fail("poly() takes a variable and a degree: write poly(x, 2).", node)
        if any(isinstance(part, Poly) for part in walk(of)):
            raise self.fail("A poly() cannot be inside another; take a higher degree.", node)
        degree = node.arguments[1]
        if not isinstance(degree, Number) or degree.value not in range(1, _HIGHEST_DEGREE + 1):
            remark = f" Got {number_text(degree.value)}." if isinstance(degree, Number) else ""
            raise self.fail(f"The degree of poly() is a whole number from 1 to {_HIGHEST_DEGREE}.{remark}", degree)
        raw = options.get("raw")
        if raw is not None and not (isinstance(raw, Name) and raw.name.upper() in {"TRUE", "FALSE"}):
            raise self.fail("poly() takes raw=True or raw=False.", raw)
        return Poly(of, int(degree.value), isinstance(raw, Name) and raw.name.upper() == "TRUE")

    def number(self, node: Syntax) -> float:
        """Read a number, with or without a sign."""
        if isinstance(node, Number):
            return node.value
        if isinstance(node, Operation) and node.left is None and isinstance(node.right, Number):
            return -node.right.value if node.operator == "-" else node.right.value
        raise self.fail("center(x, at=…) takes a number, as in center(x, at=50).", node)

    def one_grouping(self, node: Syntax) -> GroupingFactor:
        """Read one grouping factor, as the second argument of within() names it; of ``a/b`` it is the lowest."""
        return self.groupings(node)[-1]

    def arithmetic(self, node: Syntax) -> Variable:
        """Compile the inside of I(…) and of functions, where operators mean arithmetic."""
        if isinstance(node, Group):
            return self.arithmetic(node.inner)
        if isinstance(node, Number):
            return Constant(node.value)
        if isinstance(node, Name):
            return Column(node.name)
        if isinstance(node, Call) and (node.function in FUNCTIONS or node.function == "I"):
            return self.call(node)
        if isinstance(node, Operation) and node.operator in ARITHMETIC:
            right = self.arithmetic(node.right)
            return Function(node.operator, (right,) if node.left is None else (self.arithmetic(node.left), right))
        hint = function_here(node.function) if isinstance(node, Call) else ""
        raise self.fail(
            f"I() and functions may contain columns, numbers, + - * / ** and {', '.join(FUNCTIONS)}.{hint}",
            node,
        )

    def groupings(self, node: Syntax) -> list[GroupingFactor]:
        """Read grouping factors: ``a/b`` is a and a:b."""
        if isinstance(node, Group):
            return self.groupings(node.inner)
        if isinstance(node, Name):
            return [(node.name,)]
        if isinstance(node, Operation) and node.left is not None and node.operator in {"/", ":"}:
            left, right = self.groupings(node.left), self.groupings(node.right)
            combinations = [tuple(dict.fromkeys((*left[-1], *group))) for group in right]
            return left + combinations if node.operator == "/" else combinations
        is_crossed = isinstance(node, Operation) and node.operator in {"+", "*"}
        raise self.fail(
            "A grouping factor is expected here: a column, a/b for nested or a:b for combined ones."
            + (" Crossed factors have a random part each: (1 | a) + (1 | b)." if is_crossed else ""),
            node,
        )
