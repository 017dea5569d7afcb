// An API server that lies: a list's page, then the lines of a watch, and what they add up to.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "router/io/slice_book.h"
#include "server/net/url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace sluice::router;
  std::string_view text(reinterpret_cast<const char*>(bytes), size);
  static_cast<void>(parse_status(text));
  SliceBook book({.port = size % 3 == 0 ? "http" : size % 3 == 1 ? "8000" : ""});
  const size_t end = text.find('\n');
  book.begin_list();
  if (const auto page = parse_slice_page(text.substr(0, end)); page.ok()) {
    for (const std::string_view item : page->items) static_cast<void>(book.list_item(item));
    book.end_list(page->version);
  }
  while (!text.empty()) {
    const size_t line = std::min(text.find('\n'), text.size());
    static_cast<void>(book.watch_line(text.substr(0, line)));
    text.remove_prefix(std::min(line + 1, text.size()));
    for (const auto& [name, replica] : book.replicas()) {
      SLUICE_CHECK(!name.empty() && name == replica.name);
      SLUICE_CHECK(sluice::parse_url(replica.url).ok());  // its link takes it for granted
    }
  }
  return 0;
}
