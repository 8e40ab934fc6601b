"""What a page's wikitext reads like when it is clean."""

from __future__ import annotations

from typing import Any

import pytest

from data_process.wiki.text.kinds import is_disambiguation, is_redirect
from data_process.wiki.text.wikitext import WikitextCleaner, WikitextSettings


def clean(wikitext: str, language: str = "en", **settings: Any) -> str:
    return WikitextCleaner(WikitextSettings(**settings), {}, language).clean(wikitext, "The title")


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("a <!-- note\n\nmore --> b", "a b"),
        ("a <!-- never closed [[b]]", "a"),
        ("a<ref name=x/>, b<ref>{{cite web|a=[[b]]}} <b>c</b></ref>.", "a, b."),
        ("a <ref>b</ref>, c <ref name=d/>.", "a, c."),
        ("a<ref>never closed. A sentence.", "anever closed. A sentence."),
        ("'''bold''' ''italic'' '''''both''''' b", "bold italic both b"),
        ("[[dog]]s [[Dog (animal)|the dogs]] [[Dog (animal)|]] [[a#b|c]]", "dogs the dogs Dog c"),
        (
            "[[Talk: of the town]] [[:Category:Dogs]] [[:de:Hund|Hund]]",
            "Talk: of the town Category:Dogs Hund",
        ),
        ("a\n[[Category:Dogs|*]]\n[[de:Hund]]\n[[Kategorie:Hunde]]\nb", "a\nb"),
        ("see [http://a.example the page] and [http://a.example] too", "see the page and too"),
        (
            "a<br>b<br />c H<sub>2</sub>O 10<sup>-5</sup> the 1<sup>st</sup>",
            "a\nb\nc H2O 10⁻⁵ the 1st",
        ),
        ("R&amp;D&nbsp;&ndash; 5 &lt; 6&#33;", "R&D – 5 < 6!"),
        ("a\n__NOTOC__\nb ~~~~", "a\nb"),
        ("a\n\n\n\nb   c\u00a0d", "a\n\nb c d"),
        ("<div style='x'>a</div><span id=b>b</span>", "a\nb"),
        ("if a <b and c> d", "if a d"),
        ("1 < 2 and <unknown> stay", "1 < 2 and <unknown> stay"),
    ],
)
def test_markup_is_replaced_by_what_it_shows(wikitext: str, text: str) -> None:
    assert clean(wikitext) == text


def test_headings_stay_where_text_follows_them() -> None:
    wikitext = (
        "a\n== One ==\n=== Empty ===\n== Two ==\n=== ''Part'' ===\nb\n== References ==\n{{reflist}}"
    )
    assert clean(wikitext) == "a\n\nTwo\n\nPart\n\nb"
    assert clean(wikitext, keep_headings=False) == "a\n\nb"
    assert clean("a\n== One ==\n{{reflist}}\n \t\n") == "a"


def test_a_line_of_spaces_parts_paragraphs() -> None:
    assert clean("a\n \t\nb") == "a\n\nb"


def test_a_dash_typed_after_the_sign_of_an_item_is_not_doubled() -> None:
    assert clean("* [http://a.example - a page]") == "- a page"


def test_lists_keep_their_marks_or_go() -> None:
    wikitext = (
        "a\n* b\n** c\n* {{cite web|d}}\n# one\n# two\n## deep\n# three\n; term\n: meaning\ne"
    )
    assert clean(wikitext) == "a\n- b\n- c\n1. one\n2. two\n1. deep\n3. three\nterm\nmeaning\ne"
    assert clean(wikitext, keep_lists=False) == "a\nterm\nmeaning\ne"


def test_tables_go_but_their_prose_stays() -> None:
    prose = (
        "In this cell a story is told that fills more than one line of the page. It has an end, "
        "too. And so it is kept as a paragraph of its own."
    )
    rows = "! head !! head\n|-\n| 1 || 2\n{|\n| inner\n|}\n"
    wikitext = f"a\n{{| class=x\n{rows}| style='b' | {prose}\n|}}\nb"
    assert clean(wikitext) == f"a\n\n{prose}\n\nb"
    assert clean("a\n{|\n| never closed\nA sentence after it.") == "a\nA sentence after it."
    assert clean("a<table><tr><td>b</td></tr></table>c") == "a\nc"


