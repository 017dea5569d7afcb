#include "server/net/http_client.h"

#include <future>
#include <optional>

#include "server/net/upstream.h"

namespace sluice {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds kLookInterval{200};

std::string base64(std::string_view in) {
  static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < in.size(); i += 3) {
    uint32_t bits = static_cast<uint32_t>(static_cast<unsigned char>(in[i])) << 16;
    if (i + 1 < in.size()) bits |= static_cast<uint32_t>(static_cast<unsigned char>(in[i + 1])) << 8;
    if (i + 2 < in.size()) bits |= static_cast<unsigned char>(in[i + 2]);
    out.push_back(kAlphabet[bits >> 18]);
    out.push_back(kAlphabet[(bits >> 12) & 63]);
    out.push_back(i + 1 < in.size() ? kAlphabet[(bits >> 6) & 63] : '=');
    out.push_back(i + 2 < in.size() ? kAlphabet[bits & 63] : '=');
  }
  return out;
}

bool goes_direct(const std::string& host, std::string_view no_proxy) {
  while (!no_proxy.empty()) {
    const size_t comma = no_proxy.find(',');
    std::string_view rule = no_proxy.substr(0, comma);
    no_proxy = comma == std::string_view::npos ? std::string_view() : no_proxy.substr(comma + 1);
    while (!rule.empty() && rule.front() == ' ') rule.remove_prefix(1);
    while (!rule.empty() && rule.back() == ' ') rule.remove_suffix(1);
    if (rule == "*") return true;
    if (rule.starts_with(".")) rule.remove_prefix(1);
    if (rule.empty()) continue;
    if (host == rule) return true;
    if (host.ends_with(rule) && host[host.size() - rule.size() - 1] == '.') return true;
  }
  return false;
}

// One question to an Upstream of its own, on a thread of its own, while the caller waits.
class OneExchange final : public UpstreamSink {
 public:
  OneExchange(const ClientRequest& request, const HttpClientOptions& options)
      : request_(request), options_(options) {}

  Result<ClientResponse> run() {
    const bool is_secure = request_.url.scheme == "https";
    UpstreamOptions upstream;
    upstream.connect_timeout = options_.connect_timeout;
    upstream.write_timeout = options_.stall_timeout;
    upstream.max_idle = 0;
    const std::string& proxy = is_secure ? options_.https_proxy : options_.http_proxy;
    if (!proxy.empty() && !goes_direct(request_.url.host, options_.no_proxy)) {
      SLUICE_ASSIGN(Url url, parse_url(proxy.find("://") == std::string::npos ? "http://" + proxy : proxy));
      std::string credentials = url.user_info.empty() ? "" : "Basic " + base64(url.user_info);
      upstream.proxy = UpstreamProxy{std::move(url), std::move(credentials)};
    }
    if (is_secure) {
      SLUICE_ASSIGN(upstream.tls, TlsTrust::load({.authorities = {"Certificates in", options_.ca_file},
                                                  .checks_server = options_.checks_server}));
    }
    SLUICE_ASSIGN(std::string head, head_of(upstream.proxy));
    const auto body = request_.body.empty() ? nullptr : std::make_shared<const std::string>(request_.body);
    IoThread io(0);
    std::optional<Upstream> there;
    io.post([&] {
      there.emplace(io, request_.url, std::move(upstream));
      call_ = there->send({std::move(head), body}, *this);
      watch(io);
    });
    Status outcome = outcome_.get_future().get();
    std::promise<void> left;
    io.post([&] {
      call_.reset();
      there.reset();
      left.set_value();
    });
    left.get_future().wait();
    if (!outcome.ok()) return std::move(outcome).error();
    return std::move(response_);
  }

 private:
  Error failed(std::string_view why) const {
    return Error{ErrorCode::kIo,
                 "Fetching " + request_.url.without_query() + " failed: " + std::string(why) + "."};
  }

  Result<std::string> head_of(const std::optional<UpstreamProxy>& proxy) const {
    const bool whole_url = proxy && request_.url.scheme == "http";
    std::string head =
        request_.method + " " + (whole_url ? request_.url.text() : request_.url.target) + " HTTP/1.1\r\n";
    const auto add = [&](std::string_view name, std::string_view value) {
      head.append(name).append(": ").append(value).append("\r\n");
    };
    add("Host", request_.url.authority());
    add("User-Agent", options_.user_agent);
    add("Accept-Encoding", "identity");
    add("Connection", "close");
    if (!request_.body.empty()) add("Content-Length", std::to_string(request_.body.size()));
    if (whole_url && !proxy->credentials.empty()) add("Proxy-Authorization", proxy->credentials);
    for (const auto& [name, value] : request_.headers) {
      if (value.find_first_of("\r\n") != std::string::npos ||
          name.find_first_of("\r\n: ") != std::string::npos) {
        return invalid_argument(name, "A header of the request contains a line break.");
      }
      add(name, value);
    }
    return head + "\r\n";
  }

  // --- on the I/O thread ---

  void watch(IoThread& io) {
    if (told_) return;
    if (sent_ && steady_clock::now() - heard_at_ > options_.stall_timeout) {
      return finish(failed(response_.status == 0 ? "waiting for the answer took too long"
                                                 : "the body broke off: no more of it came for too long"));
    }
    io.run_after(kLookInterval, [this, &io] { watch(io); });
  }

  void on_sent() override {
    sent_ = true;
    heard_at_ = steady_clock::now();
  }
  void on_head(int status, HeaderList& headers) override {
    response_.status = status;
    for (const auto& [name, value] : headers) {
      std::string& known = response_.headers[name];
      known += (known.empty() ? "" : ", ") + value;
    }
    keeps_body_ = !request_.sink || status < 200 || status >= 300;
    if (request_.on_head) {
      if (Status wanted = request_.on_head(response_); !wanted.ok()) return finish(std::move(wanted));
    }
    heard_at_ = steady_clock::now();
  }
  void on_piece(std::string_view bytes) override {
    if (!keeps_body_) {
      if (Status taken = request_.sink(bytes); !taken.ok()) return finish(std::move(taken));
    } else if (static_cast<int64_t>(response_.body.size() + bytes.size()) > request_.max_body_bytes) {
      return finish(
          failed("the answer is larger than " + std::to_string(request_.max_body_bytes) + " bytes"));
    } else {
      response_.body.append(bytes);
    }
    heard_at_ = steady_clock::now();
  }
  void on_end() override { finish({}); }
  void on_fault(std::string_view what) override { finish(failed(what)); }

  void finish(Status outcome) {
    if (std::exchange(told_, true)) return;
    call_.reset();
    outcome_.set_value(std::move(outcome));
  }

  const ClientRequest& request_;
  const HttpClientOptions& options_;
  std::promise<Status> outcome_;
  std::unique_ptr<UpstreamCall> call_;
  ClientResponse response_;
  bool keeps_body_ = true;
  bool sent_ = false;
  bool told_ = false;
  steady_clock::time_point heard_at_;
};

}  // namespace

Result<ClientResponse> http_exchange(const ClientRequest& request, const HttpClientOptions& options) {
  return OneExchange(request, options).run();
}

}  // namespace sluice
