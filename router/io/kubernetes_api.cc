#include "router/io/kubernetes_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "base/log.h"
#include "router/io/endpoint_slice.h"

namespace sluice::router {
namespace {

constexpr size_t kMaxTokenBytes = size_t{64} << 10;
constexpr size_t kMaxPatchedBytes = size_t{2} << 20;  // etcd holds no larger object than 1.5 MiB

UpstreamOptions upstream_options(const KubernetesApiOptions& options) {
  UpstreamOptions upstream;
  upstream.max_idle = 4;
  upstream.tls = options.tls;
  return upstream;
}

}  // namespace

KubernetesApi::KubernetesApi(IoThread& io, KubernetesApiOptions options)
    : options_(std::move(options)), upstream_(io, options_.url, upstream_options(options_)) {}

Result<std::string> KubernetesApi::read_token() const {
  if (options_.token_file.empty()) return std::string();
  std::ifstream file(options_.token_file, std::ios::binary);
  std::string token(kMaxTokenBytes, '\0');
  file.read(token.data(), static_cast<std::streamsize>(token.size()));
  token.resize(static_cast<size_t>(file.gcount()));
  while (!token.empty() && static_cast<unsigned char>(token.back()) <= ' ') token.pop_back();
  const bool plain = std::ranges::all_of(token, [](char c) { return c > 0x20 && c < 0x7f; });
  if (token.empty() || !plain) {
    return Error{ErrorCode::kIo, "there is no token in " + options_.token_file};
  }
  return token;
}

Result<std::unique_ptr<Fetch>> KubernetesApi::get(const std::string& target, size_t max_bytes, Done done) {
  SLUICE_ASSIGN(const std::string token, read_token());
  return std::make_unique<Fetch>(upstream_, target, token, max_bytes, std::move(done));
}

Result<std::unique_ptr<Fetch>> KubernetesApi::patch(const std::string& target, const std::string& merge,
                                                    Done done) {
  SLUICE_ASSIGN(const std::string token, read_token());
  UpstreamRequest request;
  request.head = question_head(upstream_.url(), target, token, "PATCH");
  request.head.insert(
      request.head.size() - 2,
      fmt::format("Content-Type: application/merge-patch+json\r\nContent-Length: {}\r\n", merge.size()));
  request.body = std::make_shared<const std::string>(merge);
  return std::make_unique<Fetch>(upstream_, std::move(request), kMaxPatchedBytes, std::move(done));
}

std::string trouble_of(const Fetch::Answer& answer) {
  if (answer.status == 0) return log::safe(answer.body, 500);
  const WatchEvent::Status said = parse_status(answer.body);
  return fmt::format("{}{}{}", answer.status, said.message.empty() ? "" : ": ", log::safe(said.message, 500));
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace sluice::router
