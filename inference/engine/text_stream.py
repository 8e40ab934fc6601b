"""From tokens to text as it comes: never half a character, never the beginning of a stop text."""

from __future__ import annotations

from model.tokenizer import EtudeTokenizer


class TextStream:
    """The text of one answer.

    All that `step` and `finish` return, joined, is the decoded answer up to the first stop text.
    """

    def __init__(self, tokenizer: EtudeTokenizer, stop: tuple[str, ...] = ()) -> None:
        """stop: texts that end the answer, and are not part of it."""
        self.decoder, self.stop = tokenizer.stream_decoder(), tuple(filter(None, stop))
        self.held = ""
        """Certain text that may yet turn out to be the beginning of a stop text."""
        self.stopped = False
        """Whether a stop text has come."""

    def step(self, token: int) -> str:
        """The text that becomes certain with a token."""
        return self.pass_on(self.decoder.step(token), at_end=False)

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        return self.pass_on(self.decoder.finish(), at_end=True)

    def pass_on(self, text: str, at_end: bool) -> str:
        """The part of held and new text that can be shown."""
        if self.stopped:
            return ""
        self.held += text
        found = [at for at in map(self.held.find, self.stop) if at >= 0]
        if found:
            self.stopped = True
            shown, self.held = self.held[: min(found)], ""
            return shown
        keep = 0 if at_end else max((overlap(self.held, stop) for stop in self.stop), default=0)
        cut = len(self.held) - keep
        shown, self.held = self.held[:cut], self.held[cut:]
        return shown


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of a text that a stop text begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
