"""What an assistant says about itself."""

from typing import Literal

from tasks.shared import registry

Language = Literal["en", "zh"]


@registry.function(
    name="dialogue.greet",
    tags={"smalltalk", "greeting"},
    examples=("hello", "hi there", "good morning", "你好", "早上好"),
)
def greet(name: str = "", language: Language = "en") -> str:
    """Greet the user.

    Args:
        name: whom to greet; may be empty.
        language: English or Chinese.
    """
    who = name.strip()[:100]
    if language == "zh":
        return f"你好，{who}！" if who else "你好！"
    return f"Hello, {who}!" if who else "Hello!"


@registry.function(
    name="dialogue.help",
    tags={"smalltalk", "functions"},
    examples=("help", "what can you do for me?", "which functions do you have", "帮助", "你能做什么？"),
)
def list_functions() -> dict[str, str]:
    """Say what this assistant can do: each function by name, with what it is for."""
    return {function.name: function.description.strip().split("\n")[0] for function in registry}
