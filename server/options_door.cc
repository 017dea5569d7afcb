#include "server/options_door.h"

#include <CLI/CLI.hpp>

namespace sluice {

void add_tls_flags(CLI::App& app, TlsOptions& tls) {
  const std::string group = "TLS";
  app.add_option("--ssl-certfile", tls.certfile,
                 "PEM file with the server's certificate and its chain: serve https. It and the files below "
                 "are read anew when they change, and on SIGHUP.")
      ->group(group);
  app.add_option("--ssl-keyfile", tls.keyfile,
                 "PEM file with the certificate's key. Default: the key is in --ssl-certfile.")
      ->group(group);
  app.add_option("--ssl-ca-certs", tls.ca_certs,
                 "PEM file with the authorities that sign clients' certificates; see --ssl-cert-reqs.")
      ->group(group);
  app.add_option("--ssl-cert-reqs", tls.cert_reqs,
                 "Clients' certificates: 0 not asked for, 1 checked when shown, 2 required.")
      ->capture_default_str()
      ->check(CLI::Range(0, 2))
      ->group(group);
}

}  // namespace sluice
