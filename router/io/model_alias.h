// Names of models that stand for others: for one, or by weight for several (canary, A/B). Whoever came to one
// of several stays with it. Pure; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "router/io/body_scan.h"

namespace sluice::router {

struct AliasTarget {
  std::string model;
  double weight = 1;  // share against the others, >= 0

  bool operator==(const AliasTarget&) const = default;
};
using ModelAlias = std::vector<AliasTarget>;
using ModelAliases = std::map<std::string, ModelAlias, std::less<>>;

// "chat=llama" or "chat=llama*9,llama-new*1"; a weight is what follows the last '*' when that is a number.
// kInvalidArgument with a sentence.
Result<std::pair<std::string, ModelAlias>> parse_model_alias(std::string_view text);

// Who is assigned: the session where there is one, else the conversation, which its first messages up to the
// first of the user's tell. The same in every router and after every restart.
uint64_t assignment_key(std::string_view session, const BodyScan& scan);

// By weighted rendezvous (Schindelhauer and Schomaker 2005): each target draws -w/ln(u) from the key and its
// own name, and the most wins. When weights change only so many keys move as the shares did. Of the targets
// that are `usable` where one is, else of all.
const std::string& assigned_model(const ModelAlias& alias, uint64_t key,
                                  const std::function<bool(const std::string& model)>& usable);

}  // namespace sluice::router
