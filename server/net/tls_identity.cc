#include "server/net/tls_identity.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "server/net/tls_stream.h"

namespace sluice {
namespace {

// Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else.
constexpr const char* kTls12Ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr unsigned char kProtocol[] = "\x08http/1.1";  // RFC 7301: each name behind its length
constexpr unsigned char kSessionScope[] = "sluice";
constexpr int kMaxClientChain = 10;

Error wrong(const std::string& flag, const std::string& path, const std::string& what) {
  return invalid_argument(flag, flag + " " + path + ": " + what);
}

// "; OpenSSL says: no start line", or nothing.
std::string openssl_words() {
  const unsigned long code = ERR_peek_last_error();  // NOLINT(google-runtime-int): OpenSSL's type
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  ERR_clear_error();
  return reason == nullptr ? "." : std::string(" (OpenSSL: ") + reason + ").";
}

Status check_readable(const std::string& flag, const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode))
    return wrong(flag, path, "this is a directory; name a PEM file.");
  errno = 0;
  if (const std::ifstream file(path); !file)
    return wrong(flag, path, std::string("the file cannot be read: ") + std::strerror(errno) + ".");
  return {};
}

// Instead of asking at the terminal.
int note_password(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned int offered_size, void*) {
  unsigned char* match = nullptr;
  const int found =
      SSL_select_next_proto(&match, chosen_size, kProtocol, sizeof kProtocol - 1, offered, offered_size);
  *chosen = match;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

Status read_certificate(SSL_CTX* settings, const TlsOptions& options) {
  SLUICE_TRY(check_readable("--ssl-certfile", options.certfile));
  if (SSL_CTX_use_certificate_chain_file(settings, options.certfile.c_str()) != 1)
    return wrong("--ssl-certfile", options.certfile,
                 "there is no usable PEM certificate in it" + openssl_words());
  return {};
}

Status read_key(SSL_CTX* settings, const TlsOptions& options) {
  const bool own_file = !options.keyfile.empty();
  const std::string& path = own_file ? options.keyfile : options.certfile;
  const std::string flag = own_file ? "--ssl-keyfile" : "--ssl-certfile";
  SLUICE_TRY(check_readable(flag, path));
  bool password_asked = false;
  SSL_CTX_set_default_passwd_cb(settings, note_password);
  SSL_CTX_set_default_passwd_cb_userdata(settings, &password_asked);
  const bool read = SSL_CTX_use_PrivateKey_file(settings, path.c_str(), SSL_FILETYPE_PEM) == 1;
  SSL_CTX_set_default_passwd_cb_userdata(settings, nullptr);
  SSL_CTX_set_default_passwd_cb(settings, nullptr);
  const unsigned long code = ERR_peek_last_error();  // NOLINT(google-runtime-int): OpenSSL's type
  const bool mismatch = !read && ERR_GET_LIB(code) == ERR_LIB_X509 &&
                        (ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH ||
                         ERR_GET_REASON(code) == X509_R_KEY_TYPE_MISMATCH);
  if (mismatch || (read && SSL_CTX_check_private_key(settings) != 1)) {
    ERR_clear_error();
    return wrong(flag, path,
                 "this key does not belong to the certificate in " + options.certfile +
                     "; give the pair that was made together.");
  }
  if (read) return {};
  if (password_asked) {
    ERR_clear_error();
    return wrong(flag, path,
                 "the key is encrypted; give it without a password (openssl pkey -in KEY -out NEW).");
  }
  return wrong(flag, path,
               "there is no usable PEM private key in it" + openssl_words() +
                   (own_file ? "" : " Name the key's file by --ssl-keyfile."));
}

Status read_client_authorities(SSL_CTX* settings, const TlsOptions& options) {
  if (options.ca_certs.empty()) return {};
  SLUICE_TRY(check_readable("--ssl-ca-certs", options.ca_certs));
  STACK_OF(X509_NAME)* names = nullptr;
  if (SSL_CTX_load_verify_file(settings, options.ca_certs.c_str()) != 1 ||
      (names = SSL_load_client_CA_file(options.ca_certs.c_str())) == nullptr) {
    return wrong("--ssl-ca-certs", options.ca_certs,
                 "there are no usable PEM certificates in it" + openssl_words());
  }
  SSL_CTX_set_client_CA_list(settings, names);  // takes them
  const int mode =
      options.cert_reqs == 2 ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER;
  SSL_CTX_set_verify(settings, mode, nullptr);
  SSL_CTX_set_verify_depth(settings, kMaxClientChain);
  return {};
}

}  // namespace

Status check(const TlsOptions& options) {
  if (options.certfile.empty()) {
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
  if (options.cert_reqs != 0 && options.ca_certs.empty()) {
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
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(raw, kTls12Ciphers);
  SSL_CTX_set_options(raw, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_PRIORITIZE_CHACHA);
  // Idle connections give their buffers back; a write may be repeated from another address.
  SSL_CTX_set_mode(
      raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  // A flood of records without content must not keep the thread inside one read.
  SSL_CTX_clear_mode(raw, SSL_MODE_AUTO_RETRY);
  // Clients hold their sessions in tickets; the server keeps nothing for those who left.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_session_id_context(raw, kSessionScope, sizeof kSessionScope - 1);
  SSL_CTX_set_alpn_select_cb(raw, choose_protocol, nullptr);
  SLUICE_TRY(read_certificate(raw, options));
  SLUICE_TRY(read_key(raw, options));
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

std::unique_ptr<TlsStream> TlsIdentity::accept(int descriptor) const {
  std::lock_guard lock(mutex_);
  return TlsStream::accept(settings_.get(), descriptor);
}

bool TlsIdentity::files_changed() const {
  return stamps() != read_stamps_;
}

std::vector<TlsIdentity::FileStamp> TlsIdentity::stamps() const {
  std::vector<FileStamp> stamps;
  for (const std::string* path : {&options_.certfile, &options_.keyfile, &options_.ca_certs}) {
    FileStamp& stamp = stamps.emplace_back();
    struct stat facts {};
    if (path->empty() || ::stat(path->c_str(), &facts) != 0) continue;
    stamp = {facts.st_dev, facts.st_ino, facts.st_size,
             facts.st_mtim.tv_sec * int64_t{1'000'000'000} + facts.st_mtim.tv_nsec};
  }
  return stamps;
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