def test_captions_that_are_sentences_stand_before_their_paragraph() -> None:
    caption = "The old [[mill|water mill]] by the river, as it was seen by {{lang|fr|un peintre}}."
    wikitext = f"Some [[File:Mill.jpg|thumb|left|200px|alt=A mill|{caption}]] text."
    expected = "The old water mill by the river, as it was seen by un peintre.\n\nSome text."
    assert clean(wikitext) == expected
    assert clean(wikitext.replace("water mill", "water<br>\n\nmill")) == expected
    assert clean("Some [[Image:Mill.jpg|thumb|The mill]] text.") == "Some text."
    assert clean(f"a\n<gallery>\nMill.jpg|{caption}\nB.jpg|b\n</gallery>\nc").endswith(
        "peintre.\n\nc"
    )


def test_namespaces_of_the_dump_are_known() -> None:
    cleaner = WikitextCleaner(WikitextSettings(), {6: "Bestandje", 14: "Soort"}, "xx")
    assert cleaner.clean("a[[Bestandje:x.jpg|thumb|b]] [[Soort:x]]c", "T") == "a c"


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Ayn''' ({{IPAc-en|x}}; born 1905) wrote", "Ayn (born 1905) wrote"),
        ("'''Ayn''' (1905; {{IPAc-en|x}}) wrote", "Ayn (1905) wrote"),
        ("'''Ayn''' ({{IPAc-en|x}}) wrote {{fact}}, too{{fact}}.", "Ayn wrote, too."),
        ("'''Ayn''' (pronounced {{IPAc-en|x}} or {{IPAc-en|y}}), too", "Ayn, too"),
        ("阿（{{IPAc-zh|x}}，{{audio}}）是（{{IPAc-zh|x}}；1905年）", "阿是（1905年）"),
        ("such as {{ipac-en|a}}, {{ipac-en|b}}, or c", "such as, or c"),
        ("a ({{x}} (b {{y}}), {{z}}) c", "a ((b)) c"),
        ("'''X''' ({{IPA|en|ɛks}}; born 1900)", "X (ɛks; born 1900)"),
        ("'''X''' ({{IPA|fr|}}; born 1900)", "X (born 1900)"),
        (
            "'''X''' ({{lang-ru|Икс}}, {{IPA|zh-Hans|iks|lang}}; {{in lang|fr}}) is",
            "X (Russian: Икс, iks) is",
        ),
        ("X ({{audio|x.ogg}}; {{IPA-fr|x}}) is {{IPA|ts}} {{IPA|/x/|it}}", "X is ts /x/"),
        ('{{x}}, b\n{{x}}\n* {{x}}.\nc "{{x}}" d', "b\nc d"),
        ("the function f() stays ()", "the function f() stays ()"),
    ],
)
def test_nothing_dangles_where_a_template_stood(wikitext: str, text: str) -> None:
    assert clean(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        (
            "a <nowiki>[[b]] {{c}} ''d'' __TOC__ ~~~~</nowiki> e",
            "a [[b]] {{c}} ''d'' __TOC__ ~~~~ e",
        ),
        ("the &lt;ref&gt; tag, &amp;nbsp; and &amp;amp;lt;", "the <ref> tag, &nbsp; and &amp;lt;"),
        ("&#91;&#91;a&#93;&#93; &#39;&#39;b&#39;&#39;", "[[a]] ''b''"),
        ("&#42; a\n&#61;= b ==\n&#35;c", "* a\n== b ==\n#c"),
        ("<code>__init__</code>, a[b[0]], {a:{b:1}}, {{{{x}}}}", "__init__, a[b[0]], {a:{b:1}},"),
        ("* <code>#include</code>\n# <nowiki># x</nowiki>", "- #include\n1. # x"),
        ("<syntaxhighlight inline>m  = [[1]]</syntaxhighlight>;", "m  = [[1]];"),
        ("<pre>a:\n\tb  &lt; {{1}}\n\n\n<nowiki>''</nowiki>\n</pre>", "a:\n\tb  < {{1}}\n\n\n''"),
        ("{{small|<nowiki>|{{x}}=</nowiki>}} ([[a|<nowiki>]</nowiki>]])", "|{{x}}= (])"),
        ("<syntaxhighlight>&lt; '' s = ''</syntaxhighlight>", "&lt; '' s = ''"),
    ],
)
def test_what_is_shown_as_typed_is_not_changed(wikitext: str, text: str) -> None:
    assert clean(wikitext) == text


def test_code_stands_in_lines_of_its_own_as_typed() -> None:
    code = "# define A\nint a[] = {{1, 2}};\n\n\n\tx  = a;   s = '';  /* [[b]] __c__ */"
    for name in ("syntaxhighlight", "source", "pre"):
        assert clean(f"a\n<{name} lang='c'>\n{code}\n</{name}>\nb") == f"a\n\n{code}\n\nb"


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("L''''Autriche'''", "L'Autriche"),
        ("L'''Odyssée''", "L'Odyssée"),
        ("''Argo'''s crew", "Argo's crew"),
        ("'''Argo''''s crew, '''Argo'''s crew", "Argo's crew, Argos crew"),
        ("''Argo''<nowiki/>'s and ''Beta''<nowiki></nowiki>'s", "Argo's and Beta's"),
        ("un d'''a''b'' ''c", "un d'ab c"),
        ("one'''two l'''''three''''' ''four", "one'two lthree four"),
        ("one'''two l'''x''' ''four", "onetwo l'x four"),
        ("a '''b'' c", "a 'b c"),
        ("''''''six'''''' '''''''seven'''''''", "'six' ''seven''"),
        ("'''''x'' y''' z", "x y z"),
        ("''never closed\nl'''x'''", "never closed\nlx"),
        ("''a<br>l'''x", "a\nl'x"),
        ("'' ''", ""),
    ],
)
def test_apostrophes_are_bold_and_italic_as_in_mediawiki(wikitext: str, text: str) -> None:
    assert clean(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("[[File:A.jpg|thumb|By [http://a.example Bob]]] Body", "Body"),
        ("[[File:A.jpg|thumb|By [http://a.example [[Bob]]]]] Body", "Body"),
        ("[[File:A.jpg|thumb|[[File:B.jpg|20px]] [[a|b]] [sic]]] Body", "Body"),
        ("[[File:A.jpg|thumb|a[b[0]]] Body", "Body"),
        ("[[a|b [c]]] [[d]]] [[e|f]] [g]", "b [c] d] f [g]"),
        ("[[http://a.example b]] [gopher://a.example c] [tel:1 d] [//a.example e]", "[b] c d e"),
    ],
)
def test_brackets_in_links_close_what_they_close_in_mediawiki(wikitext: str, text: str) -> None:
    assert clean(wikitext) == text


