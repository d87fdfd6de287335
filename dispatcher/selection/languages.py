"""Whether a text in Latin letters is in another language than English, by its commonest words.

The words that hold a sentence together come in nearly every request, and are few. Those that are English words too
stand in no list (`die`, `no`, `will`); those that names are made with (`la vie`, `rio de janeiro`), or that slips of
English make (`te`, `ou`), count half, as does a word with a letter that English has not. These halves may be names in
an English request, and are less by one for each word that vouches for one: those that English requests are full of
("play La Bamba", "weather in Zürich"), and beside a single name any English words, where there are no others ("email
Renée"). What the language with most of all that has, less the English stop words, says how foreign a text is:

    strangeness = max over languages ( its words  +  max(0, 1/2 · its words of names  +  1/2 · words with other letters
                                                            -  vouching words) )  -  English stop words

A text of several other words of which none is an English one ("Termin absagen") is in some language, too: each counts
a quarter. Addresses, paths and identifiers are no words of any language (`words_of`).

Source: Grefenstette 1995, "Comparing two language identification schemes".
"""

import re
from collections import Counter
from collections.abc import Collection, Container, Sequence
from typing import Final

from dispatcher.selection.encoders.vocabulary import english_words
from dispatcher.selection.features import MAX_CHARACTERS, tokens
from dispatcher.selection.words import AFTER_LATIN, STOP_WORDS

