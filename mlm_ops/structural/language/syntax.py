"""Parse text in lavaan's two-level syntax into a SemModel, without data.

The grammar is that of lavaan 0.6 (Rosseel 2012, Journal of Statistical Software 48(2)): statements on lines or after
semicolons, a ``level:`` line before each block, ``:=`` definitions anywhere.
"""

from __future__ import annotations

from typing import Any

from mlm_ops.errors import FormulaError
from mlm_ops.language.syntax import FUNCTIONS, Group, Operation, Syntax, no_arithmetic, parse_tokens
from mlm_ops.language.tokens import COMMENT, STRUCTURAL, Token, TokenCursor, tokenize
from mlm_ops.structural.language.model import (
    BETWEEN,
    MOST_VARIABLES,
    TOO_MANY_VARIABLES,
    WITHIN,
    Constraint,
    ConstraintRelation,
    Definition,
    Item,
    Operator,
    SemModel,
)
from mlm_ops.structural.language.modifiers import ModifierError, item_of, join_modifiers, merge_items

_LEVELS = {"1": WITHIN, "within": WITHIN, "2": BETWEEN, "between": BETWEEN}
_OPERATORS = frozenset({"=~", "~", "~~", ":="})
#: Of the two sides of a constraint.
_RELATIONS: dict[str, ConstraintRelation] = {"==": "==", "<": "<", ">": ">"}
#: Operators of lavaan that this version refuses by name.
_REFUSED = {
    "<~": "Formative variables (<~) are not offered; take =~ or a sum made in a view",
    "~*~": "Scaling factors (~*~) are for categorical outcomes, which are not offered",
    "|": "Thresholds (|) are for categorical outcomes, which are not offered",
    "%": "Blocks with % are Mplus input; write level: 1 and level: 2",
}
#: What Mplus writes between two variables, and what stands for it here.
_OF_MPLUS = {"BY": "=~", "ON": "~", "WITH": "~~"}
_MODIFIERS = ("start", "equal", "label", "rv")
#: Behind the modifiers: one dictionary of them for each group of rows.
_BY_GROUP = "by_group"
#: Operators after which a line may end.
_CLOSED = frozenset({")"})


def parse_sem(text: str) -> SemModel:
    """Parse a two-level model.

    Raises
    ------
    FormulaError
        With the line and a caret under the place where it stops making sense.
    """
    return _SemParser(text).model()


def parse_constraints(text: str) -> tuple[Constraint, ...]:
    """Parse constraints alone, on lines or after semicolons.

    Raises
    ------
    FormulaError
        Anything else, with a caret under it.
    """
    parser = _SemParser(text)
    while parser.token.kind != "end":
        if parser.token.kind == "newline":
            parser.advance()
            continue
        relation = parser.relation()
        if relation is None:
            raise parser.fail("Expected a constraint, as in a == 2*b or a > 0.", parser.token.position)
        parser.constraint(relation)
    return tuple(parser.constraints)


