"""Templates of dates."""

from __future__ import annotations

import re

from data_process.wiki.text.arguments import Arguments

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
CJK = {"zh", "ja"}
AS_OF = {"zh": "截至{}", "ja": "{}現在"}


def whole_number(text: str) -> int | None:
    """A number of at most four digits; None where a text is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,4}", text) else None


def written_date(wiki: str, parts: list[str], day_first: bool = False) -> str:
    """A date in words.

    Args:
        wiki: the language.
        parts: year, month, day; the later ones may be missing.
        day_first: 5 May 1818 in place of May 5, 1818.
    """
    year, month, day = [*map(whole_number, parts), None, None, None][:3]
    if year is None:
        return " ".join(part for part in parts if part)
    if wiki in CJK:
        rest = f"{month}月" if month else ""
        return f"{year}年{rest}" + (f"{day}日" if month and day else "")
    if not month or month > 12:
        return str(year)
    if wiki not in ("en", "simple"):
        numbers = [f"{n}" for n in (day, month, year) if n]
        return ".".join(numbers)
    name = MONTHS[month - 1]
    if not day:
        return f"{name} {year}"
    return f"{day} {name} {year}" if day_first else f"{name} {day}, {year}"


def date(wiki: str, given: Arguments) -> str:
    """{{birth date|1818|5|5}}, {{start date|1818|5|5|df=y}}; a date in words stays."""
    parts = [part for part in given.unnamed[:3] if part]
    day_first = given.get("df", "dayfirst") not in ("", "no", "n")
    return written_date(wiki, parts, day_first)


def death_date(wiki: str, given: Arguments) -> str:
    """{{death date and age|1883|3|14|1818|5|5}}: with the age."""
    text = date(wiki, given)
    numbers = [whole_number(part) for part in given.unnamed[:6]]
    if len(numbers) < 6 or None in numbers:
        return text
    died, born = numbers[:3], numbers[3:]
    age = (died[0] or 0) - (born[0] or 0) - ((died[1] or 0, died[2] or 0) < (born[1], born[2]))
    if wiki == "zh":
        return f"{text}（{age}岁）"
    if wiki == "ja":
        return f"{text}（{age}歳没）"
    return f"{text} (aged {age})" if wiki in ("en", "simple") else text


def as_of(wiki: str, given: Arguments) -> str:
    """{{as of|2010|5}}: As of May 2010."""
    if alternative := given.get("alt"):
        return alternative
    text = written_date(wiki, given.words()[:3], day_first=True)
    if wiki in AS_OF:
        return AS_OF[wiki].format(text)
    word = "since" if given.get("since") else "as of"
    return f"{word if given.get('lc') else word.capitalize()} {text}{given.get('post')}"


def about(wiki: str, given: Arguments) -> str:
    """{{circa|1500}}: c. 1500."""
    years = given.words()[:2]
    if wiki == "zh":
        return "约" + "—".join(years)
    return " – ".join(f"c. {year}" for year in years) or "c."


def flourished(_: str, given: Arguments) -> str:
    """{{floruit|1500|1520}}: fl. 1500–1520."""
    return "fl. " + "–".join(given.words()[:2])


def reigned(_: str, given: Arguments) -> str:
    """{{reign|1500|1520}}: r. 1500–1520."""
    return "r. " + "–".join(given.words()[:2])


def lifetime(wiki: str, given: Arguments) -> str:
    """{{bd|1818年|5月5日|1883年|3月14日}}, in brackets as it is shown."""
    born, died = (given.at(0) + given.at(1)).strip(), (given.at(2) + given.at(3)).strip()
    if not born and not died:
        return ""
    return f"（{born}－{died}）" if died else f"（{born}－）"


def age(_: str, given: Arguments) -> str:
    """{{age in years|...}}: what has changed since the page was written cannot be told."""
    return ""


def old_style_date(_: str, given: Arguments) -> str:
    """{{OldStyleDate|5 May|1818|23 April}}: 5 May [O.S. 23 April] 1818."""
    day, year, old_day = given.at(0), given.at(1), given.at(2)
    return " ".join(filter(None, (day, f"[O.S. {old_day}]" if old_day else "", year)))
