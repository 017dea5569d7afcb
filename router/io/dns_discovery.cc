#include "router/io/dns_discovery.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "base/log.h"
#include "router/io/clock.h"
#include "server/net/url.h"

namespace sluice::router {
namespace {

// What the two threads share. A question may take the resolver many seconds and cannot be called back: the
// thread is let go with it, and ends when it comes home.
struct Desk {
  std::mutex mutex;
  std::condition_variable rung;
  bool asked = false, closed = false;
  std::optional<DnsAnswer> answer;
};

void answer_questions(const std::shared_ptr<Desk>& desk, std::unique_ptr<DnsLookup> lookup,
                      const std::string& name) {
  for (;;) {
    {
      std::unique_lock lock(desk->mutex);
      desk->rung.wait(lock, [&] { return desk->asked || desk->closed; });
      if (desk->closed) return;
      desk->asked = false;
    }
    DnsAnswer answer = DnsBook::is_service(name) ? lookup->services(name) : lookup->addresses(name);
    const std::lock_guard lock(desk->mutex);
    desk->answer = std::move(answer);
  }
}

class DnsDiscovery final : public Discovery {
 public:
  DnsDiscovery(FoundReplica pattern, DnsOptions options)
      : name_(parse_url(pattern.url)->host),
        server_(options.server),
        book_({std::move(pattern), options.keep_empty, options.keep_failed}) {}
  ~DnsDiscovery() override {
    const std::lock_guard lock(desk_->mutex);
    desk_->closed = true;
    desk_->rung.notify_all();
  }

  Status start(DiscoverySink& sink) override {
    sink_ = &sink;
    SLUICE_ASSIGN(std::unique_ptr<DnsLookup> lookup, DnsLookup::open(server_));
    std::thread(answer_questions, desk_, std::move(lookup), name_).detach();
    return {};
  }

  void tick() override {
    const Seconds now = monotonic_now();
    if (!waiting_ && now >= book_.next()) return ask();
    if (!waiting_) return;
    std::optional<DnsAnswer> answer;
    {
      const std::lock_guard lock(desk_->mutex);
      answer = std::exchange(desk_->answer, std::nullopt);
    }
    if (!answer) return;
    waiting_ = false;
    book_.take(*answer, now);
    if (book_.trouble() != told_trouble_) {
      told_trouble_ = book_.trouble();
      if (told_trouble_.empty())
        log::info("dns: {} is answered again", name_);
      else
        log::warn("dns: {}: {}. Its {} replicas stay for now.", name_, told_trouble_,
                  book_.replicas().size());
    }
    found_.become(book_.replicas(), *sink_);
  }

  void refresh() override {
    if (!waiting_) ask();
  }
  std::string name() const override { return "dns " + name_; }
  std::string_view trouble() const override { return book_.trouble(); }

 private:
  void ask() {
    waiting_ = true;
    const std::lock_guard lock(desk_->mutex);
    desk_->asked = true;
    desk_->rung.notify_all();
  }

  const std::string name_, server_;
  DnsBook book_;
  DiscoverySink* sink_ = nullptr;
  FoundSet found_;
  const std::shared_ptr<Desk> desk_ = std::make_shared<Desk>();
  bool waiting_ = false;
  std::string told_trouble_;
};

}  // namespace

std::unique_ptr<Discovery> make_dns_discovery(FoundReplica pattern, DnsOptions options) {
  return std::make_unique<DnsDiscovery>(std::move(pattern), std::move(options));
}

}  // namespace sluice::router
