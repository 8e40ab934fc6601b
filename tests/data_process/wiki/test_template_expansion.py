"""Templates are expanded as MediaWiki does it, from their pages in the dump; within limits."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_process.wiki.text import expressions
from data_process.wiki.text.expansion import included, parse
from data_process.wiki.text.prose import is_box
from data_process.wiki.text.renderers import grouped, ungrouped
from data_process.wiki.text.templates import Library, Template
from data_process.wiki.text.wikitext import WikitextCleaner, WikitextSettings


def library_of(pages: Mapping[str, str]) -> Library:
    """Templates by their names."""

    @cache
    def find(name: str) -> Template | None:
        name = " ".join(name.replace("_", " ").split())
        text = pages.get(name, pages.get(name[:1].upper() + name[1:]))
        if text is None:
            return None
        if text.startswith("#REDIRECT"):
            return find(text.partition(":")[2].rstrip("]"))
        body = parse(included(text), is_template=True)
        return Template(name, body, is_box(body.text))

    return find


def cleaner_of(pages: Mapping[str, str], language: str = "en") -> WikitextCleaner:
    return WikitextCleaner(WikitextSettings(), {}, language, library=library_of(pages))


def clean(wikitext: str, language: str = "en", **pages: str) -> str:
    return cleaner_of(pages, language).clean(wikitext, "The title")


@pytest.mark.parametrize(
    ("body", "call", "text"),
    [
        ("{{{1}}}", "x|a", "a"),
        ("{{{1}}}", "x|a|1=b", "b"),
        ("{{{1}}}", "x|1=b|a", "a"),
        ("[{{{1}}}]", "x| a ", "[ a ]"),
        ("[{{{n}}}]", "x|n= a ", "[a]"),
        ("{{{a|{{{b|c}}}}}}", "x", "c"),
        ("{{{a|{{{b|c}}}}}}", "x|b=d", "d"),
        ("{{{a|{{{b|c}}}}}}", "x|b=d|a=e", "e"),
        ("{{{a|c}}}", "x|a=", ""),
        ("{{{1}}}", "x|[[b|c]]", "c"),
        ("{{{1}}}", "x|1=y=z", "y=z"),
        ("{{{1}}}", "x|{{=}}q", "=q"),
        ("{{{1}}}-{{{2}}}-{{{3}}}", "x|a|b|c", "a-b-c"),
        ("{{{{{1}}}}}", "x|PAGENAME", "The title"),
        ("{{{ 1 }}}", "x|a", "a"),
        ("{{{{1}}}}", "x|a", "{a}"),
        ("-{{{{1}}}}-", "x|zh-cn:a;zh-tw:b", "a"),
        ("-{zh-cn:{{{1}}};zh-tw:b}-", "x|a", "a"),
        ("{{#if:{{{1|}}}|yes|no}}", "x", "no"),
        ("{{#if: {{{1|}}} | yes | no }}", "x| a", "yes"),
        ("{{#if:{{{1}}}|yes|no}}", "x", "yes"),
        ("{{#ifeq:{{{1}}}|{{{1|}}}|given|not}}", "x", "not"),
        ("{{#ifeq:{{{1}}}|{{{1|}}}|given|not}}", "x|a", "given"),
        ("{{#ifeq:{{{1}}}|1.0|same|other}}", "x|1", "same"),
        ("{{#ifeq:{{{1}}}|A|same|other}}", "x|a", "other"),
        ("{{#switch:{{{1}}}|a|b=1|c=2|3}}", "x|a", "1"),
        ("{{#switch:{{{1}}}|a|b=1|c=2|3}}", "x|c", "2"),
        ("{{#switch:{{{1}}}|a|b=1|c=2|3}}", "x|d", "3"),
        ("{{#switch:{{{1}}}|#default=3|a=1}}", "x|a", "1"),
        ("{{#switch:{{{1}}}|#default=3|a=1}}", "x|z", "3"),
        ("{{#switch:{{{1}}}|07=1|x}}", "x|7", "1"),
        ("{{#switch:{{{1|}}}|=none|a=1|#default|z=2}}", "x", "none"),
        ("{{#switch:{{{1|}}}|=none|a=1|#default|z=2}}", "x|q", "2"),
        ("{{{{{|safesubst:}}}#ifeq:{{{1}}}|a|A|{{{{{|safesubst:}}}lc:{{{1}}}}}}}", "x|B", "b"),
        ("{{{1|{{PAGENAME}}}}}", "x", "The title"),
        ("{{ {{{1}}} | {{{2}}} }}", "x|lc:Q", "q"),
        ("{{#switch:{{{1}}}|{{lc:A}}=1|x}}", "x|a", "1"),
        ("{{#expr:{{{1}}}*2+1}}", "x|4", "9"),
        ("{{#expr:7/2 round 0}}", "x", "4"),
        ("{{#expr:2^10}} {{#expr:-7 mod 3}} {{#expr:1/3}}", "x", "1024 -1 0.33333333333333"),
        ("{{#expr:1 and 0 or 1}} {{#expr:not 0}} {{#expr:3>2}}", "x", "1 1 1"),
        ("{{#expr:trunc 2.7}}{{#expr:ceil 2.1}}{{#expr:abs -3}}{{#expr:2e3}}", "x", "2332000"),
        ("{{#ifexpr:{{{1}}}>5|big|small}}", "x|7", "big"),
        ("{{#ifexpr:|a|b}}", "x", "b"),
        ("{{#iferror:{{#expr:1/0}}|bad|good}}", "x", "bad"),
        ("{{#iferror:{{#expr:{{{1}}}}}|bad}}", "x|5", "5"),
        ("{{lc:ÀB}} {{uc:àb}} {{lcfirst:ABC}} {{ucfirst:abc}}", "x", "àb ÀB aBC Abc"),
        ("{{UC:{{{1}}}}}", "x|a", "A"),
        ("{{padleft:7|3|0}} {{padright:a|3|xy}} {{padleft:abc|2}}", "x", "007 axy abc"),
        ("{{plural:1|mill|mills}} {{plural:2|mill|mills}}", "x", "mill mills"),
        ("{{formatnum:{{{1}}}}} {{formatnum:1,234|R}}", "x|-1234567.5", "−1,234,567.5 1234"),
        ("{{#titleparts:a/b/c|1|2}}", "x", "b"),
        ("{{#tag:span|{{{1}}}|class=y}}", "x|a", "a"),
        ("a{{#tag:ref|{{{1}}}}}b", "x|n", "ab"),
        ("{{PAGENAME}}{{NAMESPACE}}", "x", "The title"),
        ("a<noinclude>b</noinclude><includeonly>c</includeonly>", "x", "ac"),
        ("a<onlyinclude>b</onlyinclude>c<onlyinclude>{{{1}}}</onlyinclude>", "x|d", "bd"),
        ("a<noinclude>\n{{doc}} never closed", "x", "a"),
        ("a<!-- {{{1}}} -->b", "x|q", "ab"),
        ("<nowiki>{{{1}}}</nowiki>", "x|q", "{{{1}}}"),
        ("<math>{{{1}}}^2</math>", "x|q", "${{{1}}}^2$"),
        ("[[File:F.svg|20px]]&nbsp;[[China|Chn]]", "x", "Chn"),
        ("<b class=x>{{{1}}}</b><sup class='noprint'>[[[w|when?]]]</sup>", "x|a", "a"),
        ("{{{1}}}<span style='display:none'>hidden</span>", "x|a", "a"),
        ("{{{1}}}[[Category:X]]", "x|a", "a"),
        ("\n{{{1}}}\n", "x|a", "a"),
        ("{{ucfirst:{{{1}}}}}", "x|{{lc:MILL}}", "Mill"),
    ],
)
def test_a_template_is_expanded_as_mediawiki_does_it(body: str, call: str, text: str) -> None:
    language = "zh" if body.startswith("-") else "en"
    assert clean(f"S {{{{{call}}}}} e.", language, x=body) == " ".join(
        f"S {text} e.".split()
    ).replace(" .", ".")


def test_templates_inside_templates() -> None:
    pages = {"a": "<{{b|{{{1}}}}}>", "b": "{{c|n={{{1}}}!}}", "c": "({{{n}}})"}
    assert clean("x {{a|{{a|q}}}} y", **pages) == "x <(<(q!)>!)> y"


@pytest.mark.parametrize("space", ["&nbsp;</span>", "</span>&nbsp;", "</span> ", "</span>"])
def test_a_flag_goes_with_the_space_after_it(space: str) -> None:
    body = f'<span class="flagicon">[[File:Flag.svg|22px|alt=]]{space}[[{{{{{{1}}}}}}]]'
    assert cleaner_of({"x": body}, "zh").clean("“{{x|美国}}”、{{x|中国}}", "T") == "“美国”、中国"
    assert clean("in {{x|Peru}}s", x=body) == "in Perus"


@pytest.mark.parametrize(
    "body",
    [
        '{| class="wikitable"\n| {{{1}}}\n|}',
        "<table><tr><td>{{{1}}}</td></tr></table>",
        "{{{!}} class=infobox\n{{!}} {{{1}}}\n{{!}}}",
        '<div class="hatnote">Main: {{{1}}}</div>',
        "<div class='navbox navbox-inner'><div>{{{1}}}</div></div>",
        '<div style="float:right; border:1px solid">{{{1}}}</div>',
        ":''See also [[{{{1}}}]].''",
        "[[Category:{{{1}}}]]",
        "<ref>{{{1}}}</ref>",
        "<includeonly></includeonly>",
        "{{#if:{{{1|}}}|<div class='ambox metadata'>{{{1}}}</div>}}",
        '<sup class="noprint">[{{{1}}}]</sup>',
        "{{inner|{{{1}}}}}",
    ],
)
def test_a_box_or_a_note_is_no_prose_and_no_hole(body: str) -> None:
    cleaner = cleaner_of({"x": body, "inner": '<table class="navbox">{{{1}}}</table>'})
    assert cleaner.clean("A mill{{x|word}} turns.", "T") == "A mill turns."
    assert not cleaner.holes.counts


@pytest.mark.parametrize(
    ("call", "language", "shown"),
    [
        ("j F Y|2010-05-31", "en", "31 May 2010"),
        ("j F Y|2010-05-31", "de", "31 Mai 2010"),
        ("j xg Y|31 May 2010", "ru", "31 мая 2010"),
        ("F Y|2010-05-31", "ru", "май 2010"),
        ("j xg Y|2010-05-31|pl", "en", "31 maja 2010"),
        ("Y年n月j日|2010-5-5", "zh", "2010年5月5日"),
        ("F j, Y|May 31, 2010", "en", "May 31, 2010"),
        ("F Y|May 2010", "en", "May 2010"),
        ("Y|1959", "en", "1959"),
        ("d.m.y H:i|2010-05-31T07:08:09Z", "en", "31.05.10 07:08"),
        ('"at" j|2010-05-05', "en", "at 5"),
        (r"\j j|2010-05-05", "en", "j 5"),
    ],
)
def test_dates_that_are_given_are_written(call: str, language: str, shown: str) -> None:
    cleaner = cleaner_of({"x": f"{{{{#time:{call}}}}}"}, language)
    assert cleaner.clean("S {{x}} e", "T") == f"S {shown} e"
    assert not cleaner.holes.counts


@pytest.mark.parametrize(
    "call",
    ["Y", "Y|now", "j F|1959", "Y|+1 day", "D|2010-05-05", "Y|2010-13-45", "F|2010-05-05|xx"],
)
def test_dates_of_the_day_and_others_are_counted(call: str) -> None:
    cleaner = cleaner_of({"x": f"{{{{#time:{call}}}}}"})
    assert cleaner.clean("S {{x}} e", "T") == "S e"
    assert cleaner.holes.counts == {"X": 1}


@pytest.mark.parametrize(
    ("language", "text", "shown"),
    [
        ("nl", "{{#als:a|b}} {{#schakelen:z|q=1|#standaard=2}} {{PAGINANAAM}}", "b 2 The title"),
        ("ru", "{{нижний регистр:ABC}} {{НАЗВАНИЕ СТРАНИЦЫ}}", "abc The title"),
        ("de", "{{SEITENNAME}} {{#wechsle:a|a=1}} {{ZAHLENFORMAT:1234}}", "The title 1 1.234"),
        ("he", "{{#תנאי:a|b}} {{#חשב תנאי:1|c}}", "b c"),
        ("ko", "{{#만약:|a|b}} {{소문자:ABC}}", "b abc"),
        ("en", "{{PAGENAME:Template:X}} {{CONTENTLANG}} {{NAMESPACENUMBER}}", "Template:X en 0"),
        (
            "en",
            "{{#dateformat:25 dec 2009|ymd}} {{formatdate:2009-12-25|mdy}}",
            "2009 December 25 December 25, 2009",
        ),
        ("en", "{{#dateformat:some day|ymd}}", "some day"),
        ("zh", "{{模板:t}} {{template:_t_}} {{msg:t}} {{subst:T}}", "w w w w"),
    ],
)
def test_functions_have_names_in_the_language_of_the_wiki(
    language: str, text: str, shown: str
) -> None:
    cleaner = cleaner_of({"T": "w"}, language)
    assert cleaner.clean(f"S {text} e", "The title") == f"S {shown} e"
    assert not cleaner.holes.counts


def test_what_is_dropped_outside_sentences_is_counted_apart() -> None:
    cleaner = cleaner_of({"T": "{{#invoke:M|f}}"})
    poem = "{{Poem of\n|A line.}}"
    text = f"{{{{Box\n|a=b\n}}}}\nA {{{{t}}}} mill.\n{poem}\n\n{{{{t}}}}\n\n{{{{sfn|x}}}}\n{poem}"
    assert cleaner.clean(text, "T") == "A mill."
    assert cleaner.holes.counts == {"T": 1}
    assert cleaner.holes.blocks == {"Box": 1, "Poem of": 2, "T": 1}


def test_pages_and_sections_that_are_put_in_are_counted() -> None:
    cleaner = cleaner_of({})
    text = "A {{:Article}} b {{/sub}} c {{#lst:P|s}} {{#foo:a|b}} d<section begin=s />."
    assert cleaner.clean(text, "T") == "A b c d."
    assert list(cleaner.holes.counts) == [":Article", "/sub", "#lst", "#foo"]


def test_what_a_page_is_expanded_to_is_limited_and_the_rest_counted() -> None:
    cleaner = cleaner_of({"x": "word " * 200_000 + "{{{1}}}"})
    text = cleaner.clean("A {{x|mill}} b. " * 50, "T")
    assert len(text) < 4_000_000
    assert cleaner.holes.counts["X"] >= 46


def test_a_long_table_of_cases_is_looked_up_as_often_as_a_page_wants() -> None:
    cases = "".join(f"|case{n}=value {n}" for n in range(5_000))
    cleaner = cleaner_of({"x": f"{{{{#switch:{{{{{{1}}}}}}{cases}|none}}}}"})
    text = "".join(f"A {{{{x|case{n * 33}}}}} b. " for n in range(150))
    assert cleaner.clean(text, "T").startswith("A value 0 b. A value 33 b.")
    assert not cleaner.holes.counts


def test_what_is_nested_too_deep_is_counted() -> None:
    cleaner = cleaner_of({"x": "{{{1}}}"})
    assert cleaner.clean("A " + "{{x|" * 50 + "mill" + "}}" * 50 + " b.", "T") == "A b."
    assert cleaner.holes.counts == {"Templates nested too deep": 1}


def test_a_hidden_key_does_not_hide_the_text_after_it() -> None:
    body = "<span style='display:none'>{{{1}}}-05</span>May {{{1}}}"
    assert clean("Built in {{x|1950}} there.", x=body) == "Built in May 1950 there."


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("{{#invoke:M|f|{{{1}}}}}", "X"),
        ("{{#if:{{#invoke:M|f}}|yes|no}}", "X"),
        ("{{#switch:{{lua}}|a=b|c}}", "X"),
        ("{{lua}}", "X"),
        ("{{#time:Y|{{{1}}}}}", "X"),
        ("{{CURRENTYEAR}}", "X"),
        ("{{x}}", "X"),
        ("{{loop}}", "X"),
    ],
)
def test_what_cannot_be_known_is_dropped_and_counted_by_name(body: str, name: str) -> None:
    pages = {"x": body, "lua": "{{#invoke:M|g}}", "loop": "{{loop2}}", "loop2": "{{x}}"}
    cleaner = cleaner_of(pages)
    assert cleaner.clean("A mill of {{x|w}} turns.", "T") == "A mill of turns."
    assert cleaner.holes.counts == {name: 1}
    assert cleaner.holes.examples[name] == "A mill of {{X}} turns."


def test_a_part_that_cannot_be_known_leaves_the_rest() -> None:
    cleaner = cleaner_of({"x": "{{{1}}} ({{lua}})", "lua": "{{#invoke:M|g}}"})
    assert cleaner.clean("The {{x|mill}} turns.", "T") == "The mill turns."
    assert cleaner.holes.counts == {"Lua": 1}


def test_a_template_without_text_beside_it_is_no_hole() -> None:
    cleaner = cleaner_of({})
    cleaner.clean(
        "{{Unknown}}\nA mill.\n* {{other}}\n{{Box\n|a=b}} It turns.\n{|\n| {{cell}} a\n|}", "T"
    )
    assert not cleaner.holes.counts


def test_the_list_is_for_lua_and_for_what_the_dump_does_not_hold() -> None:
    assert clean("{{convert|10|km|mi}}", convert="{{#invoke:Convert|convert}}") == "10 kilometres"
    assert clean("{{nowrap|a}} {{lang|fr|b}}") == "a b"
    assert clean("{{cvt2|10|km}}", cvt2="{{convert|{{{1}}}|{{{2}}}}}") == "10 kilometres"
    assert clean("{{S|mills}}", S="<div class=stub>stub</div>") == ""
    assert clean("{{lit|a}}", lit="litre of {{{1}}}") == "litre of a"
    assert clean("a {{quote|To be.|H}} b", quote="<table>{{{1}}}</table>") == "a\n\nTo be. — H\n\nb"
    assert clean("{{frac|3|1|2}}", frac="{{{1}}}<sup>{{{2}}}</sup>⁄{{{3}}}") == "3 1/2"


def test_functions_in_articles() -> None:
    text = "{{#if:a|yes|no}} {{FORMATNUM:9876543}} {{lc:ABC}} {{#expr:1+1}} {{ucfirst:{{lc:AB}}}}"
    assert clean(text) == "yes 9,876,543 abc 2 Ab"
    assert clean("a {{DEFAULTSORT:B}} {{#invoke:X|y}} c") == "a c"


@pytest.mark.parametrize(
    ("language", "number", "shown"),
    [
        ("en", "9876543", "9,876,543"),
        ("zh", "1234.5678", "1,234.5678"),
        ("de", "3769495", "3.769.495"),
        ("de", "-1234.5", "−1.234,5"),
        ("tr", "1234", "1.234"),
        ("fr", "9876543.21", "9\xa0876\xa0543,21"),
        ("ru", "12345", "12\xa0345"),
        ("es", "1234", "1234"),
        ("pl", "12345", "12\xa0345"),
        ("ar", "9876543.5", "9٬876٬543٫5"),
        ("en", "about 5", "about 5"),
        ("en", "", ""),
    ],
)
def test_numbers_have_the_separators_of_the_language(
    language: str, number: str, shown: str
) -> None:
    assert grouped(language, number) == shown
    assert ungrouped(language, shown) == number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1+2*3", 7),
        ("(1+2)*3", 9),
        ("2^3^2", 64),
        ("-2^2", 4),
        ("7 mod 4 + 1", 4),
        ("1.25 round 1", 1.3),
        ("1234 round -2", 1200),
        ("sqrt 16", 4),
        ("pi round 2", 3.14),
        ("e", pytest.approx(2.718281828)),
        ("1 = 1 and 2 <> 3", 1),
        ("5 &minus; 3", 2),
        ("1/0", None),
        ("1+", None),
        ("a", None),
        ("1 2", None),
        ("", None),
        ("9^9^9^9^9", None),
        ("(" * 500 + "1" + ")" * 500, None),
        ("1" * 3000, None),
    ],
)
def test_expressions(text: str, value: float | None) -> None:
    assert expressions.evaluate(text) == value


SIGNS = """
{{ }} {{{ }}} | = [[ ]] #if: #ifeq: #switch: #expr: #ifexpr: #default formatnum: plural: lc:
padleft: #tag: #titleparts: #iferror: #invoke: date unité convert s flag t0 t1 t2 subst:
Template: 1 -3 a
<noinclude> </noinclude> <includeonly> <onlyinclude> </onlyinclude> <ref> </ref> <nowiki> </nowiki>
<div </div> class=navbox> <span> {| |} |- ( ) + / : # * ' ''
"""
PIECES = st.sampled_from([*SIGNS.split(), " ", "\n", "一", "#REDIRECT [["])
TEXTS = st.lists(PIECES, max_size=25).map("".join)


@settings(deadline=None)
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_any_templates_leave_text_without_markup(
    page: str, first: str, other: str, last: str
) -> None:
    cleaner = cleaner_of({"t0": first, "t1": other, "t2": last}, "fr")
    for wikitext in (page, f"a {{{{t0|{page}|b=c}}}} {{{{t1}}}} d"):
        text = cleaner.clean(wikitext, "T")
        assert not re.search("[\0-\x08\x0b\x0e\ud800-\udfff]", text)


BOMBS = {
    "doubling": {f"t{n}": f"{{{{t{n + 1}|{{{{{{1}}}}}}{{{{{{1}}}}}}}}}}" for n in range(50)},
    "tree": {f"t{n}": f"{{{{t{n + 1}}}}}{{{{t{n + 1}}}}}" for n in range(60)},
    "wide": {"t0": "{{t1|{{t1|{{t1|{{t1|xxxxxxxxxx}}}}}}}}", "t1": "{{{1}}}" * 1000},
    "switch": {"t0": "{{#switch:q|" + "|".join(f"k{n}=v" for n in range(10_000)) + "}}" * 1},
    "padding": {"t0": "{{padleft:x|99999999|ab}}"},
    "loop": {"t0": "{{t1|{{{1}}}}}{{t1}}", "t1": "{{t0|{{{1}}}{{{1}}}}}{{t0}}"},
    "nested": {
        f"t{n}": "{{#if:1|" * 39 + f"{{{{t{n + 1}|{{{{{{1}}}}}}}}}}" + "}}" * 39 for n in range(50)
    },
    "arguments": {
        f"t{n}": f"{{{{t{n + 1}|" + "{{#if:1|" * 30 + "{{{1}}}" + "}}" * 32 for n in range(50)
    },
    "brackets": {"t0": "[[" * 5_000 + "|=" * 5_000},
    "elements": {"t0": "<div class=navbox>" * 20_000},
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_template_takes_more_than_its_share(name: str) -> None:
    """Of time, of text and of the stack, which other code needs too."""
    cleaner = cleaner_of(BOMBS[name])
    deep = "{{t0|" * 35 + "boom" + "}}" * 35
    limit, start = sys.getrecursionlimit(), time.process_time()
    sys.setrecursionlimit(900)
    try:
        text = cleaner.clean(f"A {{{{t0|boom}}}} and {deep} mill. " * 20, "T")
    finally:
        sys.setrecursionlimit(limit)
    assert len(text) < 5_000_000
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("language", "call", "text"),
    [
        ("en", "{{convert|2.5|e6acre}}", "2.5 million acres"),
        ("en", "{{convert|3|e9USgal|abbr=on}}", "3 billion USgal"),
        ("fr", "{{unité|12345|m|s|-1}} {{nombre|9876543}}", "12 345 m s⁻¹ 9 876 543"),
        ("fr", "{{date|5|mai|1818}} {{date-|5 mai 1818}}", "5 mai 1818 5 mai 1818"),
        ("fr", "{{date|1|mai|1818}} {{date||mai|1818}} {{date|}}", "1er mai 1818 mai 1818"),
        ("en", "{{As of|2013|June|8}} {{as of|2013|6}}", "As of 8 June 2013 As of June 2013"),
        ("de", "{{formatnum:3769495}}", "3.769.495"),
        ("hi", "{{formatnum:3769495.5}} {{formatnum:123}}", "37,69,495.5 123"),
        ("bn", "{{formatnum:3769495}}", "৩৭,৬৯,৪৯৫"),
        ("fa", "{{formatnum:3769495.5}} {{formatnum:۱٬۲۳۴|R}}", "۳٬۷۶۹٬۴۹۵٫۵ 1234"),
        ("fr", "au {{s|XIX|e}}, {{citation|Bonjour}}", "au XIXe siècle, « Bonjour »"),
        ("en", "a{{sfn|A|1990}}, b{{cite web|x}}", "a, b"),
    ],
)
def test_what_lua_makes_stands_in_the_list(language: str, call: str, text: str) -> None:
    cleaner = cleaner_of({}, language)
    assert cleaner.clean(call, "T") == text
    assert not cleaner.holes.counts
