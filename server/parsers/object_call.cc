#include "server/parsers/object_call.h"

#include <algorithm>
#include <charconv>

namespace sluice {
namespace {

constexpr size_t kMaxNameBytes = 256;

void append_utf8(std::string& out, unsigned code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xc0 | code >> 6));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | code >> 12));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else {
    out.push_back(static_cast<char>(0xf0 | code >> 18));
    out.push_back(static_cast<char>(0x80 | (code >> 12 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  }
}

// The inside of a JSON string whose syntax a scanner has passed. Half a surrogate pair becomes U+FFFD.
std::string unescape(std::string_view text) {
  std::string out;
  const auto hex = [&](size_t at) {
    unsigned code = 0;
    if (at + 4 <= text.size()) std::from_chars(text.data() + at, text.data() + at + 4, code, 16);
    return code;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out.push_back(text[i]);
      continue;
    }
    const char c = text[++i];
    if (c != 'u') {
      static constexpr std::string_view kFrom = "bfnrt", kTo = "\b\f\n\r\t";
      const size_t known = kFrom.find(c);
      out.push_back(known == std::string_view::npos ? c : kTo[known]);
      continue;
    }
    unsigned code = hex(i + 1);
    i += 4;
    if (code >= 0xd800 && code < 0xe000) {
      const bool pair = code < 0xdc00 && text.substr(std::min(i + 1, text.size())).starts_with("\\u");
      const unsigned low = pair ? hex(i + 3) : 0;
      const bool whole = low >= 0xdc00 && low < 0xe000;
      code = whole ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : 0xfffd;
      if (whole) i += 6;
    }
    append_utf8(out, code);
  }
  return out;
}

}  // namespace

void ObjectCall::begin_object(bool known) {
  scanner_ = JsonScanner();
  part_ = Part::kBetween;
  known_ = known;
  begun_ = alone_ = has_arguments_ = false;
  name_.clear();
  arguments_.clear();
}

void ObjectCall::begin_arguments(const std::string& name) {
  begin_object(false);
  name_ = name;
  alone_ = has_arguments_ = true;
}

JsonScanner::Step ObjectCall::push(char c, int index, ParsedText& out) {
  using Step = JsonScanner::Step;
  const Step step = scanner_.push(c);
  if (step == Step::kBad) return step;
  if (alone_) {
    if (!begun_) begin(index, out);
    take(c, index, out);
    return step;
  }
  bool good = true;
  switch (part_) {
    case Part::kBetween:
      if (scanner_.in_key()) {
        part_ = Part::kKey;
        key_.clear();
      }
      break;
    case Part::kKey:
      if (!scanner_.in_key())
        part_ = Part::kColon;
      else if (key_.size() <= kMaxNameBytes)
        key_.push_back(c);
      break;
    case Part::kColon:
      if (c != ':' && !is_white(c)) good = value_begins(c, index, out);
      break;
    case Part::kName:
      if (!scanner_.in_string())
        good = name_ends(index, out);
      else
        name_.push_back(c);
      good = good && name_.size() <= kMaxNameBytes;
      break;
    case Part::kArguments:
      take(c, index, out);
      if (scanner_.depth() == 1) part_ = Part::kBetween;
      break;
    case Part::kArgumentsText:
      if (!scanner_.in_string())
        good = text_ends(index, out);
      else
        text_.push_back(c);
      break;
    case Part::kOther:
      if (scanner_.depth() == 1 && !scanner_.in_string() && (scanner_.after_value() || c == ','))
        part_ = Part::kBetween;
      break;
  }
  if (!good) return Step::kBad;
  if (step == Step::kDone && !begun_) {
    if (name_.empty()) return Step::kBad;
    begin(index, out);
    if (!has_arguments_) out.add_arguments(index, "{}");
  }
  return step;
}

bool ObjectCall::value_begins(char c, int index, ParsedText& out) {
  part_ = Part::kOther;
  if (key_ == "name") {
    if (c != '"' || !name_.empty()) return false;
    part_ = Part::kName;
  } else if (key_ == "arguments" || key_ == "parameters") {
    if (has_arguments_) return false;
    if (c == 'n') return true;  // null: none
    if (c != '{' && c != '"') return false;
    has_arguments_ = true;
    part_ = c == '{' ? Part::kArguments : Part::kArgumentsText;
    if (c == '{') {
      if (!name_.empty()) begin(index, out);
      take(c, index, out);
    }
    text_.clear();
  }
  return true;
}

bool ObjectCall::name_ends(int index, ParsedText& out) {
  part_ = Part::kBetween;
  if (name_.empty() || name_.find('\\') != std::string::npos) return false;
  if (known_ && std::find(names_.begin(), names_.end(), name_) == names_.end()) return false;
  if (has_arguments_) begin(index, out);
  return true;
}

bool ObjectCall::text_ends(int index, ParsedText& out) {
  part_ = Part::kBetween;
  text_ = unescape(text_);
  JsonScanner whole;
  for (size_t i = 0; i < text_.size(); ++i) {
    const JsonScanner::Step step = whole.push(text_[i]);
    if (step == JsonScanner::Step::kMore) continue;
    if (step == JsonScanner::Step::kBad || i + 1 != text_.size()) return false;
    if (!name_.empty()) begin(index, out);
    JsonScanner again;  // for what stands within strings
    std::swap(scanner_, again);
    for (const char c : text_) {
      scanner_.push(c);
      take(c, index, out);
    }
    std::swap(scanner_, again);
    return true;
  }
  return false;
}

// Raw line breaks within strings become escapes, so that the arguments are JSON.
void ObjectCall::take(char c, int index, ParsedText& out) {
  std::string escaped;
  if (scanner_.in_string() && static_cast<unsigned char>(c) < 0x20)
    append_json_escaped(escaped, c);
  else
    escaped.push_back(c);
  if (begun_)
    out.add_arguments(index, escaped);
  else
    arguments_ += escaped;
}

void ObjectCall::begin(int index, ParsedText& out) {
  begun_ = true;
  out.begin_call(index, name_);
  if (!arguments_.empty()) out.add_arguments(index, arguments_);
  arguments_.clear();
}

}  // namespace sluice
