#include "server/wire/json_walk.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <vector>

namespace sluice {
namespace {

using Members = std::vector<std::pair<std::string, std::string>>;

// None when the text is not one object.
std::optional<Members> members_of(std::string_view text) {
  JsonWalk walk(text);
  Members members;
  if (!walk.enter_object()) return std::nullopt;
  std::string_view name, value;
  while (walk.member(name, value)) members.emplace_back(name, value);
  if (walk.failed() || !walk.at_end()) return std::nullopt;
  return members;
}

TEST(JsonWalk, finds_members_as_they_lie) {
  const auto members = members_of(R"( { "a" : 1.5e3 ,"b\"c":"x\\\"}]","d":{"e":[{}, "]"]},"f":null } )");
  const Members expected = {
      {"a", "1.5e3"}, {R"(b\"c)", R"("x\\\"}]")"}, {"d", R"({"e":[{}, "]"]})"}, {"f", "null"}};
  ASSERT_TRUE(members);
  EXPECT_EQ(*members, expected);
  EXPECT_EQ(members_of("{}"), Members());
  EXPECT_EQ(members_of(" \n\t{ \r} "), Members());
}

TEST(JsonWalk, finds_elements_as_they_lie) {
  JsonWalk walk(R"([1, "two", [3], {"four":4}, true])");
  std::vector<std::string> elements;
  std::string_view value;
  ASSERT_TRUE(walk.enter_array());
  while (walk.element(value)) elements.emplace_back(value);
  EXPECT_FALSE(walk.failed());
  EXPECT_TRUE(walk.at_end());
  EXPECT_EQ(elements, (std::vector<std::string>{"1", "\"two\"", "[3]", R"({"four":4})", "true"}));
}

TEST(JsonWalk, refuses_what_no_reader_takes) {
  for (const char* text : {"",
                           "{",
                           "}",
                           "[]",
                           "1",
                           "{]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{\"a\":1 \"b\":2}",
                           "{a:1}",
                           "{\"a\":1}}",
                           "{\"a\":[}",
                           "{\"a\":[}]}",
                           "{\"a\":{]}}",
                           "{\"a\":\"",
                           "{\"a\":\"\\",
                           "{\"a\":\"\\\"}",
                           "{\"a\"",
                           "{,}",
                           "{\"a\":1}{}",
                           "{\"a\":(}",
                           "{\"a\":[1}",
                           "{\"a\":{\"b\":[}]}}"}) {
    EXPECT_FALSE(members_of(text)) << text;
  }
}

TEST(JsonWalk, bounds_the_depth) {
  const auto nested = [](size_t depth) {
    return "{\"a\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_TRUE(members_of(nested(kMaxJsonDepth)));
  EXPECT_FALSE(members_of(nested(kMaxJsonDepth + 1)));
  EXPECT_FALSE(members_of(nested(10'000'000)));
}

// Quotes at each place of the sixteen bytes that are looked at together.
TEST(JsonWalk, finds_the_end_of_strings_of_every_length) {
  for (size_t size = 0; size < 70; ++size) {
    for (size_t escape = 0; escape <= size; ++escape) {
      std::string inside(size, 'x');
      inside.insert(escape, "\\\"");
      const std::string text = "{\"a\":\"" + inside + "\",\"b\":2}";
      const auto members = members_of(text);
      ASSERT_TRUE(members) << text;
      EXPECT_EQ(*members, (Members{{"a", "\"" + inside + "\""}, {"b", "2"}}));
    }
  }
}

class RandomJson {
 public:
  explicit RandomJson(uint64_t seed) : random_(seed) {}
  nlohmann::json make(int depth) {
    switch (pick(depth > 0 ? 7 : 5)) {
      case 0:
        return nullptr;
      case 1:
        return pick(2) == 0;
      case 2:
        return static_cast<int64_t>(random_());
      case 3:
        return static_cast<double>(random_()) / 1e9;
      case 4:
        return text();
      case 5: {
        auto array = nlohmann::json::array();
        for (size_t i = pick(5); i > 0; --i) array.push_back(make(depth - 1));
        return array;
      }
      default: {
        auto object = nlohmann::json::object();
        for (size_t i = pick(5); i > 0; --i) object[text()] = make(depth - 1);
        return object;
      }
    }
  }
  size_t pick(size_t count) { return random_() % count; }
  std::string text() {
    static constexpr const char* kPieces[] = {"a", "\"", "\\", "{",  "}",     "[",   "]",
                                              ",", ":",  "é",  "\n", "model", "🙂"};
    std::string out;
    for (size_t i = pick(30); i > 0; --i) out += kPieces[pick(std::size(kPieces))];
    return out;
  }

 private:
  std::mt19937_64 random_;
};

TEST(JsonWalk, agrees_with_a_parser_on_whatever_it_wrote) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    RandomJson random(seed);
    auto object = nlohmann::json::object();
    for (size_t i = random.pick(8); i > 0; --i) object[random.text()] = random.make(4);
    const std::string text = object.dump(random.pick(2) == 0 ? -1 : 2, ' ', random.pick(2) == 0);
    const auto members = members_of(text);
    ASSERT_TRUE(members) << "seed " << seed << ": " << text;
    ASSERT_EQ(members->size(), object.size()) << "seed " << seed;
    for (const auto& [name, value] : *members) {
      const std::string decoded = decode_json_string("\"" + name + "\"", 10'000);
      ASSERT_TRUE(object.contains(decoded)) << "seed " << seed;
      EXPECT_EQ(nlohmann::json::parse(value), object[decoded]) << "seed " << seed;
    }
  }
}

// Whatever it takes apart of broken text lies within the text; what a parser takes it takes.
TEST(JsonWalk, survives_and_never_refuses_what_a_parser_takes) {
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    RandomJson random(seed);
    auto object = nlohmann::json::object();
    for (size_t i = random.pick(4); i > 0; --i) object[random.text()] = random.make(3);
    std::string text = object.dump();
    for (size_t i = random.pick(4); i > 0 && !text.empty(); --i) {
      const size_t at = random.pick(text.size());
      switch (random.pick(3)) {
        case 0:
          text.erase(at, 1);
          break;
        case 1:
          text.insert(at, 1, "\"\\{}[],:1"[random.pick(9)]);
          break;
        default:
          text[at] = static_cast<char>(random.pick(256));
      }
    }
    const auto members = members_of(text);
    const auto parsed = nlohmann::json::parse(text, nullptr, false);
    if (parsed.is_object()) {
      ASSERT_TRUE(members) << "seed " << seed << ": " << text;
      for (const auto& [name, value] : *members)
        EXPECT_FALSE(nlohmann::json::parse(value, nullptr, false).is_discarded());
    }
  }
}

TEST(JsonWalk, decodes_strings) {
  EXPECT_EQ(decode_json_string("\"plain\"", 100), "plain");
  EXPECT_EQ(decode_json_string(R"("a\u0041\n\"")", 100), "aA\n\"");
  EXPECT_EQ(decode_json_string(R"("\q")", 100), "");
  EXPECT_EQ(decode_json_string("12", 100), "");
  EXPECT_EQ(decode_json_string("\"" + std::string(1000, 'a') + "\"", 10), "");
}

}  // namespace
}  // namespace sluice
