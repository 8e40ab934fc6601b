"""What templates show: words, quotations, languages, places, dates, numbers and units.

Which template is rendered by which function is listed in `templates.json`, and the words that the
functions put into the text are in `words.json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from data_process.wiki.text.inline import superscript
from data_process.wiki.text.kinds import table_of
from data_process.wiki.text.marks import CAPTION, CAPTION_END, GAP, HOLES, is_sentence

SIGNS = "[]<>{}'\"&/:;,"
"""None of them stands in the name of an argument."""
ANGLE = re.compile(r"[-+]?\d+(?:\.\d+)?")
IN_TEXT = frozenset(("inline", "i", "it", "ti"))
"""Values of display that show coordinates where the template stands."""
CJK = {"zh", "ja"}
AS_OF = {"zh": "截至{}", "ja": "{}現在"}
COLON = {"zh": "：", "bg": ": "}
YEAR = re.compile(r"[0-9]{4}")
SCALED = re.compile(r"e([369])([A-Za-z].*)")
SCALES = {"3": "thousand", "6": "million", "9": "billion"}
"""{{convert|2.5|e6acre}}: 2.5 million acres."""
PLAIN_NUMBER = re.compile(r"([-−]?)(\d+)(\.\d+)?", re.ASCII)
DIGITS = "0123456789"
THOUSAND = re.compile(r"(?<=\d)(?=(?:\d{3})+\Z)")
LAKH = re.compile(r"(?<=\d)(?=(?:\d{2})*\d{3}\Z)")
"""12,34,567, as in India."""
NUMBER = re.compile(r"[-+−]?[\d.,]*\d(?:[-+/ ]*\d+/\d+)?(?:[eE][-+]?\d+)?")
LAYOUT = re.compile(
    r"[\d.]+ *(?:px|r?em|ex|pt|%)|x\d+px|left|right|cent(?:er|re)|none", re.IGNORECASE
)
"""Arguments that say how a text is shown."""
LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class Arguments:
    """The arguments of one template, without the spaces around them."""

    unnamed: tuple[str, ...]
    named: dict[str, str]

    @classmethod
    def of(cls, parts: Iterable[tuple[str | None, str]]) -> Arguments:
        """From the names and values of arguments; what can be no name belongs to the value."""
        unnamed: list[str] = []
        named: dict[str, str] = {}
        for name, value in parts:
            if name is not None and is_name(name.strip()):
                named[name.strip()] = value.strip()
            else:
                unnamed.append((value if name is None else f"{name}={value}").strip())
        for number, value in enumerate(unnamed, 1):
            named.setdefault(str(number), value)
        while len(unnamed) < 20 and (extra := named.get(str(len(unnamed) + 1))) is not None:
            unnamed.append(extra)
        return cls(tuple(unnamed), named)

    def get(self, *keys: int | str) -> str:
        """The first of these arguments that is not empty, else the empty string: numbers are
        unnamed arguments, from 1."""
        for key in keys:
            if isinstance(key, str):
                value = self.named.get(key, "")
            else:
                value = self.unnamed[key - 1] if key <= len(self.unnamed) else ""
            if value:
                return value
        return ""

    def words(self) -> list[str]:
        """The unnamed arguments that are not empty."""
        return [value for value in self.unnamed if value]


def is_name(name: str) -> bool:
    """Whether what stands before a = names an argument: no link, tag or sentence does."""
    return (
        len(name) < 40
        and not any(sign in name for sign in SIGNS)
        and not (name == GAP or HOLES.fullmatch(name))
    )


def chosen(rule: dict[str, Any], _: str, given: Arguments) -> str:
    """{{lang|fr|bonjour}}: bonjour; {{US$|5}}: US$5; {{resize|120%|a}}: a."""
    text = given.get(*rule["shows"])
    if LAYOUT.fullmatch(text):
        text = next((word for word in given.words() if not LAYOUT.fullmatch(word)), text)
    return f"{rule.get('before', '')}{text}{rule.get('after', '')}" if text else ""


def joined(rule: dict[str, Any], _: str, given: Arguments) -> str:
    """{{hlist|a|b}}: a, b; {{floruit|1500|1520}}: fl. 1500–1520; {{af|en|a|-b}}: a + -b."""
    text = rule["separator"].join(given.words()[rule.get("first", 1) - 1 :][: rule.get("most")])
    return f"{rule.get('before', '')}{text}{rule.get('after', '')}"


def ship(prefix: str, _: str, given: Arguments) -> str:
    """{{USS|Monitor|1861}}: USS Monitor (1861), in the form that the third argument selects."""
    name, number, form = given.get(1), given.get(2), given.get(3)
    if form == "6":
        return name
    return f"{prefix} {name} ({number})" if number and form != "2" else f"{prefix} {name}"


def any_ship(wiki: str, given: Arguments) -> str:
    """{{ship|USS|Maine|ACR-1}}: USS Maine (ACR-1)."""
    return ship(given.get(1), wiki, Arguments(given.unnamed[1:], given.named))


def pronunciation(_: str, given: Arguments) -> str:
    """{{IPA|en|ɛks}}, {{IPA|ɛks}}: ɛks, without the code of the language."""
    has_code = len(given.unnamed) > 1 and LANGUAGE_CODE.fullmatch(given.get(1))
    return given.get(2) if has_code else given.get(1)


def etymon(wiki: str, given: Arguments, place: int = 2) -> str:
    """{{inh|en|enm|coyne|t=wedge}} of Wiktionary: Middle English coyne (“wedge”)."""
    name = table_of("words")["languages"].get(wiki, {}).get(given.get(place), "")
    word = given.get(place + 2, place + 1)
    meaning = given.get("t", place + 3)
    text = f"{name} {word if word != '-' else ''}".strip()
    return f"{text} (“{meaning}”)" if meaning else text


def cognate(wiki: str, given: Arguments) -> str:
    """{{cog|de|Keil}}: German Keil."""
    return etymon(wiki, given, 1)


def label(_: str, given: Arguments) -> str:
    """{{lb|en|money|countable}}: (money, countable)."""
    words = ", ".join(given.words()[1:]).replace(", _, ", " ")
    return f"({words})" if words else ""


def last(_: str, given: Arguments) -> str:
    """{{transl|ar|DIN|salam}}: the last argument."""
    return (given.words() or [""])[-1]


def quotation(_: str, given: Arguments) -> str:
    """{{cquote|To be.|20px|20px|Hamlet|III.1}}: a paragraph of its own, with author and source."""
    words = [word for word in given.words() if not LAYOUT.fullmatch(word)]
    named = given.get("text", "quote", "quotetext", "content", "內容", "内容")
    text, *others = [named, *words] if named else words or [""]
    if not text:
        return ""
    whom = [given.get("author", "sign", "by"), *others, given.get("source", "title")]
    whose = ", ".join(filter(None, whom))
    return f"\n\n{text}{f' — {whose}' if whose else ''}\n\n"


def block(_: str, given: Arguments) -> str:
    """{{div col|...}}: its content, on lines of its own."""
    return f"\n{given.get('1', 'content', 'text')}\n"


def bullets(_: str, given: Arguments) -> str:
    """{{bulleted list|a|b}}: a line for each."""
    return "".join(f"\n* {word}" for word in given.words()) + "\n"


def nihongo(_: str, given: Arguments) -> str:
    """{{nihongo|English|漢字|romaji|extra}}: English (漢字, romaji, extra)."""
    words = given.words()
    if len(words) < 2 or not given.get(1):
        return words[0] if words else ""
    return f"{words[0]} ({', '.join(words[1:])})"


def ruby(_: str, given: Arguments) -> str:
    """{{ruby|漢字|かんじ}}: 漢字（かんじ）."""
    return f"{given.get(1)}（{given.get(2)}）" if given.get(2) else given.get(1)


def named_language(code: str, wiki: str, given: Arguments, place: int = 1) -> str:
    """{{lang-el|λόγος|lógos|lit=word}}: Greek: λόγος, lógos, lit. 'word'."""
    text = given.get(place)
    if not text:
        return ""
    latin = given.get(place + 1, "translit")
    meaning = given.get(place + 2, "lit")
    text += f", {latin}" if latin and latin != "-" else ""
    text += f", lit. '{meaning}'" if meaning else ""
    name = table_of("words")["languages"].get(wiki, {}).get(code)
    if not name or given.get("label") == "none" or given.get("links") == "none":
        return text
    name = f"на {name}" if wiki == "bg" and name != "иврит" else name
    return f"{name}{COLON.get(wiki, ': ')}{text}"


def langx(wiki: str, given: Arguments) -> str:
    """{{langx|el|λόγος}}."""
    return named_language(given.get(1), wiki, given, 2)


def chinese(wiki: str, given: Arguments) -> str:
    """{{zh|s=..|t=..|p=..}}: simplified Chinese: ..; traditional Chinese: ..; pinyin: ..."""
    parts = []
    for name, words in table_of("words")["chinese"].items():
        if text := given.get(name):
            if given.get("labels", "label") == "no":
                parts.append(text)
            else:
                parts.append(f"lit. '{text}'" if name == "l" else f"{words}: {text}")
    return "; ".join(parts) or named_language("zh", wiki, given)


def literal(_: str, given: Arguments) -> str:
    """{{literal translation|a|b}}: lit. 'a' or 'b'."""
    return "lit. " + " or ".join(f"'{word}'" for word in given.words())


def captions(_: str, given: Arguments) -> str:
    """{{multiple image|caption1=..|footer=..}}, {{wide image|file|size|caption}}: the captions that
    are sentences."""
    named = (v for k, v in given.named.items() if k.startswith(("caption", "footer", "3")))
    return "".join(f"{CAPTION}{text}{CAPTION_END}" for text in named if is_sentence(text))


def accidental(_: str, given: Arguments) -> str:
    """{{music|flat}}: ♭."""
    return table_of("words")["accidentals"].get(given.get(1), given.get(1))


def named_source(_: str, given: Arguments) -> str:
    """{{harvtxt|Boolos|Jeffrey|1974}}: Boolos and Jeffrey (1974), which is part of a sentence."""
    *names, year = given.words() or [""]
    if len(names) > 3:
        names = [f"{names[0]} et al."]
    who = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{who} ({year})" if who else year


def rupees(_: str, given: Arguments) -> str:
    """{{INRConvert|5|c}}: ₹5 crore."""
    amount, scale = given.get(1), table_of("words")["rupees"].get(given.get(2), "")
    return f"₹{amount} {scale}".rstrip() if amount else ""


def coordinates(_: str, given: Arguments) -> str:
    """{{coord|13|19|N|169|9|W}}: 13°19′N 169°9′W; empty if they stand beside the title alone."""
    display = given.get("display").lower().replace(" ", "")
    if display and not IN_TEXT & set(display.split(",")):
        return ""
    shown: list[str] = []
    angles: list[str] = []
    for word in given.words():
        if word in ("N", "S", "E", "W") and angles:
            shown.append("".join(map(str.__add__, angles, ("°", "′", "″"))) + word)
            angles = []
        elif ANGLE.fullmatch(word):
            angles.append(word)
        else:
            break  # type:city_region:FR and the like
    if not shown and len(angles) == 2:
        return f"{decimal(angles[0], 'NS')} {decimal(angles[1], 'EW')}"
    return " ".join(shown) if len(shown) == 2 else ""


def decimal(angle: str, halves: str) -> str:
    """-71.5 of "EW": 71.5°W."""
    return f"{angle.lstrip('+-')}°{halves[angle.startswith('-')]}"


def whole_number(text: str) -> int | None:
    """A number of at most four digits; None for any other text."""
    return int(text) if re.fullmatch(r"[0-9]{1,4}", text) else None


def written_date(wiki: str, parts: list[str], day_first: bool = False) -> str:
    """A date in words.

    Args:
        wiki: the language.
        parts: year, month, day; the later ones may be missing.
        day_first: 5 May 1818 in place of May 5, 1818.
    """
    numbers = [*map(whole_number, parts)]
    year, month, day = [*numbers, None, None, None][:3]
    if year is None or None in numbers:  # 5|mai|1818, 2013|June|8
        words = list(filter(None, parts))
        if words and YEAR.fullmatch(words[0]):
            words.reverse()
        return " ".join(["1er", *words[1:]] if wiki == "fr" and words[:1] == ["1"] else words)
    if wiki in CJK:
        rest = f"{month}月" if month else ""
        return f"{year}年{rest}" + (f"{day}日" if month and day else "")
    if not month or month > 12:
        return str(year)
    if wiki != "en":
        return ".".join(f"{n}" for n in (day, month, year) if n)
    name = table_of("words")["months"]["en"][month - 1]
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
    forms = {"zh": f"{text}（{age}岁）", "ja": f"{text}（{age}歳没）", "en": f"{text} (aged {age})"}
    return forms.get(wiki, text)


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


def lifetime(_: str, given: Arguments) -> str:
    """{{bd|1818年|5月5日|1883年|3月14日}}, in brackets as it is shown."""
    born, died = given.get(1) + given.get(2), given.get(3) + given.get(4)
    return f"（{born}－{died}）" if born or died else ""


def old_style_date(_: str, given: Arguments) -> str:
    """{{OldStyleDate|5 May|1818|23 April}}: 5 May [O.S. 23 April] 1818."""
    day, year, old_day = given.get(1), given.get(2), given.get(3)
    return " ".join(filter(None, (day, f"[O.S. {old_day}]" if old_day else "", year)))


def converted(wiki: str, given: Arguments) -> str:
    """{{convert|10|km|mi}}: the number and the unit as they were measured, without the other
    unit, which follows from them."""
    parts = [part.replace("&nbsp;", " ") for part in given.unnamed]
    if not parts:
        return ""
    ranges = table_of("words")["ranges"]
    text, place, unit = parts[0], 1, ""
    while place + 1 < len(parts) and parts[place].lower() in ranges:
        text += ranges[parts[place].lower()] + parts[place + 1]
        place += 2
    if place < len(parts):
        unit = parts[place]
    pair = parts[place : place + 3]  # 6 ft 2 in
    if len(pair) == 3 and NUMBER.fullmatch(pair[1]) and pair[2] in table_of("words")["units"]:
        halves = ((text, unit), (pair[1], pair[2]))
        return " ".join(named_unit(wiki, given, *half) for half in halves)
    return named_unit(wiki, given, grouped(wiki, text), unit)


@cache
def separators(wiki: str) -> tuple[str, str]:
    """The signs between thousands and before decimals in a language."""
    for group in table_of("words")["separators"]:
        if wiki in group["languages"]:
            thousands, decimal_sign = group["signs"]
            return thousands, decimal_sign
    return ",", "."


def grouped(wiki: str, number: str, with_thousands: bool = True) -> str:
    """A number as MediaWiki shows it in a language; other texts stay.

    Args:
        wiki: the language.
        number: with a point before its decimals, as it is computed.
        with_thousands: separate the thousands.
    """
    match = PLAIN_NUMBER.fullmatch(number)
    if not match:
        return number.replace("-", "−", 1) if number.startswith("-") else number
    sign, whole, decimals = match.groups()
    thousands, decimal_sign = separators(wiki)
    words = table_of("words")
    is_short = len(whole) < 5 and wiki in words["thousands_together"]
    if with_thousands and not is_short:
        whole = (LAKH if wiki in words["lakhs"] else THOUSAND).sub(thousands, whole)
    shown = f"{'−' if sign else ''}{whole}{decimal_sign + decimals[1:] if decimals else ''}"
    return shown.translate(str.maketrans(DIGITS, words["digits"].get(wiki, DIGITS)))


def ungrouped(wiki: str, number: str) -> str:
    """A number as it is computed, from how MediaWiki shows it."""
    thousands, decimal_sign = separators(wiki)
    plain = number.replace("&nbsp;", "\xa0").replace(thousands, "").replace(decimal_sign, ".")
    digits = table_of("words")["digits"].get(wiki, DIGITS)
    return plain.replace("−", "-").translate(str.maketrans(digits, DIGITS))


def named_unit(wiki: str, given: Arguments, number: str, unit: str) -> str:
    """A number with its unit in words or as a symbol."""
    if (match := SCALED.fullmatch(unit)) and wiki == "en":
        number, unit = f"{number} {SCALES[match[1]]}", match[2]
    symbol = table_of("words")["symbols"].get(unit, unit)
    names = table_of("words")["units"].get(unit)
    if wiki != "en" or given.get("abbr") in ("on", "in", "y", "~") or not names:
        return f"{number}{'' if symbol[:1] == '/' or symbol == '°' else ' '}{symbol}".strip()
    if given.get("sp") == "us":
        names = [name.replace("metre", "meter").replace("litre", "liter") for name in names]
    if given.get("adj") in ("on", "mid"):
        return f"{number}-{names[0].replace(' ', '-')}"
    return f"{number} {names[number not in ('1', '-1', '−1')]}"


def value(_: str, given: Arguments) -> str:
    """{{val|1.6|0.1|e=5|u=km}}: 1.6±0.1×10⁵ km."""
    text, _, scale = given.get(1).partition("e")
    if error := given.get(2):
        text += f"±{error}" if not error.startswith("+") else error
    if power := given.get("e") or scale:
        text += f"×10{superscript(power)}" if text else f"10{superscript(power)}"
    unit, per = given.get("u", "ul"), given.get("up", "upl")
    return text + (f" {unit}" if unit else "") + (f"/{per}" if per else "") + given.get("end", "s")


def exponent(_: str, given: Arguments) -> str:
    """{{e|5}}: ×10⁵."""
    return f"×10{superscript(given.get(1))}" if given.get(1) else ""


def fraction(_: str, given: Arguments) -> str:
    """{{frac|3|1|2}}: 3 1/2."""
    words = given.words()
    if len(words) == 3:
        return f"{words[0]} {words[1]}/{words[2]}"
    return "/".join(words) if len(words) == 2 else f"1/{words[0]}" if words else ""


def height(_: str, given: Arguments) -> str:
    """{{height|ft=5|in=7}}: 5 ft 7 in."""
    parts = [(given.get(unit), unit) for unit in ("ft", "in", "m", "cm")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def quantity(wiki: str, given: Arguments) -> str:
    """{{unité|12345|m|s|-1}}: 12 345 m s⁻¹."""
    text = grouped(wiki, given.get(1).replace(",", "."))
    for word in given.words()[1:]:
        is_power = re.fullmatch(r"[-−]?\d", word)
        text += superscript(word) if is_power else f"\xa0{word}"
    return text


def number(wiki: str, given: Arguments) -> str:
    """{{formatnum|12345}}: 12,345."""
    return grouped(wiki, given.get(1))
