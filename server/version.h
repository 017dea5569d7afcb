// The release this program was built from, as CMake's project() says.
#pragma once

namespace sluice {

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

inline constexpr const char* kVersion = SLUICE_VERSION;

}  // namespace sluice
