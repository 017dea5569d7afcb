#include "server/net/tls_stream.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace sluice {
namespace {

// ---- the socket as OpenSSL sees it: its own socket BIO would raise SIGPIPE ----

int descriptor_of(BIO* bio) {
  return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
}

int read_socket(BIO* bio, char* out, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t got = ::recv(descriptor_of(bio), out, static_cast<size_t>(size), 0);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

int write_socket(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t sent = ::send(descriptor_of(bio), bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

long control_socket(BIO*, int command, long, void*) {  // NOLINT(google-runtime-int): OpenSSL's signature
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    SLUICE_CHECK(made != nullptr);
    BIO_meth_set_read(made, read_socket);
    BIO_meth_set_write(made, write_socket);
    BIO_meth_set_ctrl(made, control_socket);
    return made;
  }();
  return method;
}

}  // namespace

void TlsStream::Freed::operator()(SSL* tls) const {
  SSL_free(tls);
}

TlsStream::~TlsStream() = default;

std::unique_ptr<TlsStream> TlsStream::over(SSL_CTX* settings, int descriptor) {
  std::unique_ptr<TlsStream> stream(new TlsStream(SSL_new(settings)));
  BIO* socket = BIO_new(socket_method());
  if (stream->tls_ == nullptr || socket == nullptr) {
    BIO_free(socket);
    ERR_clear_error();
    return nullptr;
  }
  BIO_set_data(socket, reinterpret_cast<void*>(static_cast<intptr_t>(descriptor)));
  BIO_set_init(socket, 1);
  SSL_set_bio(stream->tls_.get(), socket, socket);  // takes it
  return stream;
}

std::unique_ptr<TlsStream> TlsStream::accept(SSL_CTX* settings, int descriptor) {
  auto stream = over(settings, descriptor);
  if (stream != nullptr) SSL_set_accept_state(stream->tls_.get());
  return stream;
}

std::unique_ptr<TlsStream> TlsStream::connect(SSL_CTX* settings, int descriptor, const std::string& host,
                                              SSL_SESSION* session) {
  auto stream = over(settings, descriptor);
  if (stream == nullptr) return nullptr;
  SSL* const tls = stream->tls_.get();
  SSL_set_connect_state(tls);
  // An address is not announced (RFC 6066, 3), and stands in a certificate as an address.
  const bool is_address = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host.c_str()) == 1;
  const bool named = is_address || (SSL_set1_host(tls, host.c_str()) == 1 &&
                                    SSL_set_tlsext_host_name(tls, host.c_str()) == 1);
  if (session != nullptr) SSL_set_session(tls, session);
  ERR_clear_error();
  return named ? std::move(stream) : nullptr;
}

TlsStream::Step TlsStream::shake_hands() {
  ERR_clear_error();
  return {0, judge(SSL_do_handshake(tls_.get()))};
}

TlsStream::Step TlsStream::read_some(std::span<char> room) {
  SLUICE_CHECK(room.size() >= kRecordBytes);
  Step step;
  // Where less than a record's content fits, a part of one could stay inside, and no socket would tell of it.
  while (room.size() - step.bytes >= kRecordBytes) {
    ERR_clear_error();
    const int got =
        SSL_read(tls_.get(), room.data() + step.bytes, static_cast<int>(room.size() - step.bytes));
    if (got <= 0) {
      step.next = judge(got);
      return step;
    }
    step.bytes += static_cast<size_t>(got);
  }
  return step;
}

TlsStream::Step TlsStream::write_some(const std::array<std::string_view, 3>& parts) {
  // One record for all that fits: a token's three parts must not become three. Gathering the same parts
  // again gives the same bytes, as a repeated SSL_write demands.
  thread_local std::array<char, kRecordBytes> gathered;
  std::string_view piece;
  const auto first = std::ranges::find_if(parts, [](std::string_view part) { return !part.empty(); });
  if (first == parts.end()) return {};
  if (first->size() >= kRecordBytes) {
    piece = first->substr(0, kRecordBytes);
  } else {
    size_t size = 0;
    for (const std::string_view part : parts) {
      const size_t take = std::min(part.size(), kRecordBytes - size);
      if (take > 0) std::memcpy(gathered.data() + size, part.data(), take);
      size += take;
    }
    piece = std::string_view(gathered.data(), size);
  }
  ERR_clear_error();
  const int sent = SSL_write(tls_.get(), piece.data(), static_cast<int>(piece.size()));
  if (sent > 0) return {static_cast<size_t>(sent), Next::kGoOn};
  return {0, judge(sent)};
}

bool TlsStream::is_quiet() {
  // What waits may be a ticket or another message between the two TLS layers, which says nothing.
  char byte = 0;
  ERR_clear_error();
  return judge(SSL_peek(tls_.get(), &byte, 1)) == Next::kWaitReadable;
}

bool TlsStream::ended_well() const {
  return (SSL_get_shutdown(tls_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
}

std::shared_ptr<SSL_SESSION> TlsStream::session() const {
  SSL_SESSION* const session = SSL_get1_session(tls_.get());
  if (session == nullptr) return nullptr;
  std::shared_ptr<SSL_SESSION> owned(session, SSL_SESSION_free);
  return SSL_SESSION_is_resumable(session) == 1 ? owned : nullptr;
}

bool TlsStream::was_resumed() const {
  return SSL_session_reused(tls_.get()) == 1;
}

std::string TlsStream::peer_name() const {
  const std::unique_ptr<X509, decltype(&X509_free)> peer(SSL_get1_peer_certificate(tls_.get()), &X509_free);
  if (peer == nullptr || SSL_get_verify_result(tls_.get()) != X509_V_OK) return {};
  X509_NAME* subject = X509_get_subject_name(peer.get());
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return {};
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  if (size < 0) return {};
  std::string name(reinterpret_cast<const char*>(text), static_cast<size_t>(size));
  OPENSSL_free(text);
  return name;
}

void TlsStream::say_goodbye() {
  if (broken_ || SSL_in_init(tls_.get()) != 0) return;
  ERR_clear_error();
  SSL_shutdown(tls_.get());  // one attempt: a peer that takes nothing needs no goodbye
  ERR_clear_error();
}

TlsStream::Next TlsStream::judge(int result) {
  if (result > 0) return Next::kGoOn;
  switch (SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Next::kWaitReadable;
    case SSL_ERROR_WANT_WRITE:
      return Next::kWaitWritable;
    case SSL_ERROR_ZERO_RETURN:
      return Next::kEnded;
    default:
      break;
  }
  broken_ = true;
  if (const unsigned long code = ERR_peek_error(); code != 0) {  // NOLINT(google-runtime-int)
    const char* reason = ERR_reason_error_string(code);
    fault_ = reason == nullptr ? "error " + std::to_string(code) : reason;
    // Why a certificate was not believed.
    if (const long verdict = SSL_get_verify_result(tls_.get()); verdict != X509_V_OK) {  // NOLINT
      fault_ += std::string(" (") + X509_verify_cert_error_string(verdict) + ")";
    }
  }
  ERR_clear_error();
  return Next::kEnded;
}

}  // namespace sluice
