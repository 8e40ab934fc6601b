"""Template pages for test dumps, in the form that they have on the wikis (documentation, redirects,
functions, spans), and sentences that use them. The words are our own.

By language: the name of the namespace, the pages by their names, and sentences with what a reader
of the page sees.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WikiTemplates:
    """Templates of one wiki."""

    prefix: str
    pages: dict[str, str]
    sentences: tuple[tuple[str, str], ...]


DOC = "<noinclude>\n{{Documentation}}\nUse it {{{like|this}}}. [[Category:Templates]]</noinclude>"

EN = WikiTemplates(
    "Template",
    {
        "Pi": '<span class="texhtml">&pi;</span>' + DOC,
        "Carbon": "[[carbon]]<noinclude>{{doc}}</noinclude>",
        "Railgauge": "#REDIRECT [[Template:Track gauge]]",
        "RailGauge": "#REDIRECT [[Template:Railgauge]]",
        "Track gauge": '<span style="white-space:nowrap">{{#switch:{{lc:{{{1}}}}}'
        "|ussg|4ft8.5in|sg=4&nbsp;ft 8&frac12;&nbsp;in|1000mm|1m=1,000&nbsp;mm"
        "|#default={{{1}}}}}</span>{{#ifeq:{{{al|}}}|on|&#32;[[standard gauge]]}}" + DOC,
        "Currency": "{{#if:{{{2|}}}|{{Currency/{{uc:{{{2}}}}}}}}}{{formatnum:{{{1}}}}}" + DOC,
        "Currency/USD": "US$",
        "Currency/EUR": "&euro;",
        "Pop density": "{{formatnum:{{#expr:{{{1}}} / {{{2}}} round {{{prec|0}}}}}}}&#47;km²"
        "<includeonly>{{#if:{{{cat|}}}|[[Category:Dense]]}}</includeonly>" + DOC,
        "Convert": "{{#invoke:Convert|convert}}" + DOC,
        "Sfn": "{{#invoke:Footnotes|sfn}}",
        "Rp": '<sup class="reference nowrap">:&thinsp;{{{1}}}</sup>',
        "Citation needed": "{{Fix|text=citation needed|date={{{date|}}}}}<noinclude>x</noinclude>",
        "Cn": "#redirect [[template:citation needed]]",
        "Fix": '<sup class="noprint Inline-Template" style="white-space:nowrap;">&#91;'
        "<i>[[WP:X|{{{text}}}]]</i>&#93;</sup>{{#if:{{{date|}}}|[[Category:From {{{date}}}]]}}",
        "Flag": '<span class="flagicon">[[File:Flag of {{{1}}}.svg|23x15px|border|alt=]]&nbsp;'
        "</span>[[{{{1}}}]]",
        "Main": '<div role="note" class="hatnote">Main article: [[{{{1}}}]]</div>',
        "Infobox mill": '{| class="infobox"\n! {{{name}}}\n|-\n| {{{built|unknown}}}\n|}' + DOC,
        "Mills": "{{Navbox|name=Mills|list1=[[A]]}}",
        "Navbox": "{{#invoke:Navbox|navbox}}",
        "Stub": '<div class="metadata plainlinks stub">This article is a stub.</div>',
        "Nowrap begin": "<span class=nowrap>",
        "Big number": "{{#ifexpr:{{{1}}} > 1000000|{{#expr:{{{1}}}/1000000 round 1}} million"
        "|{{formatnum:{{{1}}}}}}}",
        "Respell": "<i>{{uc:{{{1}}}}}{{#if:{{{2|}}}|-{{{2}}}}}</i>",
    },
    (
        ("A circle of radius r is 2{{pi}}r around.", "A circle of radius r is 2πr around."),
        ("Steel holds {{Carbon}} and iron.", "Steel holds carbon and iron."),
        ("Laid in {{RailGauge|4ft8.5in|al=on}}.", "Laid in 4 ft 8½ in standard gauge."),
        ("Laid in {{railgauge|1M}} once.", "Laid in 1,000 mm once."),
        ("It cost {{Currency|9876543|usd}} then.", "It cost US$9,876,543 then."),
        ("About {{pop density|120000|350|prec=1}} live here.", "About 342.9/km² live here."),
        ("It is {{convert|10|km|mi}} long.", "It is 10 kilometres long."),
        ("It is old.{{sfn|A|1990}}{{rp|7}} It stands.", "It is old. It stands."),
        ("It is old{{cn|date=May 2010}} and it stands.", "It is old and it stands."),
        ("The {{flag|Norway}} team won.", "The Norway team won."),
        ("Say it {{respell|mil|ler}} there.", "Say it MIL-ler there."),
        (
            "There are {{big number|2345678}} of {{big number|1234}}.",
            "There are 2.3 million of 1,234.",
        ),
        ("{{Main|Mill}}\nA mill grinds.\n{{Mills}}\n{{stub}}", "A mill grinds."),
        ("{{Infobox mill|name=A|built=1800}}\nA mill grinds.", "A mill grinds."),
    ),
)

FR = WikiTemplates(
    "Modèle",
    {
        "Unité": '<span class="nowrap">{{formatnum:{{{1}}}}}{{#if:{{{2|}}}|&nbsp;{{{2}}}'
        "{{#if:{{{3|}}}|<sup>{{{3}}}</sup>}}}}</span><noinclude>{{Documentation}}</noinclude>",
        "S-": '<abbr class="abbr" title="{{{1}}}{{{2|e}}} siècle"><span class="romain">{{{1}}}'
        "</span><sup>{{{2|e}}}</sup></abbr>&nbsp;siècle<noinclude>{{Documentation}}</noinclude>",
        "E": "<sup>e</sup>",
        "Ier": '<abbr class="abbr" title="Premier">I<sup>er</sup></abbr>',
        "Date-": "{{#if:{{{3|}}}|{{#ifeq:{{{1}}}|1|1<sup>er</sup>|{{{1}}}}} {{{2}}}"
        " {{{3}}}|{{{1}}}}}",
        "Heure": "<span class=nowrap>{{{1}}}&nbsp;h{{#if:{{{2|}}}|&nbsp;"
        "{{padleft:{{{2}}}|2|0}}}}</span>",
        "Incise": "–&nbsp;{{{1}}}{{#ifeq:{{{2|}}}|stop||&nbsp;–}}",
        "Nombre": "#REDIRECTION [[Modèle:Unité]]",
        "Référence nécessaire": '<span class="need_ref">{{{1|}}}</span><sup class="need_ref_tag '
        'noprint">[réf.&nbsp;nécessaire]</sup>',
        "Article détaillé": '<div class="bandeau-container bandeau-section">Article détaillé : '
        "[[{{{1}}}]].</div>",
        "Lien": "{{#if:{{{texte|}}}|{{{texte}}}|{{{fr|{{{trad|{{{1}}}}}}}}}}}",
    },
    (
        ("Il coule sur {{unité|12345|km}} vers le sud.", "Il coule sur 12 345 km vers le sud."),
        ("Bâti au {{s-|XIX}} ou au {{s-|I|er}}.", "Bâti au XIXe siècle ou au Ier siècle."),
        ("Le {{date-|1|mai|1818}} à {{heure|7|5}}.", "Le 1er mai 1818 à 7 h 05."),
        ("Le moulin {{incise|un vieux|stop}}.", "Le moulin – un vieux."),
        ("On compte {{nombre|9876543}} âmes.", "On compte 9 876 543 âmes."),
        ("C'est {{référence nécessaire|un fait}}.", "C'est un fait."),
        ("Voir {{Lien|langue=de|trad=Mühle|fr=Moulin}} ici.", "Voir Moulin ici."),
        ("{{Article détaillé|Moulin}}\nLouis {{Ier}} le vit.", "Louis Ier le vit."),
    ),
)

ES = WikiTemplates(
    "Plantilla",
    {
        "Siglo": '<span style="font-variant:small-caps;text-transform:lowercase">{{{1}}}</span>'
        "{{#if:{{{2|}}}|&nbsp;{{#switch:{{{2}}}|a|A|a. C.=a.&nbsp;C.|d=d.&nbsp;C.}}}}"
        "<noinclude>{{documentación}}</noinclude>",
        "Unidad": "{{formatnum:{{{1}}}}}&nbsp;{{{2}}}",
        "Cita requerida": '<sup class="noprint">&#91;[[cita requerida]]&#93;</sup>',
        "Esd": "<sup>[</sup>{{#tag:ref|{{{1}}}}}<sup>]</sup>",
        "AP": "<div class=\"noprint rellink hatnote\">Artículo principal: ''[[{{{1}}}]]''</div>",
    },
    (
        (
            "Se levantó en el {{siglo|XIX}} y en el {{Siglo|II|a}}.",
            "Se levantó en el XIX y en el II a. C..",
        ),
        ("Mide {{unidad|12345|m}} y {{unidad|4321|m}}.", "Mide 12 345 m y 4321 m."),
        ("Es viejo{{cita requerida}} y alto.", "Es viejo y alto."),
        ("{{AP|Molino}}\nEs un molino.", "Es un molino."),
    ),
)

DE = WikiTemplates(
    "Vorlage",
    {
        "Lang": '<span lang="{{{1}}}" class="lang">{{{2|{{{Text|}}}}}}</span><noinclude>'
        "{{Dokumentation}}</noinclude>",
        "ENS": "[[Englische Sprache|englisch]] {{Lang|en|{{{1}}}}}",
        "EnS": "#WEITERLEITUNG [[Vorlage:ENS]]",
        "Zahl": "{{formatnum:{{#expr:{{{1}}} * 1}}}}",
        "Hauptartikel": '<div class="hauptartikel" role="navigation">Hauptartikel: '
        "[[{{{1}}}]]</div>",
        "Höhe": "{{formatnum:{{{1}}}}}{{#if:{{{2|}}}|&nbsp;[[Meter|{{#switch:{{{2}}}|DE-NN=m ü. NN"
        "|AT|CH=m ü. {{#ifeq:{{{2}}}|AT|A.|M.}}}}]]}}",
    },
    (
        ("Die Mühle ({{lang|nl|molen}}) mahlt.", "Die Mühle (molen) mahlt."),
        ("Die Mühle ({{enS|''mill''}}) mahlt.", "Die Mühle (englisch mill) mahlt."),
        ("Es sind {{formatnum:3769495}} und {{zahl|1234,5}}.", "Es sind 3.769.495 und."),
        ("Sie steht auf {{Höhe|1234|AT}}.", "Sie steht auf 1.234 m ü. A.."),
        ("{{Hauptartikel|Mühle}}\nSie mahlt.", "Sie mahlt."),
    ),
)

ZH = WikiTemplates(
    "Template",
    {
        "CHN": "{{flagicon|CHN}}{{#if:{{{1|}}}|{{{1}}}|[[中华人民共和国|中国]]}}"
        "<noinclude>[[Category:国旗]]</noinclude>",
        "USA": "#重定向 [[Template:美国旗]]",
        "美国旗": "{{flagicon|USA}}[[美国]]",
        "Flagicon": '<span class="flagicon">[[File:Flag of {{{1}}}.svg|25px|border]]&nbsp;</span>',
        "JPN": "{{Flagicon|JPN}}[[日本]]",
        "Link-en": '<span class="ilh">[[{{{1}}}|{{{3|{{{1}}}}}}]]</span><span class="noprint">'
        "（[[:en:{{{2}}}|{{{2}}}]]）</span>",
        "Age": "{{#expr:{{{4}}}-{{{1}}}-({{{5}}}<{{{2}}} or {{{5}}}={{{2}}} and {{{6}}}<{{{3}}})}}",
    },
    (
        ("有{{CHN}}、{{USA}}的{{JPN}}队。", "有中国、美国的日本队。"),
        ("{{CHN|北京}}队在{{link-en|磨坊|Mill}}里。", "北京队在磨坊里。"),
        (
            "他活了{{Age|1900|5|6|1980|5|5}}岁，有{{formatnum:9876543}}人。",
            "他活了79岁，有9,876,543人。",
        ),
    ),
)

JA = WikiTemplates(
    "Template",
    {
        "JPN": "{{Flagicon|日本}}&nbsp;[[日本]]<noinclude>{{Documentation}}</noinclude>",
        "Flagicon": "[[ファイル:Flag of {{{1}}}.svg|border|25px]]",
        "読み": '<span lang="ja">{{{1}}}（{{{2}}}）</span>',
        "要出典": '<sup class="noprint">［[[要出典]]］</sup>',
    },
    (
        ("東京は{{JPN}}の首都である。", "東京は日本の首都である。"),
        ("{{読み|水車|すいしゃ}}は古い{{要出典|date=2010年}}。", "水車（すいしゃ）は古い。"),
    ),
)

RU = WikiTemplates(
    "Шаблон",
    {
        "S": '<span style="white-space:nowrap">{{{1}}}</span><noinclude>{{doc}}</noinclude>',
        "Число": "{{formatnum:{{{1}}}}} {{plural:{{{1}}}|{{{2}}}|{{{3}}}|{{{4}}}}}",
        "Нп5": '[[{{{2|{{{1}}}}}}]]<sup class="noprint">[[:{{{3|en}}}:{{{1}}}|[{{{3|en}}}]]]</sup>',
        "Не переведено 5": "#перенаправление [[Шаблон:Нп5]]",
        "Основная статья": '<div class="dablink hatnote noprint">Основная: [[{{{1}}}]]</div>',
    },
    (
        ("Там {{число|9876543|мельница|мельницы|мельниц}}.", "Там 9 876 543 мельницы."),
        ("Там {{число|11|мельница|мельницы|мельниц}}.", "Там 11 мельниц."),
        ("Там {{не переведено 5|Mill|Мельница|de}} стоит.", "Там Мельница стоит."),
        ("{{Основная статья|Река}}\nОна {{s|старая}}.", "Она старая."),
    ),
)

OTHERS: dict[str, WikiTemplates] = {
    "it": WikiTemplates(
        "Template",
        {
            "M": "{{formatnum:{{{1}}}}}{{#if:{{{3|{{{u|}}}}}}|&nbsp;{{{3|{{{u}}}}}}}}",
            "S": '<div class="avviso noprint">Questa voce è un abbozzo.</div>',
            "Vedi anche": '<div class="hatnote noprint vedi-anche">Vedi [[{{{1}}}]].</div>',
            "TA": "<span class=nowrap>{{{1}}}</span>",
        },
        (
            ("È lungo {{M|12345|u=km}} circa.", "È lungo 12 345 km circa."),
            ("Il {{TA|vecchio mulino}} gira.\n\n{{S|mulini}}", "Il vecchio mulino gira."),
            ("{{Vedi anche|Mulino}}\nGira.", "Gira."),
        ),
    ),
    "pt": WikiTemplates(
        "Predefinição",
        {
            "Séc": "[[século {{{1}}}]]",
            "Fmtn": "{{formatnum:{{{1}}}}}{{#if:{{{2|}}}|&nbsp;{{{2}}}}}",
            "Carece de fontes": '<sup class="noprint">[[carece|[carece de fontes]]]</sup>',
        },
        (
            ("Foi feito no {{séc|XIX}} ali.", "Foi feito no século XIX ali."),
            ("Tem {{fmtn|12345|m}} de rio{{carece de fontes}}.", "Tem 12 345 m de rio."),
        ),
    ),
    "pl": WikiTemplates(
        "Szablon",
        {
            "W": "{{formatnum:{{{1}}}}} {{{2}}}",
            "Fakt": '<sup class="noprint">[potrzebne źródło]</sup>',
        },
        (("Ma {{w|12345|m}} i {{w|4321|m}}{{fakt}}.", "Ma 12 345 m i 4321 m."),),
    ),
    "nl": WikiTemplates(
        "Sjabloon",
        {
            "Getal": "{{formatnum:{{{1}}}}}",
            "Bron?": '<sup class="noprint">[bron?]</sup>',
            "Zie hoofdartikel": ":''Zie [[{{{1}}}]] voor het hoofdartikel.''",
        },
        (
            ("Er zijn {{getal|3769495}} molens{{Bron?}}.", "Er zijn 3.769.495 molens."),
            ("{{Zie hoofdartikel|Molen}}\nHij draait.", "Hij draait."),
        ),
    ),
    "ar": WikiTemplates(
        "قالب",
        {
            "ألمانية": '<small>[[لغة ألمانية|بالألمانية]]: </small><span lang="de">{{{1}}}</span>',
            "عدد": "{{formatnum:{{{1}}}}}",
            "لغة-أل": "#تحويل [[قالب:ألمانية]]",
        },
        (
            ("برلين ({{ألمانية|Berlin}}) مدينة.", "برلين (بالألمانية: Berlin) مدينة."),
            ("برلين ({{لغة-أل|Berlin}}) مدينة.", "برلين (بالألمانية: Berlin) مدينة."),
            ("فيها {{عدد|9876543}} نسمة.", "فيها 9٬876٬543 نسمة."),
        ),
    ),
    "tr": WikiTemplates(
        "Şablon",
        {"Alm": "[[Almanca]]: ''{{{1}}}''", "Sayı": "{{formatnum:{{{1}}}}}"},
        (
            (
                "Berlin ({{Alm|Berlin}}) {{sayı|3769495}} kişidir.",
                "Berlin (Almanca: Berlin) 3.769.495 kişidir.",
            ),
        ),
    ),
    "vi": WikiTemplates(
        "Bản mẫu",
        {
            "VIE": "[[Tập tin:Flag of Vietnam.svg|22px]]&nbsp;[[Việt Nam]]",
            "Số": "{{formatnum:{{{1}}}}}",
            "Chính": '<div class="hatnote">Bài chính: [[{{{1}}}]]</div>',
        },
        (
            ("Đội {{VIE}} có {{số|3769495}} người.", "Đội Việt Nam có 3.769.495 người."),
            ("{{chính|Cối xay}}\nNó quay.", "Nó quay."),
        ),
    ),
    "bg": WikiTemplates(
        "Шаблон",
        {"Брой": "{{formatnum:{{{1}}}}}", "Виж": "#виж [[Шаблон:Брой]]"},
        (("Те са {{брой|9876543}} и {{виж|1234}}.", "Те са 9 876 543 и 1234."),),
    ),
    "simple": WikiTemplates("Template", {"Pi": "π"}, (("It is 2{{pi}}r.", "It is 2πr."),)),
    "ltg": WikiTemplates(
        "Veidne",
        {"Skaits": "{{formatnum:{{{1}}}}}"},
        (("Te {{skaits|98765}} ļauds.", "Te 98 765 ļauds."),),
    ),
}
WIKIS = {"en": EN, "fr": FR, "es": ES, "de": DE, "zh": ZH, "ja": JA, "ru": RU, **OTHERS}
