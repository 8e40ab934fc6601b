"""Templates in the form that they have on the wikis, called as articles call them: what MediaWiki
shows there, and what is counted because Lua or the day decides it."""

from __future__ import annotations

import pytest

from data_process.wiki.text.wikitext import WikitextCleaner, WikitextSettings
from tests.data_process.wiki.test_template_expansion import library_of

NAMESPACE = {"de": "Vorlage", "fr": "Modèle"}
CALLERS: list[tuple[str, dict[str, str], str, str, list[str]]] = [
    (
        "en",
        {
            "Lang": (
                "{{#invoke:Lang|lang}}<noinclude>\n{{Documentation}}\n<!-- cats go to "
                "/doc -->\n</noinclude>"
            )
        },
        "The ''{{lang|de|Mühle}}'' turns.",
        "The Mühle turns.",
        [],
    ),
    (
        "en",
        {
            "USS": (
                "{{#invoke:WPSHIPS utilities|ship|USS}}<noinclude>\n{{Documentation}}"
                "\n<!-- cats go to /doc -->\n</noinclude>"
            ),
            "Ship": "{{#invoke:WPSHIPS utilities|ship}}",
        },
        "The {{USS|Monitor}} and {{ship|USS|Maine|ACR-1|6}} sank.",
        "The USS Monitor and Maine sank.",
        [],
    ),
    (
        "en",
        {
            "Frac": (
                '<templatestyles src="X/styles.css" /><span class="frac">{{#if:{{{3|}}}'
                '|{{{1}}}<span class="sr-only">+</span>}}<span class="num">{{{2|{{{1|1}'
                '}}}}}</span>&frasl;<span class="den">{{{3|{{{2}}}}}}</span></span>'
                "<noinclude>\n{{Documentation}}\n<!-- cats go to /doc -->\n</noinclude>"
            )
        },
        "It is {{frac|1|2}} mile and {{frac|3|1|2}} inch.",
        "It is 1/2 mile and 3 1/2 inch.",
        [],
    ),
    (
        "en",
        {
            "Nihongo": (
                "{{#invoke:Nihongo|main}}<noinclude>\n{{Documentation}}\n<!-- cats go to "
                "/doc -->\n</noinclude>"
            )
        },
        "{{Nihongo|'''Tokyo'''|東京|Tōkyō|lit. eastern capital}} is big.",
        "Tokyo (東京, Tōkyō, lit. eastern capital) is big.",
        [],
    ),
    (
        "en",
        {"Post-nominals": "{{#invoke:Post-nominals|main}}"},
        "Sir John Smith {{post-nominals|country=GBR|KCB|FRS}} was old.",
        "Sir John Smith was old.",
        ["Post-nominals"],
    ),
    (
        "en",
        {"Cvt": "{{convert|{{{1}}}|{{{2}}}|abbr=on}}", "Convert": "{{#invoke:convert|convert}}"},
        "It is {{cvt|5|km|mi}} away.",
        "It is 5 km away.",
        [],
    ),
    (
        "en",
        {
            "Birth date and age": (
                '<span style="display:none"> (<span class="bday">{{{1}}}'
                "-{{padleft:{{{2}}}|2|0}}-{{padleft:{{{3}}}|2|0}}</span>) </span>"
                "{{#if:{{{df|}}}|{{#expr:{{{3}}}}} {{MONTHNAME|{{{2}}}}} {{{1}}}|"
                "{{MONTHNAME|{{{2}}}}} {{#expr:{{{3}}}}}, {{{1}}}}}<span "
                'class="noprint ForceAgeToShow"> (age&nbsp;{{age|{{{1}}}|{{{2}}}|{{{3}}'
                "}}})</span><noinclude>\n{{Documentation}}\n<!-- cats go to /doc -->"
                "\n</noinclude>"
            ),
            "MONTHNAME": "{{#switch:{{#expr:{{{1}}}}}|1=January|2=February|5=May}}",
        },
        "He was born {{birth date and age|1950|05|06}} in Rome.",
        "He was born May 6, 1950 in Rome.",
        [],
    ),
    (
        "en",
        {
            "US$": (
                "[[United States dollar|US$]]{{#if:{{{1|}}}|{{{1}}}}}<noinclude>"
                "\n{{Documentation}}\n<!-- cats go to /doc -->\n</noinclude>"
            )
        },
        "It cost {{US$|5 million}} then.",
        "It cost US$5 million then.",
        [],
    ),
    (
        "en",
        {"INRConvert": "{{#invoke:Currency|x}}"},
        "It cost {{INRConvert|5|c}} then.",
        "It cost ₹5 crore then.",
        [],
    ),
    (
        "en",
        {
            "Chem": (
                '<span class="chemf nowrap">{{{1|}}}{{#if:{{{2|}}}|<sub '
                'class="template-chem2-sub">{{{2}}}</sub>}}{{{3|}}}{{#if:{{{4|}}}|<sub>'
                "{{{4}}}</sub>}}</span><noinclude>\n{{Documentation}}\n<!-- cats go to "
                "/doc -->\n</noinclude>"
            )
        },
        "Water is {{chem|H|2|O}} here.",
        "Water is H2O here.",
        [],
    ),
    (
        "en",
        {"Val": "{{#invoke:val|main}}"},
        "It is {{val|1.6|0.1|e=5|u=km}} long.",
        "It is 1.6±0.1×10⁵ km long.",
        [],
    ),
    (
        "en",
        {"Sup": "<sup>{{{1}}}</sup>"},
        "10{{sup|5}} mills.",
        "10⁵ mills.",
        [],
    ),
    (
        "en",
        {"Circa": "{{#invoke:Circa|c}}"},
        "Built {{circa|1500}} there.",
        "Built c. 1500 there.",
        [],
    ),
    (
        "en",
        {
            "Circa": (
                '<span title="circa">c.</span>{{#if:{{{1|}}}|&thinsp;{{{1}}}{{#if:{{{2|'
                "}}}|&nbsp;– c.&thinsp;{{{2}}}}}}}<noinclude>\n{{Documentation}}\n<!-- "
                "cats go to /doc -->\n</noinclude>"
            )
        },
        "Built {{circa|1500|1510}} there.",
        "Built c.\u20091500 – c.\u20091510 there.",
        [],
    ),
    (
        "en",
        {
            "As of": (
                "{{DMCA|All articles containing potentially dated statements|from|{{{2|"
                "}}} {{{1}}}}}{{#if:{{{alt|}}}|{{{alt}}}|{{#if:{{{lc|}}}|as|As}} of "
                "{{#if:{{{2|}}}|{{#switch:{{{2}}}|5|05=May|6=June}}&#32;}}{{{1}}}"
                '{{{post|}}}}}<sup class="noprint asof-tag">[update]</sup><noinclude>'
                "\n{{Documentation}}\n<!-- cats go to /doc -->\n</noinclude>"
            ),
            "DMCA": "[[Category:{{{1}}} {{{2}}} {{{3}}}]]",
        },
        "{{As of|2010|5}}, it stood.",
        "As of May 2010, it stood.",
        [],
    ),
    (
        "en",
        {
            "Interlanguage link": "{{#invoke:Interlanguage link|x}}",
            "Ill": "#REDIRECT [[Template:Interlanguage link]]",
        },
        "She met {{ill|Anna Müller|de}} and {{Interlanguage link|Foo (x)|fr|lt=Foo}} there.",
        "She met Anna Müller and Foo there.",
        [],
    ),
    (
        "en",
        {
            "Nowrap": (
                '<span class="nowrap">{{{1}}}</span><noinclude>\n{{Documentation}}\n<!-- '
                "cats go to /doc -->\n</noinclude>"
            )
        },
        "It {{nowrap|1=a = b}} is.",
        "It a = b is.",
        [],
    ),
    (
        "en",
        {"Abbr": '<abbr class="abbr" title="{{{2}}}">{{{1}}}</abbr>'},
        "A {{abbr|UN|United Nations}} mill.",
        "A UN mill.",
        [],
    ),
    (
        "en",
        {"See above": '<span class="plainlinks">[[#{{{1}}}|see above]]</span>'},
        "It is old ({{see above|X}}).",
        "It is old (see above).",
        [],
    ),
    (
        "en",
        {
            "Ordinal": (
                "{{{1}}}{{#ifeq:{{#expr:trunc({{{1}}} mod 100/10)}}|1|th|"
                "{{#switch:{{#expr:{{{1}}} mod 10}}|1=st|2=nd|3=rd|th}}}}<noinclude>"
                "\n{{Documentation}}\n<!-- cats go to /doc -->\n</noinclude>"
            )
        },
        "The {{ordinal|21}}, {{ordinal|13}}, {{ordinal|102}} mill.",
        "The 21st, 13th, 102nd mill.",
        [],
    ),
    (
        "en",
        {"Sic": "{{#if:{{{hide|}}}|{{{1}}}{{{2|}}}|{{{1|}}}{{{2|}}} &#91;<i>[[sic]]</i>&#93;}}"},
        "He say{{sic|ed}} it.",
        "He sayed [sic] it.",
        [],
    ),
    (
        "en",
        {
            "Oldstyledate": (
                '<span class="nowrap">{{{1}}}</span> [<small>[[Old Style|O.S.]]</small>'
                " {{{3}}}] {{{2}}}"
            )
        },
        "On {{oldstyledate|5 May|1818|23 April}} he came.",
        "On 5 May [O.S. 23 April] 1818 he came.",
        [],
    ),
    (
        "en",
        {"Inflation": "{{#invoke:Inflation|x}}"},
        "It cost £5 (equal to £{{inflation|UK|5|1900}} today).",
        "It cost £5 (equal to £ today).",
        ["Inflation"],
    ),
    (
        "en",
        {
            "Quote": (
                '{{#invoke:Quote|main}}<templatestyles src="x" /><blockquote '
                'class="templatequote">{{{1|{{{text}}}}}}<div '
                'class="templatequotecite">— <cite>{{{2|{{{author|}}}}}}</cite></div>'
                "</blockquote>"
            )
        },
        "He said:\n{{quote|To be or not to be.|author=Hamlet}}\nand left.",
        "He said:\nTo be or not to be.\n— Hamlet\n\nand left.",
        [],
    ),
    (
        "en",
        {
            "Blockquote": (
                '<templatestyles src="X/styles.css" /><blockquote class="templatequote '
                '{{{class|}}}">\n{{{1|{{{text|}}}}}}\n{{#if:{{{2|{{{author|}}}}}}|<div '
                'class="templatequotecite">— <cite>{{{2|{{{author}}}}}}</cite></div>}}'
                "\n</blockquote><noinclude>\n{{Documentation}}\n<!-- cats go to /doc -->"
                "\n</noinclude>"
            )
        },
        "He said:\n{{Blockquote|To be.|Hamlet}}\nThen he left.",
        "He said:\n\nTo be.\n\n— Hamlet\n\nThen he left.",
        [],
    ),
    (
        "en",
        {
            "Visible anchor": (
                '<span class="vanchor"><span id="{{anchorencode:{{{1}}}}}"></span>'
                '<span class="vanchor-text">{{{text|{{{1}}}}}}</span></span>'
            )
        },
        "The {{visible anchor|old mill}} turns.",
        "The old mill turns.",
        [],
    ),
    (
        "en",
        {"Coord": "{{#invoke:Coordinates|coord}}"},
        "It lies at {{coord|13|19|N|169|9|W|display=inline}}.",
        "It lies at 13°19′N 169°9′W.",
        [],
    ),
    (
        "en",
        {"Lang-fr": "{{langx|fr|{{{1}}}}}", "Langx": "{{#invoke:Lang|langx}}"},
        "The mill ({{lang-fr|moulin}}) turns.",
        "The mill (French: moulin) turns.",
        [],
    ),
    (
        "en",
        {"Ordered": "<ol><li>{{{1}}}</li><li>{{{2}}}</li></ol>"},
        "Two:\n{{ordered|a mill|a river}}",
        "Two:\n\n- a mill\n\n- a river",
        [],
    ),
    (
        "en",
        {
            "Str": (
                "{{#switch:{{{{{|safesubst:}}}lc:{{{1}}}}}|a|b=one|#default={{{{{|"
                "safesubst:}}}ucfirst:{{{1}}}}}}}"
            )
        },
        "It is {{str|B}} or {{str|mill}}.",
        "It is one or Mill.",
        [],
    ),
    (
        "en",
        {"Unsigned": "{{<includeonly>subst:</includeonly>x}}text {{{1}}}<!--\n-->"},
        "A {{unsigned|u}}.",
        "A text u.",
        ["X"],
    ),
    (
        "en",
        {"Lines": "a<!--\n\n-->{{#if:{{{1|}}}\n| b\n| c\n}}<!--\n-->d"},
        "X {{lines|1}}.",
        "X abd.",
        [],
    ),
    (
        "fr",
        {
            "S mini-": "{{s mini}}{{{1}}}{{Exp|{{{2|e}}}}}&nbsp;siècle",
            "S mini": "",
            "Exp": "<sup>{{{1}}}</sup>",
        },
        "Au {{s mini-|XIX|e}} il fut.",
        "Au XIXe siècle il fut.",
        [],
    ),
    (
        "fr",
        {"Lien": "{{#invoke:Lien|x}}"},
        "Voir {{Lien|Anna|lang=de|texte=Anna M.}} ici.",
        "Voir Anna M. ici.",
        [],
    ),
    (
        "fr",
        {"Unité": "{{#invoke:Unité|x}}"},
        "Il mesure {{unité|12345|km}} ici.",
        "Il mesure 12 345 km ici.",
        [],
    ),
    (
        "fr",
        {"Date": "{{#invoke:Date|x}}"},
        "Né le {{date|5|mai|1818}} à Paris.",
        "Né le 5 mai 1818 à Paris.",
        [],
    ),
    (
        "fr",
        {"1er": '<abbr class="abbr" title="Premier">1<sup>er</sup></abbr>'},
        "Le {{1er}} mai.",
        "Le 1er mai.",
        [],
    ),
    (
        "fr",
        {"Nobr": '<span class="nowrap">{{{1}}}</span>'},
        "Il a {{nobr|5 km}} ici.",
        "Il a 5 km ici.",
        [],
    ),
    (
        "fr",
        {
            "Citation": (
                '<span class="citation">«&nbsp;{{{1}}}&nbsp;»</span><noinclude>'
                "\n{{Documentation}}\n<!-- cats go to /doc -->\n</noinclude>"
            )
        },
        "Il dit {{citation|Être ou ne pas être}}.",
        "Il dit « Être ou ne pas être ».",
        [],
    ),
    (
        "fr",
        {"Citation bloc": '<div style="margin-left:2em"><blockquote>{{{1}}}</blockquote></div>'},
        "Il dit :\n{{citation bloc|Être ou ne pas être.}}\nPuis il partit.",
        "Il dit :\n\nÊtre ou ne pas être.\n\nPuis il partit.",
        [],
    ),
    (
        "fr",
        {"Langue": '<span lang="{{{1}}}">{{{2}}}</span>', "Lang": "#REDIRECTION [[Modèle:Langue]]"},
        "Le mot {{lang|en|mill}} dit.",
        "Le mot mill dit.",
        [],
    ),
    (
        "fr",
        {"Av JC": '{{#if:{{{1|}}}|{{{1}}}&nbsp;}}<abbr title="avant J.-C.">av. J.-C.</abbr>'},
        "En 50 {{av JC}} il fut.",
        "En 50 av. J.-C. il fut.",
        [],
    ),
    (
        "fr",
        {
            "Refnec": (
                '<span class="need_ref">{{{1|}}}</span><sup class="need_ref_tag" '
                'style="padding-left:2px;">[réf.&nbsp;nécessaire]</sup>'
            )
        },
        "C'est {{refnec|vrai}}.",
        "C'est vrai.",
        [],
    ),
    (
        "fr",
        {"Pc": '<span style="font-variant:small-caps">{{{1}}}</span>'},
        "Par {{pc|Dupont}}.",
        "Par Dupont.",
        [],
    ),
    (
        "de",
        {
            "Zitat": (
                '<div class="Vorlage_Zitat" style="margin:1em 40px;">\n<div '
                'style="margin:1em 0;">{{#switch:{{{lang|de}}}|de=„{{{Text|{{{1}}}}}}“}'
                '}</div>\n{{#if:{{{Autor|{{{2|}}}}}}|<div class="cite">– {{{Autor|{{{2}}'
                "}}}}</div>}}</div>"
            )
        },
        "Er sagt:\n{{Zitat|Sein oder nicht sein.|Autor=Hamlet}}\nDann ging er.",
        "Er sagt:\n\n„Sein oder nicht sein.“\n\n– Hamlet\n\nDann ging er.",
        [],
    ),
    (
        "de",
        {"DatumZelle": "{{#iferror:{{#time:j. F Y|{{{1}}}}}|{{{1}}}}}"},
        "Am {{DatumZelle|2010-05-05}} kam er.",
        "Am 5. Mai 2010 kam er.",
        [],
    ),
    (
        "de",
        {"nowrap": '<span style="white-space:nowrap">{{{1}}}</span>'},
        "Es sind {{nowrap|5 km}} dahin.",
        "Es sind 5 km dahin.",
        [],
    ),
    (
        "de",
        {"SpaceX": "[[SpaceX]]"},
        "Die Firma {{SpaceX}} baut.",
        "Die Firma SpaceX baut.",
        [],
    ),
    (
        "de",
        {"FormatNum": "{{formatnum:{{{1}}}}}"},
        "Es sind {{Vorlage:FormatNum|1234567}} da.",
        "Es sind 1.234.567 da.",
        [],
    ),
    (
        "de",
        {
            "Zh": (
                "{{#if:{{{v|}}}|{{lang|zh-Hans|{{{v}}}}}|{{lang|zh|{{{c}}}}}}}"
                "{{#if:{{{p|}}}|, [[Pinyin]] ''{{{p}}}''}}"
            ),
            "lang": '<span lang="{{{1}}}">{{{2}}}</span>',
        },
        "Peking ({{zh|c=北京|p=Běijīng}}) ist groß.",
        "Peking (北京, Pinyin Běijīng) ist groß.",
        [],
    ),
    (
        "de",
        {"Internetquelle": "{{#invoke:x|y}}"},
        "Es ist so.<ref>{{Internetquelle|url=x}}</ref> Ja.",
        "Es ist so. Ja.",
        [],
    ),
    (
        "de",
        {'"': "{{#if:{{{ref|}}}|}}„{{{1}}}“"},
        'Er sagt {{"|Nein}}.',
        "Er sagt „Nein“.",
        [],
    ),
    (
        "de",
        {"Bruch": "<sup>{{{2}}}</sup>⁄<sub>{{{3}}}</sub>"},
        "Es ist {{Bruch||1|2}} da.",
        "Es ist ¹⁄2 da.",
        [],
    ),
    (
        "es",
        {
            "Cita": (
                '<blockquote class="templatequote">{{{1}}}{{#if:{{{2|}}}|<div '
                'class="templatequotecite">{{{2}}}</div>}}</blockquote>'
            )
        },
        "Dijo:\n{{cita|Ser o no ser.|Hamlet}}\nY se fue.",
        "Dijo:\n\nSer o no ser.\nHamlet\n\nY se fue.",
        [],
    ),
    (
        "es",
        {"Unidad": "{{#invoke:Número|x}}"},
        "Mide {{unidad|12345|m}} aquí.",
        "Mide 12 345 m aquí.",
        [],
    ),
    (
        "es",
        {
            "Siglo": (
                '<span style="font-variant:small-caps;text-transform:lowercase">{{{1}}}'
                "</span>&nbsp;{{{2|}}}"
            )
        },
        "En el siglo {{siglo|XIX}} fue.",
        "En el siglo XIX fue.",
        [],
    ),
    (
        "ja",
        {"読み仮名": "<ruby>{{{1}}}<rp>（</rp><rt>{{{2}}}</rt><rp>）</rp></ruby>"},
        "{{読み仮名|水車|すいしゃ}}は古い。",
        "水車（すいしゃ）は古い。",
        [],
    ),
    (
        "ja",
        {"ルビ": "<ruby><rb>{{{1}}}</rb><rp>（</rp><rt>{{{2}}}</rt><rp>）</rp></ruby>"},
        "{{ルビ|水車|すいしゃ}}は古い。",
        "水車（すいしゃ）は古い。",
        [],
    ),
    (
        "ja",
        {"Lang": '<span lang="{{{1}}}">{{{2}}}</span>'},
        "独名は{{lang|de|Mühle}}である。",
        "独名はMühleである。",
        [],
    ),
    (
        "ja",
        {"仮リンク": "{{#invoke:仮リンク|x}}"},
        "彼は{{仮リンク|水車小屋|de|Mühle}}にいた。",
        "彼は水車小屋にいた。",
        [],
    ),
    (
        "ja",
        {"Lang-de": '[[ドイツ語]]: <span lang="de">{{{1}}}</span>'},
        "水車（{{lang-de|Mühle}}）は古い。",
        "水車（ドイツ語: Mühle）は古い。",
        [],
    ),
    (
        "ja",
        {"JPY": "{{#if:{{{1|}}}|{{formatnum:{{{1}}}}}}}円"},
        "価格は{{JPY|12345}}である。",
        "価格は12,345円である。",
        [],
    ),
    (
        "ja",
        {"和暦": "{{#expr:{{{1}}}-1988}}年"},
        "平成{{和暦|2010}}に。",
        "平成22年に。",
        [],
    ),
    (
        "zh",
        {"Le": "{{link-en|{{{1}}}|{{{2}}}|{{{3|}}}}}", "Link-en": "{{#invoke:ilh|main}}"},
        "他在{{le|磨坊|Mill}}里。",
        "他在磨坊里。",
        [],
    ),
    (
        "zh",
        {"Tsl": "{{#invoke:ilh|x}}"},
        "他在{{tsl|en|Mill|磨坊}}里，{{tsl|de|Mühle|}}。",
        "他在磨坊里，Mühle。",
        [],
    ),
    (
        "zh",
        {"Bd": "（{{{1|}}}{{{2|}}}－{{{3|}}}{{{4|}}}）[[Category:{{{1}}}出生]]"},
        "马克思{{bd|1818年|5月5日|1883年|3月14日}}是人。",
        "马克思（1818年5月5日－1883年3月14日）是人。",
        [],
    ),
    (
        "zh",
        {"Lang": '<span lang="{{{1}}}" xml:lang="{{{1}}}">-{{{{2}}}}-</span>'},
        "德语为{{lang|de|Mühle}}。",
        "德语为Mühle。",
        [],
    ),
    (
        "zh",
        {"Zh-tw": "-{zh-hans:{{{1}}};zh-hant:{{{2}}}}-"},
        "这是{{zh-tw|软件|軟體}}。",
        "这是软件。",
        [],
    ),
    (
        "zh",
        {"CNY": "[[人民币|¥]]{{{1}}}"},
        "价格为{{CNY|5}}元。",
        "价格为¥5元。",
        [],
    ),
    (
        "ru",
        {"S": '<span class="nowrap">{{{1}}}</span>'},
        "Там {{s|5 км}} пути.",
        "Там 5 км пути.",
        [],
    ),
    (
        "ru",
        {
            "Нп": "{{не переведено|{{{1}}}|{{{2|}}}|{{{3|}}}|{{{4|}}}}}",
            "Не переведено": (
                '<span class="iw" data-title="{{{1}}}">[[{{{1}}}|{{#if:{{{2|}}}|{{{2}}}'
                '|{{{1}}}}}]]<sup class="noprint">[[:{{{3|en}}}:{{{4}}}|[{{{3|en}}}'
                "]]]</sup></span>"
            ),
        },
        "Там {{нп|Мельница||de|Mühle}} стоит.",
        "Там Мельница стоит.",
        [],
    ),
    (
        "ru",
        {"Число": "{{formatnum:{{{1}}}}}"},
        "Там {{число|1234567}} людей.",
        "Там 1 234 567 людей.",
        [],
    ),
    (
        "ru",
        {"Дата": "{{#time:j xg Y|{{{3}}}-{{{2}}}-{{{1}}}}}"},
        "Родился {{дата|5|5|1818}} года.",
        "Родился 5 мая 1818 года.",
        [],
    ),
    (
        "ru",
        {"Lang-en": '[[Английский язык|англ.]]&nbsp;<span lang="en">{{{1}}}</span>'},
        "Мельница ({{lang-en|mill}}) стоит.",
        "Мельница (англ. mill) стоит.",
        [],
    ),
    (
        "ru",
        {"Début цитаты": "<blockquote>", "Конец цитаты": "</blockquote>"},
        "Он сказал:\n{{Début цитаты}}Быть или не быть.{{Конец цитаты}}\nИ ушёл.",
        "Он сказал:\nБыть или не быть.\nИ ушёл.",
        [],
    ),
    (
        "ru",
        {"Nobr": '<span class="nowrap">{{{1}}}</span>'},
        "Там {{nobr|5 км}}.",
        "Там 5 км.",
        [],
    ),
    (
        "ko",
        {"Llang": '<span lang="{{{1}}}">{{{2}}}</span>', "한글": "{{#만약:{{{1|}}}|{{{1}}}|없음}}"},
        "물레방아({{llang|en|mill}})는 {{한글|가}}다.",
        "물레방아(mill)는 가다.",
        [],
    ),
    (
        "ar",
        {"إنج": "[[إنجليزية|بالإنجليزية]]: {{{1}}}"},
        "طاحونة ({{إنج|Mill}}) قديمة.",
        "طاحونة (بالإنجليزية: Mill) قديمة.",
        [],
    ),
    (
        "he",
        {
            "אנג": '[[אנגלית|באנגלית]]: <span dir="ltr">{{{1}}}</span>',
            "אם": "{{#תנאי:{{{1|}}}|כן|לא}}",
        },
        "טחנה ({{אנג|Mill}}) {{אם|1}} ישנה.",
        "טחנה (באנגלית: Mill) כן ישנה.",
        [],
    ),
    (
        "fa",
        {"انگلیسی": "{{#اگر:{{{1|}}}|[[انگلیسی]]: {{{1}}}|}}"},
        "آسیاب ({{انگلیسی|Mill}}) کهن است.",
        "آسیاب (انگلیسی: Mill) کهن است.",
        [],
    ),
    (
        "hi",
        {"लैंग": '<span lang="{{{1}}}">{{{2}}}</span>'},
        "चक्की ({{लैंग|en|mill}}) पुरानी है।",
        "चक्की (mill) पुरानी है।",
        [],
    ),
    (
        "tr",
        {"İng": "[[İngilizce]]: {{{1}}}"},
        "Değirmen ({{İng|mill}}) eski.",
        "Değirmen (İngilizce: mill) eski.",
        [],
    ),
    (
        "vi",
        {"Lang-en": "[[tiếng Anh]]: {{{1}}}"},
        "Cối ({{lang-en|mill}}) cũ.",
        "Cối (tiếng Anh: mill) cũ.",
        [],
    ),
    (
        "pl",
        {"Ang.": "([[język angielski|ang.]] ''{{{1}}}'')"},
        "Młyn {{ang.|mill}} stoi.",
        "Młyn (ang. mill) stoi.",
        [],
    ),
    (
        "nl",
        {"Nl": "{{#als:{{{1|}}}|{{{1}}}|x}}"},
        "De {{nl|molen}} draait.",
        "De molen draait.",
        [],
    ),
    (
        "pt",
        {"Ing": "{{#se:{{{1|}}}|[[Língua inglesa|em inglês]]: {{{1}}}}}"},
        "O moinho ({{ing|mill}}) gira.",
        "O moinho (em inglês: mill) gira.",
        [],
    ),
    (
        "it",
        {"Inglese": "{{#se:{{{1|}}}|{{{1}}}}}"},
        "Il mulino ({{inglese|mill}}) gira.",
        "Il mulino (mill) gira.",
        [],
    ),
]
"""Language, pages of templates, wikitext, what is shown, templates that are counted as dropped."""


@pytest.mark.parametrize(("language", "pages", "text", "shown", "dropped"), CALLERS)
def test_callers_show_what_the_wiki_shows(
    language: str, pages: dict[str, str], text: str, shown: str, dropped: list[str]
) -> None:
    names = {10: NAMESPACE.get(language, "Template")}
    cleaner = WikitextCleaner(WikitextSettings(), names, language, library=library_of(pages))
    assert cleaner.clean(text, "Berlin") == shown
    assert list(cleaner.holes.counts) == dropped
