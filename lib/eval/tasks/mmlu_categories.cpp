#include "eval/tasks/mmlu_categories.h"

#include <map>
#include <vector>

namespace cupel {

namespace {

struct Subcategory {
  const char* name;
  const char* category;
  std::vector<const char*> subjects;
};

const std::vector<Subcategory>& subcategories() {
  static const std::vector<Subcategory> table{
      {"math",
       "STEM",
       {"abstract_algebra", "college_mathematics", "elementary_mathematics",
        "high_school_mathematics", "high_school_statistics"}},
      {"physics",
       "STEM",
       {"astronomy", "college_physics", "conceptual_physics", "high_school_physics"}},
      {"chemistry", "STEM", {"college_chemistry", "high_school_chemistry"}},
      {"biology", "STEM", {"college_biology", "high_school_biology"}},
      {"computer science",
       "STEM",
       {"college_computer_science", "computer_security", "high_school_computer_science",
        "machine_learning"}},
      {"engineering", "STEM", {"electrical_engineering"}},
      {"history",
       "humanities",
       {"high_school_european_history", "high_school_us_history", "high_school_world_history",
        "prehistory"}},
      {"philosophy",
       "humanities",
       {"formal_logic", "logical_fallacies", "moral_disputes", "moral_scenarios", "philosophy",
        "world_religions"}},
      {"law", "humanities", {"international_law", "jurisprudence", "professional_law"}},
      {"politics",
       "social sciences",
       {"high_school_government_and_politics", "public_relations", "security_studies",
        "us_foreign_policy"}},
      {"culture", "social sciences", {"human_sexuality", "sociology"}},
      {"economics",
       "social sciences",
       {"econometrics", "high_school_macroeconomics", "high_school_microeconomics"}},
      {"geography", "social sciences", {"high_school_geography"}},
      {"psychology", "social sciences", {"high_school_psychology", "professional_psychology"}},
      {"health",
       "other",
       {"anatomy", "clinical_knowledge", "college_medicine", "human_aging", "medical_genetics",
        "nutrition", "professional_medicine", "virology"}},
      {"business", "other", {"business_ethics", "management", "marketing"}},
      {"other", "other", {"global_facts", "miscellaneous", "professional_accounting"}},
  };
  return table;
}

}  // namespace

MmluPlace mmlu_place(const std::string& subject) {
  static const auto places = [] {
    std::map<std::string, MmluPlace> places;
    for (const auto& [name, category, subjects] : subcategories()) {
      for (const char* of : subjects) places[of] = {name, category, true};
    }
    return places;
  }();
  const auto found = places.find(subject);
  return found == places.end() ? MmluPlace{} : found->second;
}

}  // namespace cupel
