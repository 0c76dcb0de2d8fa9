"""Write numbers, p values and names as text: one set of digits for all result tables, safe in terminals and Markdown.

`cell` writes the value of a result column by the column's name, so that a number is the same text in ``print(fit)``, in
``mlm show``, side by side, in Dagster and in equations.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime

#: Magnitudes that are written without an exponent.
LEAST, MOST = 1e-4, 1e7


def number(value: float, digits: int = 4) -> str:
    """Write a number with so many significant digits, with trailing zeros, and thousands without an exponent.

    >>> number(12.636972), number(0.5), number(123456.7), number(0.0000123456)
    ('12.64', '0.5000', '123457', '1.235e-05')
    """
    size = abs(value)
    # most numbers of long tables, where the question how long the whole part is would take half of the time
    if LEAST <= size < 100 and digits > 3:
        return f"{value:#.{digits}g}"
    if value != 0 and not LEAST <= size < MOST:
        return f"{value:.{digits - 1}e}"
    return f"{value:#.{max(digits, len(str(int(size))))}g}".rstrip(".")


def p_value(value: float) -> str:
    """Write a p value as papers print it.

    >>> p_value(0.00004), p_value(0.5)
    ('<0.001', '0.500')
    """
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def after_p(value: float) -> str:
    """Write a p value behind a p.

    >>> f"p {after_p(0.00004)}", f"p {after_p(0.5)}"
    ('p <0.001', 'p = 0.500')
    """
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def count(value: int) -> str:
    """Write a whole number with its thousands apart.

    >>> count(7185)
    '7,185'
    """
    return f"{value:,}"


def decimals(places: int) -> Callable[[float], str]:
    """Make a writer of numbers with so many decimals, thousands apart, and zero without a sign.

    >>> decimals(3)(-1e-14), decimals(3)(0.25), decimals(1)(-1234.56)
    ('0.000', '0.250', '-1,234.6')
    """

    def write(value: float) -> str:
        text = f"{value:,.{places}f}"
        return text.removeprefix("-") if not text.strip("-0.") else text

    return write


#: How the numbers of a column are written, by its name: four significant digits where it is not here, and p values
#: (``p_value``, ``p_adjusted``, …) by `p_value`.
FORMATS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(("df", "log_likelihood", "delta_aic", "delta_bic"), decimals(1)),
    **dict.fromkeys(("deviance", "aic", "bic", "deviance_ml", "aic_ml", "bic_ml"), decimals(1)),
    **dict.fromkeys(("log_likelihood_given_x", "aic_given_x", "bic_given_x"), decimals(1)),
    **dict.fromkeys(("statistic", "statistic_scaled", "correlation", "seconds"), decimals(2)),
    **dict.fromkeys(("icc", "reliability", "reliability_hlm", "share", "chi_square"), decimals(3)),
    **dict.fromkeys(("std_all", "epc_std_all"), decimals(3)),
    **dict.fromkeys(("r_squared", "omega", "omega_std_error"), decimals(3)),
    # between 0 and 1, and zero but for rounding where a model is saturated
    **dict.fromkeys(("cfi", "tli", "rmsea", "srmr_within", "srmr_between"), decimals(3)),
    **dict.fromkeys((f"{kind}_scaled" for kind in ("cfi", "tli", "rmsea", "rmsea_low", "rmsea_high")), decimals(3)),
    **dict.fromkeys((f"{kind}_{level}" for kind in ("cfi", "rmsea") for level in ("within", "between")), decimals(3)),
    **dict.fromkeys((f"chi_square_{kind}" for kind in ("scaled", "within", "between")), decimals(3)),
    **dict.fromkeys(("rmsea_low", "rmsea_high", "scaling_factor"), decimals(3)),
    "gradient": "{:.1e}".format,
    "decrement": "{:.2g}".format,
}
#: What the statistics of a fit are called where they are read, by column.
LABELS = {
    "n_obs": "observations",
    "n_parameters": "parameters",
    "log_likelihood": "log-likelihood",
    **dict.fromkeys(("deviance", "deviance_ml"), "deviance"),
    **dict.fromkeys(("aic", "aic_ml"), "AIC"),
    **dict.fromkeys(("bic", "bic_ml"), "BIC"),
    "icc": "ICC",
    "estimator": "estimator",
    "chi_square": "chi-square",
    "cfi": "CFI",
    "tli": "TLI",
    "rmsea": "RMSEA",
}


def number_writer(column: str) -> Callable[[float], str]:
    """The function that writes the real numbers of a result column, by the column's name."""
    return p_value if column.startswith("p_") else FORMATS.get(column, number)


