"""Pages that are no articles: redirects and disambiguation pages."""

from __future__ import annotations

import re

REDIRECT = re.compile(
    r"\s*[#＃]\s*(?:redirect(?:ion)?|重定向|重新導向|転送|リダイレクト|перенаправление|перенапр|"
    r"пренасочване|виж|перенаправлення|weiterleitung|redirección|reindirizza|rinvia|redirecionamento|"
    r"patrz|przekieruj|tam|doorverwijzing|omdirigering|omdiriger|uudelleenohjaus|ohjaus|přesměruj|"
    r"presmeruj|átirányítás|redirecteaza|yönlendirme|넘겨주기|đổi|alih|הפניה|تحويل|تغییر_?مسیر|"
    r"preusmjeri|преусмери|пренасочување|ανακατευθυνση|redirecció|birzuzendu|suuna|peradresavimas)"
    r"\s*:?\s*\[\[",
    re.IGNORECASE,
)
COMMON = "disambig|disamb|dab|disambiguation|disambiguation page|disambig page"
ENGLISH = (
    f"{COMMON}|dbig|dmbox|hndis|human name disambiguation|geodis|geo-dis|place name disambiguation|"
    "airport disambiguation|airport disambig|biology disambiguation|call sign disambiguation|"
    "callsigndis|caselaw disambiguation|chinese title disambiguation|disambiguation cleanup|"
    "disambig-cleanup|fish-dab|genus disambiguation|hospital disambiguation|hospitaldis|"
    "letter disambig|letter disambiguation|letter-number combination disambiguation|"
    "letter-numbercombdisambig|mathematical disambiguation|mathdab|military unit disambiguation|"
    "mil-unit-dis|music disambiguation|numberdis|number disambiguation|opus disambiguation|"
    "phonetics disambiguation|political party disambiguation|road disambiguation|roaddis|"
    "schooldis|school disambiguation|species latin name disambiguation|"
    "species latin name abbreviation disambiguation|station disambiguation|stationdis|"
    "synagogue disambiguation|taxonomic authority disambiguation|taxonomy disambiguation|"
    "template disambiguation|wp disambig|wikipedia disambiguation|3cc|2cc|tla|lnd|given "
    "name-dab"
)
TEMPLATES = {
    "en": ENGLISH,
    "simple": ENGLISH,
    "zh": f"{COMMON}|消歧义|消歧義|消歧义页|消歧義頁|消含糊|消歧|人名消歧义|人名消歧義|地名消歧义|"
    "地名消歧義|姓名消歧义|姓名消歧義|学校消歧义|學校消歧義|车站消歧义|車站消歧義|道路消歧义|"
    "道路消歧義|路线消歧义|路線消歧義|letter disambig|geodis|hndis|human name disambiguation|aimai|"
    "数字消歧义|數字消歧義|消歧義-人名|法规消歧义|法規消歧義|朝代消歧义|朝代消歧義|船只消歧义|"
    "醫院消歧義|寺庙消歧义|寺廟消歧義|国王消歧义|國王消歧義|同名消歧義",
    "ja": f"{COMMON}|aimai|曖昧さ回避|地名の曖昧さ回避|人名の曖昧さ回避|曖昧さ回避 地名|"
    "曖昧さ回避 人名|hndis|geodis|mathdab|同名の地名|学校名の曖昧さ回避|駅名の曖昧さ回避|"
    "鉄道路線の曖昧さ回避|道の曖昧さ回避|神社の曖昧さ回避|山の曖昧さ回避|人名の曖昧さ回避2",
    "bg": f"{COMMON}|пояснение|пояснителна страница|многозначност|пояснение-имена|"
    "пояснителна|имена-пояснение|пояснение селища",
    "de": f"{COMMON}|begriffsklärung|bkl|begriffsklaerung",
    "fr": f"{COMMON}|homonymie|homonymie de personnes|patronyme|toponymie|sigle|paronymie|"
    "internationalisation|arrondissements homonymes",
    "es": f"{COMMON}|desambiguación|desambiguacion|desambig|des|acrónimo desambiguación",
    "it": f"{COMMON}|disambigua|sigla3|sigla2",
    "pt": f"{COMMON}|desambiguação|desambig|disambigua|desambig-ini",
    "ru": f"{COMMON}|неоднозначность|многозначность|тезка|тёзка|дезамбиг|однофамильцы|"
    "фамилия|список однофамильцев|список тёзок|полные тёзки",
    "uk": f"{COMMON}|багатозначність|неоднозначність|ім'я",
    "pl": f"{COMMON}|ujednoznacznienie|disambigua",
    "nl": f"{COMMON}|dp|dpintro|doorverwijspagina",
    "sv": f"{COMMON}|förgrening|gren|grensida|efternamnsförgrening|ortnamnsförgrening",
    "no": f"{COMMON}|peker|etternavn|pekerside",
    "da": f"{COMMON}|flertydig|flertydig titel",
    "fi": f"{COMMON}|täsmennyssivu|täsmennys",
    "cs": f"{COMMON}|rozcestník|rozcestnik|rozcestník - příjmení",
    "hu": f"{COMMON}|egyért|egyert|egyértelműsítő lap",
    "ko": f"{COMMON}|동음이의|동명이인|동음이의어|지명 동음이의|두 글자|세 글자",
    "tr": f"{COMMON}|anlam ayrımı|anlam ayrım",
    "vi": f"{COMMON}|định hướng|trang định hướng|họ tên",
    "ar": f"{COMMON}|توضيح|صفحة توضيح",
    "he": f"{COMMON}|פירושונים",
    "el": f"{COMMON}|αποσαφήνιση",
    "lv": f"{COMMON}|nozīmju atdalīšana|disambiguācija",
    "ltg": f"{COMMON}|nūzeimu šaleiba|puorejūtneiba",
    "lt": f"{COMMON}|nuorodinis straipsnis|daugiareikšmis",
    "sr": f"{COMMON}|вишезначна одредница|vzo",
    "ca": f"{COMMON}|desambiguació|biografies",
}
ALL_NAMES = frozenset(name for names in TEMPLATES.values() for name in names.split("|"))
TEMPLATE = re.compile(r"\{\{\s*([^|{}<>\[\]\n]{1,60}?)\s*(?:\||\}\})")
MAGIC_WORD = "__DISAMBIG__"


def is_redirect(text: str) -> bool:
    """Whether a page's wikitext only leads to another page."""
    return REDIRECT.match(text) is not None


def is_disambiguation(text: str, language: str = "") -> bool:
    """Whether a page only lists the meanings of its title, by its templates.

    Args:
        text: the page's wikitext.
        language: the wiki's, such as zh; of one that is not known, the names of all count.
    """
    if MAGIC_WORD in text:
        return True
    names = names_in(language)
    return any(
        match[1].replace("_", " ").lower().removeprefix("template:") in names
        for match in TEMPLATE.finditer(text)
    )


def names_in(language: str) -> frozenset[str]:
    """The templates that mark disambiguation pages."""
    names = TEMPLATES.get(language.lower().split("-")[0])
    return frozenset(names.split("|")) if names else ALL_NAMES
