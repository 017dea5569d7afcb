#include "router/io/model_alias.h"

#include <charconv>
#include <cmath>
#include <optional>

#include "base/hash.h"
#include "server/wire/json_walk.h"

namespace sluice::router {
namespace {

constexpr size_t kMaxTargets = 64;

std::optional<double> weight_of(std::string_view text) {
  double weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return weight;
}

// Bytes of `messages` up to the first of the user's, that one included; all of it where there is none.
std::string_view opening_of(std::string_view messages) {
  JsonWalk walk(messages);
  std::string_view message, name, value;
  if (!walk.enter_array()) return messages;
  while (walk.element(message)) {
    JsonWalk members(message);
    if (!members.enter_object()) break;
    while (members.member(name, value)) {
      if (name == "role" && value == R"("user")") {
        return {messages.data(), static_cast<size_t>(message.data() + message.size() - messages.data())};
      }
    }
  }
  return messages;
}

double draw(const AliasTarget& target, uint64_t key) {
  const uint64_t name = hash_bytes(target.model.data(), target.model.size(), 3);
  // Mixed twice: once leaves draws of names that differ in one letter too much alike.
  const uint64_t bits = hash_combine(hash_combine(name, key), name) >> 11;
  return -target.weight / std::log((static_cast<double>(bits) + 0.5) / 9007199254740992.0);
}

}  // namespace

Result<std::pair<std::string, ModelAlias>> parse_model_alias(std::string_view text) {
  const auto wrong = [&](const std::string& why) {
    return invalid_argument("model-alias", "'" + std::string(text) + "' " + why);
  };
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos) {
    return wrong("is not of the form ALIAS=MODEL or ALIAS=MODEL*WEIGHT,MODEL*WEIGHT.");
  }
  ModelAlias targets;
  double sum = 0;
  std::string_view rest = text.substr(equals + 1);
  for (bool more = true; more;) {
    const size_t comma = rest.find(',');
    std::string_view target = rest.substr(0, comma);
    more = comma != std::string_view::npos;
    if (more) rest.remove_prefix(comma + 1);
    AliasTarget parsed;
    if (const size_t star = target.rfind('*'); star != std::string_view::npos) {
      if (const auto weight = weight_of(target.substr(star + 1))) {
        parsed.weight = *weight;
        target = target.substr(0, star);
      }
    }
    if (target.empty()) return wrong("names an empty model.");
    if (!(parsed.weight >= 0 && parsed.weight <= 1e6)) return wrong("has a weight outside 0 to 1000000.");
    parsed.model = target;
    sum += parsed.weight;
    targets.push_back(std::move(parsed));
    if (targets.size() > kMaxTargets) return wrong("names more than 64 models.");
  }
  if (sum <= 0) return wrong("gives no model a weight above 0.");
  return std::pair{std::string(text.substr(0, equals)), std::move(targets)};
}

uint64_t assignment_key(std::string_view session, const BodyScan& scan) {
  if (!session.empty()) return hash_bytes(session.data(), session.size(), 1);
  const uint64_t seed = hash_bytes(scan.instructions.data(), scan.instructions.size(), 2);
  const std::string_view opening = opening_of(scan.prompt);
  return hash_bytes(opening.data(), opening.size(), seed);
}

const std::string& assigned_model(const ModelAlias& alias, uint64_t key,
                                  const std::function<bool(const std::string& model)>& usable) {
  const AliasTarget* best = nullptr;
  const AliasTarget* best_usable = nullptr;
  double most = -1, most_usable = -1;
  if (alias.size() == 1) return alias.front().model;
  for (const AliasTarget& target : alias) {
    const double drawn = draw(target, key);
    if (drawn > most) most = drawn, best = &target;
    if (target.weight > 0 && drawn > most_usable && usable(target.model)) {
      most_usable = drawn, best_usable = &target;
    }
  }
  return (best_usable != nullptr ? best_usable : best)->model;
}

}  // namespace sluice::router
