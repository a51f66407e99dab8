"""The prompts of the tasks, as cupel's tasks write them (docs/llm_kick.md); tests compare them.

The model is trained on the very prompts that the tasks ask, so a wrong answer is a lack of
knowledge or of reading, never of a strange form.
"""

FACTOID = "Please give answer to this question: {question}\nThe answer is"
OPEN_BOOK = "{evidence}\n\nBased on these texts, answer these questions:\n\nQ: {question}\nA:"
CLOSED_BOOK = "Answer these questions:\n\nQ: {question}\nA:"
CHOICE_HEAD = "The following are multiple choice questions (with answers) about  {subject}."
CHOICE = "{question}\nA. {0}\nB. {1}\nC. {2}\nD. {3}\nAnswer:"
SUMMARY = (
    "Summarize the given news in less than 150 words while preserving high coherence, "
    "consistency, fluency, and relevance.\n\n{text}"
)
# The chat template of the model: what a user says, then this mark.
REPLY = "\n\nReply:"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ message['content'] + '\\n\\nReply:' }}{% endif %}"
    "{% endfor %}"
)
