"""Prompts for reinforcement learning, with their accepted answers: of training questions only.

What is held out for the eval file (questions, sums, names, memories, stories) is in none of them.
"""

from __future__ import annotations

from typing import Any

from data_process.sample.conversations import (
    HARD_RULES,
    QUESTION_CATEGORIES,
    RULE_KINDS,
    Conversation,
    ConversationWriter,
)
from data_process.sample.evaluation import MIN_STORY_CHARACTERS, Exam, criteria_of


class PromptWriter(ConversationWriter):
    """Makes the prompts of one language."""

    def record(self, category: str) -> dict[str, Any]:
        """A prompt of a category, as the RL file stores it."""
        special = {
            "greeting": self.exam_of_greeting,
            "story": self.exam_of_story,
            "memory": self.exam_of_memory,
            "system": self.exam_of_system,
        }
        exam = special[category]() if category in special else self.exam_of_fact(category)
        *messages, _ = exam.conversation.messages()
        rule: dict[str, Any] = {}
        if exam.rejected:
            rule["rejected"] = list(exam.rejected)
        if exam.min_characters:
            rule["min_characters"] = exam.min_characters
        answers = [list(option) if len(option) > 1 else option[0] for option in exam.accepted]
        return {"conversations": messages, "answers": answers, **({"rule": rule} if rule else {})}

    def exam_of_fact(self, category: str) -> Exam:
        """A training question about a fact."""
        question = self.question(category)
        turns = [(question.prompt, question.answer)]
        return Exam(Conversation(self._plain_system(0.12), turns), question.fact.accepted)

    def exam_of_greeting(self) -> Exam:
        """A greeting, half of them with a name."""
        if self.rng.random() < 0.5:
            return self.exam_of_fact("greeting")
        name, texts = self.name(), self.texts.facts
        prompt = texts.draw("greetings with a name", {"name": name}, self.rng)
        answer = texts.one("answer to a greeting with a name").fill({"name": name})
        return Exam(Conversation(None, [(prompt, answer)]), ((name,),))

    def exam_of_story(self) -> Exam:
        """The request for a story."""
        kind, name = self.rng.choice(self.texts.story_animals), self.name()
        if self.is_held_story(kind, name):
            return self.exam_of_story()
        turn = self.story_turn(kind, name, self.name())
        shortest = MIN_STORY_CHARACTERS[self.code]
        return Exam(Conversation(None, [turn]), ((kind, name),), min_characters=shortest)

    def exam_of_memory(self) -> Exam:
        """A thing said one to three turns before the question for it."""
        memory = self.memory()
        between = [
            self.turn(self.rng.choice(QUESTION_CATEGORIES))
            for _ in range(self.rng.choice((0, 1, 1, 2)))
        ]
        turns = [memory.statement, *between, memory.question]
        return Exam(Conversation(self._plain_system(0.15), turns), ((memory.value,),))

    def exam_of_system(self) -> Exam:
        """A system prompt: a name, or a rule with a training question."""
        kind = self.rng.choice(("name", *RULE_KINDS, *HARD_RULES))
        if kind == "name":
            name = self.name()
            rejected = self.texts.chat.lines("assistant's name: rejected")
            return Exam(self.named_assistant(name), ((name,),), rejected)
        rule, question = self.rule(kind), self._question_for(kind)
        conversation = Conversation(rule.system, [self.turn_under(rule, question)])
        return Exam(conversation, *criteria_of(self, rule, question.fact))
