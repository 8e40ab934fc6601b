"""Little English stories: a hero, a problem, what was done about it, and an end.

Slots: {name}, {kind} ("fox"), {a_kind}, {he} {him} {his} {He} {His} for the hero; {friend} (a
name), {friend_kind} and {a_friend} ("an owl") for the helper; {place}, {weather}, {colour},
{trait}.
"""

import random

from data_process.sample.grammar import capitalise, with_article
from data_process.sample.names import is_girl
from data_process.sample.plots import Plot

PLACES = (
    "near a small river",
    "at the edge of a forest",
    "on a green hill",
    "in a quiet valley",
    "beside a blue lake",
    "in an old garden",
    "under a tall tree",
    "near a little village",
    "by the sea",
    "behind an old mill",
)
WEATHERS = ("sunny", "rainy", "windy", "cold", "warm", "snowy", "foggy", "bright")
COLOURS = ("red", "blue", "green", "yellow", "white", "brown", "purple")
TRAITS = ("curious", "kind", "brave", "shy", "clever", "cheerful", "careful", "gentle", "patient")
PEOPLE_GIRL = ("girl", "farmer", "baker", "sailor", "teacher", "princess", "gardener")
PEOPLE_BOY = ("boy", "farmer", "baker", "sailor", "teacher", "shepherd", "gardener")
HELPERS = ("owl", "mouse", "rabbit", "bear", "frog", "squirrel", "turtle", "duck", "goat")


PLOTS = (
    Plot(
        "One {weather} day, {name} lost {his} {colour} ball in the tall grass.",
        "{He} looked [everywhere|under every leaf|behind every stone], but the ball was gone.",
        '"What are you looking for?" asked {a_friend}. "My {colour} ball," said {name}. '
        '"I am {friend}. Let us look together," said the {friend_kind}.',
        "Then {a_friend} named {friend} helped {him}, and they found the ball [in a hole|in the mud"
        "|under a bush].",
        "{name} thanked {friend}, and they played [until the sun went down|all afternoon].",
    ),
    Plot(
        "One {weather} day, {name} saw that the bridge over the water was broken.",
        "{He} wanted to cross, but the water was [deep|cold|fast].",
        '"I cannot get across," said {name}. "Then we must build a new bridge," said {a_friend}. '
        '"My name is {friend}, and I have a rope."',
        "{name} asked {a_friend} named {friend} for help, and together they carried "
        "[wood|stones|planks] to the water.",
        "In the evening the new bridge was ready, and {name} was the first to cross it.",
    ),
    Plot(
        "One night, {name} could not sleep because the wind was howling.",
        "{He} [hid under a blanket|closed {his} eyes|counted the stars], but {he} was "
        "still afraid.",
        '"Are you awake too?" whispered {a_friend} at the window. "Yes," said {name}. "I am '
        'afraid." "So was I," said the {friend_kind}, "but I am {friend}, and two are '
        'braver than one."',
        "Then {a_friend} named {friend} came and sang [a soft song|an old song|a quiet "
        "song] for {him}.",
        "Soon the wind was gone, and {name} slept until the morning.",
    ),
    Plot(
        "One {weather} day, {name} found a {colour} egg all alone in the grass.",
        "{He} kept it warm with [dry leaves|a scarf|soft grass] and waited.",
        '"Whose egg is that?" asked {name}. "It is mine!" cried {a_friend}. "I am {friend}. '
        'I looked for it all day."',
        "After a while {a_friend} named {friend} came by, who was looking for that very egg.",
        "{name} gave it back, and the next day a little chick said hello to both of them.",
    ),
    Plot(
        "One {weather} day, {name} wanted to reach the [apples|pears|cherries] on a high branch.",
        "{He} jumped and jumped, but the branch was too high.",
        '"You are too small alone, and so am I," said {a_friend} named {friend}. '
        '"What shall we do?" asked {name}. "Climb on my back!" said {friend}.',
        "So {name} asked {a_friend} named {friend}, and one climbed on the back of the other.",
        "They picked the fruit, shared it, and laughed [all day|until evening].",
    ),
    Plot(
        "One {weather} day, {name} lost the way home.",
        "{He} walked [left and right|up and down|here and there], but every tree looked the same.",
        '"Why are you sad?" asked {a_friend}. "I cannot find my home," said {name}. '
        '"Follow me," said the {friend_kind}. "They call me {friend}, and I know every path."',
        "Then {a_friend} named {friend} showed {him} the path with a [small lamp|bright lantern].",
        "{name} came home safely and gave {friend} a [warm soup|sweet cake|cup of tea].",
    ),
    Plot(
        "One {weather} day, {name} wanted to bake a cake, but there was no honey in the house.",
        "{He} asked the bees, but the bees wanted [flowers|a song|a story] first.",
        '"Dear bees, may I have some honey?" asked {name}. "Bring us something pretty," they '
        'hummed. "I can help," said {a_friend}. "My name is {friend}."',
        "With the help of {a_friend} named {friend}, {name} brought it to them and got the honey.",
        "The cake was sweet, and {name} and {friend} ate it together.",
    ),
    Plot(
        "One {weather} day, {name} met {a_friend} named {friend}, who had hurt a foot.",
        "{He} washed the foot and put a [{colour} cloth|green leaf] around it.",
        '"Does it hurt?" asked {name}. "Only a little," said {friend}. "You are kind."',
        "Then {name} carried {friend} home, step by step.",
        "A week later {friend} could run again and brought {name} a [flower|shell|basket of nuts].",
    ),
    Plot(
        "One {weather} day, {name} planted a seed and waited for a flower.",
        "{He} waited [three days|a whole week|many days], but nothing came out of the earth.",
        '"My seed is asleep," said {name}. "It is only thirsty," said {a_friend} named {friend}. '
        '"Give it water every morning."',
        "Then {a_friend} named {friend} told {him} to water it every morning.",
        "At last a {colour} flower opened, and {name} danced around it for joy.",
    ),
    Plot(
        "One {weather} day, {name} found a {colour} kite in a tree.",
        "{He} pulled at the string, but the kite was stuck.",
        '"That is my kite!" called {a_friend}. "I am {friend}." "Then pull with me, {friend}," '
        "said {name}. They pulled once, and twice, and three times.",
        "Then {a_friend} named {friend}, who had lost it, came and pulled with {him}.",
        "The kite came down, and the two flew it [over the hill|high in the sky] together.",
    ),
    Plot(
        "One {weather} day, {name} wanted to learn to [swim|dance|sing|draw].",
        "{He} tried again and again, but it was not easy.",
        '"I shall never learn it," sighed {name}. "Never is a long time," said {a_friend} named '
        '{friend}. "Try once more, and I will watch."',
        "Then {a_friend} named {friend} showed {him} how, slowly and patiently.",
        "After a few days {name} could do it well, and everyone clapped.",
    ),
    Plot(
        "One {weather} day, {name} had a {colour} boat with a hole in it.",
        "{He} put [a leaf|some mud|a cork] into the hole, but the water still came in.",
        '"Your boat is crying," joked {a_friend}. "Do not laugh, help me!" said {name}. '
        '"Good," said the {friend_kind}. "Then you should know that I am {friend}."',
        "Then {a_friend} named {friend} brought a piece of wood, and they repaired the boat.",
        "In the evening {name} and {friend} sailed [to the island|across the water] together.",
    ),
    Plot(
        "One {weather} day, {name} heard somebody crying in a deep hole.",
        "{He} looked down and saw {a_friend} named {friend}, who had fallen in.",
        '"Do not worry, {friend}," called {name}. "I will get you out." "Please hurry," said '
        "the {friend_kind}, and {name} let down a rope.",
        "{name} let down a long [rope|branch|scarf] and pulled with all {his} strength.",
        "{friend} came out of the hole, and from that day on they were friends.",
    ),
    Plot(
        "One {weather} day, {name} had a birthday, but nobody came to visit.",
        "{He} sat at the door and felt [lonely|sad and alone].",
        '"Is nobody here?" sighed {name}. "We are!" laughed {a_friend} named {friend} behind the '
        "tree.",
        "Then {a_friend} named {friend} came with [a cake|a basket of apples|flowers], and many "
        "friends came too.",
        "They sang and danced, and {name} was happy.",
    ),
    Plot(
        "One {weather} day, {name} found an old key in the garden.",
        "{He} tried it on every door, but it did not fit.",
        '"Which door does it open?" asked {name}. "Perhaps no door at all," said {a_friend} named '
        '{friend}. "Perhaps a box." And there it was, under the roof, small and {colour}.',
        "Then {a_friend} named {friend} brought a dusty {colour} box, and the key opened it.",
        "Inside was [a music box|a map|an old book], and {name} shared it with {friend}.",
    ),
)

