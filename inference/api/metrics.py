"""What a server counts, in Prometheus's text form (prometheus.io/docs/instrumenting/
exposition_formats): https://prometheus.io reads it from /metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TOKEN_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Histogram:
    """How often values fell below some bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Counts a value, or several that are equal."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def lines(self, name: str, text: str) -> list[str]:
        """Its text form."""
        written, total = [f"# HELP {name} {text}", f"# TYPE {name} histogram"], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            written.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*written, f"{name}_sum {self.sum:.6f}", f"{name}_count {total}"]


class ServiceMetrics:
    """Answers and their tokens. One thread writes; any may read."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()
        self.prompt_tokens = self.cached_tokens = self.generated_tokens = 0
        self.first_token = Histogram(FIRST_TOKEN_SECONDS)
        self.next_token = Histogram(TOKEN_SECONDS)

    def add_tokens(self, seconds: float, count: int, is_first: bool) -> None:
        """Counts tokens that came at once, some seconds after the request or the token before."""
        self.generated_tokens += count
        if is_first:
            self.first_token.add(seconds)
        else:
            self.next_token.add(seconds / count, count)

    def add_answer(self, ending: str, prompt_tokens: int, cached_tokens: int) -> None:
        """Counts an answer that has ended."""
        self.endings[ending] += 1
        self.prompt_tokens += prompt_tokens
        self.cached_tokens += cached_tokens

    def lines(self) -> list[str]:
        """Their text form."""
        return [
            *counter("etude_answers_total", "Answers by what ended them.", ("ending",),
                     {(ending,): count for ending, count in self.endings.items()}),
            *number("counter", "etude_prompt_tokens_total", "Tokens of prompts.",
                    self.prompt_tokens),
            *number("counter", "etude_cached_prompt_tokens_total",
                    "Tokens of prompts that did not have to be read again.", self.cached_tokens),
            *number("counter", "etude_generated_tokens_total", "Tokens of answers.",
                    self.generated_tokens),
            *self.first_token.lines("etude_time_to_first_token_seconds",
                                    "From a request to its answer's first token."),
            *self.next_token.lines("etude_token_seconds", "From token to token of an answer."),
        ]  # fmt: skip


class RequestMetrics:
    """HTTP requests."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, ...]] = Counter()

    def add(self, route: str, method: str, status: int) -> None:
        """Counts a request that has been replied to; 499 stands for a client that went away."""
        self.requests[route, method, str(status)] += 1

    def lines(self) -> list[str]:
        """Their text form."""
        text = "HTTP requests; status 499: the client went away."
        labels = ("route", "method", "status")
        return counter("etude_http_requests_total", text, labels, self.requests)


def number(kind: str, name: str, text: str, value: float) -> list[str]:
    """The text form of a single number; a gauge or a counter."""
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value}"]


def counter(
    name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], int]
) -> list[str]:
    """The text form of a counter that is kept for each combination of labels."""
    written = [f"# HELP {name} {text}", f"# TYPE {name} counter"]
    for key, value in sorted(values.items()):
        pairs = ",".join(f'{k}="{escape(v)}"' for k, v in zip(labels, key, strict=True))
        written.append(f"{name}{{{pairs}}} {value}")
    return written


def escape(value: str) -> str:
    """A label's value as it must be written."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def exposition(lines: Iterable[str]) -> str:
    """A whole page."""
    return "".join(f"{line}\n" for line in lines)
