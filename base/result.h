// What the world can do to us, as a value: a Result holds a T or an Error whose message tells the user what
// to change. One file (server/wire/error_body) turns codes into HTTP statuses.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace sluice {

enum class ErrorCode {
  kInvalidArgument,   // 400: a value the caller must change; `param` names it
  kUnauthorized,      // 401
  kNotFound,          // 404: unknown model, file or id
  kContextLength,     // 400 context_length_exceeded
  kTooLarge,          // 413: body over the limit
  kOverloaded,        // 429 with Retry-After: queue full
  kUnavailable,       // 503: loading or draining
  kDeadline,          // 504: the request's own deadline passed
  kCancelled,         // nobody waits for the answer
  kUnsupported,       // 501 over HTTP; at start a sentence: a tensor type, an architecture
  kCorrupt,           // a model file that contradicts itself
  kOutOfMemory,       // at start: what does not fit, and how much would
  kIo,                // the operating system's or a peer's word, with the path or URL
  kInternal,          // ours
};

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;           // one or two whole sentences
  std::string param;             // the request field or flag at fault, or empty
  int retry_after_s = 0;         // > 0 with kOverloaded and kUnavailable
};

inline Error invalid_argument(std::string param, std::string message) {
  return Error{ErrorCode::kInvalidArgument, std::move(message), std::move(param)};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}        // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}    // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { SLUICE_CHECK(ok()); return std::get<0>(state_); }
  const T& value() const& { SLUICE_CHECK(ok()); return std::get<0>(state_); }
  T&& value() && { SLUICE_CHECK(ok()); return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { SLUICE_CHECK(!ok()); return std::get<1>(state_); }
  Error&& error() && { SLUICE_CHECK(!ok()); return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

// Success without a value.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}  // NOLINT
  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { SLUICE_CHECK(!ok()); return *error_; }
  Error&& error() && { SLUICE_CHECK(!ok()); return *std::move(error_); }

 private:
  std::optional<Error> error_;
};

}  // namespace sluice

// Returns the error of `expression` to the caller, or goes on.
#define SLUICE_TRY(expression)                                        \
  do {                                                                \
    auto sluice_try_status = (expression);                            \
    if (!sluice_try_status.ok()) return std::move(sluice_try_status).error(); \
  } while (0)

// SLUICE_ASSIGN(auto file, MappedFile::open(path));
#define SLUICE_ASSIGN(target, expression) \
  SLUICE_ASSIGN_(target, expression, SLUICE_CAT_(sluice_result_, __LINE__))
#define SLUICE_ASSIGN_(target, expression, name) \
  auto name = (expression);                      \
  if (!name.ok()) return std::move(name).error(); \
  target = std::move(name).value()
#define SLUICE_CAT_(a, b) SLUICE_CAT2_(a, b)
#define SLUICE_CAT2_(a, b) a##b