#: By language, the commonest words of requests, case folded.
_WORDS: Final = {
    "de": """
        aber alle alles als auch auf aus bei beim bis bitte da damit danach dann das dass dein deine dem
        denn der des dich dir doch du durch ein eine einem einen einer eines er es etwas euch für gegen
        gerade gestern gib gibt habe haben hast heute hier ich ihm ihn ihr immer ist jede jeden jetzt kann
        kannst kein keine könnte könntest letzte letzten mach mache machen mehr meine meinem meinen meiner
        mich mir morgen muss nach nicht nichts noch nur ob oder ohne sag schon sein seine sich sind soll
        sollte um und uns unser unsere unter viel viele vom von vor wann warum welche welchem welchen
        welcher welches wenn wer werden wie wieder wir wird wirst würde zeig zeige zu zum zur zwischen über
    """,
    "fr": """
        aller alors après au aujourd aussi autre aux avant avec avez avoir beaucoup ce cela ces cet cette
        chez combien comme dans de demain depuis des deux dis dois du elle elles en encore entre es est et
        eux faire fais fait faut hier hui ici il ils j je jusqu l la laquelle le lequel les leur leurs lui
        ma mais mes mets moi mon ne nos notre nous ou où par pas peu peut peux pourquoi pourrais prochain
        prochaine puis puisque qu quand que quel quelle quelles quelque quels qui quoi sa sans ses soir sont
        sous suis sur ta te tes toi tous tout toute toutes très tu un une va vers veuillez veux vos votre
        voudrais vous être
    """,
    "es": """
        ahora al algo alguna algún antes aquí así ayer buenos cada como con cual cuando cuál cuáles cuándo
        cuánta cuántas cuánto cuántos cómo de del desde donde dos durante dónde el ella ellos en entre eres
        es esa ese eso esta estas este esto estos estoy está están fue hace hacer hasta hoy la las le
        les lo los mañana mi mis mucho muy más nada necesito nos nosotros nuestra nuestro otra otro para
        pero poner por porque próxima próximo puede puedes puedo que quiero quién qué se según ser si sin
        sobre su sus sí también te tengo tiene tienes todas tu tus tú un una unas unos va vamos voy ya
    """,
    "it": """
        abbiamo adesso agli al alla alle allo anche ancora avere bene che chi ci con cosa così da dal dalla
        dalle dammi degli dei del dell della delle dello devo di dimmi domani dopo dov ed essere fa fai
        fammi favore fra gli ha hai hanno ieri il io l la le lei lo loro ma mi mia mie miei mio molto negli
        nei nel nella nelle nessun noi nostro oggi ogni perché però più poi posso prima prossima prossimo
        puoi può qual quale quali quando quanta quante quanti quanto quella quello questa queste questi
        questo qui se sei senza si sia sono sta sto su sua sugli sui sul sulla suo ti tra tu tua tue tuo
        tutta tutte tutti tutto un una uno va vi voglio vorrei è
    """,
    "nl": """
        aan al alle alles alsjeblieft alstublieft andere bij daar dat de deze dit doen dus een en er ga gaat
        geef geen gisteren graag haar hallo heb hebben hebt heeft het hier hij hoeveel iets ik ja je
        jij jouw jullie kan kun kunnen kunt laat maak maar meer mij mijn moet morgen na naar nee niet niets
        nog nu onder onze ook speel straks te tegen terug toch tussen uit uw van vanavond vandaag veel
        volgende voor waar waarom wanneer wat weer welk welke werk wie wij wil wilt worden wordt zal ze zeg
        zet zich zijn zo zoals zonder zou
    """,
    "pt": """
        agora ainda algum alguma amanhã antes ao aos aqui até cada como da das de dela dele depois desde
        dessa desse desta deste diga dois dos ela ele eles em entre essa esse esta estas este estou está
        estão eu faz fazer foi hoje há isso isto já lhe mais mas mesmo meu meus minha minhas muito na nas
        nem nos nossa nosso num numa não onde ontem ou para pela pelo pode poderia podes por porque posso
        preciso próxima próximo quais qual quando quanta quantas quanto quantos que quem quero se sem ser
        seu seus sim sobre sua suas são também te tem tenho teu toda todas tu tua tudo um uma umas uns vai
        você vocês vou
    """,
    "pl": """
        aby albo bardzo bez być był była było będzie chcę ci co czy dla dlaczego dzień dzisiaj dziś gdy
        gdzie ich ile innych ja jak jaka jaki jakich jakie jako jego jej jest jestem jutro już każdy kiedy
        kim kto która które którego który lub ma mam masz mi mnie moja moje mojego mojej moją może możecie
        możesz muszę mój na nad nam nas nie nim niż od ona oraz po pokaż ponieważ poproszę powiedz proszę
        przed przez przy się są tak także tego tej teraz też tu ty tych tylko tym więc wszystkie wszystko
        wyłącz włącz z za ze że żeby
    """,
    "tr": """
        acaba ama ara artık bana başka beni benim bir biraz biri biz bizim bu bugün buna bunu bunun burada
        daha değil diye dün en evet fazla gibi göre göster hangi hangisi hava hiç iki ile ise için kadar kaç
        ki kim lütfen mi misin miyim mu musun mü mı mısın nasıl ne neden nedir nerede nereye olan olarak
        oldu olsun olur onu onun saat sana sen senin siz sizin sonra söyle tüm var varmı veya ya yap
        yarın yeni yok zaman çok önce şey şimdi şu
    """,  # noqa: RUF001 - it is how Turkish is written
    "scandinavian": """
        af alla alle allt att av deg denne der dere det detta dette din du där efter eller en er et ett
        etter fra från få för före før gi giv går ha har hur hva hvad hvem hvilke hvilken hvilket hvor
        hvordan hvorfor hvornår idag igen igår ikke imorgen imorgon ingen inte jag jeg kan kanske klockan
        kommer kunne med meg mig min mina mitt mycket må måste ned nei nej neste noe noget nogle nu när
        nästa någon något når næste och också og også opp oss på seg sig sige ska skal skulle sluk slå som
        spela spil stäng så tænd udenfor upp uten vad var ved venlig vi vil vilka vilken vilket vill
        vær være är över ønsker
    """,
    "id": """
        ada adalah agar akan aku anda apa apakah atau atur bagaimana bahwa banyak baru belum berapa besok
        bisa bisakah buat cari dalam dapat dari dengan di dia hapus hari harus hingga ingatkan ingin ini itu
        jika juga kah kami kamu kapan ke kemarin kepada kita lagi lebih mainkan mana masih matikan mau
        melakukan mereka minggu mohon nyalakan oleh pada pukul putar saat saja sampai sangat saya sebelum
        sebuah sekarang selama semua seperti setel setelah siapa sudah tambahkan tampilkan tanpa tentang
        tersebut tetapi tidak tolong tunjukkan untuk yang
    """,
}

#: Words that only English texts are full of: those of them that another language has as well say nothing, and nor does
#: what an apostrophe parts off in French and Italian, too (`d'un`, `m'a`). English names have an `s` after it.
_ENGLISH: Final = STOP_WORDS - frozenset(
    """
    a am an as at d do had has he her him hi i in is let m me no of on or so t up us was want we were will
    """.split()  # noqa: SIM905 - a list of a hundred quoted words cannot be read
)
#: The commonest words of English requests that hardly any other language has, but in names.
_OF_REQUESTS: Final = frozenset(
    """
    add again amount answer apply appointment around available before between book buy calendar call carry changed
    coffee current currently day days delete dinner dollars done down exchange flight food friday fun going good got
    hear here hundred increase joke jump know latest left lights look lost lower luggage made meaning monday money
    month morning near next off order people phone play playing price read really recipe remind reminder remove
    repeat response right said schedule scheduled seven shut soon speak things think three through times today
    tomorrow tonight travel turn twenty until wanna watch way weather whats work year
    """.split()  # noqa: SIM905 - a list of a hundred quoted words cannot be read
)
#: Words of these that stand in English texts, too: as parts of names, as abbreviations, borrowed or by a slip, at least
#: a thousandth as often as in their own language.
_IN_NAMES: Final = frozenset(
    """
    ada al ara att au aus aux avant biz bu buenos ces chez chi ci co con da dal das de dei del dell della dem der
    des di dia din dir dis dos du ed el ella elle em en encore es esa est et eu fa fra ga gi ha hai het hoy ik il
    io ist j ja kan ke ki kim kun l la las le lei les lo los ma mach med mets mi mia min mina mis moi mon mu na
    nada nam nas ne ned nee nos notre nu ob ou par para po prima que sa saat sag sans se seine sen ser ses si sia
    sim sin ska som sta su sur são ta te tes ti tu tue ty um un uno uw va van var vi von wat wilt ya z ze
    """.split()  # noqa: SIM905 - a list of a hundred quoted words cannot be read
)

