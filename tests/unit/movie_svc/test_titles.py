"""Titles are the same whatever their case, accents, punctuation, and the place of their article."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_svc import titles

SAME = [
    ("Matrix, The", "The Matrix"),
    ("the  MATRIX", "The Matrix"),
    ("Amelie", "Amélie"),
    ("Leon", "Léon"),
    ("Misérables, Les", "Les Miserables"),
    ("Avventura, L'", "L'Avventura"),
    ("Avventura, L’", "L'Avventura"),
    ("L Avventura", "L’Avventura"),
    ("Thelma and Louise", "Thelma & Louise"),
    ("Thelma ＆ Louise", "Thelma & Louise"),
    ("Ocean's Eleven", "Ocean’s Eleven"),
    ("Oceans Eleven", "Ocean´s Eleven"),
    ("Spider-Man", "Spider Man"),
    ("Spider-Man", "Spiderman"),
    ("Spider‑Man", "Spider–Man"),
    ("Spiderman", "Spider\u00adMan"),
    ("Beautiful Mind, A", "A Beautiful Mind"),
    ("O Brother Where Art Thou", "O Brother, Where Art Thou?"),
    ("Kon-Tiki", "kon tiki"),
    ("Smørrebrød", "Smorrebrod"),
    # Numbers that stand high, low or in one sign are numbers of their own.
    ("Alien 3", "Alien³"),
    ("Alien3", "Alien³"),
    ("REC 2", "[REC]²"),
    ("8 1/2", "8½"),
    ("8 ½ Women", "8 1/2 Women"),
    ("Nine 1/2 Weeks", "Nine½ Weeks"),
    ("M.I.B. 3", "M.I.B.³"),
    ("Rocky II", "RockyⅡ"),
    ("H2O", "H₂O"),
    ("Part 1", "Part①"),
    ("8th Grade", "8ᵗʰ Grade"),
    ("No. 5", "№ 5"),
    ("U571", "U-571"),
    ("THX1138", "THX 1138"),
    ("20000 Leagues Under the Sea", "20,000 Leagues Under the Sea"),
    ("10.000 BC", "10000 BC"),
    ("300", "३००"),
    ("300", "٣٠٠"),
    ("300", "３００"),
    # Initials.
    ("SWAT", "S.W.A.T."),
    ("S W A T", "S.W.A.T."),
    ("MASH", "M*A*S*H"),
    ("ET the Extra-Terrestrial", "E.T. the Extra-Terrestrial"),
    ("AI Artificial Intelligence", "A.I. Artificial Intelligence"),
    ("LA Confidential", "L.A. Confidential"),
    ("FX", "F/X"),
    ("VHS 2", "V/H/S/2"),
    # Punctuation and typography.
    ("WALL-E", "WALL·E"),
    ("WALL E", "WALL·E"),
    ("Walle", "WALL·E"),
    ("Face Off", "Face/Off"),
    ("FaceOff", "Face/Off"),
    ("XMen", "X-Men"),
    ("The Good the Bad and the Ugly", "The Good, the Bad and the Ugly"),
    ("Good, the Bad and the Ugly, The", "The Good, the Bad, and the Ugly"),
    ("And Justice for All", "...and justice for all."),
    ("tick tick BOOM", "tick, tick…BOOM!"),
    ("Transformers", "Transformers™"),
    ("Mission: Impossible", "Mission – Impossible"),
    ("500 Days of Summer", "(500) Days of Summer"),
    ("Die „Brücke“", "Die »Brücke«"),
    ("Hawaii", "Hawaiʻi"),
    ("!!!", "！！！"),
    ("…", "..."),
    # Letters in several forms.
    ("Matrix", "Ｍａｔｒｉｘ"),
    ("Fish Tank", "ﬁsh tank"),
    ("Oeuvre", "Œuvre"),
    ("Strasse", "Straße"),
    ("STRASSE", "straße"),
    ("Istanbul", "İstanbul"),
    ("Kis Uykusu", "Kış Uykusu"),
    ("KIŞ UYKUSU", "kış uykusu"),
    ("Lodz", "Łódź"),
    ("Chungking", "𝐂𝐡𝐮𝐧𝐠𝐤𝐢𝐧𝐠"),
    ("Ζορμπάς", "ΖΟΡΜΠΑΣ"),
    ("Ο Θίασος", "Ο ΘΙΑΣΟΣ"),
    ("Ёлки", "Елки"),
    ("Йети", "И\u0306ети"),
    ("Замо́к", "Замок"),
    ("حياة", "حَيَاة"),
    ("محمد", "مـحـمـد"),
    ("می‌خواهم", "میخواهم"),
    ("می‌خواهم", "می خواهم"),
    ("کتاب", "كتاب"),
    ("כורת", "כַּוֶּרֶת"),
    ("צהל", "צה״ל"),
    ("ガメラ", "ｶﾞﾒﾗ"),
    ("ガメラ", "カ\u3099メラ"),
    ("シンドラー・リスト", "シンドラー リスト"),
    ("기생충", "기생충"),
    ("น้ำ", "น\u0e49\u0e4d\u0e32"),
    ("क़िस्मत", "क\u093cिस्मत"),
]
OTHER = [
    ("The Matrix", "The Matrix: The Movie Special"),
    ("The Matrix", "The Matrix Reloaded"),
    ("Die Hard", "Hard"),
    ("It", "It Follows"),
    ("$", "$$"),
    ("!!!", "???"),
    ("The The", "The"),
    ("Alien³", "Alien"),
    ("8½", "81/2"),
    ("9.99", "999"),
    ("9/11", "911"),
    ("H₂O", "HO"),
    ("Se7en", "Seven"),
    ("Now Here", "Nowhere"),
    ("Therapist", "The Rapist"),
    ("A.I.", "I"),
    ("शाला", "शोले"),
    ("शाला", "शाली"),
    ("शोले", "शल"),
    ("क़िस्मत", "कस्मत"),
    ("दीवार", "दिवार"),
    ("பாபா", "பப"),
    ("শোলে", "শাল"),
    ("గాలి", "గలి"),
    ("が", "か"),
    ("バス", "パス"),
    ("バス", "ハス"),
    ("ピアノ", "ヒアノ"),
    ("カフェ", "カフエ"),
    ("เสือ", "เสื่อ"),
    ("มา", "ม้า"),
    ("มี", "มา"),
    ("ກາ", "ກ້າ"),
    ("မာ", "မိ"),
    ("កា", "កិ"),
    ("བོད", "བད"),
    ("Йод", "Иод"),
    ("Мой", "Мои"),
    ("Їжа", "Іжа"),
    ("기생", "기상"),
    ("각", "가"),
    ("英雄", "英雌"),
    ("آب", "اب"),
    ("ދަރި", "ދރ"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_title(one: str, other: str) -> None:
    assert not set(titles.keys(one)).isdisjoint(titles.keys(other))


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_another_title(one: str, other: str) -> None:
    assert set(titles.keys(one)).isdisjoint(titles.keys(other))


LETTERS = st.characters(categories=("Ll", "Lu", "Lt", "Lo", "Nd"), codec="utf-8")
PUNCTUATION = st.sampled_from(list("-–—‑·・.:;!?*/'’\"«»()[]…、。！"))


@given(st.text(LETTERS, min_size=1), PUNCTUATION)
def test_punctuation_around_words_never_decides(word: str, mark: str) -> None:
    assert titles.keys(f"{mark}{word}{mark} {mark}") == titles.keys(word)


@given(st.lists(st.text(LETTERS, min_size=1, max_size=6), min_size=2, max_size=4), PUNCTUATION)
def test_punctuation_within_reads_as_a_space_and_as_nothing(words: list[str], mark: str) -> None:
    """But between digits, where it is no space and not nothing: 9.99 is not 999."""
    title = titles.keys(mark.join(words))
    assert not set(title).isdisjoint(titles.keys(" ".join(words)))
    if not any(
        before[-1].isdecimal() and after[0].isdecimal() for before, after in itertools.pairwise(words)
    ):
        assert not set(title).isdisjoint(titles.keys("".join(words)))


@given(st.text(max_size=200))
def test_every_text_has_keys_and_words_that_can_be_stored(text: str) -> None:
    assert all(key == key.strip() for key in titles.keys(text))
    assert 1 <= len(titles.keys(text)) <= titles.MAX_KEYS
    for word in titles.all_words(text):
        assert word
        assert not set(word) & set(" '\\%_|&:*()!<>")
        assert unicodedata.is_normalized("NFC", word)


def test_titles_sort_without_their_article() -> None:
    assert sorted(["The Matrix", "A Bug's Life", "Nashville"], key=titles.key) == [
        "A Bug's Life",
        "The Matrix",
        "Nashville",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Matrix, The", "The Matrix"),
        ("École de la chair, L'", "L'École de la chair"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        ("Monsters, Inc.", "Monsters, Inc."),
        ("Crouching Tiger, Hidden Dragon", "Crouching Tiger, Hidden Dragon"),
    ],
)
def test_titles_are_shown_with_the_article_in_front(text: str, shown: str) -> None:
    assert titles.display(text) == shown
