"""What the namespaces of files and categories are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FILES = (
    "file image media 文件 档案 檔案 图像 圖像 图片 圖片 媒体 媒體 ファイル 画像 メディア "
    "файл картинка картинки медия изображение медиа зображення медіа datei bild medium fichier "
    "médias archivo imagen medio immagine ficheiro imagem plik grafika bestand afbeelding fil "
    "tiedosto kuva soubor obrázek súbor fájl kép fișier dosya resim 파일 그림 미디어 attēls fails "
    "vaizdas pilt berkas gambar tập_tin hình קובץ תמונה ملف صورة وسائط تصویر پرونده चित्र ไฟล์ "
    "ภาพ αρχείο εικόνα fitxer imatge fitxategi irudi slika datoteka слика"
)
CATEGORIES = (
    "category 分类 分類 カテゴリ категория категорія категорија kategorie catégorie categoría "
    "categoria kategoria categorie kategori luokka kategória 분류 kategorija kategooria "
    "thể_loại קטגוריה تصنيف رده श्रेणी หมวดหมู่ κατηγορία kategoreja"
)
LANGUAGE_CODES = frozenset(
    [
        "simple",
        "be-x-old",
        "be-tarask",
        "zh-min-nan",
        "zh-classical",
        "zh-yue",
        "bat-smg",
        "fiu-vro",
        "roa-rup",
        "roa-tara",
        "map-bms",
        "cbk-zam",
        "nds-nl",
        "eml",
        "nostalgia",
    ]
)
NO_LANGUAGES = frozenset(["doi", "isbn", "pmid", "arxiv", "oclc", "rfc", "hdl", "urn"])


@dataclass(frozen=True)
class Namespaces:
    """Prefixes of links that are no text."""

    files: frozenset[str]
    categories: frozenset[str]

    @classmethod
    def of(cls, names: Mapping[int, str]) -> Namespaces:
        """By the names of a wiki; those of common languages are known."""
        own = {number: names.get(number, "").lower() for number in (-2, 6, 14)}
        files = {*FILES.replace("_", " ").split(), "tập tin", own[-2], own[6]}
        return cls(
            frozenset(files) - {""},
            frozenset({*CATEGORIES.split(), "thể loại", own[14]}) - {""},
        )

    def is_language(self, prefix: str) -> bool:
        """Whether a link's prefix names the same page in another language."""
        if prefix in LANGUAGE_CODES:
            return True
        code = prefix.isascii() and prefix.isalpha() and prefix.islower()
        return code and 2 <= len(prefix) <= 3 and prefix not in NO_LANGUAGES
