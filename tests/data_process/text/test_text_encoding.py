"""The encoding of a text file is found out, and text in all of them is read to the character."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from config import UserError
from data_process.text.encoding import detect_encoding, is_encoding
from data_process.text.files import text_chunks, text_parts

ENGLISH = (
    "The old lighthouse keeper climbed the stairs every evening, and every evening he counted "
    "them. “There are still a hundred and twelve,” he would say, and light the lamp.\n\n"
)
FRENCH = (
    "Le vieux gardien du phare montait l'escalier chaque soir, et chaque soir il comptait les "
    "marches. Où étaient passées les années ? Même la mer, déçue, ne répondait pas à sa question "
    "préférée. « Ça ira », disait-il, près de la fenêtre.\n\n"
)
CHINESE = (
    "看守灯塔的老人每天傍晚都要爬上楼梯，每次都会数一数台阶。“还是一百一十二级。”他说着，点亮了灯。"
    "海上起了风，远处的渔船一只接一只地回到港口，孩子们在码头上等着父亲。\n\n"
)
TRADITIONAL = (
    "看守燈塔的老人每天傍晚都要爬上樓梯，每次都會數一數臺階。「還是一百一十二級。」他說著，點亮了燈。"
    "海上起了風，遠處的漁船一隻接一隻地回到港口，孩子們在碼頭上等著父親。\n\n"
)
JAPANESE = (
    "灯台守の老人は毎日夕方になると階段を上り、そのたびに段数を数えました。「まだ百十二段ある。」"
    "そう言ってランプに火をともします。海に風が吹きはじめ、遠くの漁船が港へ帰ってきました。\n\n"
)
KOREAN = (
    "등대지기 노인은 매일 저녁 계단을 오르며 그때마다 계단의 수를 세었다. "
    "아직도 백열두 개로군. 그는 그렇게 말하고 등불을 켰다. "
    "바다에는 바람이 불기 시작했고 멀리서 고깃배가 항구로 돌아왔다.\n\n"
)
GERMAN = (
    "Der alte Wärter stieg jeden Abend über die Treppe hinauf und zählte die großen Stufen. Es "
    "sind noch hundertzwölf, sagte er für sich und zündete die Lampe an. Die Möwen hörten zu.\n\n"
)
POLISH = (
    "Stary latarnik każdego wieczoru wchodził po schodach i za każdym razem liczył stopnie. Wciąż "
    "jest ich sto dwanaście, mówił i zapalał światło. Na morzu wiał już silny, mroźny wiatr.\n\n"
)
RUSSIAN = (
    "Старый смотритель маяка каждый вечер поднимался по лестнице и каждый раз считал ступени. "
    "Их всё ещё сто двенадцать, говорил он и зажигал лампу. С моря дул холодный ветер.\n\n"
)

HEBREW = (
    'שומר המגדלור הזקן עלה בכל ערב במדרגות, ובכל ערב ספר אותן מחדש. "עדיין יש מאה '
    'ושתים עשרה", היה אומר, ומדליק את המנורה. הרוח נשבה מן הים, וסירות הדיג חזרו '
    "לנמל בזו אחר זו. הילדים חיכו לאבותיהם על הרציף, והנשים הכינו מרק חם בבתים "
    "הקטנים שליד החוף.\n\n"
)
ARABIC = (
    "كان حارس المنارة العجوز يصعد الدرج كل مساء، وفي كل مساء كان يعد الدرجات من "
    "جديد. كان يقول: ما زالت مئة واثنتي عشرة درجة، ثم يشعل المصباح. هبت الريح من "
    "البحر، وعادت قوارب الصيد إلى الميناء واحدا بعد الآخر. كان الأطفال ينتظرون "
    "آباءهم على الرصيف، وكانت النساء يحضرن الحساء الساخن في البيوت الصغيرة قرب "
    "الشاطئ.\n\n"
)
GREEK = (
    "Ο γέρος φύλακας του φάρου ανέβαινε κάθε βράδυ τη σκάλα και κάθε βράδυ μετρούσε "
    "πάλι τα σκαλιά. «Είναι ακόμα εκατόν δώδεκα», έλεγε και άναβε το φως. Από τη "
    "θάλασσα φυσούσε αέρας και οι ψαρόβαρκες γύριζαν στο λιμάνι η μία μετά την "
    "άλλη. Τα παιδιά περίμεναν τους πατεράδες τους στην προβλήτα και οι γυναίκες "
    "ετοίμαζαν ζεστή σούπα στα μικρά σπίτια δίπλα στην ακτή.\n\n"
)
TURKISH = (
    "Yaşlı fener bekçisi her akşam merdiveni çıkar ve her akşam basamakları yeniden "
    'sayardı. "Hâlâ yüz on iki tane var" der ve lambayı yakardı. Denizden rüzgâr '
    "esiyor, balıkçı tekneleri birbiri ardına limana dönüyordu. Çocuklar iskelede "
    "babalarını bekliyor, kadınlar kıyıdaki küçük evlerde sıcak çorba hazırlıyordu.\n\n"
)
THAI = (
    "ชายชราผู้เฝ้าประภาคารเดินขึ้นบันไดทุกเย็น และทุกเย็นเขาก็นับขั้นบันไดใ"
    'หม่อีกครั้ง "ยังมีหนึ่งร้อยสิบสองขั้น" เขาพูดแล้วก็จุดตะเกียง ลมพัดมาจ'
    "ากทะเล เรือประมงทยอยกลับเข้าท่าเรือทีละลำ เด็กๆ รอพ่ออยู่ที่ท่าน้ำ ส่ว"
    "นผู้หญิงก็ต้มซุปร้อนๆ อยู่ในบ้านหลังเล็กใกล้ชายหาด\n\n"
)
UKRAINIAN = (
    "Старий доглядач маяка щовечора підіймався сходами і щоразу знову рахував "
    "сходинки. «Їх досі сто дванадцять», — казав він і запалював лампу. З моря віяв "
    "холодний вітер, рибальські човни один за одним поверталися до гавані. Діти "
    "чекали на батьків на причалі, а жінки варили гарячий суп у маленьких хатах "
    "біля берега.\n\n"
)
CZECH = (
    "Starý strážce majáku každý večer stoupal po schodech a pokaždé znovu počítal "
    "stupně. „Pořád je jich sto dvanáct,“ říkal a rozsvěcel lampu. Od moře vál "
    "studený vítr a rybářské lodě se jedna po druhé vracely do přístavu. Děti "
    "čekaly na otce na molu a ženy vařily horkou polévku v malých domech u břehu. "
    "Jednoho dne přišla do vesnice mladá žena s dopisem v ruce. Ptala se lidí na "
    "ulici, kde bydlí strážce, ale nikdo jí\n\n"
)
HUNGARIAN = (
    "Az öreg világítótorony-őr minden este felment a lépcsőn, és minden este újra "
    "megszámolta a fokokat. „Még mindig száztizenkettő”, mondta, és meggyújtotta a "
    "lámpát. A tenger felől hideg szél fújt, a halászhajók egymás után tértek "
    "vissza a kikötőbe. A gyerekek a mólón várták az apjukat, az asszonyok forró "
    "levest főztek a parti kis házakban. Egy nap fiatal nő érkezett a faluba, "
    "kezében levéllel. Megkérdezte az embereket\n\n"
)
SPANISH = (
    "El viejo guardián del faro subía la escalera todas las tardes, y cada tarde "
    "volvía a contar los peldaños. «Siguen siendo ciento doce», decía, y encendía "
    "la lámpara. Desde el mar soplaba el viento y las barcas de pesca regresaban "
    "una tras otra al puerto. Los niños esperaban a sus padres en el muelle, y las "
    "mujeres preparaban sopa caliente en las pequeñas casas junto a la playa. "
    "¿Quién vivía allí arriba? Nadie lo\n\n"
)


def saved(path: Path, text: str, encoding: str, bom: bytes = b"") -> Path:
    """A file of a text."""
    path.write_bytes(bom + text.encode(encoding))
    return path


def read(path: Path, part_bytes: int = 1 << 20) -> str:
    """The text of a file, read part by part."""
    parts = text_parts(path, part_bytes)
    texts = ["".join(text_chunks(part)) for part in parts]
    befores = [part.characters_before for part in parts]
    assert befores == [len("".join(texts[:number])) for number in range(len(texts))]
    return "".join(texts)


@pytest.mark.parametrize(
    ("text", "encoding", "bom", "found"),
    [
        (ENGLISH, "utf_8", b"", "utf_8"),
        (CHINESE, "utf_8", b"", "utf_8"),
        (CHINESE, "utf_8", codecs.BOM_UTF8, "utf_8_sig"),
        (ENGLISH, "utf_16_le", codecs.BOM_UTF16_LE, "utf_16"),
        (CHINESE, "utf_16_be", codecs.BOM_UTF16_BE, "utf_16"),
        (CHINESE, "utf_32_le", codecs.BOM_UTF32_LE, "utf_32"),
        (ENGLISH, "utf_16_le", b"", "utf_16_le"),
        (ENGLISH, "utf_16_be", b"", "utf_16_be"),
        (CHINESE + ENGLISH, "utf_16_le", b"", "utf_16_le"),
        (CHINESE + ENGLISH, "utf_16_be", b"", "utf_16_be"),
        (CHINESE, "gb18030", b"", None),
        (TRADITIONAL, "big5", b"", None),
        (JAPANESE, "cp932", b"", None),
        (JAPANESE, "euc_jp", b"", None),
        (KOREAN, "euc_kr", b"", None),
        (RUSSIAN, "cp1251", b"", None),
        (FRENCH, "latin_1", b"", None),
        (ENGLISH, "cp1252", b"", None),
    ],
)
@pytest.mark.parametrize("times", [3, 200])
def test_a_real_text_is_read_in_its_encoding(
    tmp_path: Path, text: str, encoding: str, bom: bytes, found: str | None, times: int
) -> None:
    path = saved(tmp_path / "a.txt", text * times, encoding, bom)
    assert read(path) == text * times
    if found:
        assert detect_encoding(path).name == found


THOUSANDS = [
    (CHINESE, "gb18030"),
    (TRADITIONAL, "gb18030"),
    (CHINESE.rstrip(), "utf_16_le"),
    (CHINESE.rstrip(), "utf_16_be"),
    (TRADITIONAL, "big5"),
    (JAPANESE, "cp932"),
    (JAPANESE, "euc_jp"),
    (KOREAN, "euc_kr"),
]
"""Texts in encodings of thousands of characters."""
ALPHABETS = [
    *((RUSSIAN, name) for name in ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")),
    *((UKRAINIAN, name) for name in ("cp1251", "koi8_u")),
    *((HEBREW, name) for name in ("cp1255", "iso8859_8")),
    *((ARABIC, name) for name in ("cp1256", "iso8859_6")),
    *((GREEK, name) for name in ("cp1253", "iso8859_7")),
    *((TURKISH, name) for name in ("cp1254", "iso8859_9")),
    *((THAI, name) for name in ("cp874", "tis_620")),
    *((FRENCH, name) for name in ("cp1252", "latin_1", "iso8859_15", "mac_roman", "cp850")),
    *((text, name) for text in (GERMAN, SPANISH) for name in ("cp1252", "latin_1")),
    *((text, name) for text in (POLISH, CZECH, HUNGARIAN) for name in ("cp1250", "iso8859_2")),
]


@pytest.mark.parametrize(("text", "encoding"), THOUSANDS)
def test_any_piece_of_a_text_of_forty_characters_tells_its_encoding(
    tmp_path: Path, text: str, encoding: str
) -> None:
    for begin in range(0, len(text) - 40, 3):
        piece = text[begin : begin + 40].strip()
        assert read(saved(tmp_path / "a.txt", piece, encoding)) == piece


@pytest.mark.parametrize(("text", "encoding"), ALPHABETS)
def test_a_text_is_read_right_or_refused_and_never_wrong(
    tmp_path: Path, text: str, encoding: str
) -> None:
    text = text.encode(encoding, "ignore").decode(encoding)
    refused = 0
    for begin in range(0, len(text) - 60, 30):
        piece = text[begin : begin + 60].strip()
        try:
            assert read(saved(tmp_path / "a.txt", piece, encoding)) == piece
        except UserError:
            refused += 1
    assert refused <= len(text) // 60
    for size in (300, 20_000):
        whole = (text * 200)[:size].strip()
        assert read(saved(tmp_path / "a.txt", whole, encoding)) == whole


def test_an_encoding_that_is_unsure_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.txt", "a caf\u00e9", "cp1252")
    path.write_bytes(b"\xe4 \xf6")
    message = r"a\.txt: which encoding\? byte 1 is not UTF-8, and it may be .* or .*--encoding"
    with pytest.raises(UserError, match=message):
        detect_encoding(path)
    path.write_bytes(bytes(range(0x80, 0x100)) * 50)
    with pytest.raises(UserError, match="none that is known fits; name it with --encoding"):
        detect_encoding(path)


def test_encodings_of_seven_bits_are_known_by_their_escapes(tmp_path: Path) -> None:
    for text, encoding in ((JAPANESE, "iso2022_jp"), (KOREAN, "iso2022_kr")):
        assert read(saved(tmp_path / "a.txt", text, encoding)) == text


def test_any_alphabet_is_known_in_utf_16_without_a_mark(tmp_path: Path) -> None:
    for text in (ARABIC, THAI, HEBREW, GREEK, RUSSIAN, JAPANESE, KOREAN, FRENCH):
        for encoding in ("utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be"):
            assert read(saved(tmp_path / "a.txt", text, encoding)) == text


@pytest.mark.parametrize("encoding", ["utf_8", "utf_16", "utf_16_le", "gb18030", "big5", "cp932"])
def test_parts_of_a_file_are_the_whole_file(tmp_path: Path, encoding: str) -> None:
    text = {"big5": TRADITIONAL, "cp932": JAPANESE}.get(encoding, CHINESE) * 300
    path = saved(tmp_path / "a.txt", text, encoding)
    assert len(text_parts(path, 4096)) == 1 if "16" in encoding else len(text_parts(path, 4096)) > 5
    assert read(path, 4096) == text


def test_ascii_before_the_first_other_letter_does_not_mislead(tmp_path: Path) -> None:
    text = "Plain words in the preface.\n" * 8000 + CHINESE * 20
    assert read(saved(tmp_path / "a.txt", text, "gb18030")) == text


def test_line_ends_of_windows_become_plain_ones(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.txt", ENGLISH.replace("\n", "\r\n") * 50, "utf_8")
    assert read(path) == ENGLISH * 50
    assert read(path, 1000) == ENGLISH * 50


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((ENGLISH * 20).encode() + b"bad \xff\xfe byte\n" + CHINESE.encode() * 20)
    with pytest.raises(UserError, match=r"a\.txt:41: not text in utf_8.*byte 3,\d+"):
        text_parts(path, 1 << 20)
    (part,) = text_parts(path, 1 << 20, mend=True)
    assert part.damaged == 2
    assert "bad \ufffd\ufffd byte" in "".join(text_chunks(part))


def test_damaged_chinese_is_still_known_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    data = (CHINESE * 40).encode("gb18030")
    path.write_bytes(data[:3000] + b"\xff\xff" + data[3000:])
    with pytest.raises(UserError, match=r"a\.txt:\d+: not text in gb18030"):
        text_parts(path, 1 << 20)


def test_a_file_that_ends_within_a_character_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes((CHINESE * 5).encode()[:-4])
    with pytest.raises(UserError, match="not text in utf_8"):
        text_parts(path, 1 << 20)
    assert text_parts(path, 1 << 20, mend=True)[0].damaged == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"%PDF-1.7 text", "a PDF"),
        (b"PK\x03\x04....", "ZIP archive"),
        (b"\x1f\x8b\x08\x00....", r"compressed \(gzip\)"),
        (b"\0\x01\xf3\0\xc0\xa7\x07 binary \x01\x02\x03\0\0\0\0", "NUL bytes"),
        (b"abc\nabc\nab\0c\nabc\n", "a.txt:3: a NUL character"),
        (b"abc\0def\n", "a.txt:1: a NUL character"),
        (b"a\n\0b \0\nabcde fgh\n", "a.txt:2: a NUL character"),
        (b"plain text\n" * 9000 + b"\0" + b"more\n" * 9, "a.txt:9001: a NUL character"),
    ],
)
def test_what_is_no_text_is_refused_in_one_sentence(
    tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        text_parts(path, 1 << 20)
    assert "a.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_named_encoding_is_taken(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.txt", RUSSIAN, "koi8_r")
    (part,) = text_parts(path, 1 << 20, "koi8_r")
    assert "".join(text_chunks(part)) == RUSSIAN
    assert part.encoding.evidence == "named"


@pytest.mark.parametrize(
    ("name", "known"), [("gb18030", True), ("utf-16", True), ("rot13", False), ("klingon", False)]
)
def test_only_encodings_of_text_can_be_named(name: str, known: bool) -> None:
    assert is_encoding(name) is known
