#include "server/net/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace sluice {
namespace {

// TLS 1.3 has nothing else.
constexpr const char* kTls12Ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20";

// Instead of asking at the terminal.
int note_password(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

}  // namespace

std::string openssl_words() {
  const unsigned long code = ERR_peek_last_error();  // NOLINT(google-runtime-int): OpenSSL's type
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  ERR_clear_error();
  return reason == nullptr ? "." : std::string(" (OpenSSL: ") + reason + ").";
}

void set_common_rules(SSL_CTX* settings) {
  SSL_CTX_set_min_proto_version(settings, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(settings, kTls12Ciphers);
  SSL_CTX_set_options(settings, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  // Idle connections give their buffers back; a write may be repeated from another address.
  SSL_CTX_set_mode(settings, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
  // A flood of records without content must not keep the thread inside one read.
  SSL_CTX_clear_mode(settings, SSL_MODE_AUTO_RETRY);
}

Error wrong_file(const TlsFile& file, const std::string& what) {
  return invalid_argument(file.flag, file.flag + " " + file.path + ": " + what);
}

Status check_readable(const TlsFile& file) {
  struct stat facts {};
  if (::stat(file.path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode))
    return wrong_file(file, "this is a directory; name a PEM file.");
  errno = 0;
  if (const std::ifstream opened(file.path); !opened)
    return wrong_file(file, std::string("the file cannot be read: ") + std::strerror(errno) + ".");
  return {};
}

Status use_certificate(SSL_CTX* settings, const TlsFile& certificate) {
  SLUICE_TRY(check_readable(certificate));
  if (SSL_CTX_use_certificate_chain_file(settings, certificate.path.c_str()) != 1)
    return wrong_file(certificate, "there is no usable PEM certificate in it" + openssl_words());
  return {};
}

Status use_key(SSL_CTX* settings, const TlsFile& key, const TlsFile& certificate) {
  const bool own_file = !key.path.empty();
  const TlsFile& file = own_file ? key : certificate;
  SLUICE_TRY(check_readable(file));
  bool password_asked = false;
  SSL_CTX_set_default_passwd_cb(settings, note_password);
  SSL_CTX_set_default_passwd_cb_userdata(settings, &password_asked);
  const bool read = SSL_CTX_use_PrivateKey_file(settings, file.path.c_str(), SSL_FILETYPE_PEM) == 1;
  SSL_CTX_set_default_passwd_cb_userdata(settings, nullptr);
  SSL_CTX_set_default_passwd_cb(settings, nullptr);
  const unsigned long code = ERR_peek_last_error();  // NOLINT(google-runtime-int): OpenSSL's type
  const bool mismatch = !read && ERR_GET_LIB(code) == ERR_LIB_X509 &&
                        (ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH ||
                         ERR_GET_REASON(code) == X509_R_KEY_TYPE_MISMATCH);
  if (mismatch || (read && SSL_CTX_check_private_key(settings) != 1)) {
    ERR_clear_error();
    return wrong_file(file, "this key does not belong to the certificate in " + certificate.path +
                                "; give the pair that was made together.");
  }
  if (read) return {};
  if (password_asked) {
    ERR_clear_error();
    return wrong_file(file,
                      "the key is encrypted; give it without a password (openssl pkey -in KEY -out NEW).");
  }
  return wrong_file(file, "there is no usable PEM private key in it" + openssl_words() +
                              (own_file ? "" : " Name the key's file by " + key.flag + "."));
}

Status use_authorities(SSL_CTX* settings, const TlsFile& authorities) {
  SLUICE_TRY(check_readable(authorities));
  if (SSL_CTX_load_verify_file(settings, authorities.path.c_str()) != 1)
    return wrong_file(authorities, "there are no usable PEM certificates in it" + openssl_words());
  return {};
}

Status use_certificate_text(SSL_CTX* settings, const std::string& pem) {
  const auto whole = static_cast<int>(pem.size());
  BIO* text = BIO_new_mem_buf(pem.data(), whole);
  BIO* again = BIO_new_mem_buf(pem.data(), whole);
  X509* certificate = PEM_read_bio_X509(text, nullptr, nullptr, nullptr);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(again, nullptr, nullptr, nullptr);
  const bool used = certificate != nullptr && key != nullptr &&
                    SSL_CTX_use_certificate(settings, certificate) == 1 &&
                    SSL_CTX_use_PrivateKey(settings, key) == 1;
  X509_free(certificate);
  EVP_PKEY_free(key);
  BIO_free(text);
  BIO_free(again);
  if (used) return {};
  return Error{ErrorCode::kInvalidArgument, "The certificate and key are not usable PEM" + openssl_words()};
}

Status use_authority_text(SSL_CTX* settings, const std::string& pem) {
  if (pem.empty()) return {};
  BIO* text = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  int read = 0;
  bool used = true;
  while (X509* authority = PEM_read_bio_X509(text, nullptr, nullptr, nullptr)) {
    used = X509_STORE_add_cert(SSL_CTX_get_cert_store(settings), authority) == 1 &&
           SSL_CTX_add_client_CA(settings, authority) == 1 && used;
    X509_free(authority);
    ++read;
  }
  BIO_free(text);
  if (!used || read == 0) {
    return Error{ErrorCode::kInvalidArgument,
                 "There are no usable PEM certificates in the authorities' text" + openssl_words()};
  }
  ERR_clear_error();  // of the text's end
  return {};
}

}  // namespace sluice
