"""Names of languages, for templates that begin with one: {{lang-el|...}} reads "Greek: ..."."""

from __future__ import annotations

NAMES = {
    "en": (
        "ar Arabic|az Azerbaijani|be Belarusian|bg Bulgarian|bn Bengali|ca Catalan|cs Czech|cy "
        "Welsh|da Danish|de German|el Greek|grc Ancient Greek|grc-gre Greek|en English|eo "
        "Esperanto|es Spanish|et Estonian|eu Basque|fa Persian|fi Finnish|fr French|ga Irish|gd "
        "Scottish Gaelic|gl Galician|gu Gujarati|he Hebrew|hi Hindi|hr Croatian|hu Hungarian|hy "
        "Armenian|id Indonesian|is Icelandic|it Italian|ja Japanese|ka Georgian|kab Kabyle|kk "
        "Kazakh|ko Korean|ku Kurdish|la Latin|lt Lithuanian|lv Latvian|mk Macedonian|mn Mongolian"
        "|ms Malay|mt Maltese|nl Dutch|no Norwegian|nb Norwegian|pa Punjabi|pl Polish|ps Pashto|"
        "pt Portuguese|ro Romanian|ru Russian|sa Sanskrit|sk Slovak|sl Slovene|sq Albanian|sr "
        "Serbian|sh Serbo-Croatian|sv Swedish|sw Swahili|ta Tamil|te Telugu|th Thai|tl Tagalog|tr "
        "Turkish|uk Ukrainian|ur Urdu|uz Uzbek|vi Vietnamese|yi Yiddish|zh Chinese|ang Old English"
        "|ber Berber|nah Nahuatl|ota Ottoman Turkish"
    ),
    "zh": (
        "ar 阿拉伯语|bg 保加利亚语|ca 加泰罗尼亚语|cs 捷克语|da 丹麦语|de 德语|el 希腊语|grc "
        "古希腊语|en 英语|eo 世界语|es 西班牙语|et 爱沙尼亚语|fa 波斯语|fi 芬兰语|fr 法语|ga "
        "爱尔兰语|he 希伯来语|hi 印地语|hr 克罗地亚语|hu 匈牙利语|id 印尼语|is 冰岛语|it 意大利语|"
        "ja 日语|ko 韩语|la 拉丁语|lt 立陶宛语|lv 拉脱维亚语|mn 蒙古语|ms 马来语|nl 荷兰语|no "
        "挪威语|pl 波兰语|pt 葡萄牙语|ro 罗马尼亚语|ru 俄语|sa 梵语|sk 斯洛伐克语|sl "
        "斯洛文尼亚语|sq 阿尔巴尼亚语|sr 塞尔维亚语|sv 瑞典语|th 泰语|tr 土耳其语|uk 乌克兰语|vi "
        "越南语|zh 汉语|bo 藏语|ug 维吾尔语"
    ),
    "ja": (
        "ar アラビア語|bg ブルガリア語|cs チェコ語|da デンマーク語|de ドイツ語|el ギリシア語|grc "
        "古代ギリシア語|en 英語|eo エスペラント|es スペイン語|fa ペルシア語|fi フィンランド語|fr "
        "フランス語|he ヘブライ語|hi ヒンディー語|hu ハンガリー語|id インドネシア語|it イタリア語"
        "|ko 朝鮮語|la ラテン語|mn モンゴル語|nl オランダ語|no ノルウェー語|pl ポーランド語|pt "
        "ポルトガル語|ro ルーマニア語|ru ロシア語|sa サンスクリット|sr セルビア語|sv "
        "スウェーデン語|th タイ語|tr トルコ語|uk ウクライナ語|vi ベトナム語|zh 中国語"
    ),
    "bg": (
        "ar арабски|cs чешки|da датски|de немски|el гръцки|grc старогръцки|en английски|es испански"
        "|fa персийски|fi финландски|fr френски|he иврит|hr хърватски|hu унгарски|it италиански|ja "
        "японски|la латински|mk македонски|nl нидерландски|no норвежки|pl полски|pt португалски|ro "
        "румънски|ru руски|sa санскрит|sk словашки|sl словенски|sq албански|sr сръбски|sv шведски|"
        "tr турски|uk украински|zh китайски"
    ),
}
SAME = {"simple": "en"}
COLON = {"zh": "：", "bg": ": "}


def language_names(wiki: str) -> dict[str, str]:
    """What a wiki calls languages, by their codes; empty for a wiki whose words are not known."""
    names = NAMES.get(SAME.get(wiki, wiki), "")
    return dict(entry.split(" ", 1) for entry in names.split("|")) if names else {}


def with_language(wiki: str, name: str, text: str) -> str:
    """A text after the name of its language."""
    colon = COLON.get(wiki, ": ")
    name = f"на {name}" if wiki == "bg" and name != "иврит" else name
    return f"{name}{colon}{text}" if name else text
