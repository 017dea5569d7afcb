#include "server/net/http_client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <optional>
#include <vector>

namespace sluice {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr uint32_t kMaxHeadBytes = 64 << 10;

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

class OneExchange {
 public:
  OneExchange(const ClientRequest& request, const HttpClientOptions& options)
      : request_(request), options_(options) {}

  Result<ClientResponse> run() {
    const std::string& proxy_text =
        request_.url.scheme == "https" ? options_.https_proxy : options_.http_proxy;
    if (!proxy_text.empty() && !goes_direct(request_.url.host, options_.no_proxy)) {
      Result<Url> proxy =
          parse_url(proxy_text.find("://") == std::string::npos ? "http://" + proxy_text : proxy_text);
      if (!proxy.ok()) return std::move(proxy).error();
      proxy_ = std::move(proxy).value();
    }
    if (request_.url.scheme == "https") SLUICE_TRY(set_up_tls());
    Status outcome;
    try {
      asio::co_spawn(
          loop_, [this, &outcome]() -> asio::awaitable<void> { outcome = co_await go(); }, asio::detached);
      loop_.run();
    } catch (const std::exception& error) {
      return failed(error.what());
    }
    if (!outcome.ok()) return std::move(outcome).error();
    return std::move(response_);
  }

 private:
  Error failed(const std::string& why) const {
    return Error{ErrorCode::kIo, "Fetching " + request_.url.without_query() + " failed: " + why + "."};
  }
  Error failed(const char* step, const error_code& error) const {
    const bool late = error == beast::error::timeout;
    return failed(std::string(step) + (late ? " took too long" : ": " + error.message()));
  }

  Status set_up_tls() {
    error_code error;
    tls_.emplace(asio::ssl::context::tls_client);
    tls_->set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1, error);
    tls_->set_default_verify_paths(error);
    if (!options_.ca_file.empty()) {
      tls_->load_verify_file(options_.ca_file, error);
      if (error)
        return Error{ErrorCode::kIo,
                     "Cannot read the certificates in " + options_.ca_file + ": " + error.message() + "."};
    }
    tls_->set_verify_mode(asio::ssl::verify_peer, error);
    if (error) return failed("preparing TLS", error);
    return {};
  }

  asio::awaitable<Status> go() {
    beast::tcp_stream stream(loop_);
    const Url& first = proxy_ ? *proxy_ : request_.url;
    tcp::resolver resolver(loop_);
    const std::string port = std::to_string(first.port);
    auto [resolve_error, endpoints] = co_await resolver.async_resolve(first.host, port, kToken);
    if (resolve_error) co_return failed("the host " + first.host + " was not found");
    stream.expires_after(options_.connect_timeout);
    auto [connect_error, endpoint] = co_await stream.async_connect(endpoints, kToken);
    if (connect_error) co_return failed("connecting", connect_error);
    if (request_.url.scheme == "http") {
      Status status = co_await talk(stream);
      co_return status;
    }
    if (proxy_) {
      Status status = co_await open_tunnel(stream);
      if (!status.ok()) co_return status;
    }
    beast::ssl_stream<beast::tcp_stream> secure(std::move(stream), *tls_);
    const std::string& host = request_.url.host;
    if (SSL_set_tlsext_host_name(secure.native_handle(), host.c_str()) != 1)
      co_return failed("the host name is not usable with TLS");
    secure.set_verify_callback(asio::ssl::host_name_verification(host));
    beast::get_lowest_layer(secure).expires_after(options_.connect_timeout);
    auto [handshake_error] = co_await secure.async_handshake(asio::ssl::stream_base::client, kToken);
    if (handshake_error)
      co_return failed("the TLS handshake (is the server's certificate valid?)", handshake_error);
    Status status = co_await talk(secure);
    co_return status;
  }

  std::string proxy_credentials() const {
    if (!proxy_ || proxy_->user_info.empty()) return "";
    return "Basic " + base64(proxy_->user_info);
  }

