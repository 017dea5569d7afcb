#include "router/io/kubernetes_discovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/log.h"
#include "router/io/clock.h"
#include "router/io/slice_book.h"

namespace sluice::router {
namespace {

constexpr int kSlicesOfPage = 8;
constexpr size_t kMaxPageBytes = size_t{32} << 20;
constexpr size_t kMaxLineBytes = size_t{4} << 20;  // etcd holds no larger object than 1.5 MiB
constexpr size_t kMaxErrorBytes = size_t{64} << 10;
constexpr size_t kHighWater = size_t{1} << 20;  // watched and not yet read: then the connection waits
// Text read in one tick, so that relayed streams never wait long: about a millisecond.
constexpr size_t kBytesOfTick = size_t{256} << 10;
constexpr Seconds kListPatience = 30;
constexpr Seconds kWatchGrace = 15;     // beyond its announced end
constexpr Seconds kShortWatch = 1;      // one that ends sooner was no success
constexpr Seconds kTellInterval = 0.1;  // between two tellings in a flood of events

class KubernetesDiscovery final : public Discovery {
 public:
  KubernetesDiscovery(KubernetesApi& api, KubernetesOptions options)
      : options_(std::move(options)),
        api_(api),
        book_({options_.port, server_name(options_)}),
        random_(std::random_device()()) {}

  Status start(DiscoverySink& sink) override {
    sink_ = &sink;
    SLUICE_ASSIGN(token_, api_.read_token());
    return {};
  }

  void tick() override {
    const Seconds at = monotonic_now();
    digest(at);
    if (book_.changed() && pages_.empty() && at >= tell_at_) tell(at);
    if (at >= until_) failed("it did not answer in time");
    if (step_ == Step::kWaiting && at >= again_at_) ask();
  }

  void refresh() override {
    if (step_ == Step::kWaiting) again_at_ = 0;
  }
  std::string name() const override {
    return "kubernetes " + options_.space + "/" +
           (options_.service.empty() ? options_.label_selector : options_.service);
  }
  std::string_view trouble() const override { return told_failure_.empty() ? told_trouble_ : told_failure_; }

 private:
  enum class Step : uint8_t {
    kWaiting,  // until again_at_
    kListing,  // a page is asked for, or being read
    kWatching,
  };

  static std::string server_name(const KubernetesOptions& options) {
    return options.service.empty() ? "" : options.service + "." + options.space + ".svc";
  }

  // --- asking ---

  void ask() {
    auto token = api_.read_token();
    if (!token.ok()) return failed(token.error().message);
    token_ = std::move(token).value();
    if (book_.version().empty() || list_again_)
      list();
    else
      watch();
  }

  std::string target(const std::string& query) const {
    const std::string selector = options_.label_selector.empty()
                                     ? "kubernetes.io/service-name=" + options_.service
                                     : options_.label_selector;
    return fmt::format("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector={}&{}",
                       percent_encoded(options_.space), percent_encoded(selector), query);
  }

  void list() {
    step_ = Step::kListing;
    verb_ = "list";
    until_ = monotonic_now() + kListPatience;
    std::string query = fmt::format("limit={}", kSlicesOfPage);
    if (next_page_.empty())
      book_.begin_list();
    else
      query += "&continue=" + percent_encoded(next_page_);
    fetch_ = std::make_unique<Fetch>(api_.upstream(), target(query), token_, kMaxPageBytes,
                                     [this](Fetch::Answer answer) {
                                       const std::unique_ptr<Fetch> over = std::move(fetch_);
                                       listed(std::move(answer));
                                     });
  }

  void listed(Fetch::Answer answer) {
    if (answer.status == 0) return failed(answer.body);
    if (answer.status != 200) return refused(answer.status, parse_status(answer.body));
    page_text_ = std::move(answer.body);
    auto page = parse_slice_page(page_text_);
    if (!page.ok()) return failed("its list is of no use: " + page.error().message);
    pages_.push_back(std::move(page).value());
    page_at_ = 0;
    until_ = kNever;
  }

  void watch() {
    step_ = Step::kWatching;
    verb_ = "watch";
    watch_began_ = monotonic_now();
    // Not all routers in the same moment.
    const int timeout = static_cast<int>(std::max(1.0, options_.watch_timeout * (1 + share() / 4)));
    until_ = watch_began_ + timeout + kWatchGrace;
    text_.clear();
    stream_ = std::make_unique<Stream>(
        *this, target(fmt::format("watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
                                  timeout, percent_encoded(book_.version()))));
  }

