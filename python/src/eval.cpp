#include "bindings.h"

namespace cupel::python {

void bind_eval(py::module_& m) {
  bind_token_model(m);
  bind_scorer(m);
  bind_statistics(m);
  bind_perplexity(m);
  bind_metrics(m);
  bind_text_figures(m);
  bind_tasks(m);
  bind_evaluate(m);
  bind_judge(m);
}

}  // namespace cupel::python
