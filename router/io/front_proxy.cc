#include "router/io/front_proxy.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"

namespace sluice::router {
namespace {

using Json = nlohmann::json;

constexpr const char* kTarget =
    "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
constexpr size_t kMaxBytes = size_t{2} << 20;  // etcd holds no larger object than 1.5 MiB
constexpr Seconds kInterval = 60, kPatience = 10;
constexpr Seconds kFirstBackoff = 1, kLongestBackoff = 30;

class FrontProxyWatch final : public Errand {
 public:
  FrontProxyWatch(KubernetesApi& api, std::function<void(const FrontProxy&)> changed)
      : api_(api), changed_(std::move(changed)) {}

  void tick(Seconds now) override {
    now_ = now;
    if (fetch_ != nullptr) {
      if (now < until_) return;
      fetch_.reset();
      return failed("it did not answer in time");
    }
    if (now < next_) return;
    until_ = now + kPatience;
    auto asked = api_.get(kTarget, kMaxBytes, [this](const Fetch::Answer& answer) {
      const std::unique_ptr<Fetch> over = std::move(fetch_);
      answered(answer);
    });
    if (!asked.ok()) return failed(asked.error().message);
    fetch_ = std::move(asked).value();
  }

 private:
  void answered(const Fetch::Answer& answer) {
    if (answer.status == 403) {
      return failed(
          trouble_of(answer) +
          "; bind the router's service account to the Role extension-apiserver-authentication-reader "
          "in kube-system, as in docs/autoscaling.md");
    }
    if (answer.status != 200) return failed(trouble_of(answer));
    auto read = parse_front_proxy(answer.body);
    if (!read.ok()) return failed(read.error().message);
    if (!told_.empty()) log::info("the metrics APIs know again by whom they may be asked");
    told_.clear();
    backoff_ = 0;
    next_ = now_ + kInterval;
    if (known_ == *read) return;
    known_ = std::move(read).value();
    changed_(*known_);
  }

  void failed(const std::string& why) {
    if (why != told_) {
      log::warn("the metrics APIs {}: the ConfigMap extension-apiserver-authentication cannot be read: {}",
                known_ ? "go by what they knew" : "let nobody in", why);
    }
    told_ = why;
    backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kLongestBackoff);
    next_ = now_ + backoff_;
  }

  KubernetesApi& api_;
  const std::function<void(const FrontProxy&)> changed_;
  std::unique_ptr<Fetch> fetch_;
  std::optional<FrontProxy> known_;
  std::string told_;
  Seconds now_ = 0, next_ = 0, until_ = kNever, backoff_ = 0;
};

}  // namespace

Result<FrontProxy> parse_front_proxy(std::string_view config_map) {
  const Error broken{ErrorCode::kInvalidArgument,
                     "it is no ConfigMap with requestheader-client-ca-file in it"};
  const Json map = Json::parse(config_map, nullptr, false);
  const auto text_of = [&](const char* key) -> const std::string* {
    const auto data = map.find("data");
    if (data == map.end() || !data->is_object()) return nullptr;
    const auto at = data->find(key);
    return at == data->end() ? nullptr : at->get_ptr<const std::string*>();
  };
  if (!map.is_object()) return broken;
  const std::string* authorities = text_of("requestheader-client-ca-file");
  if (authorities == nullptr || authorities->empty()) return broken;
  FrontProxy proxy{.authorities = *authorities};
  if (const std::string* names = text_of("requestheader-allowed-names")) {
    const Json list = Json::parse(*names, nullptr, false);
    if (!list.is_array()) return broken;
    for (const Json& name : list) {
      if (!name.is_string()) return broken;
      proxy.names.push_back(name.get<std::string>());
    }
  }
  return proxy;
}

std::unique_ptr<Errand> watch_front_proxy(KubernetesApi& api,
                                          std::function<void(const FrontProxy&)> changed) {
  return std::make_unique<FrontProxyWatch>(api, std::move(changed));
}

}  // namespace sluice::router
