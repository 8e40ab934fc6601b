"""MediaWiki's functions in templates: conditions, arithmetic, letters and numbers, links
(https://www.mediawiki.org/wiki/Help:Magic_words, .../Help:Extension:ParserFunctions)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from urllib.parse import quote, quote_plus

from data_process.wiki.text import expressions, renderers
from data_process.wiki.text.expansion import Braces, Fragment, Part
from data_process.wiki.text.kinds import table_of
from data_process.wiki.text.marks import GAP, HOLES

ERROR = '<strong class="error">Error</strong>'
MAX_PADDING = 500
NUMERIC = re.compile(r"\s*[-+]?(?:\d{1,300}\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?\s*", re.ASCII)
DATE = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d?)(?:-(?P<day>\d\d?))?)?"
    r"(?:[t ](?P<hour>\d\d?):(?P<minute>\d\d)(?::\d\d)?z?)?"
)
"""2010, 2010-05, 2010-05-31, 2010-05-31 12:30:00."""
WRITTEN_DATE = re.compile(
    r"(?:(?P<day>\d\d?) )?(?P<name>[a-z]{3,9})(?: (?P<day_after>\d\d?))?,? (?P<year>\d{4})"
)
"""31 May 2010, May 31, 2010, May 2010."""
TIME_CODE = re.compile(r'\\(.)|"([^"]*)"|(x\w|[A-Za-z])')
DATE_ORDERS = {"dmy": "j F Y", "mdy": "F j, Y", "ymd": "Y F j", "iso 8601": "Y-m-d"}
DATE_CODES = frozenset("dDjlNwzWFmMntLYyaAghGHiseITUrcuBoPOSZ")
"""Letters of PHP's date()."""
NAMESPACES = {"6": "File", "10": "Template", "14": "Category", "file": "File"}


@dataclass(slots=True)
class Call:
    """A call of a template or function."""

    wiki: str
    """The language of the wiki."""
    title: str
    """Of the page."""
    first: str
    """What follows the colon after a function's name."""
    braces: Braces
    expand: Callable[[Fragment], str]
    exists: Callable[[str], bool]
    """Whether there is a page; known of templates alone."""

    @property
    def parts(self) -> Sequence[Part]:
        """The other arguments."""
        return self.braces.parts[1:]

    def value(self, place: int, default: str = "") -> str:
        """An argument after the first one, from 0, without the spaces around it."""
        if place >= len(self.parts):
            return default
        return self.expand(self.parts[place].whole).strip()

    def arguments(self) -> renderers.Arguments:
        """All arguments of a template."""
        found = []
        for part in self.parts:
            whole = self.expand(part.whole)
            name = self.expand(part.name) if part.name else None
            found.append((name, whole if name is None else whole[len(name) + 1 :]))
        return renderers.Arguments.of(found)


Function = Callable[[Call], str | None]
"""From its arguments to text; None: it cannot be known."""


def chosen_if(call: Call) -> str | None:
    """#if: whether a text is not empty."""
    return call.value(0 if call.first else 1)


def chosen_if_equal(call: Call) -> str | None:
    """#ifeq: whether two texts are the same, or the same number."""
    other = call.value(0)
    if HOLES.search(other):
        return None
    return call.value(1 if is_same(call.first, other) else 2)


def is_same(text: str, other: str) -> bool:
    """Whether two texts are equal, as numbers if both are."""
    return text == other or ((number := number_of(text)) is not None and number == number_of(other))


def number_of(text: str) -> float | None:
    """A number, if a text is one."""
    return float(text) if NUMERIC.fullmatch(text) else None


def chosen_if_error(call: Call) -> str | None:
    """#iferror: whether a text is that of an error."""
    return call.value(0) if 'class="error"' in call.first else call.value(1, call.first)


def chosen_if_true(call: Call) -> str | None:
    """#ifexpr: whether an expression is not 0."""
    if not call.first:
        return call.value(1)
    value = expressions.evaluate(call.first)
    return ERROR if value is None else call.value(0 if value else 1)


def chosen_if_there(call: Call) -> str | None:
    """#ifexist: whether a page exists."""
    return call.value(0 if call.exists(call.first) else 1)


