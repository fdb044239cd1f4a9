"""Words and languages: scripts without spaces have words too, and English is never assumed."""

from __future__ import annotations

import pytest

from tutelage.corpus.scripts import count_text_words, is_foreign, units_of

# Article 1 of the Universal Declaration of Human Rights.
ARTICLES = {
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Ve"
    "rnunft und Gewissen begabt "
    "und sollen einander im Geist der Brüderlichkeit begegnen.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils son"
    "t doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "Spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados"
    " como están de razón y "
    "conciencia, deben comportarse fraternalmente los unos con los otros.",
    "Portuguese": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotado"
    "s de razão e de "
    "consciência, devem agir uns para com os outros em espírito de fraternidade.",
    "Italian": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono "
    "dotati di ragione e di "
    "coscienza e devono agire gli uni verso gli altri in spirito di fratellanza.",
    "Dutch": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn be"
    "giftigd met verstand en "
    "geweten, en behoren zich jegens elkander in een geest van broederschap te gedragen.",
    "Swedish": "Alla människor äro födda fria och lika i värde och rättigheter. De äro utrustade"
    " med förnuft och samvete "
    "och böra handla gentemot varandra i en anda av broderskap.",
    "Hungarian": "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az embere"
    "k, ésszel és "
    "lelkiismerettel bírván, egymással szemben testvéri szellemben kell hogy viseltessenek.",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi. "
    "Mọi con người đều được "
    "tạo hoá ban cho lý trí và lương tâm và cần phải đối xử với nhau trong tình bằng hữu.",
    "Indonesian": "Semua orang dilahirkan merdeka dan mempunyai martabat dan hak-hak yang sama. Mer"
    "eka dikaruniai akal dan "
    "hati nurani dan hendaknya bergaul satu sama lain dalam semangat persaudaraan.",
    "Turkish": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana"
    " sahiptirler ve birbirlerine "
    "karşı kardeşlik zihniyeti ile hareket etmelidirler.",
    "Polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. "
    "Są oni obdarzeni rozumem i "
    "sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Chinese": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}
ENGLISH = [
    "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience.",
    "A man in a blue shirt is standing on a ladder cleaning a window.",
    "before we proceed any further, hear me speak. speak, speak. you are all resolved rather to die than to famish?",
    "No.",
    "x = [1, 2, 3]; y = {'a': 4, 'b': 5}; print(x, y, x[0] + y['a'], len(x), sum(x) / len(x))",
    "| a1 | b2 | c3 |\n| 10 | 20 | 30 |\n| 40 | 50 | 60 |\n| 70 | 80 | 90 |\n| 11 | 21 | 31 |",
]


@pytest.mark.parametrize("language", list(ARTICLES))
def test_twenty_languages_are_not_english(language: str) -> None:
    assert is_foreign(ARTICLES[language]) and is_foreign(ARTICLES[language] * 4)


@pytest.mark.parametrize("text", ENGLISH)
def test_english_and_what_is_no_language_is_not_foreign(text: str) -> None:
    assert not is_foreign(text)


def test_words_where_they_are_not_spaced() -> None:
    assert count_text_words("Two words, here: 3.") == 4
    assert 12 <= count_text_words(ARTICLES["Chinese"]) <= 24 and count_text_words("我们 love 东京") == 3
    assert 8 <= count_text_words(ARTICLES["Thai"]) <= 20
    assert count_text_words("") == 0


def test_units_are_words_with_their_vowel_signs_and_pieces_where_words_are_not_spaced() -> None:
    assert units_of("It's a co-op, no?") == ["it's", "a", "co-op", "no"]
    assert units_of("की के") == ["की", "के"]
    assert units_of("我们的东京 tower") == ["我们的东", "们的东京", "tower"]
    assert units_of("東京Tower") == ["東京", "tower"]
    assert [len(unit) for unit in units_of("มนุษย์ทั้งหลาย")] == [8] * 7
