#include "tests/support/test_certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <atomic>

#include "base/check.h"

namespace sluice::testing {
namespace {

constexpr int kDay = 24 * 60 * 60;

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Key = std::unique_ptr<EVP_PKEY, Free>;
using Certificate = std::unique_ptr<X509, Free>;

Key make_key() {
  Key key(EVP_EC_gen("P-256"));
  SLUICE_CHECK(key != nullptr);
  return key;
}

template <class Write>
std::string pem(Write write) {
  const std::unique_ptr<BIO, Free> out(BIO_new(BIO_s_mem()));
  SLUICE_CHECK(write(out.get()) == 1);
  char* bytes = nullptr;
  const auto size = BIO_get_mem_data(out.get(), &bytes);
  return {bytes, static_cast<size_t>(size)};
}

std::string pem_of(EVP_PKEY* key, const char* password = nullptr) {
  return pem([&](BIO* out) {
    const EVP_CIPHER* cipher = password == nullptr ? nullptr : EVP_aes_256_cbc();
    return PEM_write_bio_PKCS8PrivateKey(out, key, cipher, password, password == nullptr ? 0 : 6, nullptr,
                                         nullptr);
  });
}

std::string pem_of(X509* certificate) {
  return pem([&](BIO* out) { return PEM_write_bio_X509(out, certificate); });
}

void add_extension(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX scope;
  X509V3_set_ctx(&scope, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &scope, kind, value);
  SLUICE_CHECK(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

Certificate make_certificate(const std::string& name, EVP_PKEY* key, int days_left) {
  static std::atomic<int> serial{1};
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -30 * kDay);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), days_left * kDay);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_pubkey(certificate.get(), key);
  return certificate;
}

}  // namespace

struct TestAuthority::Parts {
  Key key = make_key();
  Certificate certificate;
};

TestAuthority::TestAuthority(const std::string& name) : parts_(std::make_unique<Parts>()) {
  parts_->certificate = make_certificate(name, parts_->key.get(), 30);
  X509* const own = parts_->certificate.get();
  X509_set_issuer_name(own, X509_get_subject_name(own));
  add_extension(own, own, NID_basic_constraints, "critical,CA:TRUE");
  SLUICE_CHECK(X509_sign(own, parts_->key.get(), EVP_sha256()) > 0);
  own_ = {pem_of(own), pem_of(parts_->key.get())};
}

TestAuthority::~TestAuthority() = default;

PemPair TestAuthority::sign(const std::string& name, int days_left) {
  const Key key = make_key();
  const Certificate certificate = make_certificate(name, key.get(), days_left);
  X509* const issuer = parts_->certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer));
  add_extension(certificate.get(), issuer, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  SLUICE_CHECK(X509_sign(certificate.get(), parts_->key.get(), EVP_sha256()) > 0);
  return {pem_of(certificate.get()), pem_of(key.get())};
}

std::string encrypted(const std::string& key) {
  const std::unique_ptr<BIO, Free> in(BIO_new_mem_buf(key.data(), static_cast<int>(key.size())));
  const Key parsed(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
  return pem_of(parsed.get(), "secret");
}

}  // namespace sluice::testing
