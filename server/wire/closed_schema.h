// JSON schemas as people mean them: an object that lists its properties and says nothing of others has no
// others. JSON Schema itself would allow any, and small models then invent members until their tokens end.
// What is written under the closed schema validates under the open one as well.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// `schema`: JSON that has been checked. Objects with "properties" get "additionalProperties": false unless
// they say something of other members themselves. A document that lets several schemas describe one object
// (allOf, anyOf or $ref beside properties, if, not, dependentSchemas, unevaluatedProperties) comes back as it
// is: what is closed in one place would shut out what another adds.
std::string with_closed_objects(std::string_view schema);

}  // namespace sluice