  // A watch: its lines are kept until there is time to read them.
  class Stream final : public UpstreamSink {
   public:
    Stream(KubernetesDiscovery& owner, const std::string& target) : owner_(owner) {
      call_ = owner.api_.upstream().send(
          {question_head(owner.api_.upstream().url(), target, owner.token_), nullptr}, *this);
    }
    int status() const { return status_; }
    void resume() {
      if (std::exchange(paused_, false)) call_->resume();
    }
    bool over() const { return over_; }
    const std::string& fault() const { return fault_; }

   private:
    void on_head(int status, HeaderList&) override { status_ = status; }
    void on_piece(std::string_view bytes) override {
      if (status_ != 200 && owner_.text_.size() + bytes.size() > kMaxErrorBytes) return;
      owner_.text_.append(bytes);
      if (owner_.text_.size() < kHighWater || paused_) return;
      paused_ = true;
      call_->pause();
    }
    void on_end() override { over_ = true; }
    void on_fault(std::string_view what) override {
      over_ = true;
      fault_ = what;
    }

    KubernetesDiscovery& owner_;
    int status_ = 0;
    bool paused_ = false, over_ = false;
    std::string fault_;
    std::unique_ptr<UpstreamCall> call_;
  };

  // --- reading, a little at a time ---

  void digest(Seconds at) {
    if (!pages_.empty()) return digest_page();
    if (stream_ == nullptr) return;
    if (stream_->status() == 200 && at >= watch_began_ + kShortWatch) well(at);
    if (stream_->status() == 200 && !digest_lines()) return;
    if (stream_->status() == 0 && !stream_->over() && at >= watch_began_ + kListPatience) {
      return failed("it did not answer in time");
    }
    if (!stream_->over()) return;
    // All that came has been read.
    const int status = stream_->status();
    const std::string fault = stream_->fault();
    stream_.reset();
    if (status != 0 && status != 200) return refused(status, parse_status(text_));
    if (!fault.empty() || at < watch_began_ + kShortWatch)
      return failed(fault.empty() ? "it ended the watch at once" : fault);
    again(0);
  }

  void digest_page() {
    const SlicePage& page = pages_.front();
    for (size_t bytes = 0; page_at_ < page.items.size() && bytes < kBytesOfTick; ++page_at_) {
      bytes += page.items[page_at_].size();
      if (const Status read = book_.list_item(page.items[page_at_]); !read.ok()) {
        return failed("its list is of no use: " + read.error().message);
      }
    }
    if (page_at_ < page.items.size()) return;
    const SlicePage done = std::move(pages_.front());
    pages_.clear();
    next_page_ = done.next;
    if (!next_page_.empty()) return list();
    book_.end_list(done.version);
    page_text_ = {};
    list_again_ = false;
    watch();
  }

  // False when the watch is over by what it said, or there is more to read.
  bool digest_lines() {
    size_t read = 0;
    while (read < kBytesOfTick) {
      const size_t end = text_.find('\n', read);
      if (end == std::string::npos) break;
      const std::string_view line = std::string_view(text_).substr(read, end - read);
      read = end + 1;
      if (line.empty()) continue;
      const SliceBook::Verdict verdict = book_.watch_line(line);
      if (verdict == SliceBook::Verdict::kGoOn) continue;
      stream_.reset();
      judge(verdict);
      return false;
    }
    text_.erase(0, read);
    if (read >= kBytesOfTick) return false;
    if (text_.size() > kMaxLineBytes) {
      stream_.reset();
      list_again_ = true;
      failed(fmt::format("a line of its watch is longer than {} bytes", kMaxLineBytes));
      return false;
    }
    stream_->resume();
    return true;
  }

  void judge(SliceBook::Verdict verdict) {
    if (verdict == SliceBook::Verdict::kRefused) return refused(book_.status().code, book_.status());
    list_again_ = true;
    if (verdict == SliceBook::Verdict::kBroken) return failed("its watch is of no use: " + book_.fault());
    expired();
  }

  // --- what becomes of it ---

