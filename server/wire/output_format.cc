#include "server/wire/output_format.h"

#include <fmt/format.h>

#include "server/wire/closed_schema.h"
#include "server/wire/json_out.h"

namespace sluice {
namespace {

// \d, \w, \D and \W of ASCII alone, as JavaScript and most people mean them: Unicode knows 700 digits.
std::string with_ascii_classes(std::string_view regex) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < regex.size(); ++i) {
    const char c = regex[i];
    if (c != '\\' || i + 1 == regex.size()) {
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      out += c;
      continue;
    }
    const char named = regex[++i];
    const std::string_view members = named == 'd' || named == 'D'   ? "0-9"
                                     : named == 'w' || named == 'W' ? "A-Za-z0-9_"
                                                                    : "";
    const bool negated = named == 'D' || named == 'W';
    if (members.empty() || (negated && in_class)) {
      out += c;
      out += named;
    } else if (in_class) {
      out += members;
    } else {
      out.append(negated ? "[^" : "[").append(members) += ']';
    }
  }
  return out;
}

// Between the parts of a JSON text: one new line, indented, or two spaces; too little to lose oneself in, as
// small models do.
constexpr std::string_view kWhiteSpace =
    R"("x-guidance":{"whitespace_pattern":"[\\x20\\x09]{1,2}|\\x0D?\\x0A[\\x20\\x09]{0,32}"})";

// The schema with closed objects, and with our own white space unless it brings options itself.
std::string as_meant(JsonText schema) {
  std::string text = with_closed_objects(schema.text());
  const auto members = schema.members(4096);
  if (!members.ok()) return text;
  for (const auto& member : *members) {
    if (member.name == "x-guidance") return text;
  }
  std::string out = "{";
  out += kWhiteSpace;
  if (!members->empty()) out += ',';
  out.append(text, 1);
  return out;
}

std::optional<std::string> read_schema(RequestFields& fields, std::string_view name, JsonText value,
                                       const WireLimits& limits) {
  if (value.kind() == JsonText::Kind::kBoolean) return std::string(value.text());
  if (value.kind() == JsonText::Kind::kObject) return as_meant(value);
  if (value.kind() == JsonText::Kind::kString) {
    const std::string text = value.string();
    const auto checked = JsonText::check(text, limits.max_json_depth);
    if (checked.ok() && checked->kind() == JsonText::Kind::kObject) return as_meant(*checked);
  }
  fields.fail(name, fmt::format("'{}' must be a JSON schema: an object, or a string that holds one.",
                                fields.full_name(name)));
  return std::nullopt;
}

std::string any_object() {
  return fmt::format(R"({{{},"type":"object"}})", kWhiteSpace);
}

std::optional<std::string> read_choice(RequestFields& fields, std::string_view name,
                                       const WireLimits& limits) {
  const auto list = fields.array(name);
  if (!list) return std::nullopt;
  std::string lark = "start: ";
  int count = 0;
  list->for_each([&](JsonText choice) {
    if (choice.kind() != JsonText::Kind::kString || choice.string().empty()) {
      fields.fail(
          name, fmt::format("'{}' must be an array of strings, none of them empty.", fields.full_name(name)));
    } else if (count == limits.max_grammar_choices) {
      fields.fail(name, fmt::format("'{}' has more than {} choices.", fields.full_name(name),
                                    limits.max_grammar_choices));
    } else {
      if (count++ > 0) lark += " | ";
      append_json_string(lark, choice.string());
    }
    return fields.ok();
  });
  if (count == 0) fields.fail(name, fmt::format("'{}' is empty.", fields.full_name(name)));
  return lark;
}

