// A certificate for whoever is known by other means, or by nobody: made in memory, signed by itself. Any
// thread.
#pragma once

#include <string>

#include "base/result.h"

namespace sluice {

// PEM: the certificate and, behind it, its key (ECDSA on P-256), valid for ten years from now.
// `name`: a DNS name, its subject and alternative name.
Result<std::string> self_signed_certificate(const std::string& name);

}  // namespace sluice
