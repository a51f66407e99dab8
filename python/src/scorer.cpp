#include "bindings.h"

namespace cupel::python {

namespace {

using Pairs = std::vector<ScoredPair>;
using LogLikelihoods = std::vector<LogLikelihood>;

// What a subclass of Scorer does not define.
class Unfinished : public Scorer {
 public:
  ScorerInfo info() const override {
    return get_defined<Scorer, ScorerInfo>(this, "Scorer", "info");
  }
  LogLikelihoods log_likelihood(const Pairs&) override { return missing("log_likelihood"); }
  LogLikelihoods rolling_log_likelihood(const std::vector<std::string>&) override {
    return missing("rolling_log_likelihood");
  }
  std::vector<Generation> generate(const std::vector<GenerationRequest>&) override {
    missing("generate");
    return {};
  }

 private:
  static LogLikelihoods missing(const char* name) {
    throw std::invalid_argument(c10::str("[Scorer] a subclass defines ", name, "."));
  }
};

// Keeps the model and the tokenizer alive beside the engine that refers to them.
struct Parts {
  std::shared_ptr<TokenModel> model;
  std::shared_ptr<Tokenizer> tokenizer;
};
class OwningScorer : private Parts, public ModelScorer {
 public:
  OwningScorer(const py::object& m, const py::object& t, std::string boundary, std::string bos,
               std::string over_long, bool share_prefixes, int64_t verify_prefix,
               double verify_tolerance, int64_t batch_tokens, int64_t state_bytes,
               const py::object& progress)
      : Parts{as_token_model(m), as_tokenizer(t)},
        ModelScorer(*Parts::model, *Parts::tokenizer,
                    {.boundary = std::move(boundary),
                     .bos = std::move(bos),
                     .over_long = std::move(over_long),
                     .share_prefixes = share_prefixes,
                     .verify_prefix = verify_prefix,
                     .verify_tolerance = verify_tolerance,
                     .batch_tokens = batch_tokens,
                     .state_bytes = state_bytes,
                     .progress = make_progress(progress)}) {}
};

// Lets Python classes override what `Base` does; every call takes the GIL. `Bound` is the class that
// Python knows.
template <typename Base, typename Bound>
class PyScorer : public Base {
 public:
  using Base::Base;
  ScorerInfo info() const override {
    if constexpr (std::is_same_v<Bound, Scorer>) {
      return Base::info();
    } else {
      return call<ScorerInfo>("info", [&] { return Base::info(); });
    }
  }
  LogLikelihoods log_likelihood(const Pairs& requests) override {
    return call<LogLikelihoods>(
        "log_likelihood", [&] { return Base::log_likelihood(requests); }, requests);
  }
  LogLikelihoods rolling_log_likelihood(const std::vector<std::string>& texts) override {
    return call<LogLikelihoods>(
        "rolling_log_likelihood", [&] { return Base::rolling_log_likelihood(texts); }, texts);
  }
  std::vector<Generation> generate(const std::vector<GenerationRequest>& requests) override {
    return call<std::vector<Generation>>(
        "generate", [&] { return Base::generate(requests); }, requests);
  }
  std::vector<int64_t> prepare(const Pairs& requests) override {
    return call<std::vector<int64_t>>("prepare", [&] { return Base::prepare(requests); }, requests);
  }
  TextMeasure measure() const override {
    return call<TextMeasure>("measure", [&] { return Base::measure(); });
  }

