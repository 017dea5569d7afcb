// The flags about the server's door: TLS, and every limit on what a client may send or hold. Part of
// server/options, which parses them.
#pragma once

#include "server/options.h"

namespace CLI {
class App;
}

namespace sluice {

void add_tls_flags(CLI::App& app, TlsOptions& tls);
void add_limit_flags(CLI::App& app, ListenOptions& listen, WireLimits& wire);
// After parsing: a limit that holds others is not below them.
void finish_limits(ListenOptions& listen);

}  // namespace sluice
