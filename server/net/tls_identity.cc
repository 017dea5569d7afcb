#include "server/net/tls_identity.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <utility>

#include "server/net/tls_files.h"
#include "server/net/tls_stream.h"

namespace sluice {
namespace {

constexpr unsigned char kProtocol[] = "\x08http/1.1";  // RFC 7301: each name behind its length
constexpr unsigned char kSessionScope[] = "sluice";
constexpr int kMaxClientChain = 10;

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned int offered_size, void*) {
  unsigned char* match = nullptr;
  const int found =
      SSL_select_next_proto(&match, chosen_size, kProtocol, sizeof kProtocol - 1, offered, offered_size);
  *chosen = match;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

Status read_authority_file(SSL_CTX* settings, const std::string& path) {
  const TlsFile file{"--ssl-ca-certs", path};
  SLUICE_TRY(use_authorities(settings, file));
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(path.c_str());
  if (names == nullptr)
    return wrong_file(file, "there are no usable PEM certificates in it" + openssl_words());
  SSL_CTX_set_client_CA_list(settings, names);  // takes them
  return {};
}

Status read_client_authorities(SSL_CTX* settings, const TlsOptions& options) {
  if (options.cert_reqs == 0) return {};
  if (options.authority_text)
    SLUICE_TRY(use_authority_text(settings, *options.authority_text));
  else
    SLUICE_TRY(read_authority_file(settings, options.ca_certs));
  const int mode =
      options.cert_reqs == 2 ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER;
  SSL_CTX_set_verify(settings, mode, nullptr);
  SSL_CTX_set_verify_depth(settings, kMaxClientChain);
  return {};
}

}  // namespace

Status check(const TlsOptions& options) {
  if (options.certfile.empty() && options.certificate_text.empty()) {
    for (const auto& [given, flag] : {std::pair(!options.keyfile.empty(), "--ssl-keyfile"),
                                      std::pair(!options.ca_certs.empty(), "--ssl-ca-certs"),
                                      std::pair(options.cert_reqs != 0, "--ssl-cert-reqs")}) {
      if (given)
        return invalid_argument(flag, std::string(flag) +
                                          " is given without --ssl-certfile; TLS needs the server's "
                                          "certificate.");
    }
    return {};
  }
  if (options.cert_reqs != 0 && options.ca_certs.empty() && !options.authority_text) {
    return invalid_argument("--ssl-cert-reqs",
                            "--ssl-cert-reqs asks clients for certificates; name by --ssl-ca-certs who signs "
                            "them.");
  }
  if (options.cert_reqs == 0 && !options.ca_certs.empty()) {
    return invalid_argument("--ssl-ca-certs",
                            "--ssl-ca-certs alone checks nobody; add --ssl-cert-reqs 2 to require clients' "
                            "certificates, or 1 to check those that are shown.");
  }
  return {};
}

void TlsIdentity::Freed::operator()(SSL_CTX* settings) const {
  SSL_CTX_free(settings);
}

Result<TlsIdentity::Settings> TlsIdentity::read(const TlsOptions& options) {
  ERR_clear_error();
  Settings settings(SSL_CTX_new(TLS_server_method()));
  if (settings == nullptr)
    return Error{ErrorCode::kInternal, "OpenSSL cannot make a TLS server" + openssl_words()};
  SSL_CTX* const raw = settings.get();
  set_common_rules(raw);
  SSL_CTX_set_options(raw, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  // Clients hold their sessions in tickets; the server keeps nothing for those who left.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_session_id_context(raw, kSessionScope, sizeof kSessionScope - 1);
  SSL_CTX_set_alpn_select_cb(raw, choose_protocol, nullptr);
  if (options.certificate_text.empty()) {
    const TlsFile certificate{"--ssl-certfile", options.certfile};
    SLUICE_TRY(use_certificate(raw, certificate));
    SLUICE_TRY(use_key(raw, {"--ssl-keyfile", options.keyfile}, certificate));
  } else {
    SLUICE_TRY(use_certificate_text(raw, options.certificate_text));
  }
  SLUICE_TRY(read_client_authorities(raw, options));
  ERR_clear_error();
  return settings;
}

Result<std::shared_ptr<TlsIdentity>> TlsIdentity::load(TlsOptions options) {
  SLUICE_TRY(check(options));
  std::shared_ptr<TlsIdentity> identity(new TlsIdentity(std::move(options)));
  SLUICE_TRY(identity->reload());
  return identity;
}

Status TlsIdentity::reload() {
  read_stamps_ = stamps();  // before the reading: a change during it is seen as one
  SLUICE_ASSIGN(Settings fresh, read(options_));
  std::lock_guard lock(mutex_);
  settings_.swap(fresh);
  return {};
}

Status TlsIdentity::change_authorities(std::string pem) {
  std::optional<std::string> former = std::exchange(options_.authority_text, std::move(pem));
  Status read = reload();
  if (!read.ok()) options_.authority_text = std::move(former);
  return read;
}

std::unique_ptr<TlsStream> TlsIdentity::accept(int descriptor) const {
  std::lock_guard lock(mutex_);
  return TlsStream::accept(settings_.get(), descriptor);
}

bool TlsIdentity::files_changed() const {
  return stamps() != read_stamps_;
}

std::vector<FileStamp> TlsIdentity::stamps() const {
  return {FileStamp::of(options_.certfile), FileStamp::of(options_.keyfile),
          FileStamp::of(options_.ca_certs)};
}

std::string TlsIdentity::describe() const {
  std::lock_guard lock(mutex_);
  const X509* certificate = SSL_CTX_get0_certificate(settings_.get());
  BIO* text = BIO_new(BIO_s_mem());
  if (certificate == nullptr || text == nullptr) {
    BIO_free(text);
    return "";
  }
  X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  BIO_puts(text, ", valid until ");
  ASN1_TIME_print(text, X509_get0_notAfter(certificate));
  char* bytes = nullptr;
  const auto size = BIO_get_mem_data(text, &bytes);
  std::string words(bytes, static_cast<size_t>(size));
  BIO_free(text);
  return words;
}

bool TlsIdentity::expired() const {
  std::lock_guard lock(mutex_);
  return X509_cmp_current_time(X509_get0_notAfter(SSL_CTX_get0_certificate(settings_.get()))) < 0;
}

}  // namespace sluice
