"""Templates that are text: what each shows, by its name in English, Chinese, Japanese and others.

All others are dropped: infoboxes, navigation, citations, notes to editors, pronunciations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from data_process.wiki.text import dates, units, words
from data_process.wiki.text.arguments import Arguments
from data_process.wiki.text.coordinates import coordinates

Renderer = Callable[[str, Arguments], str]
"""From the language of the wiki and the arguments to text."""

BY_RENDERER: tuple[tuple[Renderer, str], ...] = (
    (
        words.first,
        "small|smaller|smallsup|big|bigger|larger|large|resize|nowrap|nobr|nobold|noitalic|normal|"
        "nonbold|bold|italic|italics|em|strong|abbr|abbrv|tooltip|sup|sub|smallcaps|sc|sc2|smcaps|"
        "aut|mono|tt|code|mathcode|math|mvar|bigmath|mathit|var|vanchor|visible anchor|vis anchor|"
        "sic|not a typo|as written|typo|unicode|polytonic|greek|hebrew|heb|arabic|nastaliq|nq|"
        "nafees|bo-textonly|zh-textonly|cuneiform|flag|flagcountry|flagu|flaglist|country|noflag|"
        "midsize|huge|allow wrap|longitem|nts|ntsh|sort|hs|tq|xt|mxt|!xt|mbox|keyboard|mem|kbd|"
        "samp|char|unichar|ill-wd|ill-wd2|strike|s|underline|u|highlight|color text|"
        "lk|nw|nobreak|nospell|proper name|ship name|lc|uc|ucfirst|lcfirst|left|center|centre|"
        "align|indent|poem|poemquote|poem quote|in lang|小|大|不换行|文字|weblink|gradtext|"
        "和暦|補助漢字フォント|jis2004フォント|"
        "jisx0212フォント|cjk|kotobank|fontsize|lang-fa-nastaliq|shy|fs interlinear|"
        "vr|ipa|ipalink|ipa link|ipablink|音標|国际音标|國際音標|"
        "link|page link|internal link|wikilink|ref "
        "label text|zh-tw|zh-cn|中文|translation|"
        "trans|cnspan|要出典|référence nécessaire|refnec|référence souhaitée|refsou|"
        "citation nécessaire|passage évasif|pas clair|senza fonte|"
        "僻字|楷體|楷体|kai|kaiti|紅|红|藍|蓝|綠色|绿色|下划线|下劃線|overline",
    ),
    (
        words.second,
        "lang|native name|langue|język|lang-x|script|rtl-lang|rtl-para|lang1|font "
        "color|fontcolor|color|"
        "font|colour|textcolor|iw2|wikt-lang|wt|ilh2|字体|語|w",
    ),
    (words.last, "transl|transliteration|translit|xlit|script/slavonic|rtl"),
    (
        words.second_or_first,
        "audio|音频|音頻|url|sort|sortname-link|color box text|wiktionary inline|link-lang|"
        "link-wiktionary|linktext-x|wikisourcelang|href",
    ),
    (
        words.third_or_first,
        "le|link-en|link-de|link-fr|link-ja|link-ko|link-ru|link-es|link-it|link-pt|link-nl|"
        "link-vi|link-uk|link-pl|link-sv|link-la|link-ar|link-he|link-ca|link-fi|link-no|link-da|"
        "link-cs|link-hu|link-tr|link-el|link-fa|link-th|link-id|link-interwiki|日语链接|lj|"
        "internal link helper/en|internal link helper/ja|internal link helper/de|"
        "internal link helper/fr|internal link helper/ko|internal link helper/ru|"
        "internal link helper/es|internal link helper/it",
    ),
    (words.foreign_first, "tsl|translink|translation link|多语言链接"),
    (words.interlanguage, "仮リンク|ill|ill2|illm|iw|interlanguage link|interlanguage link multi"),
    (words.helper, "internal link helper|ilh|link-wd|跨语言链接|綠連|绿链"),
    (
        words.comma_list,
        "hlist|flatlist|flat list|ubl|unbulleted list|ublist|plainlist|plain list|vunblist|"
        "unbulleted|comma separated entries|cslist",
    ),
    (words.key_list, "keypress|key press|key|keys"),
    (words.spaced, "linktext|linktext-zh|nihongo3-x|swl"),
    (
        words.quotation,
        "quote|quotation|cquote|rquote|blockquote|bquote|quote box|quotebox|quote frame|"
        "pull quote|pullquote|epigraph|long quotation|cquote2|centered pull quote|引文|引用|"
        "引言|citation bloc|zitat|цитат|цитата|quote paragraph|行內引用|vquote",
    ),
    (
        words.block,
        "div col content|columns-list|columns|columnslist|colonnes|block indent|in5|poem block|"
        "collapse|hidden|cot|stack|",
    ),
    (
        words.captions,
        "multiple image|multiple images|double image|triple image|wide image|image frame|"
        "css image crop|tall image|panorama|多图|多圖|全景图|全景圖",
    ),
    (words.bullets, "bulleted list|bulletedlist|blist|bullet list|ordered list|numbered list"),
    (words.nihongo, "nihongo|nihongo2|日本語|korean-x|nihongo krt|nihongo title"),
    (words.ruby, "ruby|ruby-ja|ruby-zh-p|ruby-zh-b|ruby-py|注音|rubi|ルビ|rt|ふりがな|読み仮名"),
    (words.langx, "langx|language with name"),
    (words.chinese, "zh|lang-zh|chinese|zh-full|cjkv"),
    (words.literal, "literal translation|lit|literally|lit."),
    (words.gloss, "gloss|glossary gloss|single+double"),
    (words.angle, "angbr|angle bracket|angbr ipa|grapheme|angle"),
    (words.section_link, "section link|slink|sectionlink|section-link|seclink"),
    (words.accidental, "music"),
    (words.rupees, "inrconvert"),
    (words.named_source, "harvtxt|harvcoltxt"),
    (coordinates, "coord|座標|坐标"),
    (
        dates.date,
        "birth date|birth date and age|bda|dob|birth-date|birth year and age|start date|end date|"
        "start-date|end-date|start date and age|release date|film date|date|dts|death date|"
        "death-date|death year|生年月日と年齢|生年月日|没年月日|birthdate|birth date2|出生日期|"
        "出生日期和年龄|出生日期和年齡|birth-date and age|datum|дата|дата на раждане|"
        "dateofbirth|birth date and age2",
    ),
    (
        dates.death_date,
        "death date and age|dda|death-date and age|死亡年月日と没年齢|没年齢|"
        "死亡日期和年龄|死亡日期和年齡|死亡日期与年龄|死亡年月日",
    ),
    (dates.as_of, "as of|asof|update after|截至"),
    (dates.old_style_date, "oldstyledate|oldstyledatedy"),
    (dates.about, "circa|c.|ca.|ca|約|约"),
    (dates.flourished, "floruit|fl.|fl"),
    (dates.reigned, "reign|r.|ruled"),
    (dates.lifetime, "bd|生卒|生卒年"),
    (units.converted, "convert|cvt|conv|convertir|換算|换算|unit convert"),
    (units.value, "val|value"),
    (units.exponent, "e|e-sp|10^|x10^"),
    (units.fraction, "frac|fraction|sfrac|fract|frac2|分數|分数"),
    (units.height, "height|身高"),
    (units.joined, "gaps|chem|chem2|chemical formula|ce|nuclide joined|化学式|化學式"),
    (units.nuclide, "simplenuclide|simplenuclide2|nuclide2|nuclide|simplenuclide link"),
    (units.number, "formatnum|number|num|formatprice"),
)

CHARACTERS = {
    "!": "|",
    "!!": "||",
    "(": "{",
    ")": "}",
    "=": "=",
    "'": "'",
    "' \"": "' \"",
    "'s": "'s",
    "`": "`",
    "·": " · ",
    "•": " • ",
    "bull": " • ",
    "dot": " · ",
    "middot": " · ",
    "*": " • ",
    "\\": " / ",
    "nbsp": " ",
    "nbs": " ",
    "space": " ",
    "spaces": " ",
    "thinsp": " ",
    "thin space": " ",
    "hair space": " ",
    "hairsp": " ",
    "pipe": "|",
    "dash": " – ",
    "ndash": "–",
    "endash": "–",
    "en dash": "–",
    "snd": " – ",
    "spaced ndash": " – ",
    "spnd": " – ",
    "snds": " – ",
    "spaced en dash": " – ",
    "--": "–",
    "mdash": "—",
    "---": "—",
    "em dash": "—",
    "mdashb": "—",
    "spaced mdash": " — ",
    "okina": "ʻ",
    "hamza": "ʾ",
    "ayin": "ʿ",
    "asterisk": "*",
    "number sign": "#",
    "euro": "€",
    "pound sign": "£",
    "yen": "¥",
    "break": "\n",
    "br": "\n",
    "crlf": "\n",
    "-": "\n",
    "clear": "\n",
    "clr": "\n",
    "degree": "°",
    "minus": "−",
    "plus-minus": "±",
    "times": "×",
    "sqrt": "√",
    "bce": " BCE",
    "ad": "AD ",
    "1/2": "1/2",
    "half": "1/2",
    "shy": "",
    "zwsp": "",
    "wbr": "",
    "zwj": "",
    "zwnj": "",
}
SHIPS = ("USS", "HMS", "RMS", "SS", "MS", "MV", "HMCS", "HMAS", "USNS", "SMS", "USCGC", "HMNZS")
MONEY = {
    "us$": "US$",
    "usd": "US$",
    "gbp": "£",
    "£": "£",
    "€": "€",
    "euro": "€",
    "¥": "¥",
    "a$": "A$",
    "aud": "A$",
    "c$": "C$",
    "cad": "C$",
    "inr": "₹",
    "₹": "₹",
    "jpy": "¥",
    "rmb": "¥",
    "cny": "¥",
    "nt$": "NT$",
    "hk$": "HK$",
}


def known_templates() -> dict[str, Renderer]:
    """What renders each template, by its name in lower case."""
    found: dict[str, Renderer] = {}
    for renderer, names in BY_RENDERER:
        found |= dict.fromkeys(filter(None, names.split("|")), renderer)
    found |= {name: partial(words.with_sign, sign) for name, sign in MONEY.items()}
    return found | {prefix.lower(): partial(words.ship, prefix) for prefix in SHIPS}
