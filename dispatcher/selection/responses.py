"""What is said to a user instead of a call."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from dispatcher.selection.words import Language, language_of

#: What is answered when no function fits, unless the caller has something better to say.
DEFAULT_RESPONSES: Mapping[Language, str] = MappingProxyType(
    {
        "en": "Sorry, I have no function for that. Ask for help to see what I can do.",
        "zh": "抱歉，我没有适合这个请求的功能。您可以说“帮助”，看看我能做什么。",
    }
)


class Responses:
    """The default response, in one language or several."""

    def __init__(self, default: str | Mapping[Language, str]) -> None:
        self._texts: Mapping[Language, str] = {"en": default} if isinstance(default, str) else dict(default)

    def default(self, text: str, language: Language | None) -> str:
        """The answer to a text that no function fits, in the language of the text, else in `language`."""
        return self._texts.get(language_of(text, otherwise=language)) or self._texts.get("en", "")


def question(names: Sequence[str], language: Language) -> str:
    """Ask which of some functions is meant."""
    if language == "zh":
        return "您是指 " + " 还是 ".join(names) + "？"
    return "Did you mean " + " or ".join(names) + "?"
