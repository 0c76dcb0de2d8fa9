"""What may come out of whatever comes in: a result, or one of our own errors in one sentence, within ten seconds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import duckdb

from mlm_ops.errors import MlmError

LONGEST = 10.0
#: No sentence is longer; what it repeats is cut.
LONGEST_SENTENCE = 11_000
#: What no sentence of ours holds: the beginnings of other programs' stories.
_FOREIGN = ("Traceback", "std::", "pyo3", "INTERNAL Error")


def fault(call: Callable[[], Any], sql: bool = False) -> str | None:
    """What is wrong with what comes out of a call; None where it is a result or one of our errors.

    Parameters
    ----------
    sql
        Whether DuckDB may raise it: errors of SQL functions come out of queries as its own, with our sentence.
    """
    began, worked = time.monotonic(), time.process_time()
    try:
        call()
    except MlmError as error:
        sentence = str(error)
        if not sentence.strip() or len(sentence) > LONGEST_SENTENCE or any(word in sentence for word in _FOREIGN):
            return f"the sentence {sentence[:200]!r}"
    except duckdb.Error as error:
        if not sql or any(word in str(error) for word in _FOREIGN):
            return f"{type(error).__name__}: {str(error)[:200]}"
    except BaseException as error:  # polars' panics are no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {str(error)[:200]}"
    # beside other programs the clock says little of our own work; a wait without work is one too
    seconds, work = time.monotonic() - began, time.process_time() - worked
    return f"{seconds:.0f} s" if min(seconds, work) > LONGEST or seconds > 6 * LONGEST else None


def faults(cases: Iterable[Any], call: Callable[[Any], Any], sql: bool = False) -> list[str]:
    """The first few cases that something is wrong with, and what."""
    wrong: list[str] = []
    for case in cases:
        found = fault(lambda case=case: call(case), sql)  # type: ignore[misc]
        if found is not None:
            wrong.append(f"{case!r:.300} -> {found}")
            if len(wrong) >= 20:
                break
    return wrong


def mutated(text: str, pieces: Sequence[str], chance: random.Random) -> str:
    """The text with a few pieces put in, left out, doubled or swapped."""
    characters = list(text)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(characters) + 1)
        match chance.randrange(4):
            case 0:
                characters[place:place] = chance.choice(pieces)
            case 1:
                del characters[place : place + chance.randint(1, 4)]
            case 2:
                characters[place:place] = characters[place : place + chance.randint(1, 8)]
            case _:
                chance_place = chance.randrange(len(characters) + 1)
                characters[place : place + 1] = characters[chance_place : chance_place + 1]
    return "".join(characters)