  void tell(Seconds at) {
    found_.become(book_.replicas(), *sink_);
    // However many they are, a flood of events costs a twentieth of the thread's time.
    tell_at_ = std::max(at + kTellInterval, at + 20 * (monotonic_now() - at));
    if (book_.trouble() != told_trouble_ && !book_.trouble().empty()) log::warn("{}", book_.trouble());
    told_trouble_ = book_.trouble();
  }

  // The version that we have is too old. Happens in good health: at once, unless it happens again and again.
  void expired() {
    log::info("kubernetes: the watch's version is too old; the list is read anew");
    list_again_ = true;
    next_page_.clear();
    again(expiries_++ == 0 ? 0 : backoff());
  }

  void refused(int status, const WatchEvent::Status& said) {
    if (status == 410) return expired();
    const std::string words = said.message.empty() ? "" : ": " + said.message;
    const std::string what =
        fmt::format("{} endpointslices of API group discovery.k8s.io in namespace {}", verb_, options_.space);
    if (status == 401) {
      const auto token = api_.read_token();
      const bool rotated = token.ok() && *token != token_;
      if (rotated) return again(0);
      return failed(fmt::format("it does not accept the token{}{} (401{})",
                                api_.options().token_file.empty() ? "" : " in ", api_.options().token_file,
                                words));
    }
    if (status == 403) {
      return failed(
          fmt::format("it does not allow to {} (403{}); give the router's service account a Role "
                      "with the verbs list and watch on them, as in docs/router.md",
                      what, words));
    }
    if (status == 404) {
      return failed(
          fmt::format("it knows no {} (404{}); Kubernetes 1.21 is the first that has them", what, words));
    }
    failed(fmt::format("it answered {} with {}{}", verb_, status, words), said.retry_after_s);
  }

  void failed(const std::string& why, Seconds at_least = 0) {
    // One broken watch is nothing: the next goes on behind it.
    const bool worth_a_word = ++failures_ > 1 || verb_ == "list";
    if (worth_a_word && why != told_failure_) {
      if (told_failure_.empty()) failing_since_ = monotonic_now();
      log::warn("kubernetes: the API server {} is of no use now: {}. The {} replicas stay as they are.",
                api_.options().url.without_query(), log::safe(why, 2000), found_.told().size());
      told_failure_ = why;
    }
    next_page_.clear();
    again(std::max(at_least, backoff()));
  }

  // A watch goes on.
  void well(Seconds at) {
    if (!told_failure_.empty()) {
      log::info("kubernetes: the API server answers again, after {:.1f} s", at - failing_since_);
      told_failure_.clear();
    }
    failures_ = expiries_ = 0;
    backoff_ = 0;
  }

  Seconds backoff() {
    backoff_ = std::clamp(backoff_ * 2, options_.first_backoff, options_.longest_backoff);
    return backoff_ * (0.5 + share() / 2);
  }
  void again(Seconds pause) {
    fetch_.reset();
    stream_.reset();
    pages_.clear();
    page_text_.clear();
    text_.clear();
    step_ = Step::kWaiting;
    until_ = kNever;
    again_at_ = monotonic_now() + pause;
  }
  double share() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  const KubernetesOptions options_;
  DiscoverySink* sink_ = nullptr;
  KubernetesApi& api_;
  SliceBook book_;
  FoundSet found_;
  std::string token_;

  Step step_ = Step::kWaiting;
  std::string_view verb_ = "list";
  Seconds again_at_ = 0;
  Seconds until_ = kNever;
  bool list_again_ = false;

  std::unique_ptr<Fetch> fetch_;
  std::string page_text_, next_page_;
  std::vector<SlicePage> pages_;  // none, or the one that is being read; its items lie in page_text_
  size_t page_at_ = 0;

  std::string text_;  // of the watch, not read yet
  std::unique_ptr<Stream> stream_;
  Seconds watch_began_ = 0;

  Seconds tell_at_ = 0;
  std::string told_trouble_, told_failure_;
  Seconds failing_since_ = 0;
  int failures_ = 0, expiries_ = 0;
  Seconds backoff_ = 0;
  std::minstd_rand random_;
};

}  // namespace

std::unique_ptr<Discovery> make_kubernetes_discovery(KubernetesApi& api, KubernetesOptions options) {
  return std::make_unique<KubernetesDiscovery>(api, std::move(options));
}

}  // namespace sluice::router