  asio::awaitable<Status> open_tunnel(beast::tcp_stream& stream) {
    const std::string authority = request_.url.host + ":" + std::to_string(request_.url.port);
    http::request<http::empty_body> connect(http::verb::connect, authority, 11);
    connect.set(http::field::host, authority);
    const std::string credentials = proxy_credentials();
    if (!credentials.empty()) connect.set(http::field::proxy_authorization, credentials);
    stream.expires_after(options_.connect_timeout);
    auto [write_error, written] = co_await http::async_write(stream, connect, kToken);
    if (write_error) co_return failed("asking the proxy", write_error);
    http::response_parser<http::empty_body> parser;
    parser.skip(true);
    beast::flat_buffer buffer(kMaxHeadBytes);
    auto [read_error, read] = co_await http::async_read_header(stream, buffer, parser, kToken);
    if (read_error) co_return failed("asking the proxy", read_error);
    if (parser.get().result_int() != 200) {
      co_return failed("the proxy answered " + std::to_string(parser.get().result_int()));
    }
    co_return Status();
  }

  template <class Stream>
  asio::awaitable<Status> talk(Stream& stream) {
    const bool through_proxy = proxy_ && request_.url.scheme == "http";
    const std::string target = through_proxy ? request_.url.text() : request_.url.target;
    http::request<http::empty_body> message;
    message.version(11);
    message.method_string(request_.method);
    message.target(target);
    message.set(http::field::host, request_.url.authority());
    message.set(http::field::user_agent, options_.user_agent);
    message.set(http::field::accept_encoding, "identity");
    message.set(http::field::connection, "close");
    if (through_proxy && !proxy_credentials().empty())
      message.set(http::field::proxy_authorization, proxy_credentials());
    for (const auto& [name, value] : request_.headers) {
      if (value.find_first_of("\r\n") != std::string::npos ||
          name.find_first_of("\r\n: ") != std::string::npos) {
        co_return invalid_argument(name, "A header of the request contains a line break.");
      }
      message.set(name, value);
    }
    beast::get_lowest_layer(stream).expires_after(options_.stall_timeout);
    auto [write_error, written] = co_await http::async_write(stream, message, kToken);
    if (write_error) co_return failed("sending the request", write_error);

    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    parser.header_limit(kMaxHeadBytes);
    if (request_.method == "HEAD") parser.skip(true);
    beast::flat_buffer buffer;
    beast::get_lowest_layer(stream).expires_after(options_.stall_timeout);
    auto [head_error, head_size] = co_await http::async_read_header(stream, buffer, parser, kToken);
    if (head_error) co_return failed("waiting for the answer", head_error);
    take_head(parser.get());
    if (request_.on_head) {
      Status wanted = request_.on_head(response_);
      if (!wanted.ok()) co_return wanted;
    }
    Status status = co_await take_body(stream, buffer, parser);
    co_return status;
  }

  template <class Head>
  void take_head(const Head& head) {
    response_.status = static_cast<int>(head.result_int());
    for (const auto& field : head) {
      std::string name(field.name_string());
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      std::string& value = response_.headers[name];
      if (!value.empty()) value += ", ";
      value += std::string(field.value());
    }
  }

  template <class Stream, class Parser>
  asio::awaitable<Status> take_body(Stream& stream, beast::flat_buffer& buffer, Parser& parser) {
    const bool to_sink = request_.sink && response_.status >= 200 && response_.status < 300;
    std::vector<char> piece(kPieceBytes);
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      parser.get().body().more = true;
      beast::get_lowest_layer(stream).expires_after(options_.stall_timeout);
      auto [error, size] = co_await http::async_read(stream, buffer, parser, kToken);
      if (error && error != http::error::need_buffer) co_return failed("the body broke off", error);
      const std::string_view got(piece.data(), piece.size() - parser.get().body().size);
      if (to_sink) {
        Status status = request_.sink(got);
        if (!status.ok()) co_return status;
        continue;
      }
      if (static_cast<int64_t>(response_.body.size() + got.size()) > request_.max_body_bytes) {
        co_return failed("the answer is larger than " + std::to_string(request_.max_body_bytes) + " bytes");
      }
      response_.body.append(got);
    }
    co_return Status();
  }

  const ClientRequest& request_;
  const HttpClientOptions& options_;
  std::optional<Url> proxy_;
  asio::io_context loop_{1};
  std::optional<asio::ssl::context> tls_;
  ClientResponse response_;
};

}  // namespace

Result<ClientResponse> http_exchange(const ClientRequest& request, const HttpClientOptions& options) {
  return OneExchange(request, options).run();
}

}  // namespace sluice
