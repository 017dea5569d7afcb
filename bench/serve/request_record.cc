#include "bench/serve/request_record.h"

namespace sluice::bench {

std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::kDone:
      return "done";
    case Outcome::kConnect:
      return "connect";
    case Outcome::kTimeout:
      return "timeout";
    case Outcome::kHttpStatus:
      return "http";
    case Outcome::kBroken:
      return "broken";
    case Outcome::kBadBody:
      return "bad_body";
    case Outcome::kServer:
      return "server";
    case Outcome::kCancelled:
      return "cancelled";
    case Outcome::kCut:
      return "cut";
  }
  return "";
}

}  // namespace sluice::bench
