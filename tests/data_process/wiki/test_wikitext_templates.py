"""Templates of text are shown in the words of their wiki; the others leave nothing behind."""

from __future__ import annotations

import pytest

from data_process.wiki.text.kinds import table_of
from data_process.wiki.text.templates import known_templates
from data_process.wiki.text.wikitext import WikitextCleaner, WikitextSettings


def clean(wikitext: str, language: str = "en") -> str:
    return WikitextCleaner(WikitextSettings(), {}, language).clean(wikitext, "The title")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{convert|10|km|mi}}", "10 kilometres"),
        ("{{convert|1|mi|km|sp=us}}", "1 mile"),
        ("{{Convert|5|to|10|kg}}", "5 to 10 kilograms"),
        ("{{convert|6|ft|2|in|m}}", "6 feet 2 inches"),
        ("{{convert|1500|km2|sqmi|abbr=on}}", "1,500 km²"),
        ("{{convert|3|m|adj=on}} wall", "3-metre wall"),
        ("{{cvt|20|C|F}}", "20 °C"),
        ("{{val|1.6|0.1|e=-19|u=C}}", "1.6±0.1×10⁻¹⁹ C"),
        ("{{val|1.5e-6|u=m}} {{val|7}}", "1.5×10⁻⁶ m 7"),
        ("10{{sup|5}} {{sqrt|2}} H{{sub|2}}O", "10⁵ √2 H2O"),
        ("{{frac|3|1|2}} {{frac|2}}", "3 1/2 1/2"),
        ("{{chem|H|2|O}} {{formatnum:12345}}", "H2O 12,345"),
        ("{{birth date|1818|5|5}}", "May 5, 1818"),
        ("{{birth date and age|1818|5|5|df=y}}", "5 May 1818"),
        ("{{death date and age|1883|3|14|1818|5|5}}", "March 14, 1883 (aged 64)"),
        ("{{as of|2010|5|lc=y}} {{As of|2010}}", "as of May 2010 As of 2010"),
        ("{{OldStyleDate|5 May|1818|23 April}}", "5 May [O.S. 23 April] 1818"),
        ("{{INRConvert|5|c}} {{INRConvert|70}}", "₹5 crore ₹70"),
        ("{{circa|1500}} {{reign|1500|1520}}", "c. 1500 r. 1500–1520"),
        ("{{lang|fr|''bonjour''}}", "bonjour"),
        ("{{lang-el|λόγος|lógos|word}}", "Greek: λόγος, lógos, lit. 'word'"),
        ("{{langx|ru|мир}}", "Russian: мир"),
        ("{{transl|ar|DIN|salām}} {{transliteration|hy|x}}", "salām x"),
        ("{{nihongo|Aikido|合気道|aikidō}}", "Aikido (合気道, aikidō)"),
        ("{{zh|s=汉|t=漢|p=hàn}}", "simplified Chinese: 汉; traditional Chinese: 漢; pinyin: hàn"),
        (
            "{{lang-zh|s=汉|p=hàn}} {{lang-zh|漢}}",
            "simplified Chinese: 汉; pinyin: hàn Chinese: 漢",
        ),
        ("{{ill|Foo|de|Bar}} {{ill|Foo|de|Bar|lt=the foo}}", "Foo the foo"),
        ("{{nowrap|a [[b|c]]}} {{abbr|NATO|North}} {{small|{{lang|fr|d}}}}", "a c NATO d"),
        ("at {{coord|13|19|N|169|9|W|type:event}}.", "at 13°19′N 169°9′W."),
        ("{{Coord|41.5|-71.25|display=inline,title}}", "41.5°N 71.25°W"),
        ("a {{coord|1|2|3.5|S|4|5|6|E}} {{coord|0|N|30|W|display=title}}", "a 1°2′3.5″S 4°5′6″E"),
        (
            "{{harvtxt|Boolos|Jeffrey|1974}} say, {{harvtxt|Hume|1748|p=3}} too",
            "Boolos and Jeffrey (1974) say, Hume (1748) too",
        ),
        ("{{harvtxt|A|B|C|D|1999}}", "A et al. (1999)"),
        ("{{url|a.example|b}} {{audio|a.ogg|c}} {{music|flat}}", "b c ♭"),
        (
            "a{{snd}}b{{'s}} {{PAGENAME}} {{lc:ABC}} {{USS|Monitor|1861}}",
            "a – b's The title abc USS Monitor (1861)",
        ),
        ("a {{quote|To be.|Hamlet}} b", "a\n\nTo be. — Hamlet\n\nb"),
        ("{{cquote|To be.|20px|20px|Hamlet|III.1}}", "To be. — Hamlet, III.1"),
        ("{{rquote|right|To be.|Hamlet}} {{cquote|A|30%}}", "To be. — Hamlet\n\nA"),
        ("{{quote box|quote=A|author=B|source=C|align=left|width=30%}}", "A — B, C"),
        ("{{w|coin}}s {{w|Coin|coins}} {{resize|120%|a}} {{align|right|b}}", "coins coins a b"),
        ("{{lang|fr|text=a|1=b}} {{nowrap|1=x=y}}", "a x=y"),
        ("a {{{name|default}}} b", "a default b"),
        ("a {{unknown|b}} {{Infobox\n| c = {{convert|1|km}}\n}} d", "a d"),
        ("a {{never closed | b", "a never closed | b"),
        ("a }} b", "a b"),
    ],
)
def test_english_templates(template: str, text: str) -> None:
    assert clean(template) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{lang-en|Berlin}}", "英语：Berlin"),
        ("{{link-en|柏林|Berlin}} {{link-en|柏林|Berlin|首都}}", "柏林 首都"),
        ("{{tsl|en|Berlin|柏林}} {{le|柏林|Berlin}}", "柏林 柏林"),
        ("{{internal link helper/en|甲|A}}", "甲"),
        ("马克思{{bd|1818年|5月5日|1883年|3月14日}}", "马克思（1818年5月5日－1883年3月14日）"),
        ("{{convert|10|km|mi}} {{出生日期|1818|5|5}}", "10 km 1818年5月5日"),
        ("{{as of|2010}}", "截至2010年"),
        ("{{僻字|𨭎|金喜}}{{楷体|字}}{{紅|紅}}{{lang-zh|漢}}", "𨭎字紅汉语：漢"),
    ],
)
def test_chinese_templates(template: str, text: str) -> None:
    assert clean(template, "zh") == text


