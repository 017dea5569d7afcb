#include "router/io/scale_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "router/io/dispatcher.h"
#include "server/scaling/activation.h"

namespace sluice::router {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr Seconds kPatience = 10;
// A workload that was woken shows its pod within this, or is asked about again.
constexpr Seconds kAfterChange = 5, kAfterNothing = 2;
constexpr Seconds kFirstBackoff = 1, kLongestBackoff = 30;

class ScaleTarget final : public Errand {
 public:
  ScaleTarget(KubernetesApi& api, const Dispatcher& dispatcher, ScaleTargetOptions options)
      : api_(api),
        dispatcher_(dispatcher),
        options_(std::move(options)),
        activation_(options_.sleep_after),
        target_(fmt::format("/apis/apps/v1/namespaces/{}/{}/{}/scale", percent_encoded(options_.space),
                            options_.resource, percent_encoded(options_.name))) {}

  void tick(Seconds now) override {
    now_ = now;
    if (fetch_ != nullptr) {
      if (now < until_) return;
      fetch_.reset();
      return failed("the API server did not answer in time");
    }
    wish_ = activation_.look(seen(), now);
    if (wish_ == Activation::Wish::kNothing) return;
    begin(api_.get(target_, kMaxBytes, [this](const Fetch::Answer& answer) {
      const std::unique_ptr<Fetch> over = std::move(fetch_);
      looked(answer);
    }));
  }

 private:
  Activation::Seen seen() const {
    Activation::Seen sum;
    for (const auto& [model, told] : dispatcher_.demand_view().models()) {
      if (!options_.model.empty() && model != options_.model && !model.empty()) continue;
      sum.in_flight += told.load.in_flight;
      sum.demand += told.demand.replicas;
      sum.ready += told.load.ready;
      sum.loading += told.load.loading;
    }
    return sum;
  }

  void looked(const Fetch::Answer& answer) {
    if (answer.status != 200) return failed(trouble_of(answer));
    const auto scale = parse_scale(answer.body);
    if (!scale.ok()) return failed(scale.error().message);
    const bool wakes = wish_ == Activation::Wish::kWake;
    // Asked for already, by us or by somebody else; or more than one, which is the HPA's to change.
    if (scale->replicas != (wakes ? 0 : 1)) return done(kAfterNothing);
    // The version makes sure that nobody changed it meanwhile.
    const Json merge = {{"metadata", {{"resourceVersion", scale->version}}},
                        {"spec", {{"replicas", wakes ? 1 : 0}}}};
    begin(api_.patch(target_, merge.dump(), [this, wakes](const Fetch::Answer& patched) {
      const std::unique_ptr<Fetch> over = std::move(fetch_);
      if (patched.status == 409) return done(kAfterNothing);
      if (patched.status != 200) return failed(trouble_of(patched));
      log::info("{}", wakes ? fmt::format("{}/{}: 0 -> 1 replicas, somebody waits", options_.resource,
                                          options_.name)
                            : fmt::format("{}/{}: 1 -> 0 replicas, nobody asked for {} s", options_.resource,
                                          options_.name, options_.sleep_after));
      done(kAfterChange);
    }));
  }

  void begin(Result<std::unique_ptr<Fetch>> asked) {
    until_ = now_ + kPatience;
    if (!asked.ok()) return failed(asked.error().message);
    fetch_ = std::move(asked).value();
  }
  void done(Seconds pause) {
    told_.clear();
    backoff_ = 0;
    activation_.rest(pause, now_);
  }
  void failed(const std::string& why) {
    if (why != told_) {
      log::warn("{}/{} cannot be {}: {}", options_.resource, options_.name,
                wish_ == Activation::Wish::kWake ? "woken" : "put to sleep", why);
    }
    told_ = why;
    backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kLongestBackoff);
    activation_.rest(backoff_, now_);
  }

  KubernetesApi& api_;
  const Dispatcher& dispatcher_;
  const ScaleTargetOptions options_;
  Activation activation_;
  const std::string target_;
  Activation::Wish wish_ = Activation::Wish::kNothing;
  std::unique_ptr<Fetch> fetch_;
  std::string told_;
  Seconds now_ = 0, until_ = kNever, backoff_ = 0;
};

}  // namespace

Result<ScaleTargetOptions> parse_scale_target(std::string_view text) {
  const Error broken =
      invalid_argument("--scale-target",
                       fmt::format("'{}' is not of the form [MODEL=]deployments/NAME", log::safe(text, 200)));
  ScaleTargetOptions target;
  const size_t slash = text.rfind('/');
  if (slash == std::string_view::npos) return broken;
  std::string_view before = text.substr(0, slash);
  if (const size_t equals = before.rfind('='); equals != std::string_view::npos) {
    target.model = before.substr(0, equals);
    before = before.substr(equals + 1);
  }
  target.resource = before;
  target.name = text.substr(slash + 1);
  constexpr std::string_view kKinds[] = {"deployments", "statefulsets", "replicasets"};
  const bool plain = std::ranges::all_of(target.name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
  if (std::ranges::find(kKinds, target.resource) == std::end(kKinds) || target.name.empty() || !plain ||
      target.name.size() > 253)
    return broken;
  return target;
}

Result<Scale> parse_scale(std::string_view text) {
  const Error broken{ErrorCode::kInvalidArgument, "it is no Scale"};
  const Json scale = Json::parse(text, nullptr, false);
  if (!scale.is_object()) return broken;
  const auto metadata = scale.find("metadata"), spec = scale.find("spec");
  if (metadata == scale.end() || !metadata->is_object() || spec == scale.end() || !spec->is_object())
    return broken;
  const auto version = metadata->find("resourceVersion"), replicas = spec->find("replicas");
  Scale read;
  if (version == metadata->end() || !version->is_string()) return broken;
  read.version = version->get<std::string>();
  // 0 is left out.
  if (replicas == spec->end()) return read;
  if (!replicas->is_number_integer()) return broken;
  const int64_t count = replicas->get<int64_t>();
  if (count < 0 || count > 1'000'000) return broken;
  read.replicas = static_cast<int>(count);
  return read;
}

std::unique_ptr<Errand> make_scale_target(KubernetesApi& api, const Dispatcher& dispatcher,
                                          ScaleTargetOptions options) {
  return std::make_unique<ScaleTarget>(api, dispatcher, std::move(options));
}

}  // namespace sluice::router
