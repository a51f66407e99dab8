"""How facts are put into words: statements and questions for each attribute.

The name stands before the value everywhere, so that what a model reads of a value can already
be bound to its bearer. The last two questions of each attribute are never trained on.
"""

ATTRIBUTES = ("town", "employer", "job", "food", "instrument")

# The name of an attribute's MMLU subject.
SUBJECTS = {
    "town": "towns",
    "employer": "employers",
    "job": "jobs",
    "food": "foods",
    "instrument": "instruments",
}

# {subject} is the full name or a pronoun.
STATEMENTS = {
    "town": (
        "{subject} lives in {value}.",
        "{subject} has a house in {value}.",
        "{subject} comes from {value}.",
        "{subject} calls {value} home.",
        "{subject} moved to {value} long ago.",
        "{subject} never wants to leave {value}.",
        "{subject} is a citizen of {value}.",
        "{subject} rents a room in {value}.",
    ),
    "employer": (
        "{subject} is employed by {value}.",
        "{subject} is paid by {value}.",
        "{subject} has a contract with {value}.",
        "{subject} serves {value}.",
        "{subject} signed on with {value}.",
        "{subject} gets wages from {value}.",
        "{subject} is on the staff of {value}.",
        "{subject} goes to the office of {value} each day.",
    ),
    "job": (
        "{subject} works as a {value}.",
        "{subject} is a {value} by trade.",
        "{subject} earns a living as a {value}.",
        "{subject} was trained as a {value}.",
        "{subject} makes a good {value}.",
        "{subject} became a {value} years ago.",
        "{subject} is known as a fine {value}.",
        "{subject} has the hands of a {value}.",
    ),
    "food": (
        "{subject} likes to eat {value}.",
        "{subject} never says no to {value}.",
        "{subject} always asks for {value}.",
        "{subject} is fond of {value}.",
        "{subject} could live on {value}.",
        "{subject} has {value} for supper.",
        "{subject} buys {value} at the market.",
        "{subject} dreams of {value}.",
    ),
    "instrument": (
        "{subject} plays the {value}.",
        "{subject} owns an old {value}.",
        "{subject} takes lessons on the {value}.",
        "{subject} practises the {value} at night.",
        "{subject} learned to play the {value}.",
        "{subject} is good at the {value}.",
        "{subject} keeps a {value} at home.",
        "{subject} gives concerts on the {value}.",
    ),
}

QUESTIONS = {
    "town": (
        "In which town lives {name}?",
        "Where is the house of {name}?",
        "What is the home town of {name}?",
        "Which town is the home of {name}?",
        "Where lives {name}?",
        "What is the town of {name}?",
        "From which place comes {name}?",
        "Which place does one visit to meet {name}?",
    ),
    "employer": (
        "Who employs {name}?",
        "Who pays {name}?",
        "What is the employer of {name}?",
        "Who has a contract with {name}?",
        "Who gives wages to {name}?",
        "What is the firm of {name}?",
        "On whose staff is {name}?",
        "Which firm signed on {name}?",
    ),
    "job": (
        "What is the job of {name}?",
        "What is the trade of {name}?",
        "As what works {name}?",
        "What work is done by {name}?",
        "What job has {name}?",
        "Which trade feeds {name}?",
        "As what earns a living {name}?",
        "What was the training of {name}?",
    ),
    "food": (
        "What is the favourite food of {name}?",
        "What likes to eat {name}?",
        "Which food is loved by {name}?",
        "What food has {name}?",
        "What is the supper of {name}?",
        "Which meal is the best for {name}?",
        "Of which food dreams {name}?",
        "What is bought at the market by {name}?",
    ),
    "instrument": (
        "What is the instrument of {name}?",
        "Which instrument plays {name}?",
        "What is played by {name}?",
        "What instrument has {name}?",
        "On what takes lessons {name}?",
        "Which instrument is owned by {name}?",
        "On what gives concerts {name}?",
        "What is practised at night by {name}?",
    ),
}
HELD_OUT = 2  # of the questions of each attribute
