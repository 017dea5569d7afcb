// Broken invariants stop the process with both values in the message; the pod restarts. Never for input from
// outside: what the world can cause is an Error (base/result.h). Any thread.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

namespace sluice {

[[noreturn]] inline void check_failed(const char* file, int line, const char* text,
                                      const std::string& values) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s %s\n", file, line, text, values.c_str());
  std::fflush(stderr);
  std::abort();
}

// What no part of the process can go on without is lost, through no fault of ours (another rank, a device): a
// sentence, and a status that is not zero.
[[noreturn]] inline void stop_process(const std::string& sentence) {
  std::fprintf(stderr, "%s\n", sentence.c_str());
  std::fflush(stderr);
  std::_Exit(1);
}

template <class A, class B>
std::string check_values(const A& a, const B& b) {
  std::ostringstream out;
  out << "(" << +a << " against " << +b << ")";
  return out.str();
}

}  // namespace sluice

#define SLUICE_CHECK(condition)                                                                         \
  do {                                                                                                  \
    if (!(condition)) [[unlikely]]                                                                      \
      ::sluice::check_failed(__FILE__, __LINE__, #condition, "");                                       \
  } while (0)

#define SLUICE_CHECK_OP(a, op, b)                                       \
  do {                                                                  \
    const auto& check_a = (a);                                          \
    const auto& check_b = (b);                                          \
    if (!(check_a op check_b)) [[unlikely]]                             \
      ::sluice::check_failed(__FILE__, __LINE__, #a " " #op " " #b,     \
                             ::sluice::check_values(check_a, check_b)); \
  } while (0)

#define SLUICE_CHECK_EQ(a, b) SLUICE_CHECK_OP(a, ==, b)
#define SLUICE_CHECK_LT(a, b) SLUICE_CHECK_OP(a, <, b)
#define SLUICE_CHECK_LE(a, b) SLUICE_CHECK_OP(a, <=, b)
#define SLUICE_CHECK_GE(a, b) SLUICE_CHECK_OP(a, >=, b)
