// Bodies of requests: whatever the bytes, what is found lies within them, and what changes stays JSON.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "router/io/outgoing.h"
#include "router/io/sse_events.h"
#include "server/net/sse_cut.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace sluice::router;
  const std::string body(reinterpret_cast<const char*>(bytes), size);
  const auto scan = scan_body(body);
  if (scan.ok()) {
    prompt_ids(scan->prompt, 1000);
    const int32_t told[] = {1, 2, 3};
    const std::string changed =
        change_body(body, *scan, {.model = "m", .token_ids = true, .seed = 5, .told = told});
    const auto again = scan_body(changed);
    SLUICE_CHECK(again.ok());
    SLUICE_CHECK(again->model == "m");
  }
  ToldTokens tokens(true);
  sluice::SseCut cut;
  std::string out;
  tokens.pass(cut.take(body), out);
  return 0;
}
