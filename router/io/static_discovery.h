// Replicas that somebody wrote down: on the command line, or in a file that is read anew when it changes.
#pragma once

#include <memory>

#include "router/io/discovery.h"

namespace sluice::router {

// As given, for ever.
std::unique_ptr<Discovery> make_replica_list(std::vector<FoundReplica> replicas);

// One replica a line, as parse_replica reads it; empty lines and lines that begin with # say nothing. A file
// that cannot be read or has a bad line changes nothing and is named in the log; at the start it is an Error.
std::unique_ptr<Discovery> make_replica_file(std::string path);

}  // namespace sluice::router
