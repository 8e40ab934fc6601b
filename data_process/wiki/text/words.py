"""Templates of words: those that show what they are given, in one way or another."""

from __future__ import annotations

from data_process.wiki.text.arguments import Arguments
from data_process.wiki.text.captions import is_sentence
from data_process.wiki.text.languages import language_names, with_language
from data_process.wiki.text.marks import CAPTION, CAPTION_END


def first(_: str, given: Arguments) -> str:
    """The first argument, whatever its number is called."""
    return given.at(0) or given.get("1", "text", "content")


def second(_: str, given: Arguments) -> str:
    """{{lang|fr|bonjour}}: bonjour."""
    return given.at(1) or given.get("2", "text")


def last(_: str, given: Arguments) -> str:
    """{{transl|ar|DIN|salam}}: the last argument."""
    words = given.words()
    return words[-1] if words else ""


def second_or_first(_: str, given: Arguments) -> str:
    """{{audio|file|word}}, {{url|address|word}}."""
    return given.at(1) or given.at(0)


def third_or_first(_: str, given: Arguments) -> str:
    """{{link-en|word|English|shown word}}."""
    return given.at(2) or given.get("d", "nd") or given.at(0)


def foreign_first(_: str, given: Arguments) -> str:
    """{{tsl|en|English|word|shown word}}."""
    return given.at(3) or given.at(2) or given.at(1)


def interlanguage(_: str, given: Arguments) -> str:
    """{{ill|word|de|Wort|lt=shown word}}."""
    return given.get("lt", "label", "display", "d") or given.at(0)


def helper(_: str, given: Arguments) -> str:
    """{{internal link helper|word|..|lang=..|d=shown word}}."""
    return given.at(2) or given.get("d", "label", "标签") or given.at(0)


def comma_list(_: str, given: Arguments) -> str:
    """{{hlist|a|b}}: a, b."""
    return ", ".join(given.words())


def key_list(_: str, given: Arguments) -> str:
    """{{keypress|Ctrl|C}}: Ctrl+C."""
    return "+".join(given.words())


def spaced(_: str, given: Arguments) -> str:
    """{{linktext|big|fish}}: big fish."""
    return " ".join(given.words())


def quotation(_: str, given: Arguments) -> str:
    """A quotation in a paragraph of its own, with who said it."""
    text = given.get("text", "quote", "quotetext", "content", "1", "內容", "内容")
    if not text:
        return ""
    whom = ", ".join(
        part
        for part in (
            given.get("author", "sign", "by", "2", "4"),
            given.get("source", "title", "3", "5"),
        )
        if part
    )
    return f"\n\n{text}{f' — {whom}' if whom else ''}\n\n"


def block(_: str, given: Arguments) -> str:
    """{{div col|...}}: its content, on lines of its own."""
    return f"\n{given.get('1', 'content', 'text')}\n"


def bullets(_: str, given: Arguments) -> str:
    """{{bulleted list|a|b}}: a line for each."""
    return "".join(f"\n* {word}" for word in given.words()) + "\n"


def nihongo(wiki: str, given: Arguments) -> str:
    """{{nihongo|English|漢字|romaji|extra}}: English (漢字, romaji, extra)."""
    words = given.words()
    if len(words) < 2 or not given.at(0):
        return words[0] if words else ""
    return f"{words[0]} ({', '.join(words[1:])})"


def ruby(wiki: str, given: Arguments) -> str:
    """{{ruby|漢字|かんじ}}: 漢字（かんじ）."""
    return f"{given.at(0)}（{given.at(1)}）" if given.at(1) else given.at(0)


def named_language(wiki: str, code: str, given: Arguments, place: int = 0) -> str:
    """{{lang-el|λόγος|lógos|lit=word}}: Greek: λόγος, lógos, lit. 'word'."""
    text = given.at(place)
    if not text:
        return ""
    latin = given.at(place + 1) or given.get("translit")
    meaning = given.at(place + 2) or given.get("lit")
    text += f", {latin}" if latin and latin != "-" else ""
    text += f", lit. '{meaning}'" if meaning else ""
    if given.get("label") == "none" or given.get("links") == "none":
        return text
    return with_language(wiki, language_names(wiki).get(code, ""), text)


def langx(wiki: str, given: Arguments) -> str:
    """{{langx|el|λόγος}}."""
    return named_language(wiki, given.at(0), given, 1)


CHINESE = {
    "c": "Chinese",
    "s": "simplified Chinese",
    "t": "traditional Chinese",
    "p": "pinyin",
    "w": "Wade–Giles",
    "j": "Jyutping",
    "l": "lit. ",
}


def chinese(wiki: str, given: Arguments) -> str:
    """{{zh|s=..|t=..|p=..}}: simplified Chinese: ..; traditional Chinese: ..; pinyin: ..."""
    parts = []
    for name, words in CHINESE.items():
        if text := given.get(name):
            if given.get("labels", "label") == "no":
                parts.append(text)
            else:
                parts.append(f"lit. '{text}'" if name == "l" else f"{words}: {text}")
    return "; ".join(parts) or named_language(wiki, "zh", given)


def literal(_: str, given: Arguments) -> str:
    """{{literal translation|a|b}}: lit. 'a' or 'b'."""
    return "lit. " + " or ".join(f"'{word}'" for word in given.words())


def gloss(_: str, given: Arguments) -> str:
    """{{gloss|word}}: 'word' in single quotes."""
    return f"‘{given.at(0)}’" if given.at(0) else ""


def angle(_: str, given: Arguments) -> str:
    """{{angbr|x}}: ⟨x⟩."""
    return f"⟨{given.at(0)}⟩" if given.at(0) else ""


def ship(prefix: str, _: str, given: Arguments) -> str:
    """{{USS|Monitor|1861}}: USS Monitor (1861), in the ways the third argument asks for."""
    name, number, form = given.at(0), given.at(1), given.at(2)
    if form == "6":
        return name
    return f"{prefix} {name} ({number})" if number and form != "2" else f"{prefix} {name}"


def with_sign(sign: str, _: str, given: Arguments) -> str:
    """{{US$|5}}: US$5."""
    return f"{sign}{given.at(0)}" if given.at(0) else ""


def captions(_: str, given: Arguments) -> str:
    """{{multiple image|caption1=..|footer=..}}, {{wide image|file|size|caption}}: the captions that
    are sentences."""
    named = (v for k, v in given.named.items() if k.startswith(("caption", "footer", "3")))
    return "".join(f"{CAPTION}{text}{CAPTION_END}" for text in named if is_sentence(text))


def section_link(_: str, given: Arguments) -> str:
    """{{section link|Page|Part}}: Page § Part."""
    return " § ".join(given.words()[:2])


def accidental(_: str, given: Arguments) -> str:
    """{{music|flat}}: ♭."""
    signs = {"flat": "♭", "b": "♭", "sharp": "♯", "#": "♯", "natural": "♮"}
    return signs.get(given.at(0), given.at(0))


def named_source(_: str, given: Arguments) -> str:
    """{{harvtxt|Boolos|Jeffrey|1974}}: Boolos and Jeffrey (1974), which is part of a sentence."""
    *names, year = given.words() or [""]
    if len(names) > 3:
        names = [f"{names[0]} et al."]
    who = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{who} ({year})" if who else year


RUPEES = {"k": "thousand", "l": "lakh", "m": "million", "c": "crore", "b": "billion"}


def rupees(_: str, given: Arguments) -> str:
    """{{INRConvert|5|c}}: ₹5 crore."""
    amount, scale = given.at(0), RUPEES.get(given.at(1), "")
    return f"₹{amount} {scale}".rstrip() if amount else ""
