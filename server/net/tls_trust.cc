#include "server/net/tls_trust.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/log.h"
#include "server/net/tls_stream.h"

namespace sluice {
namespace {

constexpr unsigned char kProtocol[] = "\x08http/1.1";  // RFC 7301: each name behind its length
constexpr int kMaxServerChain = 10;

}  // namespace

void TlsTrust::Freed::operator()(SSL_CTX* settings) const {
  SSL_CTX_free(settings);
}

Result<TlsTrust::Settings> TlsTrust::read(const TlsTrustOptions& options) {
  ERR_clear_error();
  Settings settings(SSL_CTX_new(TLS_client_method()));
  if (settings == nullptr)
    return Error{ErrorCode::kInternal, "OpenSSL cannot make a TLS client" + openssl_words()};
  SSL_CTX* const raw = settings.get();
  set_common_rules(raw);
  SSL_CTX_set_alpn_protos(raw, kProtocol, sizeof kProtocol - 1);
  // Who asks keeps the tickets (ticket_of).
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_set_verify(raw, options.checks_server ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_verify_depth(raw, kMaxServerChain);
  if (!options.authorities.path.empty()) {
    SLUICE_TRY(use_authorities(raw, options.authorities));
  } else {
    SSL_CTX_set_default_verify_paths(raw);
  }
  if (!options.certificate.path.empty()) {
    SLUICE_TRY(use_certificate(raw, options.certificate));
    SLUICE_TRY(use_key(raw, options.key, options.certificate));
  } else if (!options.key.path.empty()) {
    return wrong_file(options.key, "a key without a certificate is of no use; name it by " +
                                       options.certificate.flag + ".");
  }
  ERR_clear_error();
  return settings;
}

Result<std::shared_ptr<TlsTrust>> TlsTrust::load(TlsTrustOptions options) {
  std::shared_ptr<TlsTrust> trust(new TlsTrust(std::move(options)));
  std::lock_guard lock(trust->mutex_);
  SLUICE_TRY(trust->reload());
  return trust;
}

std::unique_ptr<TlsStream> TlsTrust::connect(int descriptor, const std::string& host,
                                             const TlsTicket& ticket) {
  std::lock_guard lock(mutex_);
  reload_if_changed();
  SSL_SESSION* session = ticket.reading == reading_ ? ticket.session.get() : nullptr;
  return TlsStream::connect(settings_.get(), descriptor, host, session);
}

TlsTicket TlsTrust::ticket_of(const TlsStream& stream) const {
  std::lock_guard lock(mutex_);
  return {stream.session(), reading_};
}

Status TlsTrust::reload() {
  stamps_ = stamps();  // before the reading: a change during it is seen as one
  SLUICE_ASSIGN(Settings fresh, read(options_));
  settings_.swap(fresh);
  ++reading_;
  return {};
}

void TlsTrust::reload_if_changed() {
  const auto now = std::chrono::steady_clock::now();
  if (now < look_at_) return;
  look_at_ = now + std::chrono::seconds(1);
  if (stamps() == stamps_) return;
  const Status read = reload();
  if (read.ok()) return log::info("the certificates for connections to others were read anew");
  log::warn("the certificates for connections to others stay as they are: {}", read.error().message);
}

std::vector<FileStamp> TlsTrust::stamps() const {
  return {FileStamp::of(options_.authorities.path), FileStamp::of(options_.certificate.path),
          FileStamp::of(options_.key.path)};
}

}  // namespace sluice
