// Who may come in, and as whom the router shows itself: the keys of its clients and its TLS certificate, read
// anew when somebody asks. Any thread judges; one at a time rereads.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "server/net/key_ring.h"
#include "server/net/listener.h"
#include "server/net/tls_identity.h"

namespace sluice::router {

struct DoorOptions {
  std::vector<std::string> api_keys, admin_api_keys;
  std::string api_key_file;  // empty: none
  TlsOptions tls;
};

class Door {
 public:
  // An Error names the flag and the file that is wrong.
  static Result<std::unique_ptr<Door>> open(DoorOptions options);

  // Sets what `listen` has to say of certificate and keys. This outlives the listener.
  void guard(ListenOptions& listen) const;
  // What cannot be read stays as it was and is named in the log.
  void reread();

 private:
  Door(DoorOptions options, std::vector<std::string> keys_of_file);

  const DoorOptions options_;
  KeyRing keys_;
  std::shared_ptr<TlsIdentity> identity_;  // null: plain HTTP
};

}  // namespace sluice::router
