"""Guess from a column's name what it holds: a unit's identifier, a code, a time, an outcome or a predictor."""

from __future__ import annotations

import functools
import re

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+|\d+")
#: What rows are grouped by, in the singular: `students` is a number of them.
_UNIT = re.compile(
    r"school|sch|class|classroom|group|cluster|site|cent(?:er|re)|clinic|hospital|ward|subject|subj|patient|pat|person"
    r"|participant|respond(?:ent)?|people|individual|team|store|shop|teacher|tch|prof(?:essor)?|instructor|lecturer"
    r"|student|pupil|child|kid|woman|man|mother|employee|worker|doctor|physician|nurse|rater|judge|coder|interviewer"
    r"|firm|company|bank|plant|machine|country|nation|state|county|region|district|city|town|village|lea|tract|area"
    r"|family|household|hh|couple|dyad|litter|herd|brood|pen|cage|animal|rat|mouse|dog|cat|cow|pig|mare|chick|bird|fish"
    r"|plot|block|field|tree|batch|lot|plate|sample|specimen|wafer|replicate|run|dept|department|unit|panel|item|user"
    r"|grp|g|j|customer|client|account|product|dialyzer|quake|location|popu|gen|schule|klasse|kunde|filiale|betrieb"
    r"|mitarbeiter|abteilung|schueler|schüler|lehrer|land|kreis|person(?:en)?"
)
#: Units of people, who have an age each.
_COLLECTIVE = re.compile(
    r"school|sch|schule|class|klasse|classroom|group|cluster|site|cent(?:er|re)|clinic|hospital|ward|team|store|firm"
    r"|company|country|region|district|county|state|city|town|village|lea|family|household|hh|tract|dept|department"
)
_IDENTIFIER = re.compile(
    r"id|ids|nr|no|num|code|index|idx|key|row|rowname|rownames|uuid|guid|identifier|zip|plz|ssn|isbn"
)
#: A word that ends like an identifier and begins with a unit, as `childid`, `Patid` and `fcode`.
_JOINED = re.compile(rf"(?:{_UNIT.pattern}|[cpsu])(?:id|nr|no|code|num)|[a-z]code")
#: Numbers that stand for categories.
_CODE = re.compile(
    r"sector|industry|ind|sic|naics|occupation|occ|region|race|ethn(?:icity)?|religion|party|group|category|kategorie"
    r"|branche|type|status|dept|department|division|area|zone|class"
)
_TIME = re.compile(
    r"time|times|timepoint|year|years|yr|day|days|date|week|weeks|month|months|quarter|hour|minute"
    r"|wave|occasion|visit|period|phase|session|trial|fup|followup|measurement|round"
    r"|jahr|tag|tage|monat|woche|zeit|welle|zeitpunkt"
)
#: Times only if no unit has one twice: an age is a fact of a person too.
_PERHAPS_TIME = re.compile(r"age|grade|alter|exper|experience")
_OUTCOME = re.compile(
    r"y|dv|outcome|response|resp|score|scr|points|punkte|test|exam\w*|\w*exam|ach|achiev\w*|math\w*|arit\w*|read\w*"
    r"|lang\w*|written|attain\w*|result|rating|popular\w*|satisf\w*|zufrieden\w*|sales|umsatz|l?wage|lohn|l?fare"
    r"|yield|\w*output|rt|reaction|post|\w*(?:rte|rate)|fatal|deaths?|mortality|crime|violent|life|like|eval"
    r"|growth|effort|exercise|inv(?:est(?:ment)?)?|scrap|note|noten|vsae|cog|productivity|performance|strength|protein|accel"
    r"|incidence|cases|count|ticks|fruits|follicles|travel|diameter|intensity|pixel|conc(?:entration)?|rna|bili\w*|current"
)
#: What is measured of people and things, an outcome if nothing else is.
_MEASURE = re.compile(
    r"weight|height|size|length|distance|angle|voltage|symptoms?|pressure|signal|uptake|hours|value|gsp|gdp"
)
_PREDICTOR = re.compile(
    r"l?ses|iq|age|alter|base\w*|pre|pret|intake|pop\d*|population|dose|treat\w*|trt|arm|diet|condition|gender|sex|sx"
    r"|female|male|minority|minrty|black|hispanic|educ\w*|exper\w*|income|price\w*|cpi|tax\w*|unemp\w*|unem|temp\w*"
    r"|lat\w*|lon\w*|percent\w*|perc|share|pct\w*|gcse\w*|lrt|verbal|beauty|uranium|capital|density|n|lag|cen|mean\w*"
    r"|avg\w*|wt|dist|passen|miles|geschlecht|wgt|nfatal|sfatal"
)