#: What is in a run of letters that is an address, a path, a file's name or an identifier: `jean@example.com`,
#: `https://…`, `le-monde.fr`, `rapport.pdf`, `/des/les`, `std::les`, `user_id`.
_IDENTIFIER: Final = re.compile(r"[@_\\]|://|::|\w\.[^\W\d]|/.*/|^\W*/\w")

#: Each of these has one of these characters.
_OF_IDENTIFIERS: Final = frozenset(r"@_\:./")

#: From which strangeness on a text may be in another language than English.
STRANGE: Final = 0.5
#: What one of the words of names counts, and a word with a letter that is not of ASCII.
_HALF: Final = 0.5
#: What each word counts where none is English; and how many these must be, as one may be a slip, a name or a cry.
_QUARTER: Final = 0.25
_SEVERAL: Final = 2
#: The share of texts from which on a language is one of those that were learnt from.
_OWN: Final = 0.25


def _languages() -> dict[str, tuple[str, ...]]:
    """By word, the languages that have it."""
    lists = {language: frozenset(words.split()) for language, words in _WORDS.items()}
    return {
        word: tuple(language for language, known in lists.items() if word in known)
        for words in lists.values()
        for word in words
    }


_LANGUAGES: Final = _languages()


def words_of(text: str) -> list[str]:
    """The words of a text by which its language is told, case folded: all but what is an address or an identifier."""
    head = text[:MAX_CHARACTERS]
    if _OF_IDENTIFIERS.isdisjoint(head):
        return tokens(head)
    return tokens(" ".join([run for run in head.split() if not _IDENTIFIER.search(run)]))


def is_strange(words: Sequence[str], own: Container[str] = (), *, least: float = STRANGE) -> bool:
    """Whether a text is in a language in Latin letters that is neither English nor one of some others.

    Args:
        words: of the text, as `words_of` gives them.
        own: the others, as `languages_of` gives them.
        least: the strangeness from which on it may be; an eighth of its words, or one, is asked of it, too.
    """
    language, strangeness = _strangest(words, own)
    return strangeness >= max(least, min(1.0, len(words) / 8)) and language not in own


def languages_of(texts: Collection[str]) -> frozenset[str]:
    """The languages but English that a good part of texts is in; "" stands for one that cannot be told."""
    read = [_strangest(words_of(text)) for text in texts]
    counts = Counter(language for language, strangeness in read if strangeness >= STRANGE)
    found = {language for language, count in counts.items() if count >= _OWN * len(texts)}
    return frozenset(found | {""}) if found else frozenset()


def _strangest(words: Sequence[str], own: Container[str] = ()) -> tuple[str, float]:
    """The language with most words in a text, own ones before others, or ""; and how strange the text is."""
    own_words: Counter[str] = Counter()
    of_names: Counter[str] = Counter()
    english = requests = lettered = 0
    others = []
    for word in words:
        if word in _ENGLISH:
            english += 1
        elif word in _OF_REQUESTS:
            requests += 1
        else:
            lettered += not word.isascii() and word < AFTER_LATIN
            if word in _LANGUAGES:
                (of_names if word in _IN_NAMES else own_words).update(_LANGUAGES[word])
            elif word.isascii() and word.isalpha():
                others.append(word)
    vocabulary = english_words()
    known = sum(word in vocabulary for word in others)
    unknown = len(others) - known

    def strangeness(language: str) -> float:
        names = of_names[language] + lettered
        # One name is vouched for by any English words, if there are no others.
        vouching = requests + known if names == 1 and not unknown else requests
        return own_words[language] + max(0.0, _HALF * names - vouching) - english

    language = max((*own_words, *of_names), key=lambda name: (strangeness(name), name in own), default="")
    if unknown < _SEVERAL or english or requests or known:
        return language, strangeness(language)
    return language, max(strangeness(language), _QUARTER * unknown)
