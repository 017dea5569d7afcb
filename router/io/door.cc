#include "router/io/door.h"

#include "base/log.h"
#include "server/wire/error_body.h"

namespace sluice::router {

Door::Door(DoorOptions options, std::vector<std::string> keys_of_file)
    : options_(std::move(options)),
      keys_({options_.api_keys, std::move(keys_of_file), options_.admin_api_keys}) {}

Result<std::unique_ptr<Door>> Door::open(DoorOptions options) {
  std::vector<std::string> keys_of_file;
  if (!options.api_key_file.empty()) {
    SLUICE_ASSIGN(keys_of_file, read_key_file(options.api_key_file));
  }
  std::unique_ptr<Door> door(new Door(std::move(options), std::move(keys_of_file)));
  if (!door->options_.tls.certfile.empty()) {
    SLUICE_ASSIGN(door->identity_, TlsIdentity::load(door->options_.tls));
  }
  return door;
}

void Door::guard(ListenOptions& listen) const {
  listen.tls = identity_;
  listen.render_fault = fault_response;
  listen.admit = [this](const HttpRequest& head, const Route& route) -> std::optional<HttpResponse> {
    if (keys_.admits(head.headers, route.access)) return std::nullopt;
    const bool is_for_operators = route.access == Access::kOperators;
    return error_response(
        {ErrorCode::kUnauthorized,
         std::string("The key is missing or wrong; send 'Authorization: Bearer KEY' with the "
                     "router's ") +
             (is_for_operators ? "--admin-api-key, or with --api-key where there is none such."
                               : "--api-key.")},
        error_style_of(head.path));
  };
}

void Door::reread() {
  if (!options_.api_key_file.empty()) {
    auto read = read_key_file(options_.api_key_file);
    if (read.ok())
      keys_.replace_file_keys(std::move(read).value());
    else
      log::warn("the keys stay as they are: {}", read.error().message);
  }
  if (identity_ == nullptr) return;
  if (const Status read = identity_->reload(); !read.ok()) {
    log::warn("the TLS certificate stays as it is: {}", read.error().message);
  }
}

}  // namespace sluice::router
