// The files of openapi/, each a part of one document. Internal to server/wire; written by CMake.
#pragma once

#include <array>
#include <string_view>

namespace sluice {

extern const std::array<std::string_view, 8> kOpenApiParts;

}  // namespace sluice
