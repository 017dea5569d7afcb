// Joins words and numbers into the sentence of an Error. Not for hot paths. Any thread.
#pragma once

#include <sstream>
#include <string>

namespace sluice {

template <class... Parts>
std::string sentence(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace sluice
