"""Tells a story from a plot, in either language."""

import random

from data_process.sample.grammar import expand
from data_process.sample.languages import SPACES, STORIES


def short_story(language: str, slots: dict[str, str], rng: random.Random) -> str:
    """A story of five sentences in one paragraph, as the assistant tells it."""
    module = STORIES[language]
    plot = rng.choice(module.PLOTS)
    sentences = (module.OPENING, plot.problem, plot.attempt, plot.help, plot.end)
    return expand(SPACES[language].join(sentences), slots, rng)


def long_story(language: str, slots: dict[str, str], rng: random.Random) -> str:
    """A story of three paragraphs, half of the time with a dialogue."""
    module, space = STORIES[language], SPACES[language]
    plot = rng.choice(module.PLOTS)
    opening = rng.choice(module.LONG_OPENINGS) + rng.choice(module.SCENES)
    end = plot.end + rng.choice(module.CLOSINGS)
    if rng.random() < 0.5:
        paragraphs = (opening, space.join((plot.problem, plot.attempt, plot.help)), end)
    else:  # in a dialogue, where the helper tells his name himself
        paragraphs = (space.join((opening, plot.problem, plot.attempt)), plot.talk, end)
    return expand("\n\n".join(paragraphs), slots, rng)
