// Calls over text_ffi.h: owns what comes back and turns a status into a Result. Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/text/text_ffi.h"

namespace sluice::text {

inline SluiceTextView view(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline std::string take(SluiceTextBuffer buffer) {
  std::string text(reinterpret_cast<const char*>(buffer.bytes), buffer.size);
  sluice_text_free_buffer(buffer);
  return text;
}

inline std::vector<int32_t> take(SluiceTextIds ids) {
  std::vector<int32_t> out(ids.ids, ids.ids + ids.size);
  sluice_text_free_ids(ids);
  return out;
}

inline Error error_of(int status, SluiceTextBuffer message) {
  Error error;
  error.message = take(message);
  switch (status) {
    case kSluiceTextCorrupt:
      error.code = ErrorCode::kCorrupt;
      break;
    case kSluiceTextUnsupported:
      error.code = ErrorCode::kUnsupported;
      break;
    case kSluiceTextInvalidArgument:
      error.code = ErrorCode::kInvalidArgument;
      break;
    default:
      error.code = ErrorCode::kInternal;
      break;
  }
  return error;
}

// `call(out, message)` is one function of text_ffi.h with its inputs bound.
template <class T, class Call>
Result<T> call(Call&& call) {
  T out{};
  SluiceTextBuffer message{};
  const int status = call(&out, &message);
  if (status != kSluiceTextOk) return error_of(status, message);
  return out;
}

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* handle) const {
    Free(handle);
  }
};

using TokenizerHandle = std::unique_ptr<SluiceTextTokenizer, Freer<sluice_text_tokenizer_free>>;
using TemplateHandle = std::unique_ptr<SluiceTextTemplate, Freer<sluice_text_template_free>>;
using MatcherHandle = std::unique_ptr<SluiceTextMatcher, Freer<sluice_text_matcher_free>>;

}  // namespace sluice::text
