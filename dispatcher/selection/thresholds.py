"""From which probabilities on to act, to ask, and to abstain."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """From which probability on what is decided."""

    #: Act where the first candidate's probability is at least this.
    act_at: float = 0.4
    #: Abstain where the probability that any function is meant is below this; ask in between.
    ask_at: float = 0.3
    #: Abstain also where the first three candidates together are less probable: asking would mostly be in vain.
    together_at: float = 0.4

    def __post_init__(self) -> None:
        if not all(0 <= threshold <= 1 for threshold in (self.act_at, self.ask_at, self.together_at)):
            msg = f"thresholds are probabilities from 0 to 1, not {self.act_at}, {self.ask_at} and {self.together_at}"
            raise ValueError(msg)