def test_a_caption_is_found_before_options_of_any_language() -> None:
    caption = "The old mill by the river has not been in use [sic] for a hundred years."
    for last in (
        "rechts",
        "20px",
        "alternativtext=Eine Mühle steht am Fluss und dreht sich nicht.",
    ):
        wikitext = f"Text [[Datei:A.jpg|mini|{caption}|{last}]] here."
        assert clean(wikitext, "de") == f"{caption}\n\nText here."
    assert clean(f"[[File:A.jpg|thumb|{caption[:-1]} by [http://a.example Bob].]] Body") == (
        f"{caption[:-1]} by Bob.\n\nBody"
    )


def test_formulas_are_latex_as_typed_or_gone() -> None:
    wikitext = r"where <math>\frac{{a}}{b_{c}} &lt; f'' [[1]]</math> holds"
    assert clean(wikitext) == r"where $\frac{{a}}{b_{c}} < f'' [[1]]$ holds"
    assert clean(wikitext, math="drop") == "where holds"


def test_words_of_the_chosen_variant_are_taken() -> None:
    wikitext = (
        "{{NoteTA|G1=IT|1=zh-cn:软件;zh-tw:軟體}}-{T|zh-cn:甲;zh-tw:乙}-軟體和-{軟體}-，"
        "-{zh-hans:网络;zh-hant:網路}-，-{H|zh-cn:鼠标;zh-tw:滑鼠}-滑鼠，-{zh-tw|只有臺灣}-。"
    )
    assert clean(wikitext, "zh") == "软件和軟體，网络，鼠标，。"
    assert clean(wikitext, "zh", variant="zh-hk") == "軟體和軟體，網路，滑鼠，只有臺灣。"
    assert clean("-{zh-hk:甲;zh-tw:乙}-", "zh") == "甲"
    assert clean("-{R|a:b}- -{never closed", "zh") == "a:b -{never closed"


