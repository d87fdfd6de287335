"""Chinese texts word for word in English, by a dictionary: for encoders that read only English.

    把闹钟推迟五分钟    alarm clock postpone five minute

No translation: the first meaning of each word, in the order of the Chinese. An encoder of sentences makes more of that
than it seems, and errs otherwise than one that reads Chinese.

Source: CC-CEDICT, https://cc-cedict.org (CC BY-SA 4.0), and its words told apart by Lindera, from the package
`lindera-python-cc-cedict` (MIT).
"""

import logging
import os
import platform
import re
import sys
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

from dispatcher.errors import ModelError
from dispatcher.selection.encoders.encoder import read_text
from dispatcher.selection.encoders.pinned import PinnedFile, is_installed
from dispatcher.selection.words import language_of

logger = logging.getLogger(__name__)

EXTRA: Final = "embedding"
MODULE: Final = "lindera"

#: The dictionary is a part of the library, which is built for each kind of machine.
_BUILDS: Final = {
    ("linux", "x86_64"): "ac255479d32aec71d3a1a9839cb076664f7bf364510bddebe1974df4f5e8e8e3",
    ("linux", "aarch64"): "31481cc7f2b863bbd17ba88b0d9afd155d0ce87f54000030720d9fbde7c222ff",
    ("darwin", "arm64"): "1e49af776bcecfbdd5faf68ba91809434e27b329509bc9cf496996a48f2e5a3f",
    ("darwin", "x86_64"): "65e3b61b9b4c17598abdabaa8ba655aedf8a19b036bf8e957b2b9df83921c6ff",
}
#: Where the English stands in what the dictionary says of a word, cut at commas; this sign where it says nothing.
_ENGLISH: Final = 7
_NOTHING: Final = "*"

#: Words that hold a sentence together, by what they mean in English: what a dictionary says of them first is mostly
#: something else. Those of the first line mean nothing by themselves.
_SMALL_WORDS: Final = """
: 的 了 吗 呢 吧 啊 呀 嘛 着 过 地 得 之 把 就 有的 一下 个 位 只 条 张 首 部 本
I: 我; you: 你 您 你们; he: 他; she: 她; it: 它; we: 我们; they: 他们; self: 自己
this: 这 这个; that: 那 那个; some: 些 一些; all: 所 所有 都; one: 一; a: 一个 一家
is: 是; have: 有; not have: 没有; not: 不 没; do not: 别; and: 和 与; or: 或 或者; if: 如果; because: 因为; but: 但是
want: 要 想; will: 会 将 将会; can: 能 可以; should: 应该; please: 请; help: 帮; let: 让
go: 去; come: 来; eat: 吃; see: 看; good: 好
in: 在 里 中 内; on: 上; down: 下; to: 到 给 对; from: 从; at: 于; for: 为; with: 跟 用; by: 被; than: 比; about: 关于
also: 也; still: 还; again: 再; very: 很; most: 最; more: 更; too: 太
what: 什么; who: 谁; which: 哪 哪些; where: 哪里 哪儿; when: 什么时候; why: 为什么
how: 怎么 怎么样 怎样 如何 多; how many: 几; how much: 多少
now: 正在 现在; today: 今天; year: 年; month: 月; day: 日; number: 号; o'clock: 点; minute: 分; half: 半
"""
_SMALL: Final = {
    word: english.strip()
    for english, _, words in (entry.partition(":") for entry in re.split("[;\n]", _SMALL_WORDS))
    for word in words.split()
}

#: What a dictionary says about a word instead of what it means.
_NOTE: Final = re.compile(
    r"(old |erhua )?variant|surname|CL:|see |abbr\.|also pr|also written|classifier|.*particle|used |bound form|prefix"
    r"|suffix|same as"
)
_ASIDE: Final = re.compile(r"\([^)]*\)|\[[^\]]*\]")
_FIRST_WORD: Final = re.compile(r"^(to be|to|a|an|the) |\b(sb|sth)\b|\?")
_LETTER: Final = re.compile("[A-Za-z]")

_lock = Lock()
# A child of a fork would find it locked for ever where another thread held it just then.
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Glossary:
    """Chinese words in English. Threads may share it; they wait for each other."""

    def __init__(self, *, library: Path | None = None) -> None:
        """Find the dictionary. It is read, into some 60 MB, when the first Chinese text comes.

        Args:
            library: where it stands, if not in the installed package.

        Raises:
            ModelError: it is not installed, there is none for this kind of machine, or it is not the pinned one.
        """
        machine = (sys.platform, platform.machine())
        if machine not in _BUILDS:
            msg = f"there is no Chinese dictionary for {' on '.join(machine)}"
            raise ModelError(msg)
        PinnedFile(
            module=MODULE,
            path="lindera.abi3.so",
            sha256=_BUILDS[machine],
            requirement="lindera-python-cc-cedict==2.2.0",
            extra=EXTRA,
        ).locate(library)
        self._tokeniser: Any = None

    def gloss(self, text: str) -> str:
        """A Chinese text in English, word for word; empty where a text is in no Chinese."""
        if language_of(text) != "zh":
            return ""
        with _lock:
            if self._tokeniser is None:
                self._tokeniser = _load()
            tokens = self._tokeniser.tokenize(read_text(text))
        return " ".join(filter(None, (_in_english(token.surface, token.details) for token in tokens)))


@cache
def find_glossary() -> Glossary | None:
    """The dictionary; None where it is not installed, or not the pinned one, which is logged."""
    if not is_installed(MODULE):
        return None
    try:
        return Glossary()
    except ModelError as error:
        logger.warning("glossary_not_used: %s", error, extra={"reason": str(error)})
        return None


def _load() -> Any:  # noqa: ANN401 - the package says nothing of its types
    import lindera

    return lindera.Tokenizer(lindera.load_dictionary("embedded://cc-cedict"), mode="normal")


def _in_english(word: str, details: list[str]) -> str:
    """One word: its first meaning, itself where the dictionary does not have it, nothing where it only holds together.

    Args:
        word: as it stands in the text.
        details: of the word, cut at commas: those in its English too.
    """
    if word in _SMALL:
        return _SMALL[word]
    english = details[_ENGLISH:]
    if not english or english == [_NOTHING]:
        return word.strip()
    for meaning in ",".join(english).split("/"):
        if not _NOTE.match(meaning.strip()):
            plain = _FIRST_WORD.sub("", re.split("[;,]", _ASIDE.sub("", meaning))[0].strip())
            if _LETTER.search(plain):
                return " ".join(plain.split())
    return ""
