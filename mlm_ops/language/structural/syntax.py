"""Text in lavaan's two-level syntax -> SemModel: what is asked for, knowing no data.

The grammar is that of lavaan 0.6 (Rosseel 2012, Journal of Statistical Software 48(2)): statements on lines or after
semicolons, a ``level:`` line before each block, ``:=`` definitions anywhere.
"""

from __future__ import annotations

from mlm_ops.errors import FormulaError
from mlm_ops.language.structural.model import BETWEEN, WITHIN, Definition, Item, Operator, SemModel
from mlm_ops.language.structural.tokens import COMMENT, Token, fault, found, tokenize
from mlm_ops.language.syntax import parse_expression

_LEVELS = {"1": WITHIN, "within": WITHIN, "2": BETWEEN, "between": BETWEEN}
_RELATIONS = frozenset({"=~", "~", "~~", ":="})
#: Operators of lavaan that this version refuses by name.
_REFUSED = {
    "==": "Constraints with == are not offered; give the parameters one label instead",
    "<": "Constraints with < are not offered; variances are kept at zero or above without them",
    ">": "Constraints with > are not offered; variances are kept at zero or above without them",
    "<~": "Formative variables (<~) are not offered; take =~ or a sum made in a view",
    "~*~": "Scaling factors (~*~) are for categorical outcomes, which are not offered",
    "|": "Thresholds (|) are for categorical outcomes, which are not offered",
    "%": "Blocks with % are Mplus input; write level: 1 and level: 2",
}
_MODIFIERS = ("start", "equal", "label")


def parse_sem(text: str) -> SemModel:
    """Parse a two-level model.

    Raises
    ------
    FormulaError
        With the line and a caret under the place where it stops making sense.
    """
    return _Parser(text).model()