def test_japanese_and_bulgarian_templates() -> None:
    assert (
        clean("{{ruby|漢字|かんじ}} {{仮リンク|甲|en|A|label=乙}} {{lang-de|B}}", "ja")
        == "漢字（かんじ） 乙 ドイツ語: B"
    )
    assert clean("{{生年月日と年齢|1990|5|3}}", "ja") == "1990年5月3日"
    assert clean("{{lang-en|B}} {{birth date|1990|5|3}}", "bg") == "на английски: B 3.5.1990"


ENTRY = """==English==
===Etymology===
From {{inh|en|enm|coyne}}, from {{der|en|fro|coigne||wedge}}, from {{der|en|la|-}}; {{cog|de|Keil}}.
===Noun===
{{en-noun|~}}

# {{lb|en|money|_|countable}} A [[piece]] of {{l|en|currency}}, {{gloss|usually}} of {{w|metal}}.
#: {{ux|en|He flipped a '''coin'''.}}
# {{plural of|en|coi}}, {{af|en|coin|-age}}
* {{IPA|en|/kɔɪn/}}
* {{audio|en|en-us-coin.ogg|a=US}}
* Albanian: {{t+|sq|monedhë|f}}; {{syn|en|piece|bit}}
"""


def test_an_entry_of_a_wiktionary_keeps_its_words() -> None:
    cleaner = WikitextCleaner(WikitextSettings(), {}, "en", project="wiktionary")
    assert cleaner.clean(ENTRY, "coin").split("\n") == [
        *("English", "", "Etymology", ""),
        "From Middle English coyne, from Old French coigne (“wedge”), from Latin; German Keil.",
        *("", "Noun", "", "coin", ""),
        "1. (money countable) A piece of currency, (usually) of metal.",
        "- He flipped a coin.",
        "2. plural of coi, coin + -age",
        "- /kɔɪn/",
        "- Albanian: monedhë; piece, bit",
    ]
    assert "coyne" not in clean(ENTRY)  # its templates mean something else elsewhere


def test_text_that_is_marked_as_doubtful_is_text() -> None:
    assert (
        clean("{{citation needed span|A claim.|date=May 2010}} {{clarify span|B}}") == "A claim. B"
    )
    assert (
        clean("甲{{要出典範囲|date=2010年|の都}}。{{要出典|date=2010年}}乙", "ja") == "甲の都。乙"
    )
    assert (
        clean("{{refnec|Une phrase.}} Deux{{référence nécessaire}}.", "fr") == "Une phrase. Deux."
    )


def test_a_language_without_known_words_shows_the_text_alone() -> None:
    assert clean("{{lang-en|B}}", "xx") == "B"
    assert clean("{{lang-tlh|B}}", "bg") == "B"


def test_every_template_is_listed_once_in_lower_case() -> None:
    """Else it would not be found: names are looked up in lower case, with spaces."""
    table = table_of("templates")
    names = [name for rule in table["arguments"] + table["lists"] for name in rule["templates"]]
    names += [name for listed in table["functions"].values() for name in listed]
    names += [*map(str.lower, table["ships"]), *table["characters"]]
    assert len(names) > 400
    assert {"inh", "lb"} <= known_templates("wiktionary", "en").keys() - known_templates(
        "wikipedia", "en"
    ).keys()
    assert (
        len(names)
        == len(set(names))
        == len(known_templates("wikipedia", "en")) + len(table["characters"])
    )
    assert all(name == name.lower() and "_" not in name for name in names)
