// A client that speaks TLS by OpenSSL itself over a blocking socket, and shows what it saw of it. Test
// threads.
#pragma once

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/time.h>

#include <memory>
#include <string>

#include "tests/support/raw_http.h"
#include "tests/support/test_certificates.h"

namespace sluice::testing {

struct TlsClientOptions {
  std::string trusted;  // an authority's certificate
  PemPair own;          // empty: the client shows none
  int version = TLS1_3_VERSION;
  std::string protocols;  // for ALPN, each name behind its length
  int receive_buffer_bytes = 0;
  bool hands_off = false;  // no handshake yet: for tests that send bytes of their own
};

class TlsClient : public RawClient {
 public:
  TlsClient(uint16_t port, const TlsClientOptions& options)
      : RawClient(port, options.receive_buffer_bytes), settings_(SSL_CTX_new(TLS_client_method())) {
    const timeval patience{60, 0};
    ::setsockopt(socket(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    SSL_CTX_set_min_proto_version(settings_.get(), options.version);
    SSL_CTX_set_max_proto_version(settings_.get(), options.version);
    SSL_CTX_set_security_level(settings_.get(), 0);  // or it would not even try old versions
    SSL_CTX_set_verify(settings_.get(), SSL_VERIFY_PEER, nullptr);
    const auto authority = certificate(options.trusted);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(settings_.get()), authority.get());
    if (!options.own.certificate.empty()) {
      const std::unique_ptr<BIO, Free> key(bio(options.own.key));
      const std::unique_ptr<EVP_PKEY, Free> parsed(
          PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
      SSL_CTX_use_certificate(settings_.get(), certificate(options.own.certificate).get());
      SSL_CTX_use_PrivateKey(settings_.get(), parsed.get());
    }
    tls_.reset(SSL_new(settings_.get()));
    SSL_set_fd(tls_.get(), socket());
    SSL_set1_host(tls_.get(), "localhost");
    if (!options.protocols.empty()) {
      SSL_set_alpn_protos(tls_.get(), reinterpret_cast<const unsigned char*>(options.protocols.data()),
                          static_cast<unsigned>(options.protocols.size()));
    }
    SSL_set_msg_callback(tls_.get(), count_record);
    SSL_set_msg_callback_arg(tls_.get(), this);
    if (!options.hands_off) connected_ = SSL_connect(tls_.get()) == 1;
    ERR_clear_error();
    records_ = 0;
  }

  bool connected() const { return connected_; }
  int records() const { return records_; }  // that came since the handshake
  SSL* tls() { return tls_.get(); }
  // The common name of the server's certificate.
  std::string server_name() {
    const std::unique_ptr<X509, Free> peer(SSL_get1_peer_certificate(tls_.get()));
    char name[256] = "";
    if (peer != nullptr)
      X509_NAME_get_text_by_NID(X509_get_subject_name(peer.get()), NID_commonName, name, sizeof name);
    return name;
  }
  std::string protocol() {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(tls_.get(), &name, &size);
    return {reinterpret_cast<const char*>(name), size};
  }
  // close_notify, and the socket stays open.
  void say_goodbye() { SSL_shutdown(tls_.get()); }
  bool was_told_goodbye() { return (SSL_get_shutdown(tls_.get()) & SSL_RECEIVED_SHUTDOWN) != 0; }
  // Past TLS, as it lies on the wire.
  bool send_raw(std::string_view bytes) { return RawClient::give(bytes) == std::ssize(bytes); }
  bool raw_is_closed() {
    char byte = 0;
    while (RawClient::take(&byte, 1) == 1) {
    }
    return true;
  }

 protected:
  ssize_t give(std::string_view bytes) override {
    ERR_clear_error();
    return SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size()));
  }
  ssize_t take(char* out, size_t size) override {
    ERR_clear_error();
    return SSL_read(tls_.get(), out, static_cast<int>(size));
  }

 private:
  struct Free {
    void operator()(BIO* it) const { BIO_free(it); }
    void operator()(X509* it) const { X509_free(it); }
    void operator()(EVP_PKEY* it) const { EVP_PKEY_free(it); }
    void operator()(SSL* it) const { SSL_free(it); }
    void operator()(SSL_CTX* it) const { SSL_CTX_free(it); }
  };
  static BIO* bio(const std::string& text) {
    return BIO_new_mem_buf(text.data(), static_cast<int>(text.size()));
  }
  static std::unique_ptr<X509, Free> certificate(const std::string& pem) {
    const std::unique_ptr<BIO, Free> in(bio(pem));
    return std::unique_ptr<X509, Free>(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  }
  static void count_record(int sent, int, int kind, const void*, size_t, SSL*, void* self) {
    if (sent == 0 && kind == SSL3_RT_HEADER) ++static_cast<TlsClient*>(self)->records_;
  }

  std::unique_ptr<SSL_CTX, Free> settings_;
  std::unique_ptr<SSL, Free> tls_;
  bool connected_ = false;
  int records_ = 0;
};

}  // namespace sluice::testing