def switched(call: Call) -> str | None:
    """#switch: the value of the first case that is the same; cases without one share the next."""
    wanted, number = call.first, number_of(call.first)
    default, found, is_default = "", False, False
    for part in call.parts:
        case = call.expand(part.name or part.value).strip()
        found = found or case == wanted or (number is not None and number == number_of(case))
        is_default = is_default or case.lower() in default_words()
        if part.name is None:
            if part is call.parts[-1]:
                return case
            continue
        if found:
            return call.expand(part.value).strip()
        if is_default:
            default, is_default = call.expand(part.value).strip(), False
    return default


def calculated(call: Call) -> str | None:
    """#expr."""
    if not call.first:
        return ""
    value = expressions.evaluate(call.first)
    return ERROR if value is None else expressions.written(value)


def number_formatted(call: Call) -> str | None:
    """formatnum: with the separators of the wiki's language; R: without them."""
    flag = call.value(0)
    if flag == "R":
        return renderers.ungrouped(call.wiki, call.first)
    return renderers.grouped(call.wiki, call.first, flag != "NOSEP")


def padded(call: Call) -> str:
    """The signs that padleft and padright add."""
    pad = call.value(1) or "0"
    length = call.value(0)
    missing = min(int(length), MAX_PADDING) - len(call.first) if length.isdecimal() else 0
    return (pad * missing)[:missing]


def plural(call: Call) -> str | None:
    """plural: the form of a word that goes with a number, of the forms that its language has."""
    value = expressions.evaluate(renderers.ungrouped(call.wiki, call.first))
    if value is None or not call.parts:
        return None
    number = abs(value)
    if call.wiki == "ar" and len(call.parts) > 3:
        few = 3 <= number % 100 <= 10
        form = int(number) if number < 3 else 3 if few else 4 if number % 100 > 10 else 5
    elif len(call.parts) > 2:  # Slavic: 1 рубль, 2 рубля, 5 рублей
        ends, is_teen = number % 10, 10 < number % 100 < 20
        single = number == 1 if call.wiki in ("pl", "cs", "sk") else ends == 1 and not is_teen
        form = 0 if single else 1 if ends in (2, 3, 4) and not is_teen else 2
    else:
        form = 0 if number == 1 or (call.wiki == "fr" and number < 2) else 1
    return call.value(min(form, len(call.parts) - 1))


@cache
def magic_words(wiki: str) -> dict[str, str]:
    """The English names of functions and variables, by those in a language."""
    words: dict[str, str] = table_of("words")["magic_words"].get(wiki, {})
    return words


@cache
def default_words() -> frozenset[str]:
    """#default in all languages."""
    tables = table_of("words")["magic_words"].values()
    found = (word for table in tables for word, name in table.items() if name == "#default")
    return frozenset(("#default", *found))


def moment(text: str) -> tuple[datetime | None, bool]:
    """A date in numbers or in English, and whether it is a year alone; None: it is another, or
    depends on the day on which a page is read."""
    text = " ".join(text.lower().split())
    found = DATE.fullmatch(text) or WRITTEN_DATE.fullmatch(text)
    given = found.groupdict() if found else {}
    months = [name[:3].lower() for name in table_of("words")["months"]["en"]]
    with suppress(ValueError, KeyError):
        month = months.index(given["name"][:3]) + 1 if "name" in given else given["month"]
        day = given["day"] or given.get("day_after")
        hour, minute = (int(given.get(unit) or 0) for unit in ("hour", "minute"))
        return datetime(int(given["year"]), int(month or 1), int(day or 1), hour, minute), not month
    return None, False


def time_codes(when: datetime, is_year: bool, language: str) -> dict[str, str]:
    """What the letters of #time stand for.

    Raises:
        KeyError: the months of the language are not known.
    """
    codes = {"Y": f"{when.year}", "y": f"{when:%y}", "xn": ""}
    if not is_year:
        months = table_of("words")["months"]
        month = months[language][when.month - 1]
        genitive = months.get(f"{language} genitive", months[language])[when.month - 1]
        codes |= {"F": month, "xg": genitive, "m": f"{when:%m}", "n": f"{when.month}"}
        codes |= {"d": f"{when:%d}", "j": f"{when.day}", "N": f"{when.isoweekday()}"}
        codes |= {"H": f"{when:%H}", "G": f"{when.hour}", "i": f"{when:%M}"}
    return codes


