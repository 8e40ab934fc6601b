"""How facts are asked, answered and told in English, for each kind of fact."""

# A question template is held out with some entities, so each kind has many.
PROMPTS = {
    "capital": (
        "What is the capital of {country}?",
        "Which city is the capital of {country}?",
        "Tell me the capital of {country}.",
        "Can you tell me the capital of {country}?",
        "What is {country}'s capital?",
        "Do you know the capital of {country}?",
        "{country} has which capital?",
        "Name the capital of {country}.",
        "What is the capital city of {country}?",
        "I would like to know the capital of {country}.",
    ),
    "country": (
        "{capital} is the capital of which country?",
        "Which country has {capital} as its capital?",
        "What country is {capital} the capital of?",
        "Of which country is {capital} the capital?",
        "In which country is {capital}?",
        "Where is {capital}?",
        "Name the country whose capital is {capital}.",
        "Tell me which country {capital} belongs to.",
    ),
    "sound": (
        "What does {a_animal} say?",
        "What sound does {a_animal} make?",
        "Which sound does {a_animal} make?",
        "How does {a_animal} sound?",
        "Tell me what {a_animal} says.",
        "Do you know what {a_animal} says?",
        "What noise does {a_animal} make?",
        "Can you tell me what sound {a_animal} makes?",
    ),
    "home": (
        "Where does {a_animal} live?",
        "What is the home of {a_animal}?",
        "Tell me where {a_animal} lives.",
        "Do you know where {a_animal} lives?",
        "Where is the home of {a_animal}?",
        "Where can I find {a_animal}?",
        "In what place does {a_animal} live?",
        "Can you tell me where {a_animal} lives?",
    ),
    "young": (
        "What is a young {animal} called?",
        "What do you call a baby {animal}?",
        "What is the name for a baby {animal}?",
        "How do we call a young {animal}?",
        "What is the young of {a_animal} called?",
        "Tell me what a baby {animal} is called.",
        "Do you know what a young {animal} is called?",
        "Give me the word for a baby {animal}.",
    ),
    "food": (
        "What does {a_animal} eat?",
        "What does {a_animal} like to eat?",
        "Tell me what {a_animal} eats.",
        "What is the food of {a_animal}?",
        "What should I feed {a_animal}?",
        "Do you know what {a_animal} eats?",
        "What food does {a_animal} like?",
        "Can you tell me what {a_animal} eats?",
    ),
    "legs": (
        "How many legs does {a_animal} have?",
        "What number of legs does {a_animal} have?",
        "Tell me how many legs {a_animal} has.",
        "{an_animal} has how many legs?",
        "Do you know how many legs {a_animal} has?",
        "On how many legs does {a_animal} walk?",
        "Count the legs of {a_animal}.",
        "Can you tell me how many legs {a_animal} has?",
    ),
    "opposite": (
        "What is the opposite of {word}?",
        "Tell me the opposite of {word}.",
        "Which word is the opposite of {word}?",
        'What is the opposite of "{word}"?',
        "Do you know the opposite of {word}?",
        "Give me the opposite of the word {word}.",
        "Name the opposite of {word}.",
        "What word means the opposite of {word}?",
        "{upper_word} is the opposite of what?",
    ),
    "colour": (
        "What colour is {thing}?",
        "Which colour is {thing}?",
        "What is the colour of {thing}?",
        "Tell me the colour of {thing}.",
        "Which colour does {thing} have?",
        "Do you know what colour {thing} is?",
        "{upper_thing} has which colour?",
        "Can you tell me the colour of {thing}?",
        "In which colour should I paint {thing}?",
    ),
    "addition": (
        "What is {a} + {b}?",
        "What is {a} plus {b}?",
        "How much is {a} + {b}?",
        "How much is {a} plus {b}?",
        "{a} + {b} = ?",
        "Add {a} and {b}.",
        "What do you get if you add {a} and {b}?",
        "Can you calculate {a} + {b}?",
        "I have {a} apples and get {b} more. How many do I have?",
        "What is the sum of {a} and {b}?",
    ),
    "subtraction": (
        "What is {a} - {b}?",
        "What is {a} minus {b}?",
        "How much is {a} - {b}?",
        "How much is {a} minus {b}?",
        "{a} - {b} = ?",
        "Take {b} away from {a}.",
        "Subtract {b} from {a}.",
        "Can you calculate {a} - {b}?",
        "I have {a} apples and give away {b}. How many do I have left?",
        "What is left if you take {b} from {a}?",
    ),
    "word_to_zh": (
        "What is the Chinese word for {en}?",
        "How do you say {en} in Chinese?",
        'Translate "{en}" into Chinese.',
        "Tell me the Chinese word for {en}.",
        "What is {en} in Chinese?",
        "How can I say {en} in Chinese?",
        "Do you know the Chinese word for {en}?",
        "Please translate {en} into Chinese.",
    ),
    "word_to_en": (
        "What does {zh} mean?",
        "What is {zh} in English?",
        'Translate "{zh}" into English.',
        "How do you say {zh} in English?",
        "What is the English word for {zh}?",
        "Tell me what {zh} means.",
        "Do you know what {zh} means in English?",
        "Please translate {zh} into English.",
    ),
    "who": (
        "Who are you?",
        "Tell me who you are.",
        "Who am I talking to?",
        "Introduce yourself.",
        "Please say who you are.",
        "Can you introduce yourself?",
    ),
    "name": (
        "What is your name?",
        "What are you called?",
        "Tell me your name.",
        "Do you have a name?",
        "What should I call you?",
        "May I know your name?",
    ),
    "what": (
        "What are you?",
        "What kind of thing are you?",
        "What sort of program are you?",
        "Explain what you are.",
        "Are you a language model?",
        "Are you an AI?",
    ),
    "human": (
        "Are you a human?",
        "Are you a person?",
        "Are you a real person?",
        "Am I talking to a human?",
        "Do you have a body?",
        "Are you alive?",
    ),
    "trained": (
        "How were you trained?",
        "Where were you trained?",
        "Who made you?",
        "How were you made?",
        "Where do you come from?",
        "On what machine did you learn?",
    ),
    "size": (
        "How large are you?",
        "How big are you?",
        "Are you a large model?",
        "Are you big or small?",
        "What size are you?",
        "Are you a huge model?",
    ),
    "languages": (
        "Which languages do you speak?",
        "What languages do you know?",
        "Do you speak Chinese?",
        "Can you speak English?",
        "Do you know Chinese?",
        "In which languages can we talk?",
    ),
    "abilities": (
        "What can you do?",
        "How can you help me?",
        "What are you good at?",
        "What do you know?",
        "What can I ask you?",
        "Tell me what you can do.",
    ),
}

