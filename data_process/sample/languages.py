"""The templates of both languages, by language."""

from data_process.sample import (
    chat_en,
    chat_zh,
    prompts_en,
    prompts_zh,
    prose_en,
    prose_zh,
    stories_en,
    stories_zh,
)

LANGUAGES = ("en", "zh")
PROMPTS = {"en": prompts_en, "zh": prompts_zh}  # questions about facts, and their answers
CHAT = {"en": chat_en, "zh": chat_zh}  # everything else that is said in conversations
STORIES = {"en": stories_en, "zh": stories_zh}
PROSE = {"en": prose_en, "zh": prose_zh}  # pretraining texts that are not stories
SPACES = {"en": " ", "zh": ""}  # between sentences


def other_language(language: str) -> str:
    """ "en" for "zh" and "zh" for "en"."""
    return "zh" if language == "en" else "en"