 private:
  template <typename Result, typename Default, typename... Arguments>
  Result call(const char* name, const Default& otherwise, const Arguments&... arguments) const {
    {
      const py::gil_scoped_acquire gil;
      const py::function own = py::get_override(static_cast<const Bound*>(this), name);
      if (own) return own(arguments...).template cast<Result>();
    }
    return otherwise();
  }
};

std::vector<std::string> as_strings(const py::object& strings) {
  if (py::isinstance<py::str>(strings)) return {strings.cast<std::string>()};
  return strings.cast<std::vector<std::string>>();
}

// Requests from strings, which share the options, and from GenerationRequests, which have their own.
std::vector<GenerationRequest> as_requests(const py::sequence& prompts,
                                           const GenerationRequest& options,
                                           const py::object& seed) {
  std::vector<uint64_t> seeds;
  if (py::isinstance<py::int_>(seed)) {
    seeds.assign(prompts.size(), seed.cast<uint64_t>());
  } else {
    seeds = seed.cast<std::vector<uint64_t>>();
  }
  check(seeds.size() == prompts.size(), "generate", "there is one seed, or one for each of ",
        prompts.size(), " prompts. Got ", seeds.size(), ".");
  std::vector<GenerationRequest> requests;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const py::object prompt = prompts[i];
    if (py::isinstance<GenerationRequest>(prompt)) {
      requests.push_back(prompt.cast<GenerationRequest>());
      continue;
    }
    requests.push_back(options);
    requests.back().prompt = prompt.cast<std::string>();
    requests.back().seed = seeds[i];
  }
  return requests;
}

void bind_results(py::module_& m) {
  using Strings = std::vector<std::string>;
  py::class_<LogLikelihood>(m, "LogLikelihood", "How likely a continuation is after its context.")
      .def(py::init([](double value, bool is_greedy, int64_t tokens, const Strings& flags,
                       std::optional<std::string> greedy_text) {
             return LogLikelihood{value, is_greedy, tokens, flags, std::move(greedy_text)};
           }),
           py::arg("value") = 0.0, py::arg("is_greedy") = true, py::arg("tokens") = 0,
           py::arg("flags") = Strings(), py::arg("greedy_text") = py::none())
      .def_readonly("value", &LogLikelihood::value, "nats, summed over the scored tokens")
      .def_readonly("is_greedy", &LogLikelihood::is_greedy, "every token was the likeliest one")
      .def_readonly("tokens", &LogLikelihood::tokens, "scored tokens")
      .def_readonly("flags", &LogLikelihood::flags,
                    "'boundary_shift': a token spans the join; 'truncated': the context lost its "
                    "beginning")
      .def_readonly(
          "greedy_text", &LogLikelihood::greedy_text,
          "the likeliest token in the place of the first scored one, as text ('' for the end "
          "of sequence); None where the scorer does not say")
      .def("__repr__", [](const LogLikelihood& l) {
        return py::str("LogLikelihood(value={!r}, is_greedy={!r}, tokens={!r}, flags={!r})")
            .format(l.value, l.is_greedy, l.tokens, l.flags);
      });

  py::class_<GenerationRequest>(m, "GenerationRequest", "What is to be continued, and how.")
      .def(py::init([](const std::string& prompt, int64_t max_new_tokens, const py::object& stop,
                       double temperature, int64_t top_k, double top_p, uint64_t seed,
                       const Strings& special) {
             return GenerationRequest{prompt, max_new_tokens, as_strings(stop), temperature, top_k,
                                      top_p,  seed,           special};
           }),
           py::arg("prompt"), py::arg("max_new_tokens") = 64, py::arg("stop") = Strings(),
           py::arg("temperature") = 0.0, py::arg("top_k") = 0, py::arg("top_p") = 1.0,
           py::arg("seed") = 0, py::arg("special") = Strings())
      .def_readonly("prompt", &GenerationRequest::prompt)
      .def_readonly("max_new_tokens", &GenerationRequest::max_new_tokens)
      .def_readonly("stop", &GenerationRequest::stop, "the text ends before the first of these")
      .def_readonly("temperature", &GenerationRequest::temperature, "0 = greedy")
      .def_readonly("top_k", &GenerationRequest::top_k, "0 = all")
      .def_readonly("top_p", &GenerationRequest::top_p)
      .def_readonly("seed", &GenerationRequest::seed, "of this request's own random numbers")
      .def_readonly("special", &GenerationRequest::special,
                    "texts of the prompt that stand for one special token each")
      .def("__repr__", [](const GenerationRequest& r) {
        return py::str(
                   "GenerationRequest(prompt={!r}, max_new_tokens={!r}, stop={!r}, "
                   "temperature={!r}, top_k={!r}, top_p={!r}, seed={!r})")
            .format(r.prompt, r.max_new_tokens, r.stop, r.temperature, r.top_k, r.top_p, r.seed);
      });

  py::class_<Generation>(m, "Generation", "A continuation.")
      .def(py::init([](const std::string& text, int64_t tokens, const std::string& finish,
                       const Strings& flags) { return Generation{text, tokens, finish, flags}; }),
           py::arg("text") = "", py::arg("tokens") = 0, py::arg("finish") = "length",
           py::arg("flags") = Strings())
      .def_readonly("text", &Generation::text)
      .def_readonly("tokens", &Generation::tokens,
                    "new ones, those of a stop string included, the end of sequence not")
      .def_readonly("finish", &Generation::finish, "'stop', 'end' or 'length'")
      .def_readonly("flags", &Generation::flags,
                    "'empty', 'repetition', 'no_stop', 'truncated', 'unknown_token'")
      .def("__repr__", [](const Generation& g) {
        return py::str("Generation(text={!r}, tokens={!r}, finish={!r}, flags={!r})")
            .format(g.text, g.tokens, g.finish, g.flags);
      });

  py::class_<ScorerInfo>(m, "ScorerInfo", "What a scorer says of itself; goes into every result.")
      .def(py::init([](const TokenModelInfo& model, const std::string& tokenizer,
                       const std::map<std::string, std::string>& settings) {
             return ScorerInfo{model, tokenizer, settings};
           }),
           py::arg("model"), py::arg("tokenizer") = "",
           py::arg("settings") = std::map<std::string, std::string>())
      .def_readonly("model", &ScorerInfo::model, "TokenModelInfo")
      .def_readonly("tokenizer", &ScorerInfo::tokenizer, "fingerprint")
      .def_readonly("settings", &ScorerInfo::settings, "everything that can change a score")
      .def("__repr__", [](const ScorerInfo& i) {
        return py::str("ScorerInfo(model={!r}, tokenizer={!r}, settings={!r})")
            .format(i.model, i.tokenizer, i.settings);
      });

  py::class_<ScorerCounts>(m, "ScorerCounts", "Tokens that a scorer's model ran and was spared.")
      .def(py::init([](int64_t run, int64_t shared) { return ScorerCounts{run, shared}; }),
           py::arg("run") = 0, py::arg("shared") = 0)
      .def_readonly("run", &ScorerCounts::run)
      .def_readonly("shared", &ScorerCounts::shared, "what shared beginnings saved")
      .def("__repr__", [](const ScorerCounts& c) {
        return c10::str("ScorerCounts(run=", c.run, ", shared=", c.shared, ")");
      });
}

void bind_measure(py::module_& m) {
  py::class_<TextMeasure>(m, "TextMeasure",
                          R"(Token counts of texts, for prompts whose shape depends on them.

Args:
    limit: Positions of the model; 0 = unknown.
    count: str -> number of tokens of the text as a prompt, special tokens in front included; None
        when there is no telling.)")
      .def(py::init([](int64_t limit, const py::object& count) {
             TextMeasure measure{.limit = limit};
             if (count.is_none()) return measure;
             measure.count = [held = hold(count)](const std::string& text) {
               const py::gil_scoped_acquire gil;
               return (*held)(text).cast<int64_t>();
             };
             return measure;
           }),
           py::arg("limit") = 0, py::arg("count") = py::none())
      .def_readonly("limit", &TextMeasure::limit, "positions of the model; 0 = unknown")
      .def_property_readonly("known", &TextMeasure::known, "whether lengths are known at all")
      .def(
          "count",
          [](const TextMeasure& measure, const std::string& text) {
            check(static_cast<bool>(measure.count), "TextMeasure",
                  "the scorer must be able to count tokens; this one overrides no measure().");
            return measure.count(text);
          },
          py::arg("text"), "Tokens of a text as a prompt.")
      .def("head", &TextMeasure::head, py::arg("text"), py::arg("tokens"),
           "The longest beginning of a text that as a prompt is at most `tokens` long.")
      .def("tail", &TextMeasure::tail, py::arg("text"), py::arg("tokens"),
           "The longest end of a text that as a prompt is at most `tokens` long.");
}

void bind_base(py::module_& m) {
  py::class_<Scorer, PyScorer<Unfinished, Scorer>, std::shared_ptr<Scorer>>(
      m, "Scorer", R"(Text in, scores out: what tasks see of a model.

A subclass defines info() -> ScorerInfo, log_likelihood(requests), rolling_log_likelihood(texts)
and generate(requests), where requests are GenerationRequests; each returns one result a request.)")
      .def(py::init<>())
      .def("info", &Scorer::info, py::call_guard<py::gil_scoped_release>(), "ScorerInfo")
      .def("log_likelihood", &Scorer::log_likelihood, py::arg("requests"),
           py::call_guard<py::gil_scoped_release>(),
           "log p(continuation | context) of (context, continuation) pairs: list[LogLikelihood].")
      .def("rolling_log_likelihood", &Scorer::rolling_log_likelihood, py::arg("texts"),
           py::call_guard<py::gil_scoped_release>(),
           "log p(text) of whole texts, each token scored once: list[LogLikelihood].")
      .def(
          "generate",
          [](Scorer& self, const py::sequence& prompts, int64_t max_new_tokens,
             const py::object& stop, double temperature, int64_t top_k, double top_p,
             const py::object& seed) {
            const auto requests = as_requests(prompts,
                                              {.prompt = "",
                                               .max_new_tokens = max_new_tokens,
                                               .stop = as_strings(stop),
                                               .temperature = temperature,
                                               .top_k = top_k,
                                               .top_p = top_p},
                                              seed);
            const py::gil_scoped_release release;
            return self.generate(requests);
          },
          py::arg("prompts"), py::arg("max_new_tokens") = 64, py::arg("stop") = py::list(),
          py::arg("temperature") = 0.0, py::arg("top_k") = 0, py::arg("top_p") = 1.0,
          py::arg("seed") = 0,
          R"(Continuations. A request's text does not depend on the others or on their order.

Args:
    prompts: Strings, to which the other arguments apply, or GenerationRequests, which bring their
        own.
    max_new_tokens: Most tokens to add.
    stop: The text ends before the first of these; a string or a list of them.
    temperature: 0 = greedy (ties: the lowest id).
    top_k: Sample among the k likeliest; 0 = all.
    top_p: Sample within this probability mass.
    seed: One for all, or a list with one for each prompt.

Returns:
    list[Generation])")
      .def("prepare", &Scorer::prepare, py::arg("requests"),
           py::call_guard<py::gil_scoped_release>(),
           R"(Announces every pair that later calls will score.

Beginnings common to many are then found once, and the bytes of a score do not depend on how the
pairs are spread over calls.

Returns:
    list[int]: The tokens that each pair costs beyond what it shares; empty when unknown.)")
      .def("measure", &Scorer::measure, "How long texts are to the model: TextMeasure.")
      .def_property_readonly("counts", &Scorer::counts,
                             "Tokens run and saved since the scorer was made: ScorerCounts.");
}

}  // namespace