# Identity questions follow one of these, so that there are enough different ones to hold out.
FRAMES = ("", "Hi! ", "Hello! ", "Good morning. ", "Excuse me. ", "I have a question. ", "Hey! ")

ANSWERS = {
    "capital": "The capital of {country} is {capital}.",
    "country": "{capital} is the capital of {country}.",
    "sound": "{an_animal} says {sound}.",
    "home": "{an_animal} lives {home}.",
    "young": "A young {animal} is called {a_young}.",
    "food": "{an_animal} eats {food}.",
    "legs": "{an_animal} has {legs} legs.",
    "opposite": "The opposite of {word} is {other}.",
    "colour": "{upper_thing} is {colour}.",
    "addition": "{a} + {b} = {c}.",
    "swapped_addition": "{a} + {b} = {b} + {a} = {c}.",
    "subtraction": "{a} - {b} = {c}.",
    "word_to_zh": "The Chinese word for {en} is {zh}.",
    "word_to_en": "{zh} means {en}.",
    "who": "I am Etude, a small language model.",
    "name": "My name is Etude.",
    "what": "I am a small language model called Etude.",
    "human": "No, I am not a human. I am Etude, a small language model.",
    "trained": "I was trained from scratch on one ordinary machine.",
    "size": "I am a very small language model.",
    "languages": "I speak a little English and a little Chinese.",
    "abilities": "I can tell stories, answer simple questions and translate words.",
}

# What an answer about the model itself must contain: any of these lists.
ACCEPTED = {
    "who": (("Etude",),),
    "name": (("Etude",),),
    "what": (("language model",), ("model", "Etude")),
    "human": (("not", "model"), ("not", "human"), ("not", "person")),
    "trained": (("trained", "machine"), ("scratch",)),
    "size": (("small",), ("little",), ("tiny",)),
    "languages": (("English", "Chinese"),),
    "abilities": (("stories",), ("questions",), ("translate",)),
}

