#pragma once

#include <string>

namespace cupel {

/// Where a subject of MMLU belongs.
struct MmluPlace {
  std::string subcategory = "other";  ///< one of 17
  std::string category = "other";     ///< STEM, humanities, social sciences, other
  bool known = false;                 ///< whether it is one of the 57
};

/// The place of a subject, written as in its file's name ("high_school_biology"), after Hendrycks et
/// al., "Measuring massive multitask language understanding" (2021), and the table that their code
/// counts by.
MmluPlace mmlu_place(const std::string& subject);

}  // namespace cupel
