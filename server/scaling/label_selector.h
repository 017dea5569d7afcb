// Kubernetes label selectors as they stand in a query: "a=b,c!=d,e in (f,g),h notin (i),j,!k". Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice {

using Labels = std::map<std::string, std::string, std::less<>>;

class LabelSelector {
 public:
  // Empty text selects everything. kInvalidArgument with a sentence.
  static Result<LabelSelector> parse(std::string_view text);

  // A value also matches its own label form: Kubernetes takes no slashes in label values, models have them.
  bool matches(const Labels& labels) const;

 private:
  struct Requirement {
    std::string key;
    std::vector<std::string> values;  // empty: whether the key is there
    bool negated = false;
  };
  std::vector<Requirement> requirements_;
};

// "meta-llama/Llama-3 8B" as a label value: "meta-llama-Llama-3-8B". At most 63 letters, digits, '-', '_',
// '.'.
std::string label_form(std::string_view value);

}  // namespace sluice
