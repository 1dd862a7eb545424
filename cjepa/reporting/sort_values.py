"""What the tables of a page are sorted by: the number that a cell shows."""

import re

_NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
_VALUE = re.compile(rf"({_NUMBER})(?: \[.*\])?(?: %| MB)?")
_BUDGET = re.compile(rf"\d+ x \d+ \(({_NUMBER})\)")
_TIME = re.compile(rf"(?:{_NUMBER} (?:h|min|s|ms)(?: |$))+(?:\(cached\))?")
_PART = re.compile(rf"({_NUMBER}) (h|min|s|ms)")
_SECONDS = {"h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3}


def sort_value(text: str) -> float | None:
    """The number that the text of a cell stands for; None where it is not a number.

    ``32 [21, 46]`` is 32, ``1,200 MB`` 1200, ``3 min 21 s`` 201, and ``2 x 34 (68)``, tokens x dimension, 68.
    """
    for pattern in (_VALUE, _BUDGET):
        if found := pattern.fullmatch(text):
            return float(found[1].replace(",", ""))
    if _TIME.fullmatch(text):
        return sum(float(number.replace(",", "")) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return None
