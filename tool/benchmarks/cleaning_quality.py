"""How clean the texts are, and whether they are whole, by Etude and by others."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tool.benchmarks.cleaning_contenders import CONTENDERS, ETUDE, Cleaned, CleaningJob
from tool.benchmarks.own_process import Failure, run_apart
from tool.benchmarks.prose import lost_sentences

MARKUP = {
    "[[": r"\[\[|\]\]",
    "{{": r"\{\{|\}\}",
    "{|": r"\{\||\|\}",
    "<ref": r"</?ref\b",
    "'''": r"'{2,}",
    "&nbsp;": r"&(?:#\d+|#x[0-9a-f]+|nbsp|lt|gt|amp|quot|[nm]dash|minus|times);",
    "-{": r"-\{|\}-",
    "<tag>": r"</?(?:br|div|span|small|sub|sup|nowiki|table|t[rdh]|p|math|gallery|center)\b[^>]*>",
    "__X__": r"__[A-Z]{4,}__",
    "File:": r"^(?:File|Image|Category|Файл|ファイル|文件):|\bthumb\|",
}
"""Markup that must not be left, by what the table calls it."""
DANGLING = (
    r"\(\s*[,;，；]|[,;，；]\s*\)|（\s*[，；、]|[，；、]\s*）|\(\s*\)|（\s*）|,\s*,|，\s*，|[a-z] ,"
)
"""Signs of something dropped: empty brackets, a comma beside a bracket or another comma."""
PER = 1_000_000


@dataclass
class Quality:
    """What a contender's texts of a dump are like."""

    pages: int
    characters: int
    markup: dict[str, float]
    """Of each kind, for a million characters."""
    dangling: float
    """For a million characters."""
    sentences: int = 0
    """Sentences of prose in pages that Etude has too."""
    lost: list[str] = field(default_factory=list)
    """Those that Etude's texts do not have."""

    @property
    def kept_share(self) -> float | None:
        """Share of the sentences that Etude keeps; None where there are none."""
        return 1 - len(self.lost) / self.sentences if self.sentences else None

    def to_json(self) -> dict[str, object]:
        """The figures, without the sentences."""
        figures = dataclasses.asdict(self)
        return {**figures, "lost": len(self.lost), "kept_share": self.kept_share}


def measure_quality(
    job: CleaningJob, missing: Mapping[str, str]
) -> tuple[dict[str, Quality], dict[str, Failure]]:
    """The quality of all contenders on a dump, and the contenders that failed."""
    cleaned: dict[str, Cleaned] = {}
    failures: dict[str, Failure] = {}
    for name, clean in CONTENDERS.items():
        if name in missing:
            continue
        result = run_apart(clean, dataclasses.replace(job, drop_notes=True))
        if isinstance(result, Failure):
            failures[name] = result
        else:
            cleaned[name] = result
    found = {name: quality_of(result.texts) for name, result in cleaned.items()}
    if ETUDE in cleaned:
        for name in found.keys() - {ETUDE}:
            compare(found[name], cleaned[name].texts, cleaned[ETUDE].texts)
    return found, failures


def quality_of(texts: Mapping[str, str]) -> Quality:
    """Counts what is left of the markup."""
    text = "\n".join(texts.values())
    scale = PER / max(1, len(text))
    markup = {
        name: scale * len(re.findall(pattern, text, re.IGNORECASE | re.MULTILINE))
        for name, pattern in MARKUP.items()
    }
    dangling = scale * len(re.findall(DANGLING, text))
    return Quality(len(texts), len(text), markup, dangling)


def compare(quality: Quality, texts: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Counts a peer's sentences that are in Etude's texts."""
    for key, text in texts.items():
        if key in own:
            count, lost = lost_sentences(own[key], text)
            quality.sentences += count
            quality.lost += lost


def quality_table(name: str, found: Mapping[str, Quality], failures: Mapping[str, Failure]) -> str:
    """A dump's figures, for people."""
    names = list(MARKUP)
    head = " ".join(f"{kind:>7}" for kind in names)
    lines = [f"\n{name}", f"{'':17} {'characters':>10} {head} {'dangling':>8} {'kept':>15}"]
    for contender, quality in found.items():
        cells = " ".join(f"{quality.markup[kind]:>7,.0f}" for kind in names)
        share = quality.kept_share
        kept = "" if share is None else f"{share:.2%} of {quality.sentences:,}"
        lines.append(
            f"{contender:17} {quality.characters:>10,} {cells} {quality.dangling:>8,.0f} {kept:>15}"
        )
    lines += [f"{contender:17} failed: {f.reason}" for contender, f in failures.items()]
    return "\n".join(lines)
