// Lines of /kv_events from a replica that lies.
#include <cstdint>
#include <string_view>

#include "router/io/kv_lines.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace sluice::router;
  struct Deaf final : KvListener {
    void on_hello(const KvHello&) override {}
    void on_event(KvEvent&, std::string_view) override {}
  } deaf;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  KvLines lines(deaf);
  lines.take(text.substr(0, size / 2));
  lines.take(text.substr(size / 2));
  return 0;
}