@functools.lru_cache(maxsize=10_000)
def words_of(name: str) -> tuple[str, ...]:
    """Split a name into its words, in lower case.

    >>> words_of("schoolNR"), words_of("IQ.ver.cen"), words_of("row id"), words_of("MathAch")
    (('school', 'nr'), ('iq', 'ver', 'cen'), ('row', 'id'), ('math', 'ach'))
    """
    return tuple(word.lower() for word in _WORDS.findall(name) if not word.isdigit())


def _has(pattern: re.Pattern[str], name: str) -> bool:
    return any(pattern.fullmatch(word) for word in words_of(name))


def is_unit(name: str) -> bool:
    """Whether a name is that of units, such as schools and persons, or of their identifier.

    >>> [is_unit(name) for name in ("school", "schoolNR", "schoolSES", "class size")]
    [True, True, False, False]
    """
    measures = _has(_PREDICTOR, name) or _has(_OUTCOME, name) or _has(_MEASURE, name)
    return is_identifier(name) or (_has(_UNIT, name) and not measures and not is_time(name))


def is_identifier(name: str) -> bool:
    """Whether a name says that the values only identify rows or units.

    >>> [is_identifier(name) for name in ("pupilNR", "Patid", "fcode", "INDEX", "did_pay", "students")]
    [True, True, True, True, False, False]
    """
    return _has(_IDENTIFIER, name) or _has(_JOINED, name)


def is_code(name: str) -> bool:
    """Whether numbers under this name are codes of categories."""
    return _has(_CODE, name) or is_unit(name)


def is_time(name: str) -> bool:
    """Whether a name is that of a time; one that names an outcome too, such as `reaction time`, is none."""
    words = words_of(name)
    return bool(words) and _TIME.fullmatch(words[0]) is not None and not any(map(_OUTCOME.fullmatch, words))


def is_perhaps_time(name: str) -> bool:
    """Whether a name may be that of a time, if no unit has one of its values twice."""
    words = words_of(name)
    return is_time(name) or (len(words) == 1 and _PERHAPS_TIME.fullmatch(words[0]) is not None)


def is_collective(name: str) -> bool:
    """Whether a name is that of units of people, such as schools, whose age is none of the units' times."""
    return _has(_COLLECTIVE, name)


def outcome_points(name: str) -> float:
    """Return how much a name is like that of an outcome; below zero, like that of a predictor."""
    points = 3.0 * _has(_OUTCOME, name) + 1.0 * _has(_MEASURE, name) - 3.0 * _has(_PREDICTOR, name)
    # a lag, a change, or a version from before
    return points - 2.0 * (re.search(r"_1$|_lag|lag_|pre$|PRET$", name) is not None)


def is_predictor(name: str) -> bool:
    """Whether a name is that of a predictor in many studies."""
    return _has(_PREDICTOR, name)


def is_logarithm(name: str, of: str) -> bool:
    """Whether a column may be the logarithm of another, by its name.

    >>> is_logarithm("lwage", "wage"), is_logarithm("log.radon", "radon"), is_logarithm("late", "wage")
    (True, True, False)
    """
    base = re.sub(r"^(log10|log2|log|ln|l)[._ ]?", "", name.lower())
    return base != name.lower() and len(base) > 1 and base in of.lower()
