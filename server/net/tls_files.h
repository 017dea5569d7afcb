// PEM files read into OpenSSL's settings, and what is wrong with them in words: the flag, the file, the fault
// and what to do. For who we are to clients (tls_identity) and to servers (tls_trust) alike. Any thread.
// Internal to server/net.
#pragma once

#include <openssl/types.h>

#include <string>

#include "base/result.h"

namespace sluice {

// A path and the flag that named it.
struct TlsFile {
  std::string flag, path;
};

// What both sides of a connection keep to: TLS 1.2 and later, forward secrecy and authenticated encryption,
// partial writes, buffers given back when idle, and no read that goes on for ever.
void set_common_rules(SSL_CTX* settings);

Error wrong_file(const TlsFile& file, const std::string& what);
Status check_readable(const TlsFile& file);
// Our own certificate first, then its chain.
Status use_certificate(SSL_CTX* settings, const TlsFile& certificate);
// `key.path` empty: the key is in the certificate's file. After use_certificate.
Status use_key(SSL_CTX* settings, const TlsFile& key, const TlsFile& certificate);
// Whose signatures on the other side's certificates count.
Status use_authorities(SSL_CTX* settings, const TlsFile& authorities);

// The same from PEM texts: our certificate with its key, and whose signatures count (an empty text:
// nobody's).
Status use_certificate_text(SSL_CTX* settings, const std::string& pem);
Status use_authority_text(SSL_CTX* settings, const std::string& pem);

// " (OpenSSL: no start line).", or "."; what is pending in OpenSSL is then forgotten.
std::string openssl_words();

}  // namespace sluice
