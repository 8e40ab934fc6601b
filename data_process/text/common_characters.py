"""Characters that texts are full of, by the encodings that these texts come in.

Text that is read in the encoding it was written in has many of them, read in another one hardly
any: half of all Chinese is made of some 250 characters, nearly all French of the accents below.
"""

from __future__ import annotations

HANZI = (
    "的一是不在人有我他个中上大和地到以要就出可也你生能而子那得下自之年作里用道行所然家事成方多去法"
    "如都同面起看定天分好小部其些主理心她本前但因只想日者意力它把十民第公此已工使情明性知全三又正外"
    "高由很最重物手向文美相被利什二等或新己身果加西月合回特代内信表化老世位次度任常先海通教原提立"
    "及比水名真各入口平活更打女四神安少反受目太再建做接必件期市直命山金指至形社便空治科五基眼非白"
    "光放强像且思王完式色路南品住告求程北死交取格望共清今切笑走坐吃叫快哥父母早夜花草石火雨"
    "春秋江河海朝暮夕古城池寺僧客酒曲柳桃竹松残影玉青宫柱何未复悲愁寒霜雪孤舟泊帆落叶初尽武唐"
)
"""Written alike in simplified and traditional Chinese."""
SIMPLIFIED = (
    "了这们来为国说时会对于着过发后种经么学现当没动还进样开从实军无与长机关点业将两间问并应战头体"
    "见产东话给门儿声员解论处义几认条系气题尔别变总何电数报才结务场计管资许统区保队决展马司书则听"
    "风云阳鸟飞闲声红诗词归帘乐杨罗绣边楼银鱼"
    "却界达难权象设记类据边张该规万拉觉术领确传师觀院讓识候带导争运爱亲妈脸谁哪吗呢吧啊虽"
)
TRADITIONAL = (
    "了這們來為國說時會對於著過發後種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間問並應戰頭體"
    "見產東話給門兒聲員解論處義幾認條係氣題爾別變總何電數報才結務場計管資許統區保隊決展馬司書則聽"
    "風雲陽鳥飛閒聲紅詩詞歸簾樂楊羅繡邊樓銀魚"
    "卻界達難權象設記類據邊張該規萬拉覺術領確傳師觀院讓識候帶導爭運愛親媽臉誰哪嗎呢吧啊雖裡"
)
MARKS = "，。、！？：；“”‘’「」『』《》（）…—　"
KANA = "".join(map(chr, (*range(0x3041, 0x3094), *range(0x30A1, 0x30F7)))) + "ー・々"
KANJI = (
    "日人一大年出本中子見国言上分生手自行者二間事思時気会十家女三前的方入小地合後目長場代私下立部"
    "学物月田何来彼話体動社知理山内同心発高実作当新世今書度明五戦力名金性対意用男主通関文屋感郎業"
)
HANGUL = (
    "이다는의에을를가은고하지한도로서기사나리어아자인그들니대시해수있것정보부스전일게만제마면구주성원"
    "여했라과비장상동선무소조경적우으와습내려말안않았었없때람오러지까데처럼며된될할함국개저모두거세"
)
COMMON = {
    "gb18030": HANZI + SIMPLIFIED + TRADITIONAL + MARKS,
    "utf_16_le": HANZI + SIMPLIFIED + TRADITIONAL + KANA + MARKS,
    "utf_16_be": HANZI + SIMPLIFIED + TRADITIONAL + KANA + MARKS,
    "big5": HANZI + TRADITIONAL + MARKS,
    "big5hkscs": HANZI + TRADITIONAL + MARKS,
    "cp932": KANA + KANJI + MARKS,
    "euc_jp": KANA + KANJI + MARKS,
    "euc_kr": HANGUL,
    "cp949": HANGUL,
    "cp1252": "éèàùâêîôûçëïüöäßñáíóúœæøåÉÀÇÈÄÖÜÅØÆãõ¿¡«»“”‘’–—…°\u00a0",
    "cp1250": "ąćęłńóśźżěščřžýáíéúůďťňäöüßőűăâîșşţŠČŽŁŚ„”“’–—…«»\u00a0",
    "cp1251": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфіїєўъОЕАИНТСРВКМДП«»—–…№“”\u00a0",
    "koi8_r": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъОЕАИНТСРВКМДП",
    "cp1253": "αοιετσνηυρπκμλωςδγχθφβάέήίόύώΑΕΟΚΤΠΜ«»–—’\u00a0",
}
"""Common characters beyond ASCII, by encoding; of two that fit equally the first one is taken."""
USUAL_SHARE = dict.fromkeys(
    ("gb18030", "utf_16_le", "utf_16_be", "big5", "big5hkscs", "euc_kr", "cp949"), 0.55
)
"""The share of them in a text; of the encodings that are not named, 0.9."""
ENOUGH = 0.6
"""Of the usual share; below it no encoding fits."""
SETS = {name: frozenset(characters) for name, characters in COMMON.items()}


def fit(sample: bytes, encoding: str) -> float:
    """How well bytes fit an encoding: 0 not at all, about 1 as a usual text does; bytes that are no
    text count against it."""
    beyond = [c for c in sample.decode(encoding, errors="replace") if c > "\x7f"]
    if not beyond:
        return 0.0
    common = sum(c in SETS[encoding] for c in beyond)
    return common / len(beyond) / USUAL_SHARE.get(encoding, 0.9)


def best_fit(sample: bytes) -> str | None:
    """The encoding whose common characters are common in a text; None when none fits."""
    fits = {encoding: fit(sample, encoding) for encoding in COMMON}
    best = max(fits, key=lambda encoding: fits[encoding])
    return best if fits[best] >= ENOUGH else None
