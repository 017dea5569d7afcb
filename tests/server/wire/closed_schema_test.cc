#include "server/wire/closed_schema.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(ClosedSchema, closes_objects_that_list_their_properties) {
  EXPECT_EQ(with_closed_objects(R"({"type":"object","properties":{"b":{},"a":{"type":"string"}}})"),
            R"({"type":"object","properties":{"b":{},"a":{"type":"string"}},"additionalProperties":false})");
  EXPECT_EQ(with_closed_objects(
                R"({"$defs":{"P":{"properties":{"x":{"properties":{}}}}},"items":{"$ref":"#/$defs/P"}})"),
            R"({"$defs":{"P":{"properties":{"x":{"properties":{},"additionalProperties":false}},)"
            R"("additionalProperties":false}},"items":{"$ref":"#/$defs/P"}})");
  EXPECT_EQ(with_closed_objects(R"({"anyOf":[{"properties":{"a":{}}},{"type":"null"}]})"),
            R"({"anyOf":[{"properties":{"a":{}},"additionalProperties":false},{"type":"null"}]})");
}

TEST(ClosedSchema, leaves_alone_what_speaks_of_other_members) {
  for (const char* schema : {R"({"properties":{"a":{}},"additionalProperties":true})",
                             R"({"properties":{"a":{}},"additionalProperties":{"type":"integer"}})",
                             R"({"properties":{"a":{}},"patternProperties":{"^x":{}}})",
                             R"({"properties":{"a":{}},"$ref":"#/$defs/B"})", R"({"type":"object"})",
                             R"({"enum":[{"properties":{"a":{}}}]})", R"({"const":{"properties":{}}})"}) {
    EXPECT_EQ(with_closed_objects(schema), schema);
  }
}

TEST(ClosedSchema, leaves_alone_documents_that_join_schemas) {
  for (const char* schema :
       {R"({"allOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}]})",
        R"({"properties":{"x":{"allOf":[{"properties":{"a":{}}}],"properties":{"b":{}}}}})",
        R"({"properties":{"a":{}},"anyOf":[{"properties":{"b":{}}},{"required":["a"]}]})",
        R"({"$defs":{"B":{"properties":{"b":{}}}},"properties":{"a":{}},"$ref":"#/$defs/B"})",
        R"({"properties":{"a":{}},"if":{"properties":{"a":{"const":1}}}})",
        R"({"properties":{"a":{}},"unevaluatedProperties":false})",
        R"({"items":{"not":{"properties":{"a":{}}}}})"}) {
    EXPECT_EQ(with_closed_objects(schema), schema);
  }
  // One schema alone joins nothing; older pydantic writes references so.
  EXPECT_EQ(with_closed_objects(R"({"allOf":[{"properties":{"a":{}}}]})"),
            R"({"allOf":[{"properties":{"a":{}},"additionalProperties":false}]})");
}

TEST(ClosedSchema, is_not_confused_by_properties_with_the_names_of_keywords) {
  EXPECT_EQ(with_closed_objects(R"({"properties":{"properties":{"type":"string"},"not":{"type":"string"}}})"),
            R"({"properties":{"properties":{"type":"string"},"not":{"type":"string"}},)"
            R"("additionalProperties":false})");
}

TEST(ClosedSchema, gives_back_what_is_no_object) {
  for (const char* text : {"true", "[1]", "not json", ""}) EXPECT_EQ(with_closed_objects(text), text);
}

}  // namespace
}  // namespace sluice