def test_variants_are_chosen_where_a_wiki_has_them_and_however_deep() -> None:
    name = "2-{4-[(methyl)amino]phenyl}-N-oxide"
    assert clean(f"This is {name}.") == f"This is {name}."
    assert clean("-{Mark Twain}- je -{sr-ec:овде;sr-el:ovde}-.", "sr") == "Mark Twain je овде."
    assert clean("德-{zh-hans:国;zh-hant:國}-", "en") == "德国"  # a wrong head
    assert clean(f"{'-{' * 8}甲{'}-' * 8}乙", "zh") == "甲乙"
    assert clean(f"{'-{a' * 40}甲{'}-' * 40}乙", "zh") == f"{'a' * 40}甲乙"


@pytest.mark.parametrize(
    ("caption", "language"),
    [
        ("नदी के किनारे की चक्की, जिसे गाँव के लोगों ने बहुत समय पहले बनाया था।", "hi"),
        ("강가의 방앗간은 마을 사람들이 지었다. 지금도 돌아간다.", "ko"),
        ("دریا کے کنارے کی چکی جسے گاؤں کے لوگوں نے بہت پہلے بنایا تھا۔", "ur"),
        ("Գետի ափին գտնվող ջրաղացը, որը գյուղի բնակիչները կառուցել են վաղուց։", "hy"),
    ],
)
def test_captions_are_sentences_in_every_script(caption: str, language: str) -> None:
    assert clean(f"[[File:A.jpg|thumb|{caption}]]x", language) == f"{caption}\n\nx"


def test_magic_words_of_other_languages_go_and_words_of_code_stay() -> None:
    wikitext = "__KEIN_INHALTSVERZEICHNIS__\nIn C: __FILE__ und __init__.\n__БЕЗОГЛ__ __目次__"
    assert clean(wikitext, "de") == "In C: __FILE__ und __init__."


def test_redirects_are_known_in_many_languages() -> None:
    for text in (
        "#REDIRECT [[A]]",
        "  #redirect:[[A]]",
        "#重定向 [[甲]]",
        "#転送[[甲]]",
        "#виж [[А]]",
    ):
        assert is_redirect(text)
    assert not is_redirect("# one [[A]]")
    assert not is_redirect("A #REDIRECT [[A]]")


def test_disambiguation_pages_are_known_by_the_templates_of_their_language() -> None:
    assert is_disambiguation("a\n{{Disambiguation|geo}}", "en")
    assert is_disambiguation("a {{hndis}}", "simple")
    assert is_disambiguation("甲\n{{消歧义}}", "zh")
    assert is_disambiguation("甲\n{{Aimai}}", "ja")
    assert is_disambiguation("а {{Пояснение}}", "bg")
    assert is_disambiguation("a {{homonymie}}", "xx")
    assert is_disambiguation("a __DISAMBIG__", "en")
    assert not is_disambiguation("a {{homonymie}}", "en")
    assert not is_disambiguation("a {{homonymie}}", "simple")
    assert not is_disambiguation("a [[b]]{{disambiguation needed|date=May 2016}} {{about|x}}", "en")
