#include "deploy/up/router_watch.h"

#include <chrono>
#include <functional>
#include <future>
#include <mutex>
#include <utility>

#include "router/io/fetch.h"
#include "server/net/io_threads.h"
#include "server/net/upstream.h"

namespace sluice::up {
namespace {

constexpr std::chrono::milliseconds kInterval{200};
constexpr std::chrono::milliseconds kPatience{2000};
constexpr size_t kMaxBytes = size_t{8} << 20;

class Watch final : public RouterWatch {
 public:
  Watch(Url url, std::string key, UpstreamOptions options) : key_(std::move(key)), io_(0) {
    io_.post([this, url = std::move(url), options = std::move(options)] {
      upstream_ = std::make_unique<Upstream>(io_, url, options);
      ask();
    });
  }
  ~Watch() override {
    // On their own thread, and before it ends.
    std::promise<void> done;
    io_.post([this, &done] {
      fetch_.reset();
      upstream_.reset();
      done.set_value();
    });
    done.get_future().wait();
  }

  std::optional<RouterView> take() override {
    std::lock_guard lock(mutex_);
    return std::exchange(latest_, std::nullopt);
  }

 private:
  void ask() {
    if (upstream_ == nullptr) return;
    const uint64_t turn = ++turn_;
    io_.run_after(kPatience, [this, turn] {
      if (turn == turn_) again();  // no answer: another question in its place
    });
    get("/autoscale/v1/models", [this](std::string models) {
      get("/router/replicas", [this, models = std::move(models)](const std::string& replicas) {
        auto view = read_router_view(models, replicas);
        if (view.ok()) {
          std::lock_guard lock(mutex_);
          latest_ = std::move(view).value();
        }
        again();
      });
    });
  }
  // A fault is no view: whoever hears nothing for long leaves all as it is.
  void get(const std::string& target, std::function<void(std::string)> then) {
    fetch_ = std::make_unique<router::Fetch>(*upstream_, target, key_, kMaxBytes,
                                             [this, then = std::move(then)](router::Fetch::Answer answer) {
                                               const auto over = std::move(fetch_);
                                               if (answer.status != 200) return again();
                                               then(std::move(answer.body));
                                             });
  }
  void again() {
    ++turn_;
    fetch_.reset();
    io_.run_after(kInterval, [this] { ask(); });
  }

  const std::string key_;
  std::mutex mutex_;
  std::optional<RouterView> latest_;  // under mutex_
  // On the I/O thread.
  std::unique_ptr<Upstream> upstream_;
  std::unique_ptr<router::Fetch> fetch_;
  uint64_t turn_ = 0;
  IoThread io_;  // last: it ends first
};

}  // namespace

Result<std::unique_ptr<RouterWatch>> RouterWatch::start(const RouterDoor& door) {
  auto url = parse_url(door.url);
  if (!url.ok()) return url.error();
  UpstreamOptions options;
  if (url->scheme == "https") {
    // The process that listens there is our own child; its certificate is for a name of the world.
    auto trust = TlsTrust::load({.checks_server = false});
    if (!trust.ok()) return trust.error();
    options.tls = std::move(trust).value();
  }
  return std::unique_ptr<RouterWatch>(std::make_unique<Watch>(std::move(url).value(), door.key, options));
}

}  // namespace sluice::up
