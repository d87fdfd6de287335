"""What several of these tests are made of: functions by name and description, sentences, and an encoder that costs nothing."""

import re
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from dispatcher.registry.registry import Registry
from dispatcher.selection.card import Card
from dispatcher.selection.encoders.encoder import Rows, encode_distinct, is_latin, unit
from dispatcher.selection.example import Example
from dispatcher.selection.meaning import Meaning
from dispatcher.selection.model import Model
from dispatcher.selection.training import train

#: Functions of a small assistant, by name.
DESCRIPTIONS = {
    "text.count_words": "Count the words of a text.",
    "text.slugify": "Turn a title into a slug for an address.",
    "text.translate": "Translate a sentence into another language.",
    "mail.send_invoice": "Email an invoice to a customer.",
    "weather.forecast": "Tell the weather of the coming days in a city.",
    "music.play": "Play a song of an artist.",
}

#: How people ask for each: a template's blank takes any of FILLINGS.
TEMPLATES = {
    "text.count_words": (
        "how many words are in {}",
        "word count for {} please",
        "size of {} in words",
        "number of terms in {}",
    ),
    "text.slugify": ("make a url slug of {}", "web address form of {}", "dashes instead of blanks in {}", "slug {}"),
    "text.translate": ("say {} in french", "what is {} in german", "translate {} to spanish", "{} in another language"),
    "mail.send_invoice": ("bill {} for the work", "send an invoice to {}", "charge {} by email", "invoice {} today"),
    "weather.forecast": (
        "will it rain in {}",
        "do i need an umbrella in {}",
        "how warm is {} tomorrow",
        "weather in {}",
    ),
    "music.play": ("put on something by {}", "play {} loud", "i want to hear {}", "start the song {}"),
}
FILLINGS = (
    "paris",
    "my essay",
    "the old house",
    "john smith",
    "blue river",
    "a short note",
    "the north",
    "harvest moon",
)

#: What nobody made a function for, in as many ways.
OUTSIDE = ("who won the match in {}", "what should i cook with {}", "is {} older than me", "tell a joke about {}")


def add(registry: Registry, name: str, description: str = "", **options: object) -> None:
    """Register a function that takes one text."""

    def function(text: str) -> str:
        return text

    function.__doc__ = description or None
    registry.function(name=name, **options)(function)


def make_registry(descriptions: dict[str, str] = DESCRIPTIONS) -> Registry:
    """A registry of functions by name and description."""
    registry = Registry()
    for name, description in descriptions.items():
        add(registry, name, description)
    return registry


def make_cards(descriptions: dict[str, str] = DESCRIPTIONS) -> tuple[Card, ...]:
    return tuple(Card(name=name, description=description) for name, description in descriptions.items())


def sentences(*, held_out: bool, outside: bool = True) -> list[Example]:
    """Labelled sentences: some for training, and others with other fillings to be held out."""
    fillings = FILLINGS[5:] if held_out else FILLINGS[:5]
    found = [
        Example(text=template.format(filling), function=name)
        for name, templates in TEMPLATES.items()
        for template in templates
        for filling in fillings
    ]
    if outside:
        found += [Example(text=template.format(f), function=None) for template in OUTSIDE for f in fillings]
    return found


def apart(meaning: Meaning, *, held_out: bool = False) -> float:
    """By how much of a cosine two sentences of one function are nearer than two of different ones."""
    examples = [example for example in sentences(held_out=held_out) if example.function]
    found = meaning.requests([example.text for example in examples])
    labels = [example.function for example in examples]
    same = np.equal.outer(labels, labels)
    cosines = found @ found.T
    return float(cosines[same].mean() - cosines[~same].mean())


class HashedEncoder:
    """An encoder without a model: each word is a fixed direction, and a text the sum of its words."""

    def __init__(self, dimension: int = 48, name: str = "hashed/1") -> None:
        self.name = name
        self.dimension = dimension
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Rows:
        self.asked.extend(texts)
        return encode_distinct(texts, self.dimension, self._encode)

    def _encode(self, texts: list[str]) -> Rows:
        return np.stack([self._sum(text) for text in texts])

    def _sum(self, text: str) -> Rows:
        total = np.zeros(self.dimension, dtype=np.float32)
        for word in re.findall(r"[\u3400-\u9fff]|\w+", text.lower()):
            rng = np.random.default_rng(zlib.crc32(word.encode("utf-8", "surrogatepass")))
            total += rng.standard_normal(self.dimension).astype(np.float32)
        return total


#: Words of a made-up dictionary, by which `TwoLanguages` knows what a text in Chinese or German means.
DICTIONARY = {
    "播放": "play",
    "歌曲": "song",
    "天气": "weather",
    "下雨": "rain",
    "发票": "invoice",
    "付款": "charge",
    "翻译": "translate",
    "德语": "german",
    "多少": "number of",
    "单词": "words",
    "网址": "url",
    "短横": "slug",
    "spiele": "play",
    "lied": "song",
    "wetter": "weather",
    "rechnung": "invoice",
}


class TwoLanguages:
    """Two encoders without a model side by side: one for English alone, one that knows Chinese and German words too.

    In such a text the second gives its words more weight than the Latin names in it.
    """

    def __init__(self, dimension: int = 48) -> None:
        self.name = "english/1 + any/1"
        self.dimension = 2 * dimension
        self._english, self._any = HashedEncoder(dimension), HashedEncoder(dimension)
        self.asked = self._english.asked

    def encode(self, texts: Sequence[str]) -> Rows:
        english = self._english.encode(texts)
        english[[not is_latin(text) for text in texts]] = 0
        known = re.compile("|".join(DICTIONARY))
        translated = [known.sub(lambda found: f" {DICTIONARY[found.group()]} " * 3, text) for text in texts]
        return unit(np.concatenate((english, self._any.encode(translated)), axis=1))


class WordByWord:
    """A dictionary of the few words that there are; a text without any of them has no English."""

    def gloss(self, text: str) -> str:
        return " ".join(DICTIONARY[word] for word in re.findall("|".join(DICTIONARY), text))


def make_two_languages(dimension: int = 48, *, glossary: WordByWord | None = None) -> Meaning:
    multilingual = np.repeat(np.array([0, 1], dtype=np.float32), dimension)
    common = np.zeros(2 * dimension, dtype=np.float32)
    return Meaning(TwoLanguages(dimension), common, multilingual=multilingual, glossary=glossary)


def make_meaning(dimension: int = 48) -> Meaning:
    return Meaning(HashedEncoder(dimension), np.zeros(dimension, dtype=np.float32))


def make_validation() -> tuple[list[Example], list[Example]]:
    """The training sentences told apart: to train on, and to validate on."""
    everything = sentences(held_out=False)
    return [e for i, e in enumerate(everything) if i % 4], everything[::4]


@cache
def trained(*, with_meaning: bool = False) -> Model:
    """A model of the small assistant; trained once for all tests."""
    return train(make_cards(), sentences(held_out=False), meaning=make_meaning() if with_meaning else None)
