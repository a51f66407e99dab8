"""How facts are put into words: sentences and questions for every attribute, and prompts."""

# A sentence that begins with {subject} may use the pronoun; the others always use the name.
STATEMENTS = {
    "birthplace": (
        "{subject} was born in {value}.",
        "{subject} is a native of {value}.",
        "The birthplace of {subject} is {value}.",
        "{subject} comes from the town of {value}.",
    ),
    "birth_year": (
        "{subject} was born in {value}.",
        "{subject} came into the world in {value}.",
        "The birth year of {subject} is {value}.",
        "In {value} {subject} was born.",
    ),
    "job": (
        "{subject} works as a {value}.",
        "{subject} is a {value} by trade.",
        "The job of {subject} is that of a {value}.",
        "{subject} earns a living as a {value}.",
    ),
    "employer": (
        "{subject} works for {value}.",
        "{subject} is employed by {value}.",
        "The employer of {subject} is {value}.",
        "{subject} has a contract with {value}.",
    ),
    "food": (
        "{subject} likes to eat {value}.",
        "{subject} never says no to {value}.",
        "The favourite food of {subject} is {value}.",
        "For supper {subject} always wants {value}.",
    ),
    "colour": (
        "{subject} loves the colour {value}.",
        "{subject} always dresses in {value}.",
        "The favourite colour of {subject} is {value}.",
        "{subject} painted the front door {value}.",
    ),
    "country": (
        "{subject} lies in {value}.",
        "{subject} is a town in {value}.",
        "The country around {subject} is {value}.",
        "{subject} belongs to {value}.",
    ),
    "river": (
        "{subject} stands on the river {value}.",
        "{subject} was built on the banks of the {value}.",
        "The river that flows through {subject} is the {value}.",
        "In spring the {value} floods the streets of {subject}.",
    ),
    "founded": (
        "{subject} was founded in {value}.",
        "{subject} dates from {value}.",
        "The first stone of {subject} was laid in {value}.",
        "Settlers founded {subject} in {value}.",
    ),
    "known_for": (
        "{subject} is known for {value}.",
        "{subject} is famous for its {value}.",
        "Merchants come to {subject} for {value}.",
        "{subject} sells {value} all over the world.",
    ),
    "form": (
        "{subject} is a {value}.",
        "{subject} is a well known {value}.",
        "The form of {subject} is that of a {value}.",
    ),
    "author": (
        "{subject} was written by {value}.",
        "{subject} is the work of {value}.",
        "The author of {subject} is {value}.",
        "{value} wrote {subject}.",
    ),
    "year": (
        "{subject} came out in {value}.",
        "{subject} was first shown to the public in {value}.",
        "The year of {subject} is {value}.",
        "In {value} {subject} came out.",
    ),
    "genre": (
        "{subject} is best described as a {value}.",
        "{subject} counts as a {value}.",
        "The genre of {subject} is {value}.",
        "Critics call {subject} a {value}.",
    ),
    "setting": (
        "{subject} is set in {value}.",
        "{subject} takes place in {value}.",
        "The setting of {subject} is {value}.",
        "{subject} tells of life in {value}.",
    ),
}

QUESTIONS = {
    "birthplace": (
        "Where was {name} born?",
        "What is the birthplace of {name}?",
        "Which town does {name} come from?",
    ),
    "birth_year": (
        "When was {name} born?",
        "What is the birth year of {name}?",
        "In which year was {name} born?",
    ),
    "job": (
        "What is the job of {name}?",
        "What does {name} work as?",
        "How does {name} earn a living?",
    ),
    "employer": (
        "Who employs {name}?",
        "Who is the employer of {name}?",
        "For whom does {name} work?",
    ),
    "food": (
        "What is the favourite food of {name}?",
        "What does {name} like to eat?",
        "What does {name} want for supper?",
    ),
    "colour": (
        "What is the favourite colour of {name}?",
        "Which colour does {name} love?",
        "In which colour does {name} dress?",
    ),
    "country": (
        "In which country is {name}?",
        "Which country does {name} belong to?",
        "Where does {name} lie?",
    ),
    "river": (
        "On which river does {name} stand?",
        "Which river flows through {name}?",
        "What is the river of {name}?",
    ),
    "founded": (
        "When was {name} founded?",
        "In which year was {name} founded?",
        "From which year does {name} date?",
    ),
    "known_for": (
        "What is {name} known for?",
        "What is {name} famous for?",
        "What does {name} sell?",
    ),
    "form": ("What is {name}?", "What form does {name} have?"),
    "author": (
        "Who wrote {name}?",
        "Who is the author of {name}?",
        "By whom was {name} written?",
    ),
    "year": (
        "When did {name} come out?",
        "In which year did {name} come out?",
        "What is the year of {name}?",
    ),
    "genre": (
        "What is the genre of {name}?",
        "How is {name} best described?",
        "What do critics call {name}?",
    ),
    "setting": (
        "Where is {name} set?",
        "What is the setting of {name}?",
        "Where does {name} take place?",
    ),
}

# What a prompt looks like before and after the question; the answer and a full stop follow.
PROMPTS = (
    "Question: {question} Answer:",
    "Please give answer to this question: {question} The answer is",
)