// The members json, regex, choice, grammar (and json_object) of `fields`, each with `prefix` before its name.
void read_members(RequestFields& fields, const std::string& prefix, const WireLimits& limits,
                  std::vector<GrammarSource>& found) {
  const auto add = [&](std::string_view name, std::string kind, std::optional<std::string> text) {
    if (text) found.push_back({std::move(kind), std::move(*text), fields.full_name(name)});
  };
  std::string name = prefix + "json";
  if (const auto schema = fields.any(name))
    add(name, "json_schema", read_schema(fields, name, *schema, limits));
  name = prefix + "regex";
  if (const auto regex = fields.string(name, limits.max_grammar_bytes))
    add(name, "regex", with_ascii_classes(*regex));
  name = prefix + "choice";
  add(name, "lark", read_choice(fields, name, limits));
  name = prefix + "grammar";
  if (auto grammar = fields.string(name, limits.max_grammar_bytes)) {
    if (grammar->find("::=") != std::string::npos) {
      fields.fail(
          name,
          fmt::format("'{}' looks like GBNF or EBNF (::=); write it in Lark: rule: \"text\" other_rule.",
                      fields.full_name(name)));
    }
    add(name, "lark", std::move(grammar));
  }
  name = prefix + "json_object";
  if (fields.boolean(name).value_or(false)) add(name, "json_schema", any_object());
}

void read_response_format(RequestFields& fields, const WireLimits& limits,
                          std::vector<GrammarSource>& found) {
  const auto format = fields.object("response_format");
  if (!format) return;
  auto inner = RequestFields::of(*format, "response_format.");
  if (!inner.ok()) return fields.fail("response_format", inner.error().message);
  const std::string type = inner->string("type", 64).value_or("");
  if (type == "text") return;
  if (type == "json_object") {
    found.push_back({"json_schema", any_object(), "response_format"});
    return;
  }
  if (type != "json_schema") {
    return fields.fail("response_format",
                       "'response_format.type' must be \"text\", \"json_object\" or \"json_schema\".");
  }
  const auto wrapper = inner->object("json_schema");
  if (!wrapper) {
    return fields.fail("response_format",
                       inner->ok() ? "'response_format.json_schema' is missing." : inner->error().message);
  }
  auto schema_fields = RequestFields::of(*wrapper, "response_format.json_schema.");
  if (!schema_fields.ok()) return fields.fail("response_format", schema_fields.error().message);
  const auto schema = schema_fields->any("schema");
  if (!schema) return fields.fail("response_format", "'response_format.json_schema.schema' is missing.");
  auto text = read_schema(*schema_fields, "schema", *schema, limits);
  if (!text) return fields.fail("response_format", schema_fields->error().message);
  found.push_back({"json_schema", std::move(*text), "response_format"});
}

}  // namespace

std::optional<GrammarSource> read_output_format(RequestFields& fields, const WireLimits& limits) {
  std::vector<GrammarSource> found;
  read_response_format(fields, limits, found);
  read_members(fields, "guided_", limits, found);
  if (const auto object = fields.object("structured_outputs")) {
    auto inner = RequestFields::of(*object, "structured_outputs.");
    if (!inner.ok()) {
      fields.fail("structured_outputs", inner.error().message);
    } else {
      const size_t before = found.size();
      read_members(*inner, "", limits, found);
      if (!inner->ok())
        fields.fail("structured_outputs", inner->error().message);
      else if (found.size() == before)
        fields.fail("structured_outputs",
                    "'structured_outputs' needs one of json, regex, choice, grammar or "
                    "json_object.");
    }
  }
  if (found.empty() || !fields.ok()) return std::nullopt;
  if (found.size() > 1) {
    fields.fail(found[1].param,
                fmt::format("'{}' and '{}' both say what the answer must look like; send one.",
                            found[0].param, found[1].param));
    return std::nullopt;
  }
  if (found[0].text.size() > limits.max_grammar_bytes) {
    fields.fail(found[0].param, fmt::format("'{}' has {} bytes; at most {} are allowed.", found[0].param,
                                            found[0].text.size(), limits.max_grammar_bytes));
    return std::nullopt;
  }
  return std::move(found[0]);
}

}  // namespace sluice
