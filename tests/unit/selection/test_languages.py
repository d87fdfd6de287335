import pytest

from dispatcher.selection import languages
from dispatcher.selection.features import tokens
from dispatcher.selection.languages import is_strange, languages_of, words_of

REQUESTS = {
    "de": "wie wird das Wetter morgen in Berlin?",
    "fr": "quelle est la météo à Paris demain",
    "es": "¿qué tiempo hace hoy en Madrid?",
    "it": "che tempo fa domani a Roma",
    "nl": "wat wordt het weer morgen in Utrecht",
    "pt": "qual é a previsão do tempo para amanhã",
    "pl": "jaka jest pogoda w Warszawie",
    "tr": "bugün Ankara'da hava nasıl",  # noqa: RUF001 - it is Turkish
    "scandinavian": "hvordan bliver vejret i morgen",
    "id": "bagaimana cuaca di Jakarta besok",
}


@pytest.mark.parametrize("text", REQUESTS.values(), ids=REQUESTS)
def test_a_request_in_another_language_is_strange(text):
    assert is_strange(tokens(text))


@pytest.mark.parametrize(
    "text",
    [
        "what is the weather in berlin tomorrow",
        "play la vie en rose by edith piaf",
        "how do you say good morning in german",
        "is it safe to travel to rio de janeiro",
        "book a flight from los angeles to las vegas on the third",
        "play Beyoncé",
        "weather in Zürich",
        "order tacos de carnitas",
        "watch Das Boot",
        "play Sigur Rós",
        "whats teh wether tomorow",
        "translate wo ist der bahnhof to english for me please",
        "lights off",
        "",
    ],
)
def test_an_english_request_is_not_strange_whatever_names_and_slips_it_has(text):
    assert not is_strange(tokens(text))


@pytest.mark.parametrize(
    "text",
    [
        "réserve un vol d'Air France pour Nice",
        "joue un morceau d'Édith Piaf",
        "qu'est-ce qui m'attend demain",
        "t'as l'heure",
        "dimmi l'ora d'arrivo a Roma",
    ],
)
def test_what_an_apostrophe_parts_off_is_no_sign_of_english(text):
    assert is_strange(tokens(text))


def test_an_english_name_in_the_genitive_is_one():
    assert not is_strange(tokens("play Beyoncé's album"))


def test_a_word_of_names_tells_a_language_in_a_short_text_only():
    assert is_strange(tokens("annule la réservation"))
    assert is_strange(tokens("busca la cita"))
    assert not is_strange(tokens("weather forecast rio de janeiro airport"))


def test_what_may_be_a_name_counts_less_in_an_english_request_and_other_words_as_ever():
    assert is_strange(tokens("busca Zürich"))
    assert not is_strange(tokens("weather Zürich"))
    assert is_strange(tokens("weather Zürich señor José"))
    assert is_strange(tokens("spiel bitte good day sunshine"))


def test_no_word_of_a_language_is_one_of_english_too():
    assert not languages._LANGUAGES.keys() & (languages._ENGLISH | languages._OF_REQUESTS)
    assert is_strange(tokens("imposta un timer di due minuti"))


@pytest.mark.parametrize(
    "identifier",
    [
        "jean.de.dupont@example.com",
        "www.le-monde.fr",
        "https://example.com/les/des",
        "(/home/les/des)",
        r"C:\les\des",
        "les_des",
        "rapport.des.ventes.pdf",
        "std::les::des",
    ],
)
def test_an_address_or_an_identifier_has_no_words_of_a_language(identifier):
    assert words_of(f"copy {identifier} now.") == ["copy", "now"]
    assert not is_strange(words_of(f"archive {identifier}"))
    assert is_strange(words_of(f"archive {identifier} por favor"))


@pytest.mark.parametrize("text", ["qu'est-ce que c'est", "an/aus", "bonjour... c'est moi!", "va-t-il"])
def test_hyphens_apostrophes_and_a_slash_make_no_identifier(text):
    assert words_of(text) == tokens(text)


@pytest.mark.parametrize("text", ["play dem bones", "new york mets next game", "comic sans price", "news of ces today"])
def test_words_that_english_names_and_abbreviations_have_count_half(text):
    assert not is_strange(words_of(text))


@pytest.mark.parametrize("text", ["heel pain", "hay bales", "spill cleanup", "dig site"])
def test_a_word_that_english_has_too_is_of_no_other_language(text):
    assert not is_strange(words_of(text))


@pytest.mark.parametrize("text", ["Termin absagen", "Rechnung drucken", "senaste nyheter", "enviar factura"])
def test_a_short_text_of_which_no_word_is_english_is_strange(text):
    assert is_strange(words_of(text))
    assert not is_strange(words_of(text), languages_of([REQUESTS["de"]]))


@pytest.mark.parametrize("text", ["Termin", "Wetter Berlin", "Termin please", "Termin tomorrow", "2 gx7 9", "shhhh"])
def test_a_single_unknown_word_or_one_beside_an_english_one_is_none_of_another_language(text):
    assert not is_strange(words_of(text))


@pytest.mark.parametrize("text", ["email Renée", "New York Mets score", "comic sans font", "Citroën dealers", "see ya"])
def test_a_single_name_among_english_words_is_one(text):
    assert not is_strange(words_of(text))


@pytest.mark.parametrize("text", ["exporter la facture", "Wetter Köln", "flights São Paulo para dois"])
def test_a_name_among_other_words_and_several_of_them_tell_a_language(text):
    assert is_strange(words_of(text))


def test_letters_of_another_script_are_none_of_another_language_in_latin_letters():
    assert not is_strange(tokens("Земфира hits"))


def test_the_stranger_a_text_must_be_the_fewer_are():
    assert is_strange(tokens("busca la cita"))
    assert not is_strange(tokens("busca la cita"), least=0.6)


def test_a_text_in_a_language_that_is_known_is_not_strange():
    own = languages_of([REQUESTS["de"], "stell den Wecker auf sechs", "turn on the light"])
    assert not is_strange(tokens(REQUESTS["de"]), own)
    assert is_strange(tokens(REQUESTS["fr"]), own)


def test_where_other_languages_are_known_letters_alone_are_not_strange():
    assert is_strange(tokens("tür öffnen"))
    assert not is_strange(tokens("tür öffnen"), languages_of([REQUESTS["de"]]))


def test_of_two_languages_with_as_many_words_the_known_one_is_meant():
    own = languages_of([REQUESTS["pt"]])
    assert not is_strange(tokens("para que no meu"), own)
    for text in ("esta", "para", "como"):
        assert not is_strange([text], own)


def test_a_language_of_few_texts_is_none_of_those_that_were_learnt_from():
    assert languages_of(["turn on the light"] * 9 + [REQUESTS["de"]]) == frozenset()
    assert languages_of([]) == frozenset()
    assert "de" in languages_of(["turn on the light"] * 2 + [REQUESTS["de"]])
