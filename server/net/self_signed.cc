#include "server/net/self_signed.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>

#include "server/net/tls_files.h"

namespace sluice {
namespace {

constexpr long kSecondsValid = 10L * 365 * 86400;  // NOLINT(google-runtime-int): OpenSSL's type
constexpr long kSecondsBefore = 3600;              // NOLINT: for clocks that are behind ours

template <auto kFree>
struct Freed {
  void operator()(auto* each) const { kFree(each); }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Text = std::unique_ptr<BIO, Freed<BIO_free>>;

bool name_it(X509* certificate, const std::string& name) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  const auto* bytes = reinterpret_cast<const unsigned char*>(name.data());
  if (X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, bytes, static_cast<int>(name.size()), -1, 0) !=
          1 ||
      X509_set_issuer_name(certificate, subject) != 1)
    return false;
  X509_EXTENSION* names =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, ("DNS:" + name).c_str());
  const bool added = names != nullptr && X509_add_ext(certificate, names, -1) == 1;
  X509_EXTENSION_free(names);
  return added;
}

}  // namespace

Result<std::string> self_signed_certificate(const std::string& name) {
  const Error failed{ErrorCode::kInternal, "OpenSSL could not make a certificate for '" + name + "'"};
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  const Text text(BIO_new(BIO_s_mem()));
  uint64_t serial = 0;
  if (key == nullptr || certificate == nullptr || text == nullptr ||
      RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1)
    return failed;
  X509* const raw = certificate.get();
  const bool made =
      X509_set_version(raw, X509_VERSION_3) == 1 &&
      ASN1_INTEGER_set_uint64(X509_get_serialNumber(raw), serial) == 1 &&
      X509_gmtime_adj(X509_getm_notBefore(raw), -kSecondsBefore) != nullptr &&
      X509_gmtime_adj(X509_getm_notAfter(raw), kSecondsValid) != nullptr &&
      X509_set_pubkey(raw, key.get()) == 1 && name_it(raw, name) &&
      X509_sign(raw, key.get(), EVP_sha256()) > 0 && PEM_write_bio_X509(text.get(), raw) == 1 &&
      PEM_write_bio_PrivateKey(text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1;
  if (!made) return Error{failed.code, failed.message + openssl_words()};
  char* bytes = nullptr;
  const auto size = BIO_get_mem_data(text.get(), &bytes);
  return std::string(bytes, static_cast<size_t>(size));
}

}  // namespace sluice
