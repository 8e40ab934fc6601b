"""Finds personal data that has a form of its own, and puts a word in its place.

E-mail addresses, phone numbers, Chinese identity numbers, IP addresses, bank cards. Numbers that
carry a check digit must pass it. Names and postal addresses have no form and are not found.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections import Counter
from collections.abc import Callable

Check = Callable[[str], bool]

EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}(?:@|\s?[\[(](?:at|AT|@)[\])]\s?)"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,5}[A-Za-z]{2,24}(?![A-Za-z0-9@-])",
    re.ASCII,
)
IDENTITY = re.compile(r"(?<![0-9A-Za-z])[1-8]\d{16}[\dXx](?![0-9A-Za-z])", re.ASCII)
CARD = re.compile(r"(?<![\d.,-])[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?![\d.,-]?\d)", re.ASCII)
IP = re.compile(
    r"(?<![\d.A-Za-z])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"
    r"|(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])",
    re.ASCII,
)
GIVEN_OUT = ipaddress.ip_network("2000::/3")
"""All IPv6 addresses of the open internet; `a::b` of a program is another."""
PHONE = re.compile(
    r"""(?<![\d.,/+A-Za-z=-])(?:
      # abroad
      (?:\+|(?<!\d[ ])00)[1-9]\d{0,2}[ .-]?(?:\(0\)[ ]?|\(\d{1,4}\)[ .-]?)?
      \d{1,4}(?:[ .-]?\d{2,4}){2,4}
      # Chinese mobile
    | (?:\(?\+?86\)?[ -]?)?1[3-9]\d(?:\d{8}|[ ]\d{4}[ ]\d{4}|-\d{4}-\d{4})
      # Chinese landline
    | \(?0(?:10|2\d|[3-9]\d{2})\)?[ -]?[2-9]\d{6,7}(?:(?:-|转)\d{1,5})?
      # Chinese free call
    | (?:400|800)-?(?:\d{7}|\d{3}-\d{4}|\d{4}-\d{3})
      # North America
    | (?:1[ .-])?(?:\([2-9]\d{2}\)[ ]?|[2-9]\d{2}[.-])[2-9]\d{2}[ .-]\d{4}
      # Britain
    | (?<!\d[ ])0\d{2,4}[ ]\d{3,4}[ ]\d{3,4}
    )(?![\d/A-Za-z]|[.,-]\d)""",
    re.VERBOSE | re.ASCII,
)
SPOKEN_PHONE = re.compile(
    r"((?:[Tt]el|[Pp]hone|[Mm]obile|[Cc]all|[Ff]ax|[Ww]hats[Aa]pp|电话|手机|传真|热线|致电|联系方式|電話)"
    r"[\w ]{0,10}[.:：]?\s?)(\+?\(?\d[\d ().-]{5,17}\d)(?![\d/])"
)
"""Any number that is called a phone number."""


def mask_personal_data(text: str) -> tuple[str, Counter[str]]:
    """Puts [EMAIL], [ID], [CARD], [IP] and [PHONE] in place of personal data, and counts them."""
    found: Counter[str] = Counter()
    if "@" in text or "at" in text:
        text = masked(text, EMAIL, "EMAIL", bool, found)
    if "::" in text or any(digit in text for digit in "0123456789"):
        text = masked(text, IDENTITY, "ID", is_identity_number, found)
        text = masked(text, CARD, "CARD", is_card_number, found)
        text = masked(text, IP, "IP", is_public_address, found)
        text = masked(text, PHONE, "PHONE", bool, found)
        text, spoken = SPOKEN_PHONE.subn(r"\1[PHONE]", text)
        found.update({"PHONE": spoken} if spoken else {})
    return text, found


def masked(text: str, pattern: re.Pattern[str], tag: str, check: Check, found: Counter[str]) -> str:
    """Puts the tag in place of what the pattern finds and the check confirms."""

    def mask(match: re.Match[str]) -> str:
        if not check(match.group()):
            return match.group()
        found[tag] += 1
        return f"[{tag}]"

    return pattern.sub(mask, text)


def is_identity_number(number: str) -> bool:
    """Whether 18 characters are a Chinese identity number: birthday and check digit (GB 11643)."""
    try:
        born = datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - i, 11) for i, digit in enumerate(number[:17]))
    return 1850 < born.year < 2100 and number[17].upper() == "10X98765432"[total % 11]


def is_card_number(text: str) -> bool:
    """Whether digits are a bank card: 13 to 19 of them, a known issuer's, check digit by Luhn
    (ISO/IEC 7812)."""
    digits = [int(c) for c in text if c.isdigit()]
    first = "".join(map(str, digits[:4]))
    issued = first[0] in "4" or "51" <= first[:2] <= "55" or "2221" <= first <= "2720"
    issued = issued or first[:2] in ("34", "37", "36", "62", "65") or first == "6011"
    doubled = [d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits))]
    return issued and 13 <= len(digits) <= 19 and sum(doubled) % 10 == 0


def is_public_address(text: str) -> bool:
    """Whether a text is an IP address of the open internet; others (192.168.0.1, 1.2.3.4 of a
    version) name nobody."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 6:
        return address in GIVEN_OUT
    looks_like_version = max(address.packed) < 20
    return address.is_global and not address.is_multicast and not looks_like_version