def time_written(call: Call, template: str, text: str) -> str | None:
    """A date in the form that PHP's date() has it; None: it cannot be known."""
    when, is_year = moment(text)
    if when is None or HOLES.search(template):
        return None
    with suppress(KeyError):
        codes = time_codes(when, is_year, call.value(1) or call.wiki)

        def shown(match: re.Match[str]) -> str:
            code = match[3]
            is_known = not code or (code not in DATE_CODES and code[0] != "x")
            return (code or match[1] or match[2] or "") if is_known else codes[code]

        return TIME_CODE.sub(shown, template)
    return None


def dated(call: Call) -> str | None:
    """#time: a date that is given."""
    return time_written(call, call.first, call.value(0))


def date_formatted(call: Call) -> str:
    """#dateformat: an English date in the order that is asked for."""
    order = DATE_ORDERS.get(call.value(0).lower())
    return (time_written(call, order, call.first) if order else None) or call.first


def title_part(call: Call) -> str | None:
    """#titleparts: so many parts of a title between slashes, from so many on."""
    pieces = call.first.split("/")
    try:
        count, first = int(call.value(0) or 0), int(call.value(1) or 1)
    except ValueError:
        return None
    begin = first - 1 if first > 0 else first
    pieces = pieces[begin:]
    return "/".join(pieces[:count] if count else pieces)


def language_name(call: Call) -> str | None:
    """#language: the name of a language, where the wiki's words for languages are known."""
    known: dict[str, str] = table_of("words")["languages"].get(call.value(0) or call.wiki, {})
    return known.get(call.first.lower())


def tagged(call: Call) -> str | None:
    """#tag: an element with its attributes."""
    name, content = call.first, call.value(0)
    pairs = (call.expand(part.whole).strip() for part in call.parts[1:])
    return f"<{' '.join([name, *pairs])}>{content}</{name}>"


def first_letter(change: Callable[[str], str]) -> Function:
    """Changes the first letter of a text."""
    return lambda call: change(call.first[:1]) + call.first[1:]


def address(call: Call) -> str | None:
    """fullurl and its kin: an address, of which links show nothing."""
    return f"//{call.wiki}/wiki/{quote(call.first.replace(' ', '_'))}"


FUNCTIONS: dict[str, Function] = {
    "#if": chosen_if,
    "#ifeq": chosen_if_equal,
    "#iferror": chosen_if_error,
    "#ifexpr": chosen_if_true,
    "#ifexist": chosen_if_there,
    "#switch": switched,
    "#expr": calculated,
    "#titleparts": title_part,
    "#language": language_name,
    "#tag": tagged,
    "formatnum": number_formatted,
    "plural": plural,
    "padleft": lambda call: padded(call) + call.first,
    "padright": lambda call: call.first + padded(call),
    "lc": lambda call: call.first.lower(),
    "uc": lambda call: call.first.upper(),
    "lcfirst": first_letter(str.lower),
    "ucfirst": first_letter(str.upper),
    "urlencode": lambda call: quote_plus(call.first),
    "anchorencode": lambda call: call.first.replace(" ", "_"),
    **dict.fromkeys(("pagename", "fullpagename", "bidi"), lambda call: call.first),
    "ns": lambda call: NAMESPACES.get(call.first.lower(), ""),
    "#dateformat": date_formatted,
    "formatdate": date_formatted,
    "#time": dated,
    "#timel": dated,
    "grammar": lambda call: call.value(0),
    **dict.fromkeys(("fullurl", "localurl", "canonicalurl", "filepath"), address),
    **dict.fromkeys(("#coordinates", "defaultsort", "displaytitle"), lambda _: GAP),
    **dict.fromkeys(("#invoke", "#property", "#statements"), lambda _: None),
    **dict.fromkeys(("#lst", "#section", "#section-h", "#lsth", "int"), lambda _: None),
}
PASSED_THROUGH = frozenset(("lc", "uc", "lcfirst", "ucfirst", "#tag", "#iferror"))
"""What shows its first argument whatever it is; the others need to know it."""
