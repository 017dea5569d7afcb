#include "server/options_door.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

namespace sluice {
namespace {

using std::chrono::milliseconds;

// 33554432 as 32MiB.
std::string bytes_text(size_t bytes) {
  for (const auto& [unit, name] : {std::pair(size_t{1} << 30, "GiB"), std::pair(size_t{1} << 20, "MiB"),
                                   std::pair(size_t{1} << 10, "KiB")}) {
    if (bytes >= unit && bytes % unit == 0) return fmt::format("{}{}", bytes / unit, name);
  }
  return std::to_string(bytes);
}

struct ByteRange {
  size_t lowest, highest;
};

void add_bytes(CLI::App& app, const std::string& flag, size_t& bytes, ByteRange range,
               const std::string& about) {
  const auto take = [&bytes, flag, range](const std::string& text) {
    const auto parsed = parse_bytes(flag, text);
    if (!parsed.ok()) throw CLI::ValidationError(parsed.error().message);
    if (*parsed < range.lowest || *parsed > range.highest) {
      throw CLI::ValidationError(fmt::format("{} is {}; it must be from {} to {}.", flag, text,
                                             bytes_text(range.lowest), bytes_text(range.highest)));
    }
    bytes = *parsed;
  };
  app.add_option_function<std::string>(flag, take, about)
      ->type_name("BYTES")
      ->default_str(bytes_text(bytes))
      ->group("Limits");
}

void add_seconds(CLI::App& app, const std::string& flag, milliseconds& time, const std::string& about) {
  const auto take = [&time](double seconds) { time = milliseconds(static_cast<int64_t>(seconds * 1000)); };
  app.add_option_function<double>(flag, take, about)
      ->type_name("SECONDS")
      ->default_str(fmt::format("{:g}", static_cast<double>(time.count()) / 1000))
      ->check(CLI::Range(0.001, 86400.0))
      ->group("Limits");
}

void add_count(CLI::App& app, const std::string& flag, int& count, std::pair<int, int> range,
               const std::string& about) {
  app.add_option(flag, count, about)
      ->capture_default_str()
      ->check(CLI::Range(range.first, range.second))
      ->group("Limits");
}

constexpr int kMillion = 1'000'000;
// What reads a conversation behind us (serde_json) stops at 128 levels, and we wrap the request's own.
constexpr int kDeepestJson = 100;

}  // namespace

void add_tls_flags(CLI::App& app, TlsOptions& tls) {
  const std::string group = "TLS";
  app.add_option("--ssl-certfile", tls.certfile,
                 "PEM file with the server's certificate and its chain: serve https. It and the files below "
                 "are read anew when they change, and on SIGHUP.")
      ->group(group);
  app.add_option("--ssl-keyfile", tls.keyfile,
                 "PEM file with the certificate's key. Default: the key is in --ssl-certfile.")
      ->group(group);
  app.add_option("--ssl-ca-certs", tls.ca_certs,
                 "PEM file with the authorities that sign clients' certificates; see --ssl-cert-reqs.")
      ->group(group);
  app.add_option("--ssl-cert-reqs", tls.cert_reqs,
                 "Clients' certificates: 0 not asked for, 1 checked when shown, 2 required.")
      ->capture_default_str()
      ->check(CLI::Range(0, 2))
      ->group(group);
}

void add_limit_flags(CLI::App& app, ListenOptions& listen, WireLimits& wire) {
  HttpLimits& http = listen.limits;
  constexpr size_t kKiB = size_t{1} << 10, kGiB = size_t{1} << 30;
  add_bytes(app, "--max-body-bytes", http.max_body_bytes, {1, 64 * kGiB},
            "Largest request body; larger ones get 413. Raise it for very long prompts.");
  add_bytes(
      app, "--max-buffered-body-bytes", listen.max_buffered_body_bytes, {1, 1024 * kGiB},
      "All request bodies held at once, at least --max-body-bytes; beyond it new ones get 503. Raise it "
      "for many large requests.");
  add_bytes(app, "--max-request-line-bytes", http.max_request_line_bytes, {64, kGiB},
            "Longest request line; longer ones get 414.");
  add_bytes(app, "--max-header-bytes,--h11-max-incomplete-event-size", http.max_header_bytes, {256, kGiB},
            "Request line, headers and trailers together; larger ones get 431. Raise it behind proxies that "
            "add much.");
  app.add_option("--max-header-count,--h11-max-header-count", http.max_header_count,
                 "Most headers of a request; more get 431.")
      ->capture_default_str()
      ->check(CLI::Range(1, kMillion))
      ->group("Limits");
  add_count(app, "--max-connections", listen.max_connections, {1, kMillion},
            "Open connections; beyond it only probes are answered, the rest get 503. Raise it for many idle "
            "clients.");
  add_bytes(app, "--max-pipelined-bytes", listen.max_pipelined_bytes, {4 * kKiB, kGiB},
            "Requests a client may send ahead on a connection, which answers one at a time (HTTP/1.1); with "
            "more it ends after the running answer.");
  add_bytes(app, "--max-unsent-bytes", listen.max_unsent_bytes, {kKiB, 64 * kGiB},
            "Buffer of one stream; a client that leaves more unread is cut off. Raise it for slow readers of "
            "long streams.");
  add_seconds(app, "--idle-timeout", listen.idle_timeout,
              "A connection without a request is closed. Raise it above a proxy's own keep-alive time.");
  add_seconds(app, "--head-timeout", listen.head_timeout,
              "From a request's first byte to its last header, and for a TLS handshake; then 408.");
  add_seconds(app, "--body-timeout", listen.body_timeout,
              "Without a byte of a body that is not complete; then 408.");
  add_seconds(app, "--write-timeout", listen.write_timeout,
              "Without the client taking a byte of its answer; then it is cut off.");
  add_count(app, "--max-json-depth", wire.max_json_depth, {8, kDeepestJson},
            "Levels of a request's JSON; deeper ones get 400.");
  add_count(app, "--max-messages", wire.max_messages, {1, kMillion},
            "Messages of one conversation; more get 400.");
  add_count(app, "--max-stop-strings", wire.max_stop_strings, {1, 1024},
            "Strings in 'stop'; more get 400. Each costs time at every token.");
  add_count(app, "--max-n", wire.max_n, {1, 16384}, "Highest 'n', answers to one prompt; more get 400.");
  add_count(app, "--max-logprobs", wire.max_logprobs, {0, 1000},
            "Most log probabilities per token a request may ask for; more get 400.");
  add_count(app, "--max-prompts", wire.max_prompts, {1, kMillion},
            "Prompts or texts of one request; more get 400.");
  add_count(app, "--max-choices", wire.max_choices, {1, kMillion},
            "Prompts times 'n' of one request; more get 400.");
}

void finish_limits(ListenOptions& listen) {
  HttpLimits& http = listen.limits;
  http.max_request_line_bytes = std::min(http.max_request_line_bytes, http.max_header_bytes);
  listen.max_buffered_body_bytes = std::max(listen.max_buffered_body_bytes, http.max_body_bytes);
}

}  // namespace sluice
