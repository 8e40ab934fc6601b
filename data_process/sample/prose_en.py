"""English templates of the pretraining texts that are not stories.

Slots: {a}, {b}, {c} are names; {a_he}, {b_he} their pronouns; {ask}, {answer}, {tell}, {reply}
are sentences, and {ask_}, {answer_}, {tell_}, {reply_} the same before "said", where a full stop is
a comma; {asked} is the right verb for {ask_}.
"""

from data_process.sample.names import is_girl
from data_process.sample.prompts_en import ITEMS as ITEMS


def pronouns(slot: str, name: str) -> dict[str, str]:
    """The pronouns of a name: {"a_he": "she", "a_his": "her", "a_kind": "girl"}."""
    words = ("she", "her", "girl") if is_girl(name) else ("he", "his", "boy")
    return dict(zip((f"{slot}_he", f"{slot}_his", f"{slot}_kind"), words, strict=True))


MEETINGS = (
    '{a} met a [new|quiet|cheerful] {b_kind} at the [market|station|school|library]. "What is your '
    'name?" asked {a}. "My name is {b}," said the {b_kind}. "Hello, {b}! I am {a}." "Nice to meet '
    'you, {a}," said {b}.',
    'A {b_kind} knocked at the door of {a}. "Who are you?" asked {a}. "I am {b}," said the '
    '{b_kind}. "I live [next door|in the house over there|across the road]." "Come in, {b}," said '
    '{a}. "They call me {a}."',
    '"Hello, I am {a}," said the {a_kind} on the [bench|train|bridge]. "Hello, {a}! My name is '
    '{b}," said the other. "That is a nice name, {b}," said {a}.',
    'The new teacher looked around. "And what is your name?" "{a}," said the {a_kind} in the first '
    'row. "Welcome, {a}. And who sits beside you, {a}?" "That is {b}," said {a}. "Welcome, {b}," '
    "said the teacher.",
    '{a} had lost {a_his} [hat|bag|book], and a {b_kind} brought it back. "Thank you! I am {a}. '
    'What is your name?" "{b}," said the {b_kind}. "You are very kind, {b}," said {a}.',
    '"Is that you, {c}?" asked {a}. "No, I am not {c}," said the {b_kind}. "I am {b}." "Excuse me, '
    '{b}," said {a}. "You look like {c}. My name is {a}."',
)
REMEMBERINGS = (
    '"{tell_}" said {a}. "{reply_}" said {b}. They [walked on|drank some tea|talked for a while]. '
    'Then {a} {asked}: "{ask}" "{answer_}" said {b}.',
    '{a} said to {b}: "{tell}" {b} answered: "{reply}" [Later|In the evening|An hour later] {a} '
    'wanted to know if {b} had listened. "{ask_}" {asked} {a}. "{answer_}" said {b}.',
    '"{tell_}" said {a}. "{reply_}" said {b}, and they looked at the [clouds|ships|birds]. '
    '"Listen, {b}. {ask}" {b} did not think long. "{answer_}" said {b}.',
)
PARTINGS = (
    '"Goodbye, {a}," said {b}. "See you soon, {b}," said {a}.',
    'The next day {a} saw {b} again. "Good morning, {b}!" called {a}. "Good morning, {a}!" '
    "answered {b}.",
    "Since that day {a} and {b} have been friends.",
    'When {a} came home, {a_he} told everyone about {b}. "{b} is my friend now," {a_he} said.',
    '"Will you come again, {b}?" asked {a}. "Tomorrow, {a}," said {b}, and {b_he} waved.',
)
QUIZ_OPENINGS = (
    "{a} and {b} were [waiting for the train|sitting by the fire|walking to school] and asked each "
    "other questions.",
    "On a long [evening|journey|walk], {a} and {b} played a game of questions.",
    "{b} had read many books, and {a} wanted to test {b}.",
    "The teacher asked, and {b} knew every answer, so {a} tried it too.",
)
QUIZ_TURNS = (
    '"{ask_}" {asked} {a}. "{answer_}" said {b}.',
    '"{ask_}" {asked} {a}. {b} thought for a moment. "{answer_}" said {b}.',
    '{a} {asked}: "{ask}" "{answer_}" answered {b}.',
    '"And now this one," said {a}. "{ask}" "{answer_}" said {b}.',
)
QUIZ_ENDINGS = (
    '"Well done, {b}!" said {a}.',
    '"You know a lot, {b}," said {a}. "You ask well, {a}," said {b}.',
    '"Now it is your turn to ask, {b}," said {a}.',
    "Then they were [tired|hungry] and went home.",
)
FACT_OPENINGS = {
    "capital": (
        "Every country has a capital.",
        "Here are some capitals of the world.",
        "An old map shows many countries and their capitals.",
    ),
    "animal": (
        "Animals live in many ways.",
        "Here is something about animals.",
        "There is much to learn about animals.",
    ),
    "opposite": (
        "Many words have an opposite.",
        "Opposites come in pairs.",
        "Here are some words and their opposites.",
    ),
    "colour": (
        "The world is full of colours.",
        "A painter must know the colours of things.",
        "Look around and name the colours.",
    ),
}
COUNTING = {1: "We count up: {numbers}.", -1: "We count down: {numbers}."}
COMMA = ", "
SUM_OPENINGS = (
    "Let us do some sums.",
    "Numbers can be added and taken away.",
    "Here are some sums.",
    "We count and calculate.",
    "This page of the notebook is full of numbers.",
)
WORD_OPENINGS = (
    "Here are some words in Chinese.",
    "Today we learn Chinese words.",
    "A page from a small dictionary.",
    "These words are easy to learn.",
)
PORTRAIT_OPENINGS = (
    "This is a page about the {animal}.",
    "Let us talk about the {animal}.",
    "What do we know about the {animal}?",
    "{b} knows a lot about the {animal}.",
)
PORTRAIT_ENDINGS = (
    "{b} knows {a_animal} and calls it {a}. When {b} calls “{a}”, the {animal} looks up.",
    "In a book that {b} likes, there is {a_animal} named {a}. Everyone loves {a}.",
    '"I would like to have {a_animal}," said {b}. "I would name it {a}. Come here, {a}!"',
    "{b} once drew {a_animal} and wrote the name {a} under it. {a} hangs on the wall now.",
)
DESCRIPTIONS = (
    "In spring the snow melts and the first flowers open. [Birds build their nests|Children fly "
    "kites|The rivers are full of water]. {a} likes spring best, because everything begins again.",
    "Summer days are long and warm. {a} [swims in the lake|reads under a tree|eats ice cream] and "
    "goes to bed late. In the evening there is [thunder|a soft wind|the song of crickets].",
    "In autumn the leaves turn red and yellow and fall to the ground. {a} gathers [nuts|mushrooms|"
    "apples] in the forest. The mornings are [cool|foggy], and the wind smells of [rain|smoke].",
    "Winter is cold. Snow lies on the [roofs|fields|hills], and the lake is frozen. {a} wears a "
    "[thick coat|woollen hat] and drinks [hot tea|warm milk] by the fire.",
    "The market opens early in the morning. There are [apples and pears|fish and bread|flowers and "
    "cheese] to buy. {a} always stops at the stall of {b}, who tells the best stories.",
    "The library is a quiet place. The shelves are full of books, and the old clock ticks. {a} "
    "sits at the window and reads about [distant islands|stars|the sea].",
    "A garden needs work. {a} waters the [roses|beans|tomatoes], and {b} pulls out the weeds. In "
    "the evening they sit on the bench and listen to the [birds|bees|wind].",
    "Bread is made of flour, water and salt. The baker {a} gets up at night and kneads the dough. "
    "In the morning the whole street smells of [fresh bread|warm rolls].",
    "The sea is never still. Waves come and go, and [gulls cry|ships pass by|shells lie in the "
    "sand]. {a} could look at it all day.",
    "A clock has two hands, a long one and a short one. The short hand shows the hour. {a} learned "
    "to read the clock from {b}.",
    "A kitchen is the warmest room of a house. A pot of [soup|rice|beans] is on the stove, and {a} "
    "stirs it with a wooden spoon.",
    "At night the sky is full of stars. The moon is [round|thin and bright]. {a} knows a star and "
    "has named it {b}.",
    "The train leaves the station with a long whistle. {a} looks out of the window. [Fields|Hills|"
    "Villages] pass by, and then comes the sea.",
    "Tea is made with hot water and dry leaves. {a} likes it [strong|sweet|with milk]. {b} waits "
    "until it is cool.",
)
