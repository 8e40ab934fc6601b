"""How much of everything the sample holds: the one place to tune its mixture."""

from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class PretrainAmounts:
    """Texts of each kind, for each language."""

    stories_en: int = 2500
    stories_zh: int = 1750
    meetings_en: int = 850  # people tell their names and are called by them
    meetings_zh: int = 850
    quizzes_en: int = 900  # questions and answers in prose
    quizzes_zh: int = 850
    facts_en: int = 750  # paragraphs of facts of one category, words apart
    facts_zh: int = 800
    sums_en: int = 600  # paragraphs of additions and subtractions
    sums_zh: int = 600
    words_en: int = 400  # bilingual word lists
    words_zh: int = 350
    descriptions_en: int = 250
    descriptions_zh: int = 250


@dataclass(frozen=True)
class ChatAmounts:
    """Conversations of each category in the SFT file, for each language."""

    greeting: int = 200
    identity: int = 200
    capital: int = 320
    animal: int = 380
    opposite: int = 320
    colour: int = 240
    arithmetic: int = 420
    translation: int = 420
    story: int = 300
    memory: int = 700
    system: int = 700
    mixed: int = 280  # two to four turns of different categories


@dataclass(frozen=True)
class EvalAmounts:
    """Held-out questions of each category in the eval file, for each language."""

    greeting: int = 16
    identity: int = 16
    capital: int = 16
    animal: int = 16
    opposite: int = 16
    colour: int = 16
    arithmetic: int = 20
    translation: int = 16
    story: int = 16
    memory: int = 16
    system: int = 16


@dataclass(frozen=True)
class Amounts:
    """All amounts of one sample."""

    pretrain: PretrainAmounts = PretrainAmounts()
    chat: ChatAmounts = ChatAmounts()
    evaluation: EvalAmounts = EvalAmounts()


def scale(amounts: Amounts, factor: float) -> Amounts:
    """The same mixture with `factor` times the training records (at least one of each kind)."""

    def scaled(counts: dict[str, int]) -> dict[str, int]:
        return {name: max(1, round(count * factor)) for name, count in counts.items()}

    pretrain = PretrainAmounts(**scaled(asdict(amounts.pretrain)))
    return replace(amounts, pretrain=pretrain, chat=ChatAmounts(**scaled(asdict(amounts.chat))))
