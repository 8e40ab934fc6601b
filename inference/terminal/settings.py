"""The flags of the chat in the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from config import ChatConfig

MOST_ALTERNATIVES = 20


@dataclass(frozen=True)
class TerminalConfig(ChatConfig):
    """A chat in the terminal."""

    json: bool = False
    """Write one JSON object a line for each answer, for scripts: its text, why it ended, what it
    took."""
    logprobs: int | None = None
    """With --json: tell each token's log-probability too, and this many of the likeliest tokens at
    its place."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = super().problems()
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_ALTERNATIVES:
            found.append(f"logprobs is {self.logprobs}: choose 0 to {MOST_ALTERNATIVES}")
        if self.logprobs is not None and not self.json:
            found.append("logprobs is only for --json; in a chat, /tokens shows them")
        return found