class _Parser:
    """Statement by statement over the tokens of the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.index = 0
        self.level: int | None = None
        self.items: dict[tuple[int, str, str, str], Item] = {}
        self.definitions: dict[str, Definition] = {}

    def fail(self, message: str, position: int) -> FormulaError:
        return fault(self.text, message, position)

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def advance(self) -> Token:
        token = self.token
        self.index += 1
        return token

    def expect(self, kind: str, what: str) -> Token:
        if self.token.kind != kind:
            raise self.fail(
                f"The model does not parse: expected {what} but found {found(self.token)}.", self.token.position
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
        model = SemModel(tuple(self.items.values()), tuple(self.definitions.values()), self.text)
        self._check_labels(model)
        return model

    def statement(self) -> None:
        first, second = self.token, self.tokens[self.index + 1]
        if first.kind == "name" and second.text == ":" and first.text.lower() in {"level", "group"}:
            self.header()
            return
        left = [self.expect("name", "a variable")]
        while self.token.text == "+":
            self.advance()
            left.append(self.expect("name", "a variable"))
        operator = self.advance()
        if operator.text in _REFUSED:
            raise self.fail(f"{_REFUSED[operator.text]}.", operator.position)
        if operator.text not in _RELATIONS:
            raise self.fail(
                f"The model does not parse: expected one of =~ ~ ~~ := but found {found(operator)}.", operator.position
            )
        if operator.text == ":=":
            self.definition(left)
            return
        if self.level is None:
            raise self.fail(
                "A two-level model says of each statement at which level it holds. Write 'level: 1' before the first.",
                first.position,
            )
        self.terms(left, operator)

    def header(self) -> None:
        name = self.advance()
        self.advance()
        value = self.advance()
        level = _LEVELS.get(value.text.strip("\"'").lower())
        if name.text.lower() == "group":
            raise self.fail("Models of several groups are not offered; fit each group by a row filter.", name.position)
        if level is None:
            raise self.fail(
                f"Unknown level. Got {found(value)}; expected 1 (or within) or 2 (or between).", value.position
            )
        self.level = level
        self.end_of_statement()

    def end_of_statement(self) -> None:
        if self.token.kind != "newline":
            raise self.fail(f"The model does not parse: {found(self.token)} is out of place here.", self.token.position)
        self.advance()

    def definition(self, left: list[Token]) -> None:
        start = self.token.position
        while self.token.kind not in {"newline", "end"}:
            self.advance()
        text = COMMENT.sub("", self.text[start : self.token.position]).strip()
        name = left[0].text
        if len(left) > 1 or name in self.definitions:
            raise self.fail(
                f"A definition names one new parameter. Got {name!r} again or with others.", left[0].position
            )
        if not text:
            raise self.fail(f"The definition of {name!r} is empty.", left[0].position)
        self.definitions[name] = Definition(name, " ".join(text.split()), parse_expression(" ".join(text.split())))

    def terms(self, left: list[Token], operator: Token) -> None:
        while True:
            modifiers, right = self.product()
            for lhs in left:
                self.add(lhs, operator, modifiers, right)
            if self.token.text != "+":
                break
            self.advance()
        self.end_of_statement()

    def product(self) -> tuple[dict[str, object], Token]:
        """Modifiers by kind, and the variable (or the 1 of an intercept) that they modify."""
        modifiers: dict[str, object] = {}
        while True:
            token = self.token
            sign = -1.0 if token.text == "-" and token.kind == "operator" else 1.0
            if sign < 0:
                self.advance()
            token = self.advance()
            if token.kind == "name" and self.token.text == "(":
                kind, value = self.call(token)
            elif self.token.text == "?" and token.kind == "number":
                kind, value = "start", sign * float(token.text)
            elif self.token.text == "*":
                kind, value = self.modifier(token, sign)
            else:
                if token.kind not in {"name", "number"} or sign < 0 or (token.kind == "number" and token.text != "1"):
                    raise self.fail(
                        f"The model does not parse: expected a variable but found {found(token)}.", token.position
                    )
                if self.token.text == ":":
                    raise self.fail("Products of variables are not offered; make the column in a view.", token.position)
                return modifiers, token
            if self.token.text not in {"*", "?"}:
                raise self.fail(
                    f"The model does not parse: expected '*' and a variable but found {found(self.token)}.",
                    self.token.position,
                )
            self.advance()
            if modifiers.get(kind, value) != value:
                raise self.fail(
                    f"One parameter has two different modifiers. Got {modifiers[kind]} and {value}; keep one.",
                    token.position,
                )
            modifiers[kind] = value

    def modifier(self, token: Token, sign: float) -> tuple[str, object]:
        if token.kind == "number":
            return "fixed", sign * float(token.text)
        if token.kind == "name" and token.text == "NA":
            return "freed", True
        if token.kind in {"name", "string"} and sign > 0:
            return "label", token.text.strip("\"'")
        raise self.fail(
            f"A modifier is a number, NA, a label, start(), equal() or label(). Got {found(token)}.", token.position
        )

    def call(self, name: Token) -> tuple[str, object]:
        if name.text not in _MODIFIERS:
            why = "; c() is for several groups, which are not offered" if name.text == "c" else ""
            raise self.fail(
                f"Unknown modifier {name.text}(). Expected one of start(), equal(), label(){why}.", name.position
            )
        self.advance()
        sign = -1.0 if self.token.text == "-" else 1.0
        if sign < 0:
            self.advance()
        value = self.advance()
        if self.token.text != ")":
            raise self.fail(f"{name.text}() takes one value. Got {found(self.token)}.", self.token.position)
        self.advance()
        if name.text == "start":
            if value.kind != "number":
                raise self.fail(f"start() takes a number. Got {found(value)}.", value.position)
            return "start", sign * float(value.text)
        if value.kind not in {"string", "name"}:
            raise self.fail(f"{name.text}() takes a label in quotes. Got {found(value)}.", value.position)
        return "label", value.text.strip("\"'")

    def add(self, lhs: Token, operator: Token, modifiers: dict[str, object], right: Token) -> None:
        assert self.level is not None
        op: Operator = "=~" if operator.text == "=~" else "~" if operator.text == "~" else "~~"
        rhs = right.text
        if right.text == "1":
            if op != "~":
                raise self.fail(f"1 stands for an intercept, which follows ~. Got {op} 1.", right.position)
            op, rhs = "~1", ""
        if op in {"~", "=~"} and lhs.text == rhs:
            raise self.fail(f"{rhs!r} cannot be its own {'predictor' if op == '~' else 'indicator'}.", right.position)
        key = (self.level, lhs.text, op, rhs)
        mirrored = (self.level, rhs, op, lhs.text)
        key = mirrored if op == "~~" and mirrored in self.items else key
        known = self.items.get(key, Item(self.level, key[1], op, key[3]))
        given = Item(self.level, key[1], op, key[3], **modifiers)  # type: ignore[arg-type]
        self.items[key] = self._merged(known, given, right)

    def _merged(self, known: Item, given: Item, at: Token) -> Item:
        """One item of two statements of it: a label here and a starting value there."""
        if None not in (known.fixed, given.fixed) and known.fixed != given.fixed:
            raise self.fail(
                f"{known.lhs} {known.op} {known.rhs} is fixed to two different values. Got {known.fixed:g} and "
                f"{given.fixed:g}; keep one.",
                at.position,
            )
        if None not in (known.label, given.label) and known.label != given.label:
            raise self.fail(
                f"{known.lhs} {known.op} {known.rhs} has two labels. Got {known.label} and {given.label}; keep one.",
                at.position,
            )
        return Item(
            known.level,
            known.lhs,
            known.op,
            known.rhs,
            label=known.label if given.label is None else given.label,
            fixed=known.fixed if given.fixed is None else given.fixed,
            freed=known.freed or given.freed,
            start=known.start if given.start is None else given.start,
        )

    def _check_labels(self, model: SemModel) -> None:
        fixed: dict[str, float] = {}
        for item in model.items:
            if item.label is None or item.fixed is None:
                continue
            before = fixed.setdefault(item.label, item.fixed)
            if before != item.fixed:
                raise FormulaError(
                    f"The label {item.label!r} stands for two different fixed values. Got {before:g} and "
                    f"{item.fixed:g}; give each its own label."
                )
        labels = {item.label for item in model.items if item.label}
        for name in self.definitions:
            if name in labels:
                raise FormulaError(f"{name!r} is a label of the model and defined by := too. Choose another name.")
