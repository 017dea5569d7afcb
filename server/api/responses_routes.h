// The endpoints under /v1/responses: create, read, stream again, cancel, delete, list what came in, count.
#pragma once

namespace sluice {

struct ApiFloor;
class Routes;

void add_responses_routes(Routes& routes, ApiFloor& floor);

}  // namespace sluice