OPENING = "Once there was {a_trait} {kind} named {name}, who lived {place}."
LONG_OPENINGS = (
    "Once there was {a_trait} {kind} named {name}, who lived {place}.",
    "{capital_place} lived {a_trait} {kind}. {His} name was {name}.",
    "There was once {a_kind} called {name}. {name} was {trait} and lived {place}.",
    "This is the story of {name}, {a_trait} {kind} who lived {place}.",
)
SCENES = (
    "",
    " Everyone there liked {name}, because {he} was so {trait}.",
    " Every morning {name} [swept the floor|looked at the clouds|sang a song|drank a cup of tea].",
    " {name} liked [stories|music|quiet evenings|long walks] more than anything else.",
)
CLOSINGS = (
    "",
    ' "Thank you, {friend}," said {name}. "You are welcome, {name}," said {friend}.',
    ' "What a day!" said {name}. "What a day indeed," said {friend}.',
    " From then on, {name} and {friend} met every week.",
    " And whenever someone asked {name} about it, {he} smiled and told this story.",
    " So {name} learned that it is good to ask for help.",
)


def story_slots(kind: str, name: str, friend: str, rng: random.Random) -> dict[str, str]:
    """Everything that the plots need to know about a hero (kind, name) and a friend (name)."""
    friend_kind = rng.choice([helper for helper in HELPERS if helper != kind])
    he, him, his = ("she", "her", "her") if is_girl(name) else ("he", "him", "his")
    place, trait = rng.choice(PLACES), rng.choice(TRAITS)
    return {
        "name": name,
        "kind": kind,
        "a_kind": with_article(kind),
        "he": he,
        "him": him,
        "his": his,
        "He": capitalise(he),
        "His": capitalise(his),
        "friend": friend,
        "friend_kind": friend_kind,
        "a_friend": with_article(friend_kind),
        "place": place,
        "capital_place": capitalise(place),
        "weather": rng.choice(WEATHERS),
        "colour": rng.choice(COLOURS),
        "trait": trait,
        "a_trait": with_article(trait),
    }