std::shared_ptr<Scorer> as_scorer(const py::object& scorer) {
  if (!py::isinstance<Scorer>(scorer)) {
    throw py::type_error(
        c10::str("[Scorer] a scorer is a cupel.ModelScorer or a cupel.Scorer of your own. Got ",
                 py::str(py::type::of(scorer).attr("__name__")).cast<std::string>(), "."));
  }
  // The Python object holds the overrides, so it must live as long as the C++ side is used.
  return {scorer.cast<Scorer*>(), [held = hold(scorer)](Scorer*) {}};
}

void bind_scorer(py::module_& m) {
  bind_results(m);
  bind_measure(m);
  bind_base(m);
  const ScorerOptions defaults;
  // OwningScorer has a base that is not bound, so its Scorer does not lie at its beginning.
  py::class_<OwningScorer, PyScorer<OwningScorer, OwningScorer>, Scorer,
             std::shared_ptr<OwningScorer>>(m, "ModelScorer", py::multiple_inheritance(),
                                            R"(Scores text with a model and a tokenizer.

Args:
    model: A cupel.Model, a cupel.TokenModel, or a causal language model of transformers.
    tokenizer: cupel's or any Hugging Face tokenizer.
    boundary: Where a continuation begins when a token spans the join. "joint": both are encoded as
        one text, and what follows their common beginning with the context's own encoding is scored
        (flag "boundary_shift"). "split": both are encoded apart. "harness": as lm-eval 0.4 does.
    bos: Begin-of-sequence token: "auto" as the tokenizer is configured, "always" or "never".
    over_long: Requests longer than the model: "error", or "truncate_left", which drops the beginning
        and flags the result "truncated".
    share_prefixes: Run a common beginning once.
    verify_prefix: Score so many requests of each call again without sharing.
    verify_tolerance: Nats by which these may differ.
    batch_tokens: Tokens run together.
    state_bytes: Memory for the states of common beginnings.
    progress: Called with a Progress; False stops the call.

Raises:
    ValueError: A request without a token to score or one before it, or longer than the model.
    NumericalError: A log-likelihood that is NaN, or sharing that changed one.
    TypeError: Not a model.)")
      .def(py::init<const py::object&, const py::object&, std::string, std::string, std::string,
                    bool, int64_t, double, int64_t, int64_t, const py::object&>(),
           py::arg("model"), py::arg("tokenizer"), py::kw_only(),
           py::arg("boundary") = defaults.boundary, py::arg("bos") = defaults.bos,
           py::arg("over_long") = defaults.over_long,
           py::arg("share_prefixes") = defaults.share_prefixes,
           py::arg("verify_prefix") = defaults.verify_prefix,
           py::arg("verify_tolerance") = defaults.verify_tolerance,
           py::arg("batch_tokens") = defaults.batch_tokens,
           py::arg("state_bytes") = defaults.state_bytes, py::arg("progress") = py::none());
}

}  // namespace cupel::python
