"""Templates of numbers and units."""

from __future__ import annotations

import re

from data_process.wiki.text.arguments import Arguments
from data_process.wiki.text.tags import superscript

UNITS = (
    "km kilometre kilometres|m metre metres|cm centimetre centimetres|mm millimetre millimetres|"
    "mi mile miles|ft foot feet|in inch inches|yd yard yards|nmi nautical_mile nautical_miles|"
    "kg kilogram kilograms|g gram grams|mg milligram milligrams|t tonne tonnes|"
    "LT long_ton long_tons|ST short_ton short_tons|ton ton tons|lb pound pounds|oz ounce ounces|"
    "ha hectare hectares|acre acre acres|km2 square_kilometre square_kilometres|"
    "sqkm square_kilometre square_kilometres|m2 square_metre square_metres|"
    "sqmi square_mile square_miles|mi2 square_mile square_miles|sqft square_foot square_feet|"
    "m3 cubic_metre cubic_metres|km3 cubic_kilometre cubic_kilometres|"
    "cuft cubic_foot cubic_feet|l litre litres|L litre litres|ml millilitre millilitres|"
    "gal gallon gallons|USgal US_gallon US_gallons|impgal imperial_gallon imperial_gallons|"
    "oilbbl barrel barrels|J joule joules|kJ kilojoule kilojoules|kWh kilowatt-hour "
    "kilowatt-hours|kW kilowatt kilowatts|MW megawatt megawatts|W watt watts|hp horsepower "
    "horsepower|kn knot knots|mph mile_per_hour miles_per_hour|km/h kilometre_per_hour "
    "kilometres_per_hour|kph kilometre_per_hour kilometres_per_hour|m/s metre_per_second "
    "metres_per_second|ly light-year light-years|pc parsec parsecs|AU astronomical_unit "
    "astronomical_units|Pa pascal pascals|kPa kilopascal kilopascals|MPa megapascal megapascals|"
    "atm atmosphere atmospheres|bar bar bars|N newton newtons|psi pound_per_square_inch "
    "pounds_per_square_inch|chain chain chains|furlong furlong furlongs|fathom fathom fathoms|"
    "st stone stone|K kelvin kelvins"
)
SYMBOLS = {
    "km2": "km²",
    "sqkm": "km²",
    "m2": "m²",
    "sqmi": "sq mi",
    "mi2": "sq mi",
    "sqft": "sq ft",
    "m3": "m³",
    "km3": "km³",
    "cuft": "cu ft",
    "C": "°C",
    "F": "°F",
    "C-change": "°C",
    "F-change": "°F",
    "PD/sqkm": "/km²",
    "PD/sqmi": "/sq mi",
    "km/h": "km/h",
    "kph": "km/h",
    "g/cm3": "g/cm³",
    "kg/m3": "kg/m³",
    "m3/s": "m³/s",
    "L/100 km": "L/100 km",
}
RANGES = {
    "-": "–",
    "–": "–",
    "and": " and ",
    "to": " to ",
    "or": " or ",
    "by": " by ",
    "x": " × ",
    "×": " × ",
    "xx": " × ",
    "+/-": " ± ",
    "to about": " to about ",
    "to(-)": " to ",
    "and(-)": " and ",
    "至": "至",
    "到": "到",
}
NUMBER = re.compile(r"[-+−]?[\d.,]*\d(?:[-+/ ]*\d+/\d+)?(?:[eE][-+]?\d+)?")


def unit_names() -> dict[str, tuple[str, str]]:
    """Singular and plural of the units that are written out in English, by their symbols."""
    entries = [entry.split(" ") for entry in UNITS.split("|")]
    return {e[0]: (e[1].replace("_", " "), e[2].replace("_", " ")) for e in entries}


UNIT_NAMES = unit_names()


def converted(wiki: str, given: Arguments) -> str:
    """{{convert|10|km|mi}}: the number and the unit as they were measured, without the other
    unit, which follows from them."""
    parts = [part.replace("&nbsp;", " ") for part in given.unnamed]
    if not parts:
        return ""
    text, place, unit = parts[0], 1, ""
    while place + 1 < len(parts) and parts[place].lower() in RANGES:
        text += RANGES[parts[place].lower()] + parts[place + 1]
        place += 2
    if place < len(parts):
        unit = parts[place]
    pair = parts[place : place + 3]  # 6 ft 2 in
    if len(pair) == 3 and NUMBER.fullmatch(pair[1]) and pair[2] in UNIT_NAMES:
        first, second = (
            named_unit(wiki, given, *half) for half in ((text, unit), (pair[1], pair[2]))
        )
        return f"{first} {second}"
    return named_unit(wiki, given, grouped(text), unit)


def grouped(number: str) -> str:
    """A number with commas between thousands, as the template shows it."""
    if re.fullmatch(r"\d{4,}(\.\d+)?", number):
        whole, dot, rest = number.partition(".")
        return f"{int(whole):,}{dot}{rest}"
    return number.replace("-", "−", 1) if number.startswith("-") else number


def named_unit(wiki: str, given: Arguments, number: str, unit: str) -> str:
    """A number with its unit in words or as a symbol."""
    symbol = SYMBOLS.get(unit, unit)
    names = UNIT_NAMES.get(unit)
    if wiki not in ("en", "simple") or given.get("abbr") in ("on", "in", "y", "~") or not names:
        return f"{number}{'' if symbol[:1] in '/°' and symbol[:2] != '°' else ' '}{symbol}".strip()
    if given.get("adj") in ("on", "mid"):
        return f"{number}-{american(given, names[0]).replace(' ', '-')}"
    return f"{number} {american(given, names[number not in ('1', '-1', '−1')])}"


def american(given: Arguments, unit: str) -> str:
    """The unit in the spelling that is asked for."""
    if given.get("sp") != "us":
        return unit
    return unit.replace("metre", "meter").replace("litre", "liter")


def value(_: str, given: Arguments) -> str:
    """{{val|1.6|0.1|e=5|u=km}}: 1.6±0.1×10⁵ km."""
    text = given.at(0)
    if error := given.at(1):
        text += f"±{error}" if not error.startswith("+") else error
    if exponent := given.get("e"):
        text += f"×10{superscript(exponent)}" if text else f"10{superscript(exponent)}"
    unit = given.get("u", "ul")
    per = given.get("up", "upl")
    return text + (f" {unit}" if unit else "") + (f"/{per}" if per else "") + given.get("end", "s")


def exponent(_: str, given: Arguments) -> str:
    """{{e|5}}: ×10⁵."""
    return f"×10{superscript(given.at(0))}" if given.at(0) else ""


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


def joined(_: str, given: Arguments) -> str:
    """{{gaps|1|000}}, {{chem|H|2|O}}: one word."""
    return "".join(given.unnamed)


def nuclide(_: str, given: Arguments) -> str:
    """{{simplenuclide|carbon|14}}: carbon-14."""
    return "-".join(given.words()[:2])


def number(_: str, given: Arguments) -> str:
    """{{formatnum:12345}}: 12,345."""
    return grouped(given.at(0))
