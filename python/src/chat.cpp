#include "bindings.h"

namespace cupel::python {

namespace {

// Messages of dicts {"role", "content"}, as Hugging Face's chat templates take them.
std::vector<ChatMessage> as_messages(const py::iterable& messages) {
  std::vector<ChatMessage> made;
  for (const py::handle& message : messages) {
    if (!py::isinstance<py::dict>(message)) {
      throw py::type_error(c10::str("[chat_prompt] a message is a dict of role and content. Got ",
                                    py::repr(message).cast<std::string>(), "."));
    }
    const auto dict = py::reinterpret_borrow<py::dict>(message);
    for (const char* name : {"role", "content"}) {
      check(dict.contains(name) && py::isinstance<py::str>(dict[name]), "chat_prompt",
            "a message has the texts role and content. Got ", py::repr(message).cast<std::string>(),
            ".");
    }
    made.push_back({dict["role"].cast<std::string>(), dict["content"].cast<std::string>()});
  }
  return made;
}

py::list as_dicts(const std::vector<ChatMessage>& messages) {
  py::list made;
  for (const auto& message : messages) {
    py::dict dict;
    dict["role"] = message.role;
    dict["content"] = message.content;
    made.append(dict);
  }
  return made;
}

}  // namespace

ChatTemplate as_chat_template(const py::object& prompt, const py::object& stop,
                              const py::object& special) {
  const auto texts = [&](const py::object& given, const char* attribute) {
    if (!given.is_none()) return given.cast<std::vector<std::string>>();
    return py::getattr(prompt, attribute, py::tuple()).cast<std::vector<std::string>>();
  };
  return {[held = hold(prompt)](const std::vector<ChatMessage>& messages) {
            const py::gil_scoped_acquire gil;
            return (*held)(as_dicts(messages)).cast<std::string>();
          },
          texts(stop, "stop"), texts(special, "special")};
}

void bind_chat(py::module_& m) {
  m.def(
      "add_chat_template",
      [](const std::string& name, const py::function& prompt, const py::object& stop,
         const py::object& special) {
        chat_templates().add(name, as_chat_template(prompt, stop, special));
      },
      py::arg("name"), py::arg("prompt"), py::arg("stop") = py::none(),
      py::arg("special") = py::none(), R"(Registers a chat template for tasks (template=name).

Args:
    name: For the option "template" of tasks and for chat_prompt().
    prompt: Function list of {"role", "content"} -> the prompt that asks for the assistant's next
        answer, without BOS in front; for one, what chat_template() returns.
    stop: Texts that end an answer, beside the end of sequence; by default prompt.stop, or none.
    special: Texts of the prompt that the model knows as one token each; by default prompt.special,
        or none. Where the tokenizer splits one into letters, items get the flag "special_text".

Raises:
    ValueError: The name is taken.)");
  m.def(
      "remove_chat_template", [](const std::string& name) { chat_templates().remove(name); },
      py::arg("name"), "Forgets a chat template. ValueError for an unknown one.");
  m.def(
      "chat_templates", [] { return chat_templates().names(); },
      "Names of all chat templates, sorted.");
  m.def(
      "chat_prompt",
      [](const std::string& name, const py::iterable& messages) {
        return chat_prompt(name, as_messages(messages));
      },
      py::arg("name"), py::arg("messages"), R"(The prompt of a registered chat template.

Args:
    name: "vicuna_v1.1" and "llama-2" (as FastChat has them), "chatml", "none" (the last user message as
        it is), or one of your own.
    messages: Dicts {"role", "content"}: one of the system, or none, then user and assistant in turn,
        the user first and last.

Returns:
    The text, without BOS in front, which the scorer adds.

Raises:
    ValueError: An unknown name, or messages in another order.)");
  m.def(
      "_chat_template_ends",
      [](const std::string& name) {
        const ChatTemplate found = chat_templates().get(name);
        return py::make_tuple(found.stop, found.special);
      },
      py::arg("name"));
}

}  // namespace cupel::python
