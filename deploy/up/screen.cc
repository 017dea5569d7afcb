#include "deploy/up/screen.h"

#include <sys/ioctl.h>

#include "base/hash.h"

namespace sluice::up {
namespace {

constexpr int kNameColumns = 10;
constexpr const char* kColours[] = {"\x1b[32m", "\x1b[33m", "\x1b[34m", "\x1b[35m", "\x1b[92m", "\x1b[94m"};
constexpr const char* kOurs = "\x1b[1m";
constexpr const char* kRouter = "\x1b[36m";
constexpr const char* kPlain = "\x1b[0m";

// A replica keeps its colour: by the number at the end of its name.
const char* colour_of(std::string_view who) {
  if (who == "up") return kOurs;
  if (who == "router") return kRouter;
  size_t number = 0;
  for (const char c : who) number = c >= '0' && c <= '9' ? number * 10 + static_cast<size_t>(c - '0') : 0;
  return kColours[number % std::size(kColours)];
}

size_t columns_of(std::FILE* out) {
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string_view fit(std::string_view text, size_t columns) {
  size_t seen = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const bool begins = (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
    if (begins && ++seen > columns) return text.substr(0, at);
  }
  return text;
}

void Screen::line(std::string_view who, std::string_view text) {
  erase_status();
  const char* colour = options_.has_colour ? colour_of(who) : "";
  std::fprintf(options_.out, "%s%-*.*s |%s %.*s\n", colour, kNameColumns, static_cast<int>(who.size()),
               who.data(), *colour != '\0' ? kPlain : "", static_cast<int>(text.size()), text.data());
  draw_status();
  std::fflush(options_.out);
}

void Screen::status(std::string text) {
  if (!options_.is_terminal || text == status_) return;
  erase_status();
  status_ = std::move(text);
  draw_status();
  std::fflush(options_.out);
}

void Screen::erase_status() {
  if (!status_.empty()) std::fputs("\r\x1b[K", options_.out);
}

void Screen::draw_status() {
  if (status_.empty()) return;
  // One column is left free: a full line would wrap, and stay.
  const std::string_view seen = fit(status_, columns_of(options_.out) - 1);
  std::fprintf(options_.out, "%s%.*s%s", options_.has_colour ? kOurs : "", static_cast<int>(seen.size()),
               seen.data(), options_.has_colour ? kPlain : "");
}

}  // namespace sluice::up