def cell(column: str, value: object) -> str:
    """Write the value of a result column.

    >>> cell("estimate", 12.636972), cell("df", 158.68), cell("p_value", 0.00004), cell("n_obs", 7185), cell("df", None)
    ('12.64', '158.7', '<0.001', '7,185', '')
    >>> cell("n_groups", '{"school": 1160}'), cell("singular", False)
    ('1,160 school', 'no')
    """
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return count(value)
        case float():
            return number_writer(column)(value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case str() if column == "n_groups":
            return ", ".join(f"{count(n)} {group}" for group, n in counts(value).items())
    return str(value)


def statistic(column: str, value: object) -> str:
    """Write a statistic of a fit with its name.

    >>> statistic("icc", 0.18035), statistic("log_likelihood", -23271.668)
    ('ICC 0.180', 'log-likelihood -23,271.7')
    """
    return f"{LABELS[column]} {cell(column, value)}"


def counts(text: str | None) -> dict[str, int]:
    """Read the counts by name of a JSON text, as in ``n_groups`` and ``n_dropped``; none where the text is no such."""
    try:
        content = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(name): n for name, n in content.items() if isinstance(n, int)} if isinstance(content, dict) else {}


#: The words by which such a note is recognised among the others.
ROWS_LEFT_OUT = "rows left out for missing values"


def rows_left_out(n_obs: int, n_rows: int, n_dropped: Mapping[str, int]) -> str:
    """Say how many rows were left out, and which columns' values they lack.

    >>> rows_left_out(8, 10, {"x": 2, "y": 0})
    '2 of 10 rows left out for missing values (x 2)'
    """
    columns = ", ".join(f"{name} {count(missing)}" for name, missing in n_dropped.items() if missing)
    return f"{count(n_rows - n_obs)} of {count(n_rows)} {ROWS_LEFT_OUT} ({columns})"


def markdown_text(text: str) -> str:
    r"""Write a text for Markdown in one line that makes no table, emphasis, code, tag, link or picture.

    >>> markdown_text("a|b <br> p <0.001")
    'a\\|b &lt;br> p <0.001'
    """
    text = " ".join(text.splitlines())
    for character in "\\|*`":
        text = text.replace(character, f"\\{character}")
    # what begins a tag, a comment or a link; before a number it is less than
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text).replace("](", "]\\(")


def code_span(text: str) -> str:
    """Write a Markdown code span in one line, also of text with backticks."""
    text = " ".join(text.splitlines())
    ticks = "`" * (_longest_run(text) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def code_block(text: str, language: str = "") -> str:
    """Write a Markdown block of code, also of text with fences."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


#: Control characters but tab and line feed, other ends of lines, marks that change the direction of writing, and two
#: codes that XML does not have: a regular expression for Python and for polars.
CONTROL_CHARACTERS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufffe\uffff]"
REPLACEMENT = "\ufffd"


def visible(text: str) -> str:
    """Put a replacement character in the place of each control character, which a terminal would obey.

    >>> visible("a" + chr(27) + "[2Jb")
    'a�[2Jb'
    """
    return re.sub(CONTROL_CHARACTERS, REPLACEMENT, text)


#: By hand, as every command would wait for the thousands of names that Python's module html brings.
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def html_text(text: str) -> str:
    """Write the visible text as a part of HTML and XML.

    >>> html_text("a<b & 'c'")
    'a&lt;b &amp; &#x27;c&#x27;'
    """
    return visible(text).translate(_HTML)


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "_&%$#{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {
        "²": r"\textsuperscript{2}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "`": r"\textasciigrave{}",
    }
)


def latex_text(text: str) -> str:
    r"""Write the visible text in one line for LaTeX's text mode, where two hyphens would be a dash.

    >>> print(latex_text("50% of a_b <0.1 --"))
    50\% of a\_b \textless{}0.1 -{}-
    >>> print(latex_text("γ₁₀"), latex_text("σ²"))
    \ensuremath{\gamma}\textsubscript{10} \ensuremath{\sigma}\textsuperscript{2}
    """
    escaped = one_line(text).translate(_LATEX).replace("--", "-{}-").replace("--", "-{}-")
    below = re.sub(
        "[₀-₉]+(,[₀-₉]+)*", lambda run: rf"\textsubscript{{{unicodedata.normalize('NFKC', run[0])}}}", escaped
    )
    return re.sub("[α-ξπ-ρσ-ω]", _greek_in_latex, below)


def _greek_in_latex(letter: re.Match[str]) -> str:
    """A letter's command is its name, which Unicode spells LAMDA where LaTeX has a b."""
    name = unicodedata.name(letter[0]).rpartition(" ")[2].lower().replace("lamda", "lambda")
    return rf"\ensuremath{{\{name}}}"


def one_line(text: str) -> str:
    r"""Write the visible text in one line, so that a name with a line feed begins no line of its own.

    >>> one_line("x\nmlm: everything is fine.")
    'x mlm: everything is fine.'
    """
    return re.sub(r"\s*\n\s*", " ", visible(text).strip("\n"))


def message(text: str) -> str:
    r"""Write the visible text of one message, all lines but the first indented.

    So nothing in it, such as a name from the data, looks like another message.

    >>> message("mlm: no column x\nmlm: everything is fine.")
    'mlm: no column x\n     mlm: everything is fine.'
    """
    return visible(text).replace("\n", "\n     ")


def file_name(name: str) -> str:
    """A name as that of a file, without its ending: letters, digits, - and _ alone, so that it is in no other folder.

    >>> file_name("hsb"), file_name("../a b[2026]"), file_name("…")
    ('hsb', 'a-b-2026', 'unnamed')
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:80] or "unnamed"