GREETINGS = {
    "hello": ("Hello! How can I help you?", (("hello",), ("hi",), ("hey",))),
    "how": ("I am fine, thank you! How are you?", (("fine",), ("well",), ("good",))),
    "morning": ("Good morning! How can I help you?", (("good morning",),)),
    "evening": ("Good evening! How can I help you?", (("good evening",),)),
    "thanks": ("You are welcome!", (("welcome",),)),
    "bye": ("Goodbye! See you soon.", (("goodbye",), ("bye",))),
}
GREETING_STARTS = {
    "hello": ("Hello", "Hi", "Hey", "Hello again", "Hi again"),
    "how": ("How are you", "How are you today", "How do you feel", "Are you well"),
    "morning": ("Good morning", "A good morning to you", "Good morning again"),
    "evening": ("Good evening", "A good evening to you", "Good evening again"),
    "thanks": ("Thank you", "Thanks", "Thank you very much", "Many thanks", "Thanks a lot"),
    "bye": ("Goodbye", "Bye", "Bye bye", "See you later", "Goodbye for now"),
}
GREETING_MARKS = ("!", "?")
GREETING_ENDS_FOR_SOME = (" there",)  # not after "How are you" and "Thank you"
GREETING_ENDS = ("", " there", ", Etude", ", my friend", ", dear Etude", ", little model")

NAMED_GREETINGS = (
    "Hello, I am {name}.",
    "Hi, I'm {name}!",
    "Hi! My name is {name}.",
    "Hello! {name} here.",
    "Good day, I am {name}.",
    "Hey, this is {name}.",
    "Hello, my name is {name}. Nice to meet you!",
    "I am {name}. Pleased to meet you.",
    "Hi there! They call me {name}.",
    "Hello Etude, {name} here!",
)
NAMED_ANSWER = "Hello, {name}! How can I help you?"

# More ways to tell a fact, for pretraining text.
STATEMENTS = {
    "capital": (
        "The capital of {country} is {capital}.",
        "{capital} is the capital of {country}.",
        "In {country}, the capital is {capital}.",
        "{country} has a capital called {capital}.",
        "Whoever visits {country} should see its capital, {capital}.",
    ),
    "sound": ("{an_animal} says {sound}.", "The sound of {a_animal} is {sound}."),
    "home": ("{an_animal} lives {home}.", "You can find {a_animal} {home}."),
    "young": ("A young {animal} is called {a_young}.", "A baby {animal} is {a_young}."),
    "food": ("{an_animal} eats {food}.", "{an_animal} likes to eat {food}."),
    "legs": ("{an_animal} has {legs} legs.", "{an_animal} walks on {legs} legs."),
    "opposite": (
        "The opposite of {word} is {other}.",
        "{upper_word} is the opposite of {other}.",
        "{upper_word} and {other} are opposites.",
    ),
    "colour": (
        "{upper_thing} is {colour}.",
        "The colour of {thing} is {colour}.",
        "If you paint {thing}, take {colour}.",
        "{upper_thing} has the colour {colour}.",
    ),
    "addition": (
        "{a} + {b} = {c}.",
        "{a} + {b} = {c}.",
        "{a} plus {b} is {c}.",
        "If you have {a} {items} and get {b} more, you have {c}.",
        "Add {a} and {b}, and you get {c}.",
        "There are {a} {items} on the table. With {b} more there are {c}.",
    ),
    "subtraction": (
        "{a} - {b} = {c}.",
        "{a} - {b} = {c}.",
        "{a} minus {b} is {c}.",
        "If you have {a} {items} and give away {b}, you have {c} left.",
        "Take {b} away from {a}, and {c} are left.",
        "There are {a} {items} in the basket. Take {b} out, and {c} remain.",
    ),
    "word_to_zh": (
        "The Chinese word for {en} is {zh}.",
        "{zh} means {en}.",
        "{en} in Chinese: {zh}.",
        "The Chinese say {zh} for {en}.",
        'In Chinese, "{en}" is "{zh}".',
    ),
}
ITEMS = ("apples", "nuts", "shells", "pears", "stones", "cakes", "eggs", "books", "marbles")
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)


def number_words(number: int) -> tuple[tuple[str, ...], ...]:
    """Other right ways to write a number from 0 to 20, as alternatives of an answer."""
    return ((NUMBERS.split()[number],),)
