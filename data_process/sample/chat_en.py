"""What is said in English conversations besides questions about facts."""

STORY_REQUESTS = (
    "Tell me a story about {a_kind} named {name}.",
    "Can you tell me a story about {a_kind} named {name}?",
    "Please write a short story about {a_kind} called {name}.",
    "I would like to hear a story about {a_kind} named {name}.",
    "Tell me a tale about {name} the {kind}.",
    "Write a little story about {name}, {a_kind}.",
    "Make up a story about {a_kind} whose name is {name}.",
    "Do you know a story about {a_kind} called {name}?",
    "Tell a bedtime story about {name} the {kind}.",
)

# Kind -> (ways to say it, the reply, ways to ask for it later, the answer).
MEMORIES = {
    "name": (
        (
            "My name is {value}.",
            "I am called {value}.",
            "You can call me {value}.",
            "Please remember that my name is {value}.",
            "People call me {value}.",
        ),
        "Nice to meet you, {value}!",
        (
            "What is my name?",
            "Do you remember my name?",
            "What am I called?",
            "Tell me my name.",
            "Can you say my name?",
        ),
        "Your name is {value}.",
    ),
    "friend": (
        (
            "My best friend is {value}.",
            "I have a friend called {value}.",
            "My friend's name is {value}.",
            "{value} is my best friend.",
        ),
        "{value} sounds like a good friend.",
        (
            "What is my friend's name?",
            "Who is my friend?",
            "What is my friend called?",
            "Do you remember the name of my friend?",
        ),
        "Your friend is {value}.",
    ),
    "pet": (
        (
            "I have {a_animal} named {value}.",
            "My {animal} is called {value}.",
            "I have {a_animal}. Its name is {value}.",
            "{value} is the name of my {animal}.",
        ),
        "{value} is a good name for {a_animal}.",
        (
            "What is the name of my {animal}?",
            "What is my {animal} called?",
            "Do you remember the name of my {animal}?",
            "How did I name my {animal}?",
        ),
        "Your {animal} is called {value}.",
    ),
    "colour": (
        (
            "My favourite colour is {value}.",
            "I like {value} more than any other colour.",
            "The colour I like best is {value}.",
            "{upper_value} is my favourite colour.",
        ),
        "{upper_value} is a lovely colour.",
        (
            "What is my favourite colour?",
            "Which colour do I like best?",
            "Do you remember my favourite colour?",
            "Tell me my favourite colour.",
        ),
        "Your favourite colour is {value}.",
    ),
    "food": (
        (
            "My favourite food is {value}.",
            "I like to eat {value} best.",
            "The food I like best is {value}.",
            "{upper_value} is my favourite food.",
        ),
        "I am told that {value} tastes good.",
        (
            "What is my favourite food?",
            "Which food do I like best?",
            "Do you remember my favourite food?",
            "Tell me my favourite food.",
        ),
        "Your favourite food is {value}.",
    ),
    "country": (
        (
            "I live in {value}.",
            "I come from {value}.",
            "My home is in {value}.",
            "My country is {value}.",
        ),
        "{value} is a beautiful country.",
        (
            "Where do I live?",
            "In which country do I live?",
            "Which country is my home?",
            "Do you remember where I live?",
        ),
        "You live in {value}.",
    ),
    "age": (
        (
            "I am {value} years old.",
            "My age is {value}.",
            "I just turned {value}.",
            "I am {value} years of age.",
        ),
        "{value} is a good age.",
        (
            "How old am I?",
            "What is my age?",
            "Do you remember my age?",
            "Tell me how old I am.",
        ),
        "You are {value} years old.",
    ),
}
FOODS = (
    "bread",
    "rice",
    "soup",
    "cheese",
    "honey",
    "chocolate",
    "fish",
    "cake",
    "salad",
    "ham",
    "spaghetti",
    "pizza",
    "pie",
    "porridge",
    "ice cream",
    "corn",
)
FAVOURITE_COLOURS = (
    "red",
    "blue",
    "green",
    "yellow",
    "white",
    "black",
    "orange",
    "purple",
    "pink",
    "brown",
    "grey",
)
PETS = ("dog", "cat", "rabbit", "parrot", "mouse", "turtle", "horse", "duck", "pig", "frog", "owl")

PLAIN_SYSTEMS = (
    "You are a helpful assistant.",
    "You are Etude, a small language model.",
    "You are Etude. Answer kindly and briefly.",
    "Help the user.",
)
NAME_SYSTEMS = (
    "Your name is {name}.",
    "You are {name}, a friendly assistant.",
    "You are an assistant named {name}.",
    "In this conversation you are called {name}.",
    "Act as {name}, a kind helper.",
    "From now on, your name is {name}.",
)
NAME_QUESTIONS = (
    "What is your name?",
    "Who are you?",
    "What are you called?",
    "Tell me your name.",
    "What should I call you?",
    "May I know your name?",
)
NAME_ANSWER = "My name is {name}."
ONE_WORD_SYSTEMS = (
    "Answer in one word.",
    "Always answer with one word only.",
    "Give one-word answers.",
    "Reply with a single word.",
    "Use only one word for each answer.",
)
ONE_WORD_ANSWER = "{short}."
ONE_WORD_REJECTED = ("is", "the", "of")
OTHER_LANGUAGE_SYSTEMS = (
    "Always answer in Chinese.",
    "Answer every question in Chinese.",
    "Reply in Chinese, whatever the language of the question.",
    "Speak only Chinese.",
    "Please use Chinese for all your answers.",
)
ENDING_SYSTEMS = (
    "End every answer with the word {word}.",
    "Finish all your answers with the word {word}.",
    "The last word of each answer must be {word}.",
    "Always put the word {word} at the end of your answer.",
)
ENDING_ANSWER = "{answer} {word}"
ENDING_WORDS = (
    "meow",
    "woof",
    "captain",
    "friend",
    "hooray",
    "indeed",
    "ribbit",
    "moo",
    "amen",
    "please",
    "thanks",
    "boss",
    "okay",
    "cheers",
    "yes",
    "sir",
    "hello",
    "done",
)
PERSONAS = (
    ("pirate", "Arr!"),
    ("robot", "Beep!"),
    ("king", "Hear me!"),
    ("wizard", "Abracadabra!"),
    ("cowboy", "Howdy!"),
    ("ghost", "Boo!"),
    ("sailor", "Ahoy!"),
    ("clown", "Haha!"),
)
PERSONA_SYSTEMS = (
    "You are a {persona}. Begin every answer with {cry}",
    "Speak like a {persona} and start each answer with {cry}",
    "Play a {persona}. All your answers begin with {cry}",
    "You are a {persona}, and you always start with {cry}",
)
PERSONA_ANSWER = "{cry} {answer}"