class _SemParser(TokenCursor):
    """Statement by statement over the tokens of the text."""

    def __init__(self, text: str) -> None:
        super().__init__(text, _statements(tokenize(text, STRUCTURAL), text))
        self.level: int | None = None
        self.items: dict[tuple[int, str, str, str], Item] = {}
        self.variables: set[str] = set()
        self.definitions: dict[str, Definition] = {}
        self.constraints: list[Constraint] = []
        self.n_groups: int | None = None

    def fail(self, message: str, position: int) -> FormulaError:
        return STRUCTURAL.fault(message, self.text, position)

    def expect(self, kind: str, what: str) -> Token:
        if self.token.kind != kind:
            raise self.fail(
                f"The model does not parse: expected {what} but found {_describe(self.token)}.", self.token.position
            )
        return self.advance()

    def model(self) -> SemModel:
        while self.token.kind != "end":
            if self.token.kind == "newline":
                self.advance()
                continue
            self.statement()
        for level, name in ((WITHIN, "level: 1"), (BETWEEN, "level: 2")):
            if not any(item.level == level for item in self.items.values()):
                raise self.fail(
                    f"A two-level model has a block of each level, and '{name}' is missing or empty. Write 'level: 1' "
                    "and 'level: 2' on lines of their own, each before its statements.",
                    0,
                )
        model = SemModel(
            tuple(self.items.values()), tuple(self.definitions.values()), self.text, tuple(self.constraints)
        )
        self._check_labels(model)
        return model

    def statement(self) -> None:
        first, second = self.token, self.tokens[self.index + 1]
        if (
            first.kind == "name"
            and (second.kind, second.text) == ("operator", ":")
            and first.text.lower() in {"level", "group"}
        ):
            self.header()
            return
        if (relation := self.relation()) is not None:
            self.constraint(relation)
            return
        if self.at("%"):
            raise self.fail(f"{_REFUSED['%']}.", first.position)
        left = [self.expect("name", "a variable")]
        while self.at("+"):
            self.advance()
            left.append(self.expect("name", "a variable"))
        operator = self.advance()
        if operator.kind == "operator" and operator.text in _REFUSED:
            raise self.fail(f"{_REFUSED[operator.text]}.", operator.position)
        if operator.kind == "name" and operator.text.upper() in _OF_MPLUS:
            raise self.fail(
                f"{operator.text} is Mplus input; write {_OF_MPLUS[operator.text.upper()]}.", operator.position
            )
        if operator.kind != "operator" or operator.text not in _OPERATORS:
            raise self.fail(
                f"The model does not parse: expected one of =~ ~ ~~ := but found {_describe(operator)}.",
                operator.position,
            )
        if operator.text == ":=":
            self.definition(left)
            return
        if self.level is None:
            raise self.fail(
                "A two-level model says of each statement at which level it holds. Write 'level: 1' before the first.",
                first.position,
            )
        for name in left:
            self.add_variable(name)
        self.terms(list({name.text: name for name in left}.values()), operator)

    def header(self) -> None:
        name = self.advance()
        self.advance()
        value = self.advance()
        level = _LEVELS.get(value.text.lower())
        if name.text.lower() == "group":
            raise self.fail(
                "Groups have one text, without blocks of their own. Give the column by group=, and write c(a1, a2)*x "
                "where a parameter differs between groups.",
                name.position,
            )
        if level is None:
            raise self.fail(
                f"Unknown level. Got {_describe(value)}; expected 1 (or within) or 2 (or between).", value.position
            )
        self.level = level
        self.end_of_statement()

    def end_of_statement(self) -> None:
        if self.token.kind != "newline":
            raise self.fail(
                f"The model does not parse: {_describe(self.token)} is out of place here.", self.token.position
            )
        self.advance()

    def definition(self, left: list[Token]) -> None:
        first = self.index
        while self.token.kind not in {"newline", "end"}:
            self.advance()
        tokens = [*self.tokens[first : self.index], Token("end", "", self.tokens[self.index].position)]
        name = left[0].text
        if len(left) > 1 or name in self.definitions:
            raise self.fail(
                f"A definition names one new parameter. Got {name!r} again or with others.", left[0].position
            )
        if len(tokens) == 1:
            raise self.fail(f"The definition of {name!r} is empty.", left[0].position)
        text = self.text[tokens[0].position : tokens[-2].position + len(tokens[-2].text)]
        expression = parse_tokens(self.text, tokens, STRUCTURAL)
        if (other := no_arithmetic(expression)) is not None:
            raise self.fail(
                f"A definition is made of labels, numbers, + - * / ^ and {', '.join(FUNCTIONS)}.", other.position
            )
        self.definitions[name] = Definition(name, " ".join(COMMENT.sub("", text).split()), expression)

    def relation(self) -> int | None:
        """The place of ``==``, ``<`` or ``>`` in the statement; None where it has no such before another operator."""
        for i in range(self.index, len(self.tokens)):
            token = self.tokens[i]
            if token.kind in {"newline", "end"} or (token.kind == "operator" and token.text in _OPERATORS):
                return None
            if token.kind == "operator" and token.text in _RELATIONS:
                return i
        return None

    def constraint(self, middle: int) -> None:
        first = self.index
        while self.token.kind not in {"newline", "end"}:
            self.advance()
        left, right = (self.side(first, middle), self.side(middle + 1, self.index))
        relation = _RELATIONS[self.tokens[middle].text]
        start, last = self.tokens[first], self.tokens[self.index - 1]
        text = " ".join(COMMENT.sub("", self.text[start.position : last.position + len(last.text)]).split())
        high, low = (right, left) if relation == "<" else (left, right)
        gap = Operation("-", Group(high, high.position), Group(low, low.position), start.position)
        self.constraints.append(Constraint(relation, text, gap))

    def side(self, start: int, end: int) -> Syntax:
        """One side of a constraint."""
        stop = self.tokens[end]
        if start == end:
            raise self.fail(
                f"A constraint has two sides, as in a == 2*b. Got nothing before {_describe(stop)}.", stop.position
            )
        expression = parse_tokens(self.text, [*self.tokens[start:end], Token("end", "", stop.position)], STRUCTURAL)
        if (other := no_arithmetic(expression)) is not None:
            raise self.fail(
                f"A constraint is made of labels, definitions, numbers, + - * / ^ and {', '.join(FUNCTIONS)}.",
                other.position,
            )
        return expression

    def terms(self, left: list[Token], operator: Token) -> None:
        while True:
            modifiers, right = self.product()
            for lhs in left:
                self.add(lhs, operator, modifiers, right)
            if not self.at("+"):
                break
            self.advance()
        self.end_of_statement()

    def product(self) -> tuple[dict[str, Any], Token]:
        """Modifiers by kind, and the variable (or the 1 of an intercept) that they modify."""
        modifiers: dict[str, Any] = {}
        while True:
            token = self.token
            sign = -1.0 if self.at("-") else 1.0
            if sign < 0:
                self.advance()
            token = self.advance()
            if token.kind == "name" and self.at("("):
                kind, value = self.call(token)
            elif self.at("?") and token.kind == "number":
                kind, value = "start", sign * STRUCTURAL.number(token, self.text)
            elif self.at("*"):
                kind, value = self.modifier(token, sign)
            else:
                if token.kind not in {"name", "number"} or sign < 0 or (token.kind == "number" and token.text != "1"):
                    raise self.fail(
                        f"The model does not parse: expected a variable but found {_describe(token)}.", token.position
                    )
                if self.at(":"):
                    raise self.fail("Products of variables are not offered; make the column in a view.", token.position)
                return modifiers, token
            if not self.at("*", "?"):
                raise self.fail(
                    f"The model does not parse: expected '*' and a variable but found {_describe(self.token)}.",
                    self.token.position,
                )
            self.advance()
            try:
                if kind == _BY_GROUP and kind in modifiers:
                    pairs = zip(modifiers[kind], value, strict=True)
                    modifiers[kind] = tuple(join_modifiers(*pair) for pair in pairs)
                else:
                    modifiers = join_modifiers(modifiers, {kind: value})
            except ModifierError as error:
                raise self.fail(str(error), token.position) from error

    def modifier(self, token: Token, sign: float) -> tuple[str, Any]:
        if token.kind == "number":
            return "fixed", sign * STRUCTURAL.number(token, self.text)
        if token.kind == "name" and token.text == "NA" and sign > 0:
            return "freed", True
        if token.kind in {"name", "string"} and sign > 0:
            return "label", token.text
        raise self.fail(
            f"A modifier is a number, NA, a label, start(), equal(), label(), rv() or c(). Got {_describe(token)}.",
            token.position,
        )

    def call(self, name: Token) -> tuple[str, Any]:
        if name.text == "c":
            return _BY_GROUP, tuple(dict([self.modifier(*value)]) for value in self.values_of_groups())
        if name.text not in _MODIFIERS:
            raise self.fail(
                f"Unknown modifier {name.text}(). Expected one of start(), equal(), label(), rv(), c().", name.position
            )
        self.advance()
        if (self.token.kind, self.token.text) == ("name", "c") and name.text != "rv":
            self.advance()
            if self.at("("):
                values = tuple(dict([self.argument(name, *value)]) for value in self.values_of_groups())
                self.close(name)
                return _BY_GROUP, values
            self.index -= 1
        value = self.signed()
        self.close(name)
        return self.argument(name, *value)

    def signed(self) -> tuple[Token, float]:
        """A token, and the sign before it."""
        sign = -1.0 if self.at("-") else 1.0
        if sign < 0:
            self.advance()
        return self.advance(), sign

    def close(self, name: Token) -> None:
        if not self.at(")"):
            raise self.fail(f"{name.text}() takes one value. Got {_describe(self.token)}.", self.token.position)
        self.advance()

    def argument(self, name: Token, value: Token, sign: float) -> tuple[str, Any]:
        """The text in the brackets of a modifier."""
        if name.text == "start":
            if value.kind != "number":
                raise self.fail(f"start() takes a number. Got {_describe(value)}.", value.position)
            return "start", sign * STRUCTURAL.number(value, self.text)
        if value.kind not in {"string", "name"} or sign < 0:
            raise self.fail(f"{name.text}() takes a label in quotes. Got {_describe(value)}.", value.position)
        return "slope" if name.text == "rv" else name.text, value.text

    def values_of_groups(self) -> list[tuple[Token, float]]:
        """``(a1, a2)`` behind ``c``: a value for each group of rows."""
        first = self.advance()
        values = [self.signed()]
        while self.at(","):
            self.advance()
            values.append(self.signed())
        if not self.at(")"):
            raise self.fail(
                f"c() takes a value for each group, as in c(a1, a2). Got {_describe(self.token)}.", self.token.position
            )
        self.advance()
        self.n_groups = self.n_groups or len(values)
        if len(values) != self.n_groups:
            raise self.fail(
                f"c() takes a value for each group. Got {len(values)} here and {self.n_groups} before.", first.position
            )
        return values

    def add(self, lhs: Token, operator: Token, modifiers: dict[str, Any], right: Token) -> None:
        assert self.level is not None
        if right.kind == "name":
            self.add_variable(right)
        op: Operator = "=~" if operator.text == "=~" else "~" if operator.text == "~" else "~~"
        rhs = right.text
        if right.text == "1":
            if op != "~":
                raise self.fail(f"1 means an intercept, which follows ~. Got {op} 1.", right.position)
            op, rhs = "~1", ""
        if op in {"~", "=~"} and lhs.text == rhs:
            raise self.fail(f"{rhs!r} cannot be its own {'predictor' if op == '~' else 'indicator'}.", right.position)
        if "slope" in modifiers:
            self.check_slope(op, modifiers, right)
        key = (self.level, lhs.text, op, rhs)
        mirrored = (self.level, rhs, op, lhs.text)
        key = mirrored if op == "~~" and mirrored in self.items else key
        plain = Item(self.level, key[1], op, key[3])
        try:
            new = item_of(plain, {k: v for k, v in modifiers.items() if k != _BY_GROUP}, modifiers.get(_BY_GROUP, ()))
            self.items[key] = merge_items(self.items.get(key, plain), new)
        except ModifierError as error:
            raise self.fail(str(error), right.position) from error

    def check_slope(self, op: Operator, modifiers: dict[str, Any], right: Token) -> None:
        name = modifiers["slope"]
        if op != "~" or self.level != WITHIN:
            raise self.fail(
                f'A random slope is of a regression at level 1, as in y ~ rv("{name}")*x. Got {op} at level '
                f"{self.level}.",
                right.position,
            )
        if len(modifiers) > 1:
            raise self.fail(
                f"A random slope has no other modifier. Its mean is the intercept of {name!r} at level 2; write its "
                f"label, value or start there, as in {name} ~ a*1.",
                right.position,
            )

    def add_variable(self, variable: Token) -> None:
        self.variables.add(variable.text)
        if len(self.variables) > MOST_VARIABLES:
            raise self.fail(TOO_MANY_VARIABLES, variable.position)

    def _check_labels(self, model: SemModel) -> None:
        labels = {one.label for item in model.items for one in (item, *item.by_group) if one.label}
        for name in self.definitions:
            if name in labels:
                raise FormulaError(f"{name!r} is a label of the model and defined by := too. Choose another name.")


def _statements(tokens: list[Token], text: str) -> list[Token]:
    """The tokens without newlines inside a statement, and with one after the last."""
    result: list[Token] = []
    depth = 0
    for token in tokens[:-1]:
        operator = token.kind == "operator"
        depth += (operator and token.text == "(") - (operator and token.text == ")")
        goes_on = (
            not result
            or result[-1].kind == "newline"
            or (result[-1].kind == "operator" and result[-1].text not in _CLOSED)
        )
        if token.kind == "newline" and (goes_on or depth > 0) and token.text == "\n":
            continue
        if operator and token.text in {"+", "*"} and result and result[-1].kind == "newline":
            result.pop()
        result.append(token)
    end = len(text.rstrip())
    return [*result, Token("newline", "\n", end), Token("end", "", end)]


def _describe(token: Token) -> str:
    """The token as a message names it."""
    if token.kind in {"newline", "end"}:
        return "the end of the line" if token.kind == "newline" else "the end of the model"
    return f"'{token.text}'"
